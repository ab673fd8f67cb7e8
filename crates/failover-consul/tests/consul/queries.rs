//! Services that differ from the plain one by their port, and how old an answer is that repeats.

use std::time::Duration;

use failover_core::provider::{Provider, Query};
use failover_core::{FailoverManager, ServiceHandle, source};
use failover_testkit::consul::AgentOptions;
use failover_testkit::servers::Server;
use failover_testkit::until;

use crate::support::{SECOND, builder, name, provider};

fn places(service: &ServiceHandle) -> Vec<String> {
    service.endpoints().iter().map(|entry| entry.endpoint().authority()).collect()
}

/// Consul knows several ports of an instance since 1.22.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_chosen_by_name_and_by_number_and_pushed() {
    let Some(agent) = (AgentOptions { dev: true, ..AgentOptions::new(Server::Consul) }).start() else {
        return;
    };
    let register = |id: &str, address: &str, admin: u16| {
        let body = format!(
            r#"{{"Name": "api", "ID": "{id}", "Address": "{address}", "Tags": ["{id}"],
                 "Ports": [{{"Name": "admin", "Port": {admin}}}, {{"Name": "http", "Port": 8080, "Default": true}}]}}"#
        );
        let (status, said) = agent.call("PUT", "/v1/agent/service/register", &body).expect("answers");
        assert_eq!(status, 200, "{said}");
    };
    register("a", "10.1.2.1", 9090);
    let consul = provider(&agent.address());
    let api = || Query::service(&name("api"));
    for (query, expected) in
        [(api(), 8080), (api().port("admin"), 9090), (api().port("ADMIN"), 9090), (api().port(9090), 9090)]
    {
        let set = consul.list(&query).await.expect("lists");
        assert_eq!(set.entries()[0].endpoint().port(), expected, "{query:?}");
    }
    let none = consul.list(&api().port("grpc")).await.expect("lists");
    assert!(none.entries().is_empty());
    let error = none.rejected()[0].error().to_string();
    assert!(error.contains("grpc") && error.contains("admin 9090, http 8080"), "{error}");

    let manager = FailoverManager::builder().provider(consul).build().await.expect("builds");
    let admin = manager.service_matching(api().port("admin")).await.expect("a handle");
    let plain = manager.service("api").await.expect("a handle");
    let tagged = [source("consul").service("api").tag("b").port("admin")];
    let tagged = manager.service_from("tagged", tagged).await.expect("a handle");
    let has = async |service: &ServiceHandle, expected: &[&str]| {
        until(SECOND * 10, &format!("{expected:?}"), || async { places(service) == expected }).await;
    };
    has(&admin, &["10.1.2.1:9090"]).await;
    has(&plain, &["10.1.2.1:8080"]).await;
    register("b", "10.1.2.2", 9191);
    has(&admin, &["10.1.2.1:9090", "10.1.2.2:9191"]).await;
    has(&plain, &["10.1.2.1:8080", "10.1.2.2:8080"]).await;
    has(&tagged, &["10.1.2.2:9191"]).await;
}

/// Nothing changes, and the agent says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_counts_from_the_last_answer_and_not_from_the_last_change() {
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = (AgentOptions { dev: true, ..AgentOptions::new(server) }).start() else { continue };
        let consul = builder(&agent.address()).wait(SECOND * 5).build().expect("valid");
        let manager = FailoverManager::builder().provider(consul).build().await.expect("builds");
        let web = manager.service("consul").await.expect("a handle");
        until(SECOND * 10, "the agent itself", || async { places(&web).len() == 1 }).await;
        let mut oldest = Duration::ZERO;
        for _ in 0..70 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let source = &web.stats().sources[0];
            assert!(!source.stale, "{:?}", source.error);
            oldest = oldest.max(source.age.expect("it has answered"));
        }
        // Answers come every 5 s, and each 10 s one is passed on.
        assert!(oldest < SECOND * 20, "35 s without a change: {oldest:?}");
    }
}
