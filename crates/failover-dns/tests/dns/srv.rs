//! SRV records.

use failover_core::config::LoadBalancerConfig;
use failover_core::{Algorithm, FailoverConfig, Outcome};

use super::*;

const NAME: &str = "_http._tcp.users.test";

#[tokio::test]
async fn records_say_port_priority_and_weight() {
    let server = NameServer::start().await;
    {
        let mut zone = server.zone();
        zone.srv(NAME, (1, 0, 8080), "a.test");
        zone.srv(NAME, (1, 5, 8081), "b.test");
        zone.srv(NAME, (2, 0, 8082), "c.test");
        zone.address("a.test", "10.0.0.1");
        zone.address("a.test", "fd00::1");
        zone.address("b.test", "10.0.0.2");
        zone.address("c.test", "10.0.0.3");
        zone.address("c.test", "10.0.0.4");
    }
    for additional in [true, false] {
        server.zone().additional = additional;
        let set = list(asking_srv(&server), NAME).await.expect("an answer");
        let mut shown: Vec<_> = set
            .entries()
            .iter()
            .map(|entry| {
                let endpoint = entry.endpoint();
                format!("{endpoint} {} {}", endpoint.priority(), endpoint.weight())
            })
            .collect();
        shown.sort();
        let wanted = [
            "10.0.0.3:8082 (tcp://10.0.0.3:8082) 2 1",
            "10.0.0.4:8082 (tcp://10.0.0.4:8082) 2 1",
            "a.test:8080 (tcp://10.0.0.1:8080) 1 1",
            "b.test:8081 (tcp://10.0.0.2:8081) 1 500",
        ];
        assert_eq!(shown, wanted, "additional: {additional}");
        assert_eq!(set.ttl(), Some(Duration::from_secs(1)));
    }
    let asks = DnsProvider::builder().nameserver(server.address).srv_prefix("_http._tcp").suffix("test");
    let set = list(asks.family(Family::V4), "users").await.expect("an answer");
    assert_eq!(set.entries().len(), 4);
    assert_eq!(set.entries()[0].endpoint().protocol(), "http");
}

#[tokio::test]
async fn calls_follow_priority_and_a_weight_of_0_is_rarely() {
    let server = NameServer::start().await;
    {
        let mut zone = server.zone();
        for (host, priority, weight) in [("a", 1, 0), ("b", 1, 1), ("c", 2, 9)] {
            let target = format!("{host}.test");
            zone.srv(NAME, (priority, weight, 80), &target);
            zone.address(&target, &format!("10.0.0.{}", host.as_bytes()[0]));
        }
    }
    let weighted = LoadBalancerConfig::builder().algorithm(Algorithm::Weighted).build().expect("valid");
    let config = FailoverConfig::builder().load_balancer(weighted).build().expect("valid");
    let provider = asking_srv(&server).build().expect("valid");
    let builder = FailoverManager::builder().service_config(config).provider(provider);
    let manager = builder.build().await.expect("builds");
    let users = manager.service(NAME).await.expect("a handle");
    let mut calls = std::collections::BTreeMap::new();
    for _ in 0..1_010 {
        let pick = users.select().expect("an endpoint");
        *calls.entry(pick.endpoint().id().to_string()).or_insert(0) += 1;
        pick.finish(Outcome::Success);
    }
    let calls: Vec<_> = calls.into_iter().collect();
    assert_eq!(calls, [("a.test:80".to_owned(), 10), ("b.test:80".to_owned(), 1_000)]);
}

#[tokio::test]
async fn a_target_that_cannot_be_resolved_is_left_out_with_its_reason() {
    let server = NameServer::start().await;
    {
        let mut zone = server.zone();
        zone.srv(NAME, (1, 1, 80), "a.test");
        zone.srv(NAME, (1, 1, 80), "gone.test");
        zone.srv(NAME, (1, 1, 80), "bare.test");
        zone.srv(NAME, (1, 1, 80), "down.test");
        zone.broken.push(server::name("down.test"));
        zone.srv(NAME, (1, 1, 0), "a.test");
        zone.srv(NAME, (1, 1, 80), ".");
        zone.address("a.test", "10.0.0.1");
        zone.clear("bare.test", RecordType::A);
    }
    let (_manager, users) = watching(asking_srv(&server), NAME).await;
    assert_eq!(known(&users), ["a.test:80"]);
    let shown = users.explain().to_string();
    for part in [
        "gone.test:80: gone.test: the target does not exist",
        "bare.test: the target has no address",
        "down.test:80: down.test (A)",
        "answered SERVFAIL",
        "a.test:0",
        "target of the SRV record",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[tokio::test]
async fn no_set_is_known_if_no_target_could_be_asked_for() {
    let server = NameServer::start().await;
    server.zone().srv(NAME, (1, 1, 80), "a.test");
    server.zone().fails = Some((RecordType::A, ResponseCode::ServFail));
    let error = list(asking_srv(&server), NAME).await.expect_err("no address").to_string();
    assert!(error.contains("a.test (A)") && error.contains("SERVFAIL"), "{error}");
}

#[tokio::test]
async fn a_service_that_is_decidedly_not_available_is_empty_at_once() {
    let server = NameServer::start().await;
    server.zone().srv(NAME, (1, 1, 80), "a.test");
    server.zone().address("a.test", "10.0.0.1");
    let (_manager, users) = watching(asking_srv(&server), NAME).await;
    assert_eq!(known(&users), ["a.test:80"]);
    server.zone().clear(NAME, RecordType::SRV);
    server.zone().srv(NAME, (0, 0, 0), ".");
    until("it is empty", || known(&users).is_empty()).await;
}

#[tokio::test]
async fn a_thousand_targets_are_resolved_a_few_at_a_time() {
    let server = NameServer::start().await;
    {
        let mut zone = server.zone();
        zone.additional = false;
        for number in 0..1_000 {
            let target = format!("t{number}.test");
            zone.srv(NAME, (1, 1, 80), &target);
            zone.address(&target, &format!("10.0.{}.{}", number / 250, number % 250 + 1));
        }
    }
    let set = list(asking_srv(&server).timeout(Duration::from_secs(10)), NAME).await.expect("an answer");
    assert_eq!((set.entries().len(), set.rejected_count()), (1_000, 0));
}
