//! Sticky sessions.

use std::time::Duration;

use super::strategies::{Bench, balancer, entries};
use super::*;
use crate::model::attempt_class::AttemptClass;
use crate::model::health::{Health, Lifecycle};

#[tokio::test(start_paused = true)]
async fn a_session_stays_moves_once_and_is_forgotten_in_time() {
    let bench = Bench::new(balancer(|b| b.sticky(true).sticky_ttl(Duration::from_secs(60)))).with(entries(5));
    let session = |n: u32| bench.pick(PickOptions::keyed(&n.to_le_bytes()));
    let first: Vec<_> = (0..50).map(session).collect();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(first, (0..50).map(session).collect::<Vec<_>>());
    }
    bench.publish(entries(9));
    assert_eq!(first, (0..50).map(session).collect::<Vec<_>>(), "new endpoints move no session");
    bench.break_down(&first[0]);
    let second: Vec<_> = (0..50).map(session).collect();
    assert!(
        first.iter().zip(&second).all(|(a, b)| (*a == first[0]) == (a != b)),
        "only those of the one out"
    );
    // A retry goes elsewhere, and the session stays: its endpoint is in rotation.
    let key = PickOptions::keyed(&7_u32.to_le_bytes());
    let failed = bench.engine.pick_with(Tried::NONE, true, key).expect("available");
    let (home, state) = (bench.engine.slab.state(failed.state()).endpoint(), failed.state());
    bench.engine.report(failed, AttemptClass::Failure);
    let retry = bench.engine.pick_with(Tried::of(&[state]), true, key).expect("available");
    assert_ne!(retry.state(), state);
    bench.engine.report(retry, AttemptClass::Success);
    assert_eq!(bench.pick(key), home.id().as_str());
    tokio::time::advance(Duration::from_secs(7)).await;
    for _ in 0..5 {
        bench.pick(PickOptions::NONE);
    }
    assert_eq!(second, (0..50).map(session).collect::<Vec<_>>(), "and they stay where they went");
    tokio::time::advance(Duration::from_secs(62)).await;
    assert_ne!(second, (0..50).map(session).collect::<Vec<_>>(), "after the time limit they are new");
}

#[tokio::test(start_paused = true)]
async fn sessions_stay_on_an_endpoint_that_drains_for_as_long_as_configured() {
    let minute = Duration::from_secs(60);
    for (timeout, stays) in [(Duration::ZERO, false), (minute, true)] {
        let bench = Bench::new(balancer(|b| b.sticky(true).sticky_drain_timeout(timeout))).with(entries(3));
        let session = |n: u32| bench.pick(PickOptions::keyed(&n.to_le_bytes()));
        let homes: Vec<_> = (0..30).map(session).collect();
        let drain = |health| {
            let entries = entries(3).into_iter().map(|entry| {
                if entry.endpoint().id() != homes[0].as_str() {
                    return entry;
                }
                entry.with_lifecycle(Lifecycle::Draining).with_health(health)
            });
            bench.publish(entries.collect());
        };
        drain(Health::Healthy);
        tokio::time::advance(minute.saturating_sub(Duration::from_millis(1))).await;
        let moved = |n: u32| session(n) != homes[n as usize];
        assert_eq!((0..30).filter(|n| moved(*n)).count() == 0, stays);
        let others: HashSet<_> = (30..200).map(session).collect();
        assert!(!others.contains(&homes[0]), "other sessions do not begin there");
        if stays {
            // An answer of the registry that changes nothing does not prolong it.
            drain(Health::Healthy);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!((0..30).all(|n| moved(n) == (homes[n as usize] == homes[0])));
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_leave_an_endpoint_that_drains_when_it_is_unhealthy_or_fails() {
    for fails in [false, true] {
        let timeout = Duration::from_secs(60);
        let bench = Bench::new(balancer(|b| b.sticky(true).sticky_drain_timeout(timeout))).with(entries(3));
        let key = PickOptions::keyed(b"x");
        let home = bench.pick(key);
        let drain = |health| {
            let entries = entries(3).into_iter().map(|entry| {
                let drains = entry.endpoint().id() == home.as_str();
                if drains { entry.with_lifecycle(Lifecycle::Draining).with_health(health) } else { entry }
            });
            bench.publish(entries.collect());
        };
        drain(Health::Healthy);
        let failed = bench.engine.pick_with(Tried::NONE, true, key).expect("available");
        let tried = [failed.state()];
        bench.engine.report(failed, AttemptClass::Failure);
        let retry = bench.engine.pick_with(Tried::of(&tried), true, key).expect("available");
        bench.engine.report(retry, AttemptClass::Success);
        assert_eq!(bench.pick(key), home, "a retry moves no session");
        if fails {
            for _ in 0..5 {
                let pick = bench.engine.pick_with(Tried::NONE, true, key).expect("available");
                bench.engine.report(pick, AttemptClass::Failure);
            }
        } else {
            drain(Health::Unhealthy);
        }
        assert_ne!(bench.pick(key), home, "fails {fails}");
    }
}
