//! The breaker's state in two atomics, so that calls on many threads share it without a lock.
//!
//! One word holds phase, generation and counters and is changed by compare-and-swap; the time that belongs to
//! the phase (open until, half-open since) stands beside it with the generation it is of. Who wins the swap into
//! a new phase writes the time next; until it stands there, the others see "not yet known" and are refused.

use crate::engine::breaker::{Breaker, Effect, Event, Phase, Rules, Ticket};
use crate::runtime::clock::Time;
use crate::runtime::sync::{AtomicU64, Ordering};

/// Bits of the word, from the lowest: two counters of 20, doublings 6, generation 15, early 1, phase 2.
const COUNTER: u32 = 20;
const COUNTER_MASK: u64 = (1 << COUNTER) - 1;
const ROUNDS_AT: u32 = 40;
const GENERATION_AT: u32 = 46;
const EARLY_AT: u32 = 61;
const PHASE_AT: u32 = 62;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
/// Bits of the time, from the lowest: microseconds 49 (17 years), generation 15.
const MICROS: u32 = 49;
const MICROS_MASK: u64 = (1 << MICROS) - 1;

#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    time: AtomicU64,
}

/// A change of phase that this call brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: Breaker,
    pub(crate) to: Breaker,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), time: AtomicU64::new(0) }
    }

    /// Makes it as new. Only while nobody uses it.
    pub(crate) fn clear(&self) {
        self.time.store(0, Ordering::Relaxed);
        self.word.store(0, Ordering::Release);
    }

    /// The ticket of a closed breaker, by a single load.
    #[inline]
    pub(crate) fn ticket_if_closed(&self) -> Option<Ticket> {
        let word = self.word.load(Ordering::Acquire);
        (word >> PHASE_AT == CLOSED).then(|| Ticket { generation: generation(word), permit: false })
    }

    /// Whether it is closed without a failure to forget, so that a success changes nothing: a single load.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word >> PHASE_AT == CLOSED && word & COUNTER_MASK == 0
    }

    /// The state as it is now; a time that is not yet known reads as never.
    pub(crate) fn read(&self) -> Breaker {
        self.decode(self.word.load(Ordering::Acquire)).unwrap_or_else(|| {
            let word = self.word.load(Ordering::Acquire);
            unpack(word, Time::NEVER)
        })
    }

    /// Runs the state machine on the shared state.
    pub(crate) fn apply(
        &self,
        event: Event,
        now: Time,
        rules: &Rules,
        unit: f64,
    ) -> (Effect, Option<Change>) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let Some(from) = self.decode(word) else {
                // Somebody has changed the phase and is about to write its time. An admission can wait; a report
                // of the new generation cannot exist yet, so one that arrives now is of an older one.
                let current = self.word.load(Ordering::Acquire);
                if current == word {
                    let effect = match event {
                        Event::Admit { .. } => Effect::Refused(now),
                        _ => Effect::Ignored,
                    };
                    return (effect, None);
                }
                word = current;
                continue;
            };
            let (to, effect) = from.on(event, now, rules, unit);
            if to == from {
                return (effect, None);
            }
            match self.word.compare_exchange_weak(word, pack(&to), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if to.generation == from.generation => return (effect, None),
                Ok(_) => {
                    // A closed breaker has no time, and others go on with it at once: a store that came late would
                    // overwrite the time of a newer phase.
                    if !matches!(to.phase, Phase::Closed { .. }) {
                        self.time.store(pack_time(&to), Ordering::Release);
                    }
                    return (effect, Some(Change { from, to }));
                }
                Err(current) => word = current,
            }
        }
    }

    fn decode(&self, word: u64) -> Option<Breaker> {
        if word >> PHASE_AT == CLOSED {
            return Some(unpack(word, Time::NEVER));
        }
        let time = self.time.load(Ordering::Acquire);
        (time >> MICROS == u64::from(generation(word)))
            .then(|| unpack(word, Time::from_nanos((time & MICROS_MASK).saturating_mul(1000))))
    }
}

fn generation(word: u64) -> u16 {
    ((word >> GENERATION_AT) & 0x7fff) as u16
}

fn pack(breaker: &Breaker) -> u64 {
    let (phase, early, low, high) = match breaker.phase {
        Phase::Closed { failures } => (CLOSED, false, failures, 0),
        Phase::Open { .. } => (OPEN, false, 0, 0),
        Phase::HalfOpen { calls, successes, early, .. } => (HALF_OPEN, early, calls, successes),
    };
    let counter = |value: u32| u64::from(value).min(COUNTER_MASK);
    phase << PHASE_AT
        | u64::from(early) << EARLY_AT
        | u64::from(breaker.generation) << GENERATION_AT
        | u64::from(breaker.rounds) << ROUNDS_AT
        | counter(high) << COUNTER
        | counter(low)
}

fn unpack(word: u64, time: Time) -> Breaker {
    let low = (word & COUNTER_MASK) as u32;
    let high = ((word >> COUNTER) & COUNTER_MASK) as u32;
    let phase = match word >> PHASE_AT {
        CLOSED => Phase::Closed { failures: low },
        OPEN => Phase::Open { until: time },
        _ => Phase::HalfOpen { since: time, calls: low, successes: high, early: (word >> EARLY_AT) & 1 == 1 },
    };
    Breaker { phase, generation: generation(word), rounds: ((word >> ROUNDS_AT) & 0x3f) as u8 }
}

fn pack_time(breaker: &Breaker) -> u64 {
    let time = match breaker.phase {
        Phase::Closed { .. } => Time::NEVER,
        Phase::Open { until } => until,
        Phase::HalfOpen { since, .. } => since,
    };
    u64::from(breaker.generation) << MICROS | (time.as_nanos() / 1000).min(MICROS_MASK)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::model::breaker_state::BreakerState;

    fn rules() -> Rules {
        Rules { jitter: 0.0, ..super::super::tests::rules() }
    }

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn admit(gate: &Gate, now: Time) -> Effect {
        gate.apply(Event::Admit { early: false }, now, &rules(), 0.0).0
    }

    fn trip(gate: &Gate, now: Time) {
        let ticket = gate.ticket_if_closed().expect("closed");
        for _ in 0..5 {
            gate.apply(Event::Failure(ticket), now, &rules(), 0.0);
        }
        assert_eq!(gate.read().state(), BreakerState::Open);
    }

    #[test]
    fn every_state_survives_packing() {
        let phases = [
            Phase::Closed { failures: 10_000 },
            Phase::Open { until: at(123_456) },
            Phase::HalfOpen { since: at(7), calls: 10_000, successes: 9_999, early: true },
        ];
        for phase in phases {
            for (generation, rounds) in [(0, 0), (32_767, 31)] {
                let breaker = Breaker { phase, generation, rounds };
                let gate =
                    Gate { word: AtomicU64::new(pack(&breaker)), time: AtomicU64::new(pack_time(&breaker)) };
                assert_eq!(gate.read(), breaker);
            }
        }
    }

    #[test]
    fn half_open_admits_exactly_three() {
        let gate = Gate::new();
        trip(&gate, at(0));
        assert_eq!(admit(&gate, at(4_999)), Effect::Refused(at(5_000)));
        let admitted = (0..10).filter(|_| matches!(admit(&gate, at(5_000)), Effect::Admitted(_))).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn a_released_permit_admits_one_more() {
        let gate = Gate::new();
        trip(&gate, at(0));
        let Effect::Admitted(ticket) = admit(&gate, at(5_000)) else { panic!("due") };
        while matches!(admit(&gate, at(5_000)), Effect::Admitted(_)) {}
        gate.apply(Event::Release(ticket), at(5_001), &rules(), 0.0);
        assert!(matches!(admit(&gate, at(5_001)), Effect::Admitted(_)));
        assert!(matches!(admit(&gate, at(5_001)), Effect::Refused(_)));
    }

    #[test]
    fn ten_threads_never_hold_more_than_three_permits_and_one_sees_the_change() {
        for round in 0..200 {
            let gate = Arc::new(Gate::new());
            trip(&gate, at(0));
            let threads: Vec<_> = (0..10)
                .map(|_| {
                    let gate = Arc::clone(&gate);
                    thread::spawn(move || gate.apply(Event::Admit { early: false }, at(6_000), &rules(), 0.0))
                })
                .collect();
            let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
            let admitted = results.iter().filter(|r| matches!(r.0, Effect::Admitted(_))).count();
            let changes = results.iter().filter(|r| r.1.is_some()).count();
            assert!((1..=3).contains(&admitted), "round {round}: {admitted} admitted");
            assert_eq!(changes, 1, "round {round}");
        }
    }

    #[test]
    fn a_success_on_a_quiet_closed_breaker_changes_nothing() {
        let gate = Gate::new();
        assert!(gate.is_quiet());
        let ticket = gate.ticket_if_closed().expect("closed");
        assert_eq!(gate.apply(Event::Success(ticket), at(1), &rules(), 0.0), (Effect::Counted, None));
        gate.apply(Event::Failure(ticket), at(1), &rules(), 0.0);
        assert!(!gate.is_quiet());
    }

    #[test]
    fn a_success_forgets_failures() {
        let gate = Gate::new();
        let ticket = gate.ticket_if_closed().expect("closed");
        for _ in 0..4 {
            gate.apply(Event::Failure(ticket), at(0), &rules(), 0.0);
        }
        gate.apply(Event::Success(ticket), at(1), &rules(), 0.0);
        for _ in 0..4 {
            gate.apply(Event::Failure(ticket), at(2), &rules(), 0.0);
        }
        assert_eq!(gate.read().state(), BreakerState::Closed);
    }

    #[test]
    fn time_that_does_not_fit_is_far_away() {
        let gate = Gate::new();
        let ticket = gate.ticket_if_closed().expect("closed");
        let slow = Rules { recovery: Duration::MAX, max_recovery: Duration::MAX, ..rules() };
        for _ in 0..5 {
            gate.apply(Event::Failure(ticket), at(0), &slow, 0.0);
        }
        assert!(matches!(admit(&gate, at(u64::from(u32::MAX))), Effect::Refused(_)));
    }

    #[test]
    fn a_gate_that_many_threads_open_and_close_is_never_stuck() {
        let rules = Rules { failure_threshold: 1, success_threshold: 1, ..rules() };
        for round in 0..30 {
            let gate = Gate::new();
            thread::scope(|scope| {
                for n in 0..3 {
                    let (gate, rules) = (&gate, &rules);
                    scope.spawn(move || {
                        for nanos in 0..10_000 {
                            let now = at(1) + Duration::from_nanos(nanos);
                            let admitted = gate.apply(Event::Admit { early: true }, now, rules, 0.0).0;
                            if let Effect::Admitted(ticket) = admitted {
                                let good = ticket.permit || n == 0;
                                let event =
                                    if good { Event::Success(ticket) } else { Event::Failure(ticket) };
                                gate.apply(event, now, rules, 0.0);
                            }
                        }
                    });
                }
            });
            let word = gate.word.load(Ordering::SeqCst);
            assert!(
                gate.decode(word).is_some(),
                "round {round}: nobody uses it, and its time is of another phase"
            );
        }
    }

    #[test]
    fn probe_calls_that_have_just_begun_are_not_late() {
        let gate = Gate::new();
        trip(&gate, at(0));
        let Effect::Admitted(ticket) = admit(&gate, at(5_000)) else { panic!("due") };
        gate.apply(Event::Success(ticket), at(5_001), &rules(), 0.0);
        // The next calls come 40 s later, four in one millisecond.
        let admitted = (0..4).filter(|_| matches!(admit(&gate, at(45_000)), Effect::Admitted(_))).count();
        assert_eq!((admitted, gate.read().state()), (3, BreakerState::HalfOpen));
    }
}
