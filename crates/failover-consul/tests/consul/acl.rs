//! Default deny, HTTPS and client certificates: a token without permission never mistakes hidden
//! instances for none.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use failover_consul::ConsulBuilder;
use failover_core::ErrorKind;
use failover_core::provider::{ConfigKey, ConnectionStatus, Provider, Query, Registry};
use failover_testkit::TempDir;
use failover_testkit::certificates::Authority;
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{SECOND, builder, endpoint, has, ids, listen, name, next, provider, see};

const MANAGEMENT: &str = "5b1c7d0e-0000-4000-8000-00000000cafe";
const ENOUGH: &str = r#"service "users" { policy = "write" } node_prefix "" { policy = "read" }
    key_prefix "failover/" { policy = "write" } agent_prefix "" { policy = "read" }"#;

fn agent(server: Server) -> Option<Agent> {
    AgentOptions { token: Some(MANAGEMENT.to_owned()), ..AgentOptions::new(server) }.start()
}

fn with(agent: &Agent, token: &str) -> ConsulBuilder {
    builder(&agent.address()).token(token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_row_14_rights_that_lack_are_errors_on_the_newest() {
    rights(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_row_14_rights_that_lack_are_errors_on_debian() {
    rights(Server::ConsulDebian).await;
}

async fn rights(server: Server) {
    let Some(agent) = agent(server) else { return };
    let users = name("users");
    let (_, enough) = agent.token("enough", ENOUGH);
    let owner = with(&agent, &enough).build().expect("valid");
    owner.connect().await.expect("the documented rights are enough");
    owner.register(&endpoint("a", "users", 1)).await.expect("registers");
    let store = owner.config_store().expect("it keeps configuration");
    let key = ConfigKey::Service(users.clone());
    let revision = store.store(&key, "{}", None).await.expect("stores");
    assert_eq!(store.load(&key).await.expect("loads").expect("there").revision(), &revision);
    let mut stream = owner.watch(&Query::service(&users)).expect("it watches");
    see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;

    let anonymous = provider(&agent.address());
    assert_eq!(anonymous.connect().await.expect_err("default deny").kind(), ErrorKind::Permission);
    let listed = anonymous.list(&Query::service(&users)).await.expect_err("hidden");
    assert_eq!((listed.kind(), listed.code()), (ErrorKind::Permission, "FILTERED"));
    let refused = anonymous.register(&endpoint("b", "users", 2)).await.expect_err("may not");
    assert_eq!(refused.kind(), ErrorKind::Permission, "{refused}");

    let unknown = with(&agent, "5b1c7d0e-0000-4000-8000-00000000dead").build().expect("valid");
    let error = unknown.connect().await.expect_err("no such token");
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(!format!("{error} {error:?} {unknown:?}").contains("dead"), "{error:?}");

    // One token without node:read, and one with permission for another service.
    let (_, no_nodes) = agent.token("no-nodes", r#"service "users" { policy = "read" }"#);
    let (_, other) =
        agent.token("other", r#"service "other" { policy = "read" } node_prefix "" { policy = "read" }"#);
    for token in [&no_nodes, &other] {
        let blind = with(&agent, token).build().expect("valid");
        let error = blind.list(&Query::service(&users)).await.expect_err("hidden");
        assert_eq!(error.code(), "FILTERED", "{error}");
        let mut stream = blind.watch(&Query::service(&users)).expect("it watches");
        assert_eq!(next(&mut stream, SECOND * 5).await.expect_err("hidden").kind(), ErrorKind::Permission);
    }
    // A token that may read a service gets the answer that it does not exist.
    let set = with(&agent, &other)
        .build()
        .expect("valid")
        .list(&Query::service(&name("other")))
        .await
        .expect("empty");
    assert!(set.is_unknown_service() && set.is_confirmed(), "{set:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_left_out_is_said_for_every_read_on_the_newest() {
    left_out(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_left_out_is_said_for_every_read_on_debian() {
    left_out(Server::ConsulDebian).await;
}

async fn left_out(server: Server) {
    let Some(agent) = agent(server) else { return };
    let users = name("users");
    for n in [1, 2] {
        let body = format!(
            r#"{{"Node": "n{n}", "Address": "10.1.2.{n}", "Service": {{"ID": "s{n}", "Service": "users", "Port": 80}}}}"#
        );
        let (status, said) = agent.call("PUT", "/v1/catalog/register", &body).expect("answers");
        assert_eq!(status, 200, "{said}");
    }
    // Tokens that may see nothing, or names without instances.
    for (token, rules) in [
        ("nothing", r#"key_prefix "failover/" { policy = "read" }"#),
        ("no-nodes", r#"service_prefix "" { policy = "read" }"#),
        ("one-name", r#"service "users" { policy = "read" }"#),
        ("no-service", r#"node_prefix "" { policy = "read" }"#),
    ] {
        let (_, token_of) = agent.token(token, rules);
        let error =
            with(&agent, &token_of).build().expect("valid").list(&Query::all()).await.expect_err(token);
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "FILTERED"), "{token}: {error}");
    }
    let all = with(&agent, MANAGEMENT).build().expect("valid").list(&Query::all()).await.expect("all");
    assert_eq!((all.entries().len(), all.rejected_count()), (3, 0), "{all:?}");
    if agent.is_old() {
        // It does not tell.
        return;
    }
    let (_, half) =
        agent.token("half", r#"service "users" { policy = "read" } node "n1" { policy = "read" }"#);
    let consul = with(&agent, &half).build().expect("valid");
    let filtered = |set: &failover_core::provider::EndpointSet| {
        set.rejected().iter().filter(|entry| entry.error().code() == "FILTERED").count()
    };
    let set = consul.list(&Query::service(&users)).await.expect("one of two");
    assert_eq!((ids(&set), filtered(&set)), (vec!["s1".to_owned()], 1));
    let all = consul.list(&Query::all()).await.expect("one of three");
    assert_eq!((ids(&all), filtered(&all)), (vec!["s1".to_owned()], 2), "{all:?}");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    let set = next(&mut stream, SECOND * 5).await.expect("one of two");
    assert_eq!((ids(&set), filtered(&set)), (vec!["s1".to_owned()], 1));
    let error = consul.get(&users, &"s2".try_into().expect("valid")).await.expect_err("hidden");
    assert_eq!(error.code(), "FILTERED", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_row_14_rights_that_are_taken_away_keep_the_endpoints_on_the_newest() {
    taken_away(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_row_14_rights_that_are_taken_away_keep_the_endpoints_on_debian() {
    taken_away(Server::ConsulDebian).await;
}

async fn taken_away(server: Server) {
    let Some(agent) = agent(server) else { return };
    let users = name("users");
    let owner = with(&agent, MANAGEMENT).build().expect("valid");
    owner.register(&endpoint("a", "users", 1)).await.expect("registers");
    let (first, first_token) = agent.token("first", ENOUGH);
    let (_, second_token) = agent.token("second", ENOUGH);
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, &first_token).expect("written");
    let watcher = builder(&agent.address()).token_file(&file).wait(SECOND).build().expect("valid");
    let fixed = with(&agent, &first_token).wait(SECOND).build().expect("valid");
    let mut rotated = watcher.watch(&Query::service(&users)).expect("it watches");
    let mut lost = fixed.watch(&Query::service(&users)).expect("it watches");
    for stream in [&mut rotated, &mut lost] {
        see(stream, SECOND * 5, "the endpoint", has(&["a"])).await;
    }
    // R10: the token is replaced in the file and deleted; the next request rereads the file.
    std::fs::write(&file, &second_token).expect("written");
    let (status, body) = agent.call("DELETE", &format!("/v1/acl/token/{first}"), "").expect("answers");
    assert_eq!(status, 200, "{body}");
    owner.register(&endpoint("b", "users", 2)).await.expect("registers");
    let seen = see(&mut rotated, SECOND * 10, "a change, with the new token", has(&["a", "b"])).await;
    assert!(seen.iter().flatten().all(|set| !set.entries().is_empty()), "{seen:?}");
    // A busy agent of the newest version can hold the blocking query for up to 15 s before it
    // refuses it.
    let refused = |item: &Result<_, failover_core::Error>| {
        item.as_ref().is_err_and(|error| error.kind() == ErrorKind::Permission)
    };
    let seen = see(&mut lost, SECOND * 25, "the token is gone", refused).await;
    assert!(seen.iter().flatten().all(|set| !set.entries().is_empty()), "{seen:?}");

    // The token stays but loses its permissions: answers are empty, with status 200.
    let body = r#"{"Name": "second", "Rules": "node_prefix \"\" { policy = \"read\" }"}"#;
    let (_, policy) = agent.call("GET", "/v1/acl/policies", "").expect("answers");
    let id = policy.split("\"ID\":\"").skip(1).map(|rest| &rest[..36]).find(|id| {
        agent
            .call("GET", &format!("/v1/acl/policy/{id}"), "")
            .is_ok_and(|(_, body)| body.contains("\"second\""))
    });
    let id = id.expect("the policy");
    let body = body.replacen('{', &format!("{{\"ID\": \"{id}\", "), 1);
    let (status, said) = agent.call("PUT", &format!("/v1/acl/policy/{id}"), &body).expect("answers");
    assert_eq!(status, 200, "{said}");
    let seen = see(&mut rotated, SECOND * 20, "the rights are gone", Result::is_err).await;
    let error = seen.last().expect("one").as_ref().expect_err("hidden");
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    assert!(
        seen.iter().flatten().all(|set| !set.entries().is_empty()),
        "an empty set was published: {seen:?}"
    );
}

/// R14 and S4: HTTPS with a private authority from a bundle, and with a client certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_verified_both_ways() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let (authority, other) = (Authority::new("ours"), Authority::new("other"));
        let tls = Some((authority.pem().to_owned(), authority.server(&["127.0.0.1", "localhost"])));
        let Some(agent) = (AgentOptions { tls, ..AgentOptions::new(server) }).start() else { return };
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        // The second authority of the bundle is the right one.
        let bundle = file("bundle", &format!("{}{}", other.pem(), authority.pem()));
        let wrong_bundle = file("wrong", other.pem());
        let signed = |by: &Authority, name: &str| {
            let signed = by.client("me", None);
            (file(&format!("{name}.pem"), &signed.certificate), file(&format!("{name}.key"), &signed.key))
        };
        let (right, foreign) = (signed(&authority, "right"), signed(&other, "foreign"));
        let to = || builder(&agent.https()).token("t");
        let good = to().ca_file(&bundle).client_certificate(&right.0, &right.1).build().expect("valid");
        good.connect().await.expect("verified both ways");
        good.register(&endpoint("a", "users", 1)).await.expect("registers");
        let expired = authority.expired_client();
        let expired = (file("old.pem", &expired.certificate), file("old.key", &expired.key));
        let http = crate::support::builder(&agent.https().replace("https", "http"));
        for (builder, parts) in [
            (to().ca_file(&bundle), "certificate"),
            (to().ca_file(&bundle).client_certificate(&foreign.0, &foreign.1), "this client's certificate"),
            (to().ca_file(&bundle).client_certificate(&expired.0, &expired.1), "this client's certificate"),
            (
                to().ca_file(&wrong_bundle).client_certificate(&right.0, &right.1),
                "of no authority that is trusted|ca_file",
            ),
            // Trusts only the system's authorities.
            (to().client_certificate(&right.0, &right.1), "of no authority that is trusted|ca_file"),
            (http, "HTTP request to an HTTPS server"),
            (
                crate::support::builder(&agent.address().replace("127", "https://127")).ca_file(&bundle),
                "does not speak TLS",
            ),
        ] {
            refused(builder, parts).await;
        }
    }
}

/// R14 and S4: an expired certificate, or another server's, is refused and named, and the last
/// endpoints stay in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_over_or_for_another_name_is_refused() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let authority = Authority::new("ours");
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let ca = file("ca", authority.pem());
        let client = authority.client("me", None);
        let client = (file("cert", &client.certificate), file("key", &client.key));
        for (signed, parts) in [
            (authority.expired_server(&["127.0.0.1"]), "the server's certificate has expired|the clock"),
            (authority.server(&["consul.example"]), "is for another name|127.0.0.1|consul.example"),
        ] {
            let tls = Some((authority.pem().to_owned(), signed));
            let Some(agent) = (AgentOptions { tls, ..AgentOptions::new(server) }).start() else { return };
            let builder = || builder(&agent.https()).ca_file(&ca).client_certificate(&client.0, &client.1);
            refused(builder(), parts).await;
            if parts.contains("another name") {
                let named =
                    builder().tls_server_name("consul.example").token("of-a-test").build().expect("valid");
                named.connect().await.expect("the certificate is for that name");
            }
            let consul = builder().build().expect("valid");
            let users = name("users");
            let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
            let error = next(&mut stream, SECOND * 5).await.expect_err("refused");
            assert_eq!(error.code(), "TLS_ERROR", "{error}");
            assert_eq!(consul.info().connection().status(), ConnectionStatus::Error);
        }
    }
}

/// Asserts that connecting and registering fail with errors that contain the `parts`, separated by
/// `|`.
async fn refused(builder: ConsulBuilder, parts: &str) {
    let consul = builder.token("of-a-test").build().expect("valid");
    let error = consul.connect().await.expect_err(parts);
    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Validation), "{parts}: {error:?}");
    println!("{error}");
    for part in parts.split('|') {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let registered = consul.register(&endpoint("a", "users", 1)).await.expect_err(parts);
    assert!(registered.to_string().contains(parts.split('|').next().unwrap_or_default()), "{registered}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one at a time").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Lines logged through `log`, not `tracing`.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut logged = LOGGED.lock().expect("one at a time");
        let _ = writeln!(logged, "{} {}", record.target(), record.args());
    }

    fn flush(&self) {}
}

/// S3: at TRACE level, through successes and failures.
#[tokio::test]
async fn the_token_shows_in_no_log_no_error_no_url_and_no_debug() {
    let token = "5b1c7d0e-cafe-4000-8000-00c0ffeec0de";
    let base64 = "NWIxYzdkMGUtY2FmZS00MDAwLTgwMDAtMDBjMGZmZWVjMGRl";
    let log = Log::default();
    log::set_logger(&Logger).expect("the only one");
    log::set_max_level(log::LevelFilter::Trace);
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // This runtime runs all tasks on this thread.
    let _guard = listen(subscriber);
    let mut shown = String::new();
    for server in [Server::Consul, Server::ConsulDebian] {
        let options = AgentOptions { token: Some(token.to_owned()), ..AgentOptions::new(server) };
        let Some(mut agent) = options.start() else { return };
        let users = name("users");
        let good = with(&agent, token).deadline(SECOND).build().expect("valid");
        good.connect().await.expect("connects");
        let mut stream = good.watch(&Query::service(&users)).expect("it watches");
        good.register(&endpoint("a", "users", 1)).await.expect("registers");
        see(&mut stream, SECOND * 5, "the endpoint", has(&["a"])).await;
        let store = good.config_store().expect("it keeps configuration");
        let _ = store.store(&ConfigKey::Default, "{}", None).await.expect("stores");
        let mut errors = vec![store.store(&ConfigKey::Default, "{}", None).await.expect_err("there already")];
        let wrong = with(&agent, &token.replace("cafe", "face")).build().expect("valid");
        errors.extend(wrong.connect().await.err());
        agent.kill();
        errors.extend(good.ping().await.err());
        errors.extend(good.list(&Query::service(&users)).await.err());
        let seen = see(&mut stream, SECOND * 5, "an error", Result::is_err).await;
        assert_eq!(
            ids(seen
                .iter()
                .flatten()
                .next_back()
                .unwrap_or(&failover_core::provider::EndpointSet::default()))
            .len(),
            0
        );
        errors.extend(seen.into_iter().filter_map(Result::err));
        assert!(errors.len() >= 5, "{errors:?}");
        for error in errors {
            let _ = writeln!(shown, "{error} {error:?} {:?}", std::error::Error::source(&error));
        }
        let _ = write!(shown, "{good:?} {:?} {:?}", good.info(), with(&agent, token));
        errors_of_builds(token, &mut shown);
    }
    let logged = String::from_utf8_lossy(&log.0.lock().expect("one at a time")).into_owned();
    assert!(logged.contains("hyper"), "the log holds what the client says: {} bytes", logged.len());
    shown.push_str(&logged);
    shown.push_str(&LOGGED.lock().expect("one at a time"));
    for secret in [token, base64, "c0ffee"] {
        let line =
            shown.lines().find(|line| line.contains(secret)).map(|line| line.replace(secret, "<the token>"));
        assert_eq!(line, None);
    }
}

fn errors_of_builds(token: &str, shown: &mut String) {
    for address in
        [format!("http://{token}@host"), format!("http://host?token={token}"), format!("{token}@host")]
    {
        let builder = builder(&address);
        let _ = write!(shown, "{builder:?}");
        let _ = write!(shown, "{:?}", builder.build().expect_err("not an address"));
    }
    let remote = builder("consul.example").token(token);
    let _ = write!(shown, "{:?}", remote.build().expect_err("over http"));
}
