//! Many threads on one engine, in real time.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use super::*;
use crate::config::CircuitBreakerConfigBuilder;

/// Runs `work` on four threads while `meanwhile` runs repeatedly.
fn under_load(length: Duration, work: impl Fn() + Sync, mut meanwhile: impl FnMut(u32)) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        let began = Instant::now();
        let mut round = 0;
        while began.elapsed() < length {
            round += 1;
            meanwhile(round);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn engine(config: FailoverConfig) -> (Engine, SourceId) {
    let name = ServiceName::new("users").expect("valid");
    let engine =
        Engine::new(name, Arc::new(config), Clock::system(), Random::system(), None).expect("supported");
    let source = engine.add_source(Arc::from("test"), 0);
    (engine, source)
}

#[test]
fn a_choice_is_the_endpoint_that_it_was_however_fast_endpoints_come_and_go() {
    let (engine, source) = engine(breaker(|b| b));
    engine.publish(source, vec![entry("a", 0)], false, Duration::ZERO);
    let call = || {
        let pick = engine.pick(Tried::NONE, true).expect("there is always one");
        let before = engine.slab.state(pick.state()).endpoint();
        let after = engine.slab.state(pick.state()).endpoint();
        assert_eq!(before.id(), after.id());
        engine.report(pick, AttemptClass::Success);
    };
    // Each id exists in one or two snapshots.
    under_load(Duration::from_secs(3), call, |round| {
        // One place for each id: entries of one place are one endpoint.
        let at = |kind: char, n: u32| {
            let [_, second, third, fourth] = n.to_be_bytes();
            let address = format!("{}.{second}.{third}.{fourth}", if kind == 'a' { 10 } else { 11 });
            EndpointEntry::new(
                Endpoint::builder(format!("{kind}{n}"), "users", address, 80).build().expect("valid"),
            )
        };
        engine.publish(source, vec![at('a', round), at('b', round / 2)], false, Duration::ZERO);
    });
    assert_eq!(engine.stats().in_flight, 0);
}

/// Breakers that open and close continuously.
fn nervous(breaker: CircuitBreakerConfigBuilder) -> CircuitBreakerConfigBuilder {
    let moment = Duration::from_millis(10);
    breaker
        .failure_threshold(2)
        .success_threshold(1)
        .recovery_timeout(moment)
        .max_recovery_timeout(moment)
        .half_open_max_wait(moment)
}

#[test]
fn membership_counts_and_permits_are_right_after_a_storm_and_everything_recovers() {
    for _ in 0..4 {
        let (engine, source) = engine(breaker(nervous));
        let ids = ["a", "b", "c", "d", "e"];
        let publish = |count: usize, round: u32| {
            let entries = ids[..count].iter().zip(round..).map(|(id, n)| {
                let endpoint = entry(id, 0).endpoint().to_builder().priority(n % 2).build().expect("valid");
                EndpointEntry::new(endpoint)
            });
            engine.publish(source, entries.collect(), false, Duration::ZERO);
        };
        publish(5, 0);
        let call = || {
            let Some(pick) = engine.pick(Tried::NONE, true) else { return };
            let verdict = match engine.random.below(5) {
                0 | 1 => Some(AttemptClass::Failure),
                2 => None,
                _ => Some(AttemptClass::Success),
            };
            engine.report(pick, verdict);
        };
        under_load(Duration::from_millis(700), call, |round| {
            if round % 3 == 0 {
                let config = breaker(|b| nervous(b).min_available(round % 2));
                engine.configure(Arc::new(config)).expect("supported");
            } else {
                publish(2 + round as usize % 4, round);
            }
            thread::yield_now();
        });
        check(&engine);
        // Each endpoint that is out is found again within a second, the longest interval between
        // two scans.
        let began = Instant::now();
        while engine.snapshot().closed() < engine.snapshot().eligible {
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", engine.stats().endpoints);
            if let Some(pick) = engine.pick(Tried::NONE, true) {
                engine.report(pick, AttemptClass::Success);
            }
        }
    }
}

fn check(engine: &Engine) {
    let snapshot = engine.snapshot();
    let mut closed = 0;
    for slot in &snapshot.slots {
        let (state, id) = (engine.slab.state(slot.state), slot.endpoint.id());
        let members = snapshot.tier_of(slot).members.available();
        let is_in = members.iter().any(|member| member.load(Ordering::Relaxed) == slot.state);
        let is_closed = state.breaker().admit_if_closed().is_some();
        assert_eq!(is_in, is_closed || state.placement().is_pinned(), "{id}");
        assert_eq!(state.in_flight(), 0, "{id}");
        if let crate::engine::breaker::Phase::HalfOpen { calls, .. } = state.breaker().read().phase {
            assert_eq!(calls, 0, "a permit of {id} is lost");
        }
        closed += u32::from(is_closed);
    }
    assert_eq!(snapshot.closed(), closed);
    if closed < snapshot.eligible {
        assert_ne!(
            engine.probe_at.load(Ordering::Relaxed),
            u64::MAX,
            "no pick would look for endpoints that are out"
        );
    }
}
