//! What other software registers with a real agent.

use failover_core::provider::{EndpointSet, Provider, Query, Registry};
use failover_core::{ErrorKind, Health, Lifecycle, ServiceName};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use failover_testkit::until;

use crate::support::{SECOND, builder, endpoint, has, ids, name, provider, see};

/// Both versions, as far as they are installed.
fn agents() -> impl Iterator<Item = Agent> {
    [Server::Consul, Server::ConsulDebian]
        .into_iter()
        .filter_map(|server| AgentOptions { dev: true, ..AgentOptions::new(server) }.start())
}

fn put(agent: &Agent, path: &str, body: &str) {
    let (status, said) = agent.call("PUT", path, body).expect("answers");
    assert_eq!(status, 200, "{path}: {said}");
}

async fn listed(consul: &impl Provider, service: &ServiceName, count: usize) -> EndpointSet {
    until(SECOND * 5, "all are in the catalog", || async {
        let set = consul.list(&Query::service(service)).await;
        set.is_ok_and(|set| set.entries().len() as u64 + set.rejected_count() == count as u64)
    })
    .await;
    consul.list(&Query::service(service)).await.expect("lists")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_in_another_case_is_the_same_service() {
    for agent in agents() {
        let consul = provider(&agent.address());
        put(
            &agent,
            "/v1/agent/service/register",
            r#"{"Name": "Web", "ID": "a", "Address": "10.1.2.1", "Port": 80}"#,
        );
        put(
            &agent,
            "/v1/agent/service/register",
            r#"{"Name": "web", "ID": "b", "Address": "10.1.2.2", "Port": 80}"#,
        );
        for service in ["Web", "web", "WEB"].map(name) {
            let set = listed(&consul, &service, 2).await;
            assert_eq!((ids(&set), set.rejected_count()), (vec!["a".to_owned(), "b".to_owned()], 0));
            assert!(set.entries().iter().all(|entry| entry.endpoint().service() == &service));
            let mut stream = consul.watch(&Query::service(&service)).expect("it watches");
            see(&mut stream, SECOND * 5, "both", has(&["a", "b"])).await;
            consul.get(&service, endpoint("a", "web", 1).id()).await.expect("there");
        }
        // Two spellings of one service are listed once.
        let all = consul.list(&Query::all()).await.expect("lists");
        assert_eq!(ids(&all).iter().filter(|id| matches!(id.as_str(), "a" | "b")).count(), 2, "{all:?}");

        let own = endpoint("c", "wEB", 3);
        consul.register(&own).await.expect("registers");
        consul.register(&endpoint("c", "web", 4)).await.expect("its own id of the same service");
        consul.set_health(own.service(), own.id(), Health::Degraded).await.expect("found");
        assert!(consul.deregister(&name("WEB"), own.id()).await.expect("found"));
        let error = consul.register(&endpoint("a", "other", 1)).await.expect_err("of another service");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_passing_is_healthy_and_the_weight_for_a_warning_counts() {
    for agent in agents() {
        let consul = provider(&agent.address());
        let cases = [
            ("passing", Health::Healthy, 7),
            ("warning", Health::Degraded, 3),
            ("Critical", Health::Unhealthy, 7),
            ("fail", Health::Unhealthy, 7),
            ("maintenance", Health::Unhealthy, 7),
            ("", Health::Unhealthy, 7),
        ];
        for (number, (status, ..)) in cases.iter().enumerate() {
            let body = format!(
                r#"{{"Node": "n{number}", "Address": "10.1.2.{number}", "SkipNodeUpdate": false,
                    "Service": {{"ID": "s{number}", "Service": "web", "Port": 80, "Address": "10.1.3.{number}",
                                 "Weights": {{"Passing": 7, "Warning": 3}}}},
                    "Check": {{"CheckID": "c{number}", "Name": "c", "Status": "{status}", "ServiceID": "s{number}"}}}}"#
            );
            put(&agent, "/v1/catalog/register", &body);
        }
        let set = listed(&consul, &name("web"), cases.len()).await;
        let mut found: Vec<_> = set
            .entries()
            .iter()
            .map(|entry| (entry.endpoint().id().to_string(), entry.health(), entry.endpoint().weight()))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let wanted: Vec<_> =
            cases.iter().enumerate().map(|(n, case)| (format!("s{n}"), case.1, case.2)).collect();
        assert_eq!(found, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_and_a_gateway_are_not_taken_for_the_service() {
    for agent in agents() {
        let consul = provider(&agent.address());
        for body in [
            r#"{"Name": "web", "ID": "a", "Address": "10.1.2.1", "Port": 80}"#,
            r#"{"Name": "web", "ID": "proxy", "Kind": "connect-proxy", "Address": "10.1.2.1", "Port": 20000,
                "Proxy": {"DestinationServiceName": "web"}}"#,
            r#"{"Name": "edge", "ID": "gateway", "Kind": "ingress-gateway", "Address": "10.1.2.2", "Port": 443}"#,
        ] {
            put(&agent, "/v1/agent/service/register", body);
        }
        let set = listed(&consul, &name("web"), 2).await;
        assert_eq!(ids(&set), ["a"]);
        let rejected = format!("{} {}", set.rejected()[0].what(), set.rejected()[0].error());
        assert!(rejected.contains("proxy") && rejected.contains("connect-proxy"), "{rejected}");
        let set = listed(&consul, &name("edge"), 1).await;
        assert!(set.entries().is_empty() && set.rejected_count() == 1, "{set:?}");
        let all = consul.list(&Query::all()).await.expect("lists");
        assert_eq!(all.rejected_count(), 2, "{:?}", all.rejected());
    }
}

/// Ids in a form that this library would encode, and `id@node`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_list_shows_can_be_drained_set_and_deregistered() {
    for agent in agents() {
        let consul = provider(&agent.address());
        let web = name("web");
        for id in ["Web-1", "web/2", "fo.x"] {
            let body = format!(
                r#"{{"Name": "Web", "ID": "{id}", "Address": "10.1.2.1", "Port": 80, "Check": {{"TTL": "10m"}}}}"#
            );
            put(&agent, "/v1/agent/service/register", &body);
        }
        // The same id on another node makes both `id@node`.
        put(
            &agent,
            "/v1/catalog/register",
            r#"{"Node": "far", "Address": "10.1.2.9", "Service": {"ID": "Web-1", "Service": "web", "Port": 80}}"#,
        );
        let set = listed(&consul, &web, 4).await;
        let (mut own, far): (Vec<_>, Vec<_>) = set
            .entries()
            .iter()
            .map(|entry| entry.endpoint().id().clone())
            .partition(|id| !id.as_str().ends_with("@far"));
        own.sort();
        let near = format!("Web-1@{}", agent.node());
        assert_eq!(
            own.iter().map(failover_core::EndpointId::as_str).collect::<Vec<_>>(),
            [near.as_str(), "fo.x", "web/2"]
        );
        for id in &own {
            consul.set_health(&web, id, Health::Degraded).await.expect("found");
            consul.set_lifecycle(&web, id, Lifecycle::Draining).await.expect("found");
        }
        until(SECOND * 5, "all of them", || async {
            let set = consul.list(&Query::service(&web)).await.expect("lists");
            let claims = |entry: &&failover_core::provider::EndpointEntry| {
                (entry.health(), entry.lifecycle()) == (Health::Degraded, Lifecycle::Draining)
            };
            set.entries().iter().filter(claims).count() == 3
        })
        .await;
        let error =
            consul.set_lifecycle(&web, &far[0], Lifecycle::Draining).await.expect_err("of another node");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        for id in &own {
            assert!(consul.deregister(&web, id).await.expect("found"), "{id}");
        }
        assert_eq!(listed(&consul, &web, 1).await.entries()[0].endpoint().address(), "10.1.2.9");
    }
}

/// Instances that are larger than the model allows, or whose ids have spaces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_odd_ids_and_tags_is_used_and_that_is_said() {
    for agent in agents() {
        let consul = provider(&agent.address());
        let web = name("web");
        let (long_id, long_tag) = ("i".repeat(285), "t".repeat(5000));
        let many: Vec<_> = (0..300).map(|n| format!("t{n}")).collect();
        for (id, tags) in [
            ("with spaces in it", serde_json::json!([])),
            (long_id.as_str(), serde_json::json!([])),
            ("tagged", serde_json::json!([long_tag])),
            ("much-tagged", serde_json::json!(many)),
        ] {
            let body = serde_json::json!({
                "Name": "web", "ID": id, "Address": "10.1.2.1", "Port": 80, "Tags": tags, "Check": {"TTL": "10m"},
            });
            put(&agent, "/v1/agent/service/register", &body.to_string());
        }
        let set = {
            until(SECOND * 5, "all are in the catalog", || async {
                consul.list(&Query::service(&web)).await.is_ok_and(|set| set.entries().len() == 4)
            })
            .await;
            consul.list(&Query::service(&web)).await.expect("lists")
        };
        assert_eq!(set.rejected_count(), 4, "each is reported: {:?}", set.rejected());
        let told: Vec<_> = set.rejected().iter().map(|entry| entry.error().to_string()).collect();
        for part in ["encoded", "285 characters", "1024 bytes", "300 tags"] {
            assert!(told.iter().any(|told| told.contains(part)), "{part} in {told:?}");
        }
        let mut stream = consul.watch(&Query::service(&web)).expect("it watches");
        see(&mut stream, SECOND * 5, "all of them", |item| {
            item.as_ref().is_ok_and(|set| set.entries().len() == 4)
        })
        .await;
        // An id with spaces can be drained and removed like another.
        let spaced = failover_core::EndpointId::new("with%20spaces%20in%20it").expect("valid");
        assert!(ids(&set).contains(&spaced.to_string()), "{:?}", ids(&set));
        consul.set_health(&web, &spaced, Health::Degraded).await.expect("found");
        consul.set_lifecycle(&web, &spaced, Lifecycle::Draining).await.expect("found");
        let found = consul.get(&web, &spaced).await.expect("found");
        assert_eq!(found.lifecycle(), Lifecycle::Draining);
        assert!(consul.deregister(&web, &spaced).await.expect("found"));
    }
}

/// What Consul knows since 1.16, and named ports of newer servers, as far as this one takes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_locality_and_the_named_ports_of_a_service_are_read() {
    for agent in agents().filter(|agent| !agent.is_old()) {
        let consul = provider(&agent.address());
        put(
            &agent,
            "/v1/agent/service/register",
            r#"{"Name": "web", "ID": "a", "Address": "10.1.2.1", "Port": 80,
                "Locality": {"Region": "eu-west-1", "Zone": "eu-west-1a"}}"#,
        );
        let set = listed(&consul, &name("web"), 1).await;
        let endpoint = set.entries()[0].endpoint();
        assert_eq!((endpoint.region(), endpoint.zone()), (Some("eu-west-1"), Some("eu-west-1a")));

        put(
            &agent,
            "/v1/agent/service/register",
            r#"{"Name": "api", "ID": "b", "Address": "10.1.2.2",
                "Ports": [{"Name": "admin", "Port": 9090}, {"Name": "http", "Port": 8080, "Default": true}]}"#,
        );
        let set = listed(&consul, &name("api"), 1).await;
        let endpoint = set.entries()[0].endpoint();
        assert_eq!((endpoint.port(), endpoint.metadata()["port.admin"].as_str()), (8080, "9090"));
        let found = consul.get(&name("api"), endpoint.id()).await.expect("there");
        assert_eq!(found.endpoint().port(), 8080, "as the agent has it");
    }
}

/// `passing_only` and `near_agent`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_pass_is_left_out_where_that_is_wanted() {
    for agent in agents() {
        let web = name("web");
        for (id, status) in [("a", "passing"), ("b", "warning"), ("c", "critical")] {
            let body = format!(
                r#"{{"Name": "web", "ID": "{id}", "Address": "10.1.2.1", "Port": 80, "Check": {{"TTL": "10m", "Status": "{status}"}}}}"#
            );
            put(&agent, "/v1/agent/service/register", &body);
        }
        let all = builder(&agent.address()).near_agent(true).build().expect("valid");
        assert_eq!(ids(&listed(&all, &web, 3).await), ["a", "b", "c"]);
        let passing = builder(&agent.address()).passing_only(true).build().expect("valid");
        assert_eq!(ids(&passing.list(&Query::service(&web)).await.expect("lists")), ["a"]);
        assert_eq!(ids(&passing.list(&Query::all()).await.expect("lists")), ["a", "consul"]);
        passing.get(&web, &"c".try_into().expect("valid")).await.expect("there");
        let mut stream = passing.watch(&Query::service(&web)).expect("it watches");
        see(&mut stream, SECOND * 5, "what passes", has(&["a"])).await;
        put(&agent, "/v1/agent/check/fail/service:a", "");
        let seen = see(&mut stream, SECOND * 5, "nothing passes", has(&[])).await;
        let set = seen.last().expect("one").as_ref().expect("good");
        assert!(set.is_confirmed() && !set.is_unknown_service(), "{set:?}");
        put(&agent, "/v1/agent/check/pass/service:c", "");
        see(&mut stream, SECOND * 5, "another passes", has(&["c"])).await;
    }
}
