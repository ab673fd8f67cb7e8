//! Services from one line, and the builder.

use failover_core::ErrorKind;

use super::*;

#[tokio::test]
async fn one_line_makes_a_service_that_follows_the_zone() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    let line = format!("dns://{}/users.test:8080?family=4&protocol=http", server.address);
    let users = failover_dns::service(&line).await.expect("a service");
    assert_eq!(users.name().as_str(), "users.test");
    assert_eq!(users.select().expect("an endpoint").endpoint().url("/"), "http://10.0.0.1:8080/");
    server.zone().addresses("users.test", ["10.0.0.2".parse().expect("an address")]);
    until("the change", || known(&users) == ["10.0.0.2:8080"]).await;
    // Discovery ends with the last of them.
    let (clone, handle) = (users.clone(), users.handle().clone());
    drop(users);
    server.zone().addresses("users.test", ["10.0.0.3".parse().expect("an address")]);
    until("the change", || known(&clone) == ["10.0.0.3:8080"]).await;
    drop(clone);
    let quiet = async {
        let before = server.zone().asked.len();
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        server.zone().asked.len() == before
    };
    assert!(quiet.await, "nobody asks any more");
    assert_eq!(known(&handle), ["10.0.0.3:8080"]);
    server.zone().srv("_grpc._tcp.users.test", (0, 0, 81), "users.test");
    let line = format!("srv://_grpc._tcp.users.test?server={}&family=4", server.address);
    let users = failover_dns::service(&line).await.expect("a service");
    assert_eq!(users.select().expect("an endpoint").endpoint().url(""), "grpc://10.0.0.3:81/");
    users.close().await.expect("it closes");
}

#[tokio::test]
async fn a_service_without_an_answer_says_why_and_comes_later() {
    let server = NameServer::start().await;
    server.zone().mood = Mood::Says(ResponseCode::Refused);
    let line = format!("dns://{}/users.test:8080?family=4", server.address);
    let users = failover_dns::service(&line).await.expect("a service");
    let error = users.select().expect_err("no endpoint").to_string();
    assert!(error.contains("REFUSED") && error.contains(&server.address.to_string()), "{error}");
    server.zone().address("users.test", "10.0.0.1");
    server.zone().mood = Mood::Answers;
    // The pauses have grown while it failed.
    until_within(Duration::from_secs(30), "it has come", || known(&users) == ["10.0.0.1:8080"]).await;
}

#[tokio::test]
async fn a_line_that_is_not_valid_is_an_error_at_once() {
    for line in ["users", "dns://users", "dns://10.0.0.1:80", "srv://users:1", "dns://users:80?protocol=1"] {
        let error = failover_dns::service(line).await.expect_err(line);
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_behind() {
    let server = NameServer::start().await;
    server.zone().mood = Mood::Silent;
    let line = format!("dns://{}/users.test:8080?family=4", server.address);
    let waiting = tokio::time::timeout(Duration::from_millis(300), failover_dns::service(&line)).await;
    assert!(waiting.is_err() && !server.zone().asked.is_empty(), "it has asked, and waits");
    server.zone().mood = Mood::Says(ResponseCode::ServFail);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = server.zone().asked.len();
    // An answer that fails would be asked for again within this time.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.zone().asked.len(), before);
}

#[test]
fn the_builder_validates() {
    let server = "127.0.0.1:53".parse().expect("an address");
    let asks = || DnsProvider::builder().nameserver(server).port(80);
    let second = Duration::from_secs(1);
    for (builder, part) in [
        (DnsProvider::builder().nameserver(server), "or ask for SRV records"),
        (asks().port(0), "port: 0"),
        (asks().srv(), "a port or SRV records"),
        (asks().timeout(Duration::ZERO), "timeout: 0ns"),
        (asks().timeout(61 * second), "timeout: 61s"),
        (asks().max_ttl(Duration::ZERO), "max_ttl: 0ns"),
        (asks().protocol("1"), "protocol: 1"),
        (asks().suffix(""), "suffix: "),
        (asks().suffix("a..b"), "suffix: a..b"),
        (asks().search_domains(["a b"]), "search domain: a b"),
        (asks().allow_loopback("10.0.0.1"), "allow_loopback: 10.0.0.1"),
        (DnsProvider::builder().nameserver(server).srv_prefix("_http tcp"), "srv_prefix: _http tcp"),
        (asks().nameserver("127.0.0.1:0".parse().expect("an address")), "nameserver: 127.0.0.1:0"),
    ] {
        let error = builder.build().expect_err(part);
        assert!(error.kind() == ErrorKind::Validation && error.to_string().contains(part), "{part}: {error}");
    }
}
