//! Tests of decisions shared by several threads, in every order that the memory model allows:
//! `cargo xtask loom`.

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use crate::engine::breaker::atomic::AtomicBreaker;
use crate::engine::breaker::{Admission, BreakerPolicy, Decision, Input};
use crate::engine::retry_budget::{Budget, BudgetPolicy};
use crate::engine::state::in_flight::InFlight;
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;

/// One failure opens the breaker, one probe call is admitted at a time, one success closes it.
const RULES: BreakerPolicy = BreakerPolicy {
    enabled: true,
    failure_threshold: 1,
    recovery: Duration::from_secs(5),
    max_recovery: Duration::from_secs(5),
    jitter: 0.0,
    half_open_calls: Some(1),
    half_open_wait: Duration::from_secs(30),
    success_threshold: Some(1),
    failure_rate: None,
};

const BEGIN: Time = Time::from_nanos(1);
/// The time at which an open breaker admits probe calls.
const DUE: Time = Time::from_nanos(6_000_000_000);

fn open() -> AtomicBreaker {
    let breaker = AtomicBreaker::new();
    let admission = breaker.admit_if_closed().expect("new");
    assert!(fail(&breaker, admission));
    breaker
}

/// Reports a failure, which opens the breaker. Returns whether this thread opened it.
fn fail(breaker: &AtomicBreaker, admission: Admission) -> bool {
    let suspect = breaker.apply(Input::Failure(admission), BEGIN, &RULES, 0.0).0 == Decision::Suspect;
    suspect && breaker.apply(Input::Open { level: 0 }, BEGIN, &RULES, 0.0).1.is_some()
}

fn admit(breaker: &AtomicBreaker) -> Option<Admission> {
    match breaker.apply(Input::Admit { repeated: true }, DUE, &RULES, 0.0).0 {
        Decision::Admitted(admission) => Some(admission),
        _ => None,
    }
}

#[test]
fn models_half_open_permits_are_never_more_than_allowed_and_come_back() {
    loom::model(|| {
        let breaker = Arc::new(open());
        let held = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (breaker, held) = (Arc::clone(&breaker), Arc::clone(&held));
                thread::spawn(move || {
                    if let Some(admission) = admit(&breaker) {
                        assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "two hold the one permit");
                        held.fetch_sub(1, Ordering::SeqCst);
                        breaker.apply(Input::Release(admission), DUE, &RULES, 0.0);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(admit(&breaker).is_some(), "every permit is back");
        assert!(admit(&breaker).is_none(), "and there is one");
    });
}

#[test]
fn models_a_probe_call_that_succeeds_beside_a_late_failure_leaves_a_gate_that_works() {
    loom::model(|| {
        let breaker = Arc::new(AtomicBreaker::new());
        let before = breaker.admit_if_closed().expect("new");
        // One thread opens the breaker; another one reports late, in the same generation.
        let late = {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || fail(&breaker, before))
        };
        let opened = fail(&breaker, before);
        let late = late.join().expect("no panic");
        assert!(opened ^ late, "one of them opened it");
        let admission = admit(&breaker).expect("due");
        breaker.apply(Input::Success(admission), DUE, &RULES, 0.0);
        assert_eq!(breaker.read().state(), BreakerState::Closed);
    });
}

#[test]
fn models_one_thread_sees_each_change_of_phase() {
    loom::model(|| {
        let breaker = Arc::new(open());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || {
                    breaker.apply(Input::Admit { repeated: true }, DUE, &RULES, 0.0).1.is_some()
                })
            })
            .collect();
        let changes = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        assert_eq!(changes.filter(|changed| *changed).count(), 1);
        assert_eq!(breaker.read().state(), BreakerState::HalfOpen);
    });
}

#[test]
fn models_the_budget_pays_for_no_more_than_it_holds_and_gets_back_what_was_not_spent() {
    const RULES: BudgetPolicy = BudgetPolicy { enabled: true, capacity: 5, cost: 5, deposit: 1 };
    loom::model(|| {
        let budget = Arc::new(Budget::new());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    budget.withdraw(RULES).is_some_and(|paid| {
                        paid.spend();
                        true
                    })
                })
            })
            .collect();
        budget.deposit(|| RULES);
        let paid = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        assert_eq!(paid.filter(|paid| *paid).count(), 1);
        assert!(budget.left(RULES) <= 1);
        let cancelled = budget.withdraw(BudgetPolicy { capacity: 10, ..RULES }).expect("there is more");
        drop(cancelled);
        assert!(budget.left(BudgetPolicy { capacity: 10, ..RULES }) >= 5);
    });
}

#[test]
fn models_a_thread_that_sees_nothing_in_flight_sees_all_counts_of_the_calls() {
    loom::model(|| {
        let flow = Arc::new(InFlight::new());
        let counted = Arc::new(AtomicU64::new(0));
        flow.begin();
        flow.begin();
        let threads: Vec<_> = [true, false]
            .into_iter()
            .map(|succeeds| {
                let (flow, counted) = (Arc::clone(&flow), Arc::clone(&counted));
                thread::spawn(move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if succeeds { flow.succeed() } else { flow.end() }
                })
            })
            .collect();
        if flow.is_idle() {
            assert_eq!(counted.load(Ordering::Relaxed), 2);
            assert_eq!(flow.successes(), 1);
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!((flow.in_flight(), flow.successes()), (0, 1));
    });
}
