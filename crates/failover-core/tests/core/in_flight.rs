//! The limit on the calls in flight to one endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use failover_core::config::{Algorithm, LoadBalancerConfig, SlowStartConfig};

use failover_core::inspect::Forced;
use failover_core::{CallError, FailoverConfig, NoEndpointsReason, OwnedPick, ServiceHandle, StopReason};
use tokio::time::{Instant, sleep};

use crate::bench::{count, ms, service};

const ALGORITHMS: [Algorithm; 7] = [
    Algorithm::RoundRobin,
    Algorithm::Random,
    Algorithm::Weighted,
    Algorithm::LeastConnections,
    Algorithm::PeakEwma,
    Algorithm::IpHash,
    Algorithm::ReportedLoad,
];

fn limit(calls: u32, algorithm: Algorithm, sticky: bool) -> FailoverConfig {
    let balancer = LoadBalancerConfig::builder().max_in_flight(calls).algorithm(algorithm).sticky(sticky);
    FailoverConfig::builder().load_balancer(balancer.build().expect("valid")).build().expect("valid")
}

fn pick(service: &ServiceHandle, key: &str) -> Option<OwnedPick> {
    service.call().key(key).select_owned().ok()
}

fn id(pick: &OwnedPick) -> String {
    pick.endpoint().id().to_string()
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_fills_all_endpoints_and_then_refuses() {
    for algorithm in ALGORITHMS {
        for (sticky, tiers) in [(false, &[3][..]), (true, &[3]), (false, &[2, 1])] {
            let service = service(limit(4, algorithm, sticky), tiers);
            let mut picks: Vec<_> = (0..12).map(|_| pick(&service, "the same").expect("room")).collect();
            let counts = count(picks.iter().map(id));
            assert!(
                counts.len() == 3 && counts.values().all(|calls| *calls == 4),
                "{algorithm:?} {counts:?}"
            );

            let error = service.call().key("the same").select_owned().expect_err("all are full");
            assert_eq!((error.code(), error.reason()), ("OVERLOADED", NoEndpointsReason::Overloaded));
            assert_eq!(
                error.to_string(),
                "users: 3 of 3 endpoints may be used, and each has 4 calls in flight, the most that \
                 load_balancer.max_in_flight allows"
            );
            let rules = service.explain().rules;
            assert_eq!((rules.max_in_flight, rules.full), (Some(4), 3));
            assert!(rules.to_string().contains("at most 4 calls to an endpoint; 3 endpoints"), "{rules}");

            let freed = id(&picks.swap_remove(7));
            assert_eq!(id(&pick(&service, "another").expect("room")), freed, "{algorithm:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_endpoint_is_no_reason_to_use_one_that_is_out() {
    let service = service(limit(1, Algorithm::RoundRobin, false), &[3]);
    let open = |id: &str| {
        service.force(id, Forced::Out, ms(60_000)).expect("known");
    };
    open("e1");
    let held: Vec<_> = (0..2).map(|_| pick(&service, "").expect("room")).collect();
    assert_eq!(count(held.iter().map(id)).into_keys().collect::<Vec<_>>(), ["e0", "e2"]);
    let error = service.select().map(drop).expect_err("all others are full");
    assert!(error.to_string().contains("2 of 3 endpoints may be used"), "{error}");
    assert_eq!(error.code(), "OVERLOADED");
    drop(held);
    open("e0");
    open("e2");
    let error = service.select().map(drop).expect_err("all are forced out");
    assert_ne!(error.code(), "OVERLOADED", "{error}");
}

#[tokio::test(start_paused = true)]
async fn while_all_are_out_the_limit_holds_as_well() {
    let service = service(limit(2, Algorithm::RoundRobin, false), &[12]);
    for _ in 0..240 {
        if let Ok(pick) = service.select() {
            pick.finish(failover_core::Outcome::Failure);
        }
    }
    let mut held: Vec<_> = (0..24).map(|_| pick(&service, "").expect("room")).collect();
    assert!(service.explain().rules.rotates);
    assert!(count(held.iter().map(id)).values().all(|calls| *calls == 2));
    held.retain(|pick| id(pick) != "e7");
    held.extend((0..2).map(|_| pick(&service, "").expect("room at e7")));
    assert_eq!(service.select().map(drop).expect_err("full").code(), "OVERLOADED");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_refused_at_once_or_waits_for_room() {
    let service = service(limit(1, Algorithm::LeastConnections, false), &[1]);
    let slow = service.execute(async |_| {
        sleep(ms(300)).await;
        Ok::<_, String>(())
    });
    let began = Instant::now();
    let others = async {
        sleep(ms(1)).await;
        let error: CallError<String> = service.execute(async |_| Ok(())).await.expect_err("full");
        assert!(matches!(error.reason(), StopReason::NoEndpoints(_)), "{error}");
        assert_eq!(error.code(), "OVERLOADED");
        assert_eq!(began.elapsed(), ms(1), "it is refused at once");
        service.call().wait_ready(true).execute(async |_| Ok::<_, String>(())).await.expect("it waits");
        assert!((ms(300)..=ms(401)).contains(&began.elapsed()), "{:?}", began.elapsed());
    };
    let (done, ()) = tokio::join!(slow, others);
    done.expect("the first call ends");
    assert_eq!(service.stats().endpoints[0].in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_in_slow_start_takes_what_others_have_no_room_for() {
    let balancer = LoadBalancerConfig::builder().max_in_flight(3).build().expect("valid");
    let slow_start = SlowStartConfig::builder().window(ms(60_000)).build().expect("valid");
    let config = FailoverConfig::builder().load_balancer(balancer).slow_start(slow_start);
    let service = service(config.build().expect("valid"), &[4]);
    let held: Vec<_> = (0..12).map(|_| pick(&service, "").expect("room")).collect();
    assert!(count(held.iter().map(id)).values().all(|calls| *calls == 3));
    assert!(pick(&service, "").is_none());
}

/// The number of calls in flight never exceeds the limit, on any threads.
#[test]
fn threads_that_race_for_the_last_place_do_not_exceed_the_limit() {
    const LIMIT: usize = 3;
    let service = service(limit(LIMIT as u32, Algorithm::LeastConnections, false), &[2]);
    let in_flight: Arc<[AtomicUsize; 2]> = Arc::default();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (service, in_flight) = (service.clone(), Arc::clone(&in_flight));
            thread::spawn(move || {
                let mut refused = 0;
                for _ in 0..20_000 {
                    let Ok(pick) = service.select() else {
                        refused += 1;
                        continue;
                    };
                    let of = &in_flight[usize::from(pick.endpoint().id() == "e1")];
                    assert!(of.fetch_add(1, Ordering::SeqCst) < LIMIT);
                    thread::yield_now();
                    of.fetch_sub(1, Ordering::SeqCst);
                    pick.finish(failover_core::Outcome::Success);
                }
                refused
            })
        })
        .collect();
    let refused: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    assert!((1..160_000).contains(&refused), "{refused} refused");
}

#[test]
fn a_limit_beyond_its_range_is_refused() {
    for limit in [0, 1_000_001] {
        let error = LoadBalancerConfig::builder().max_in_flight(limit).build().expect_err("invalid");
        let text = error.to_string();
        assert!(text.contains("load_balancer.max_in_flight") && text.contains("1 to 1000000"), "{text}");
    }
    let config = FailoverConfig::from_json(r#"{"load_balancer":{"max_in_flight":7}}"#).expect("valid");
    assert_eq!(config.load_balancer().max_in_flight(), Some(7));
    assert!(serde_json::to_string(&config).expect("JSON").contains("\"max_in_flight\":7"));
}
