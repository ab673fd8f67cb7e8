//! What other software registers with a real agent.

use failover_core::provider::{EndpointSet, Provider, Query, Registry};
use failover_core::{ErrorKind, Health, Lifecycle, ServiceName};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use failover_testkit::until;

use crate::support::{SECOND, endpoint, has, ids, name, provider, see};

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
