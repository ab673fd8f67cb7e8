//! The circuit breaker of one endpoint, as a pure state machine.
//!
//! `Closed` admits calls, `Open` refuses them, and `HalfOpen` admits a few probe calls. Consecutive
//! failures open the breaker. The open time doubles with each failed half-open round and is
//! jittered, so that many clients do not return at the same time (Finagle's
//! `FailureAccrualFactory`, linkerd's consecutive-failures policy). A number of successes closes it
//! (resilience4j). [`atomic`] holds the state in atomics.

pub(crate) mod atomic;

use std::time::Duration;

use crate::config::CircuitBreakerConfig;
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;

/// The breaker's settings, as plain numbers that a call can copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BreakerPolicy {
    pub(crate) enabled: bool,
    pub(crate) failure_threshold: u32,
    pub(crate) recovery: Duration,
    pub(crate) max_recovery: Duration,
    pub(crate) jitter: f64,
    pub(crate) half_open_calls: u32,
    pub(crate) half_open_wait: Duration,
    pub(crate) success_threshold: u32,
}

impl From<&CircuitBreakerConfig> for BreakerPolicy {
    fn from(config: &CircuitBreakerConfig) -> Self {
        Self {
            enabled: config.enabled(),
            failure_threshold: config.failure_threshold(),
            recovery: config.recovery_timeout(),
            max_recovery: config.max_recovery_timeout(),
            jitter: config.jitter(),
            half_open_calls: config.half_open_max_calls(),
            half_open_wait: config.half_open_max_wait(),
            success_threshold: config.success_threshold(),
        }
    }
}

impl BreakerPolicy {
    /// Returns the open time after `rounds` failed half-open rounds:
    /// `min(max, recovery * 2^rounds) * (1 + jitter * unit)`.
    fn open_time(&self, rounds: u8, unit: f64) -> Duration {
        let doubled = self.recovery.saturating_mul(1_u32.checked_shl(u32::from(rounds)).unwrap_or(u32::MAX));
        let seconds = doubled.min(self.max_recovery).as_secs_f64() * (1.0 + self.jitter * unit);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// The complete state. Each change of phase begins a new generation, so that the result of a call
/// admitted before the change is ignored after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub(crate) phase: Phase,
    pub(crate) generation: u16,
    /// Failed half-open rounds since the breaker was last closed.
    pub(crate) rounds: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed { failures: u32 },
    Open { until: Time },
    HalfOpen { since: Time, calls: u32, successes: u32, early: bool },
}

/// Proof of admission that a call presents with its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) generation: u16,
    /// Whether the call holds one of the half-open permits.
    pub(crate) permit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Requests admission of a call. `early` skips the open time, because nothing else is
    /// available.
    Admit {
        early: bool,
    },
    Success(Admission),
    Failure(Admission),
    /// Breakers were switched off.
    Reset,
    /// The call ended without evidence about the endpoint.
    Release(Admission),
}

/// The result of an event, besides the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Admitted(Admission),
    /// Refused; no call is admitted before this time.
    Refused(Time),
    /// The report was applied.
    Counted,
    /// The report belongs to an earlier generation.
    Ignored,
}

/// Generations use 15 bits of the atomic breaker's word.
const GENERATIONS: u16 = 1 << 15;
/// After this many doublings every open time is at its maximum.
const MAX_ROUNDS: u8 = 31;

impl Breaker {
    #[cfg(test)]
    pub(crate) const NEW: Self = Self { phase: Phase::Closed { failures: 0 }, generation: 0, rounds: 0 };

    pub(crate) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns the state after an event. `unit` is a random number from 0 to 1, for the jitter.
    pub(crate) fn on(self, input: Input, now: Time, policy: &BreakerPolicy, unit: f64) -> (Self, Decision) {
        match input {
            Input::Admit { early } => self.admit(early, now, policy, unit),
            Input::Reset => match self.phase {
                Phase::Closed { .. } => (self, Decision::Counted),
                _ => (self.next(Phase::Closed { failures: 0 }, 0), Decision::Counted),
            },
            Input::Success(admission) if admission.generation == self.generation => {
                (self.success(admission, policy), Decision::Counted)
            }
            Input::Failure(admission) if admission.generation == self.generation => {
                (self.failure(now, policy, unit), Decision::Counted)
            }
            Input::Release(admission) if admission.generation == self.generation => {
                (self.returned(admission), Decision::Counted)
            }
            Input::Success(_) | Input::Failure(_) | Input::Release(_) => (self, Decision::Ignored),
        }
    }

    fn admit(self, early: bool, now: Time, policy: &BreakerPolicy, unit: f64) -> (Self, Decision) {
        match self.phase {
            Phase::Closed { .. } => (self, Decision::Admitted(self.admission(false))),
            Phase::Open { until } if now >= until || early => {
                let phase = Phase::HalfOpen { since: now, calls: 1, successes: 0, early: now < until };
                let next = self.next(phase, self.rounds);
                (next, Decision::Admitted(next.admission(true)))
            }
            Phase::Open { until } => (self, Decision::Refused(until)),
            // The round has no probe call in flight and has exceeded its time limit. A new round
            // begins; there is no call that the new generation could invalidate.
            Phase::HalfOpen { since, calls: 0, successes, early } if now >= since + policy.half_open_wait => {
                let phase = Phase::HalfOpen { since: now, calls: 1, successes, early };
                let next = self.next(phase, self.rounds);
                (next, Decision::Admitted(next.admission(true)))
            }
            Phase::HalfOpen { since, calls, successes, early } if calls < policy.half_open_calls => {
                let phase = Phase::HalfOpen { since, calls: calls + 1, successes, early };
                (Self { phase, ..self }, Decision::Admitted(self.admission(true)))
            }
            // The probe calls of this round did not return in time, which counts as a failure.
            Phase::HalfOpen { since, .. } if now >= since + policy.half_open_wait => {
                let next = self.failure(now, policy, unit);
                let Phase::Open { until } = next.phase else {
                    unreachable!("a failed round opens the breaker")
                };
                (next, Decision::Refused(until))
            }
            Phase::HalfOpen { since, .. } => (self, Decision::Refused(since + policy.half_open_wait)),
        }
    }

    fn success(self, admission: Admission, policy: &BreakerPolicy) -> Self {
        match self.phase {
            Phase::Closed { .. } => Self { phase: Phase::Closed { failures: 0 }, ..self },
            Phase::HalfOpen { successes, .. } if successes + 1 >= policy.success_threshold => {
                self.next(Phase::Closed { failures: 0 }, 0)
            }
            Phase::HalfOpen { since, calls, successes, early } => {
                let calls = calls.saturating_sub(u32::from(admission.permit));
                Self { phase: Phase::HalfOpen { since, calls, successes: successes + 1, early }, ..self }
            }
            Phase::Open { .. } => self,
        }
    }

    fn failure(self, now: Time, policy: &BreakerPolicy, unit: f64) -> Self {
        match self.phase {
            Phase::Closed { failures } if failures + 1 < policy.failure_threshold || !policy.enabled => {
                let failures = if policy.enabled { failures + 1 } else { 0 };
                Self { phase: Phase::Closed { failures }, ..self }
            }
            Phase::Closed { .. } => self.next(Phase::Open { until: now + policy.open_time(0, unit) }, 0),
            // A failed early round does not lengthen the open time: otherwise an outage of all
            // endpoints would leave every one of them at the maximum open time.
            Phase::HalfOpen { early, .. } => {
                let rounds = if early { self.rounds } else { (self.rounds + 1).min(MAX_ROUNDS) };
                self.next(Phase::Open { until: now + policy.open_time(rounds, unit) }, rounds)
            }
            Phase::Open { .. } => self,
        }
    }

    fn returned(self, admission: Admission) -> Self {
        match self.phase {
            Phase::HalfOpen { since, calls, successes, early } if admission.permit => {
                let calls = calls.saturating_sub(1);
                Self { phase: Phase::HalfOpen { since, calls, successes, early }, ..self }
            }
            _ => self,
        }
    }

    fn next(self, phase: Phase, rounds: u8) -> Self {
        Self { phase, generation: (self.generation + 1) % GENERATIONS, rounds }
    }

    fn admission(&self, permit: bool) -> Admission {
        Admission { generation: self.generation, permit }
    }
}

#[cfg(test)]
mod tests;
