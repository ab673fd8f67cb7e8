//! The breaker's state in two atomics, so that calls on many threads share it without a lock.
//!
//! One word holds the phase, the generation and the counters and is changed by compare-and-swap. A
//! second word holds the time that belongs to the phase (open until, half-open since) and the
//! generation that the time belongs to. The thread that wins the swap into a new phase writes the
//! time next; until then, other threads treat the time as unknown, and their calls are refused.

use crate::engine::breaker::{Admission, Breaker, BreakerPolicy, Decision, Input, Phase};
use crate::runtime::clock::Time;
use crate::runtime::sync::{AtomicU64, Ordering};

/// Bits of the word, from the lowest: three counters of 14, level 5, generation 15, phase 2. A closed
/// breaker uses the first two as one.
const COUNTER: u32 = 14;
const COUNTER_MASK: u64 = (1 << COUNTER) - 1;
const COUNTERS_MASK: u64 = (1 << (3 * COUNTER)) - 1;
const SCORE_MASK: u64 = (1 << (2 * COUNTER)) - 1;
const LEVEL_AT: u32 = 3 * COUNTER;
const LEVEL_MASK: u64 = 0x1f;
const GENERATION_AT: u32 = 47;
const PHASE_AT: u32 = 62;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
/// Bits of the time, from the lowest: microseconds 49 (17 years), generation 15.
const MICROS: u32 = 49;
const MICROS_MASK: u64 = (1 << MICROS) - 1;

#[derive(Debug)]
pub(crate) struct AtomicBreaker {
    word: AtomicU64,
    time: AtomicU64,
}

/// A change of phase caused by this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: Breaker,
    pub(crate) to: Breaker,
}

impl AtomicBreaker {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), time: AtomicU64::new(0) }
    }

    /// Resets the breaker. Must be called only while no thread uses it.
    pub(crate) fn clear(&self) {
        self.time.store(0, Ordering::Relaxed);
        self.word.store(0, Ordering::Release);
    }

    /// Returns the admission of a closed breaker, with a single load.
    #[inline]
    pub(crate) fn admit_if_closed(&self) -> Option<Admission> {
        let word = self.word.load(Ordering::Acquire);
        (word >> PHASE_AT == CLOSED).then(|| Admission { generation: generation(word), permit: false })
    }

    /// Whether the breaker is closed without counted failures and overload answers, so that a
    /// success changes nothing. Needs a single load.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word >> PHASE_AT == CLOSED && word & COUNTERS_MASK == 0
    }

    /// Returns the current state; a time that is not yet written reads as never.
    pub(crate) fn read(&self) -> Breaker {
        self.decode(self.word.load(Ordering::Acquire)).unwrap_or_else(|| {
            let word = self.word.load(Ordering::Acquire);
            unpack(word, Time::NEVER)
        })
    }

    /// Runs the state machine on the shared state.
    pub(crate) fn apply(
        &self,
        input: Input,
        now: Time,
        policy: &BreakerPolicy,
        unit: f64,
    ) -> (Decision, Option<Change>) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let Some(from) = self.decode(word) else {
                // Another thread has changed the phase and is about to write its time. An admission
                // is refused for now. A report of the new generation cannot exist yet, so a report
                // that arrives now belongs to an older one.
                let current = self.word.load(Ordering::Acquire);
                if current == word {
                    let decision = match input {
                        Input::Admit { .. } => Decision::Refused(now),
                        _ => Decision::Ignored,
                    };
                    return (decision, None);
                }
                word = current;
                continue;
            };
            let (to, decision) = from.on(input, now, policy, unit);
            if to == from {
                return (decision, None);
            }
            match self.word.compare_exchange_weak(word, pack(&to), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if to.generation == from.generation => return (decision, None),
                Ok(_) => {
                    // A closed breaker has no time, and other threads proceed with it at once: a
                    // delayed store would overwrite the time of a newer phase.
                    if !matches!(to.phase, Phase::Closed { .. }) {
                        self.time.store(pack_time(&to), Ordering::Release);
                    }
                    return (decision, Some(Change { from, to }));
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
    let counter = |value: u32, at: u32| u64::from(value).min(COUNTER_MASK) << (at * COUNTER);
    let (phase, counters) = match breaker.phase {
        Phase::Closed { score, overloads } => {
            (CLOSED, u64::from(score).min(SCORE_MASK) | counter(overloads, 2))
        }
        Phase::Open { .. } => (OPEN, 0),
        Phase::HalfOpen { calls, successes, failures, .. } => {
            (HALF_OPEN, counter(calls, 0) | counter(successes, 1) | counter(failures, 2))
        }
    };
    phase << PHASE_AT
        | u64::from(breaker.generation) << GENERATION_AT
        | u64::from(breaker.level) << LEVEL_AT
        | counters
}

fn unpack(word: u64, time: Time) -> Breaker {
    let counter = |at: u32| ((word >> (at * COUNTER)) & COUNTER_MASK) as u32;
    let phase = match word >> PHASE_AT {
        CLOSED => Phase::Closed { score: (word & SCORE_MASK) as u32, overloads: counter(2) },
        OPEN => Phase::Open { until: time },
        _ => Phase::HalfOpen { since: time, calls: counter(0), successes: counter(1), failures: counter(2) },
    };
    Breaker { phase, generation: generation(word), level: ((word >> LEVEL_AT) & LEVEL_MASK) as u8 }
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

    fn policy() -> BreakerPolicy {
        BreakerPolicy { jitter: 0.0, ..super::super::tests::policy() }
    }

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn admit(breaker: &AtomicBreaker, now: Time) -> Decision {
        breaker.apply(Input::Admit { repeated: true }, now, &policy(), 0.0).0
    }

    fn trip(breaker: &AtomicBreaker, now: Time) {
        let admission = breaker.admit_if_closed().expect("closed");
        for _ in 0..5 {
            breaker.apply(Input::Failure(admission), now, &policy(), 0.0);
        }
        breaker.apply(Input::Open { level: 0 }, now, &policy(), 0.0);
        assert_eq!(breaker.read().state(), BreakerState::Open);
    }

    #[test]
    fn every_state_survives_packing() {
        let phases = [
            Phase::Closed { score: 30_000, overloads: 5 },
            Phase::Open { until: at(123_456) },
            Phase::HalfOpen { since: at(7), calls: 10_000, successes: 9_999, failures: 9_998 },
        ];
        for phase in phases {
            for (generation, level) in [(0, 0), (32_767, 31)] {
                let breaker = Breaker { phase, generation, level };
                let atomic = AtomicBreaker {
                    word: AtomicU64::new(pack(&breaker)),
                    time: AtomicU64::new(pack_time(&breaker)),
                };
                assert_eq!(atomic.read(), breaker);
            }
        }
    }

    #[test]
    fn half_open_admits_exactly_three() {
        let breaker = AtomicBreaker::new();
        trip(&breaker, at(0));
        assert_eq!(admit(&breaker, at(4_999)), Decision::Refused(at(5_000)));
        let admitted =
            (0..10).filter(|_| matches!(admit(&breaker, at(5_000)), Decision::Admitted(_))).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn a_released_permit_admits_one_more() {
        let breaker = AtomicBreaker::new();
        trip(&breaker, at(0));
        let Decision::Admitted(admission) = admit(&breaker, at(5_000)) else { panic!("due") };
        while matches!(admit(&breaker, at(5_000)), Decision::Admitted(_)) {}
        breaker.apply(Input::Release(admission), at(5_001), &policy(), 0.0);
        assert!(matches!(admit(&breaker, at(5_001)), Decision::Admitted(_)));
        assert!(matches!(admit(&breaker, at(5_001)), Decision::Refused(_)));
    }

    #[test]
    fn ten_threads_never_hold_more_than_three_permits_and_one_sees_the_change() {
        for round in 0..200 {
            let breaker = Arc::new(AtomicBreaker::new());
            trip(&breaker, at(0));
            let threads: Vec<_> = (0..10)
                .map(|_| {
                    let breaker = Arc::clone(&breaker);
                    thread::spawn(move || {
                        breaker.apply(Input::Admit { repeated: true }, at(6_000), &policy(), 0.0)
                    })
                })
                .collect();
            let results: Vec<_> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
            let admitted = results.iter().filter(|r| matches!(r.0, Decision::Admitted(_))).count();
            let changes = results.iter().filter(|r| r.1.is_some()).count();
            assert!((1..=3).contains(&admitted), "round {round}: {admitted} admitted");
            assert_eq!(changes, 1, "round {round}");
        }
    }

    #[test]
    fn a_success_on_a_quiet_closed_breaker_changes_nothing() {
        let breaker = AtomicBreaker::new();
        assert!(breaker.is_quiet());
        let admission = breaker.admit_if_closed().expect("closed");
        assert_eq!(
            breaker.apply(Input::Success(admission), at(1), &policy(), 0.0),
            (Decision::Counted, None)
        );
        breaker.apply(Input::Failure(admission), at(1), &policy(), 0.0);
        assert!(!breaker.is_quiet());
    }

    #[test]
    fn time_that_does_not_fit_is_far_away() {
        let breaker = AtomicBreaker::new();
        let slow = BreakerPolicy { recovery: Duration::MAX, max_recovery: Duration::MAX, ..policy() };
        breaker.apply(Input::Open { level: 0 }, at(0), &slow, 0.0);
        assert!(matches!(admit(&breaker, at(u64::from(u32::MAX))), Decision::Refused(_)));
    }

    #[test]
    fn a_gate_that_many_threads_open_and_close_is_never_stuck() {
        let policy = BreakerPolicy { failure_threshold: 1, success_threshold: Some(1), ..policy() };
        for round in 0..30 {
            let breaker = AtomicBreaker::new();
            thread::scope(|scope| {
                for n in 0..3 {
                    let (breaker, policy) = (&breaker, &policy);
                    scope.spawn(move || {
                        for nanos in 0..10_000 {
                            let now = at(1) + Duration::from_nanos(nanos);
                            let admitted = breaker.apply(Input::Admit { repeated: true }, now, policy, 0.0).0;
                            if let Decision::Admitted(admission) = admitted {
                                let good = admission.permit || n == 0;
                                let input =
                                    if good { Input::Success(admission) } else { Input::Failure(admission) };
                                if breaker.apply(input, now, policy, 0.0).0 == Decision::Suspect {
                                    breaker.apply(Input::Open { level: 0 }, now, policy, 0.0);
                                }
                            }
                        }
                    });
                }
            });
            let word = breaker.word.load(Ordering::SeqCst);
            assert!(
                breaker.decode(word).is_some(),
                "round {round}: no admission is pending, and the word holds a time of another phase"
            );
        }
    }

    #[test]
    fn probe_calls_that_have_just_begun_are_not_late() {
        let breaker = AtomicBreaker::new();
        trip(&breaker, at(0));
        let Decision::Admitted(admission) = admit(&breaker, at(5_000)) else { panic!("due") };
        breaker.apply(Input::Success(admission), at(5_001), &policy(), 0.0);
        // The next calls come 40 s later, four in one millisecond.
        let admitted =
            (0..4).filter(|_| matches!(admit(&breaker, at(45_000)), Decision::Admitted(_))).count();
        assert_eq!((admitted, breaker.read().state()), (3, BreakerState::HalfOpen));
    }
}
