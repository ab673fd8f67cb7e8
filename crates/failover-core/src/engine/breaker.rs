//! The circuit breaker of one endpoint, as a pure state machine.
//!
//! `Closed` admits calls, `Open` refuses them, and `HalfOpen` admits a few probe calls, one after
//! another. A failure adds 3 to the score of a closed breaker and a success subtracts 1, so that a
//! share of failures counts, not only failures in a row. A breaker whose score reaches the limit
//! does not open by itself: it is *suspect*, and [`ejection`](super::ejection) decides with the
//! other endpoints in view. The open time doubles with the level, which grows with each opening and
//! decays slowly, and is jittered, so that many clients do not return at the same time (Finagle's
//! `FailureAccrualFactory`, linkerd's consecutive-failures policy). [`atomic`] holds the state in
//! atomics.

pub(crate) mod atomic;

use std::time::Duration;

use crate::config::FailoverConfig;
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;

/// What a failure adds to the score. A success subtracts 1.
const FAILURE: u32 = 3;
/// Overload answers without a success between them that make an endpoint suspect.
const OVERLOADS: u32 = 5;
/// The time between the starts of two probe calls, unless their number is configured.
const SPACING: Duration = Duration::from_millis(500);
/// The most successful probe calls that close a breaker, unless their number is configured.
const MOST_SUCCESSES: u32 = 8;
/// The time without an opening after which the level falls by one.
const LEVEL_DECAY: Duration = Duration::from_secs(60);

/// The breaker's settings, as plain numbers that a call can copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BreakerPolicy {
    pub(crate) enabled: bool,
    pub(crate) failure_threshold: u32,
    pub(crate) recovery: Duration,
    pub(crate) max_recovery: Duration,
    pub(crate) jitter: f64,
    /// The number of concurrent probe calls, if configured.
    pub(crate) half_open_calls: Option<u32>,
    pub(crate) half_open_wait: Duration,
    /// The number of successful probe calls that close the breaker, if configured.
    pub(crate) success_threshold: Option<u32>,
    /// The share of failures that counts, if configured.
    pub(crate) failure_rate: Option<f64>,
}

impl From<&FailoverConfig> for BreakerPolicy {
    fn from(whole: &FailoverConfig) -> Self {
        let config = whole.circuit_breaker();
        Self {
            enabled: config.enabled(),
            failure_threshold: config.failure_threshold(),
            recovery: config.recovery_timeout(),
            max_recovery: config.max_recovery_timeout(),
            jitter: config.jitter(),
            half_open_calls: config.half_open_max_calls(),
            half_open_wait: whole.half_open_wait(),
            success_threshold: config.success_threshold(),
            failure_rate: config.failure_rate(),
        }
    }
}

impl BreakerPolicy {
    /// Returns the open time at a level: `min(max, recovery * 2^level) * (1 + jitter * unit)`.
    fn open_time(&self, level: u8, unit: f64) -> Duration {
        let doubled = self.recovery.saturating_mul(1_u32.checked_shl(u32::from(level)).unwrap_or(u32::MAX));
        let seconds = doubled.min(self.max_recovery).as_secs_f64() * (1.0 + self.jitter * unit);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The score at which a closed breaker is suspect.
    fn limit(&self) -> u32 {
        self.failure_threshold * FAILURE
    }

    /// The level at which the open time reaches its maximum.
    fn max_level(&self) -> u8 {
        let reaches = |level: &u8| self.open_time(*level, 0.0) >= self.max_recovery;
        (0..MAX_LEVEL).find(reaches).unwrap_or(MAX_LEVEL)
    }

    /// The number of failures in a row that make an endpoint with this score suspect.
    pub(crate) fn failures_left(&self, score: u32) -> u32 {
        self.limit().saturating_sub(score).div_ceil(FAILURE)
    }

    /// Whether a closed breaker has counted enough failures for its endpoint to be suspect.
    pub(crate) fn is_suspect(&self, breaker: &Breaker) -> bool {
        matches!(breaker.phase, Phase::Closed { score, overloads }
            if score >= self.limit() || overloads >= OVERLOADS)
    }

    /// Whether further failures of an endpoint whose breaker is closed make it suspect.
    pub(crate) fn is_undecided(&self, breaker: &Breaker) -> bool {
        self.enabled && matches!(breaker.phase, Phase::Closed { .. }) && !self.is_suspect(breaker)
    }

    fn raised(&self, level: u8) -> u8 {
        level.saturating_add(1).min(self.max_level())
    }

    /// Returns the level after the breaker has been closed for this time.
    pub(crate) fn decayed(level: u8, closed_for: Duration) -> u8 {
        let steps = closed_for.as_secs() / LEVEL_DECAY.as_secs();
        level.saturating_sub(u8::try_from(steps).unwrap_or(u8::MAX))
    }

    /// Whether this number of failed probe calls opens a half-open breaker: one or, if the failure rate
    /// counts, the number from which on the round cannot end below it.
    fn fails_round(&self, failures: u32, level: u8) -> bool {
        let share = f64::from(failures) / f64::from(self.successes(level));
        self.failure_rate.is_none_or(|rate| share >= rate)
    }

    /// The number of successful probe calls that close a breaker at this level: 2, 4, 8.
    pub(crate) fn successes(&self, level: u8) -> u32 {
        let grown = || MOST_SUCCESSES.min(2 << level.saturating_sub(1).min(4));
        self.success_threshold.unwrap_or_else(grown)
    }
}

/// The complete state. Each change of phase begins a new generation, so that the result of a call
/// admitted before the change is ignored after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub(crate) phase: Phase,
    pub(crate) generation: u16,
    /// Grows with each opening and each failed half-open round; closing keeps it.
    pub(crate) level: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `overloads` counts the overload answers since the last success.
    Closed {
        score: u32,
        overloads: u32,
    },
    Open {
        until: Time,
    },
    /// `since` is when the newest probe call or, with several at a time, the round began. `failures`
    /// stays 0 unless the failure rate counts.
    HalfOpen {
        since: Time,
        calls: u32,
        successes: u32,
        failures: u32,
    },
}

/// Proof of admission that a call presents with its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) generation: u16,
    /// Whether the call holds one of the half-open permits. A call without one at an endpoint whose
    /// breaker is not closed goes there because nothing better is available.
    pub(crate) permit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Requests admission of a call, as a probe call unless the breaker is closed. A call that can
    /// be `repeated` elsewhere is admitted one open time before others.
    Admit {
        repeated: bool,
    },
    Success(Admission),
    Failure(Admission),
    /// The endpoint answered that it is overloaded.
    Overload(Admission),
    /// The call ended without evidence about the endpoint.
    Release(Admission),
    /// Takes the endpoint out of use; `level` is its decayed level.
    Open {
        level: u8,
    },
    /// Makes an open breaker due for a probe call at this time, if that is earlier. `level` replaces
    /// a higher one.
    Due {
        at: Time,
        level: u8,
    },
    /// Closes the breaker and forgets its score, at a level one lower.
    Close,
}

/// The result of an event, besides the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Admitted(Admission),
    /// Refused; no call is admitted before this time.
    Refused(Time),
    /// The report was applied.
    Counted,
    /// The report was applied, and the failures of the endpoint have reached the limit.
    Suspect,
    /// The report belongs to an earlier generation.
    Ignored,
}

/// Generations use 15 bits of the atomic breaker's word.
const GENERATIONS: u16 = 1 << 15;
/// After this many doublings every open time is at its maximum.
const MAX_LEVEL: u8 = 31;

impl Phase {
    pub(crate) const HEALTHY: Self = Self::Closed { score: 0, overloads: 0 };
}

impl Breaker {
    #[cfg(test)]
    pub(crate) const NEW: Self = Self { phase: Phase::HEALTHY, generation: 0, level: 0 };

    pub(crate) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns the state after an event. `unit` is a random number from 0 to 1, for the jitter.
    pub(crate) fn on(self, input: Input, now: Time, policy: &BreakerPolicy, unit: f64) -> (Self, Decision) {
        let current = |admission: Admission| admission.generation == self.generation;
        match input {
            Input::Admit { repeated } => self.admit(repeated, now, policy, unit),
            Input::Success(admission) if current(admission) => {
                (self.success(admission, policy), Decision::Counted)
            }
            Input::Failure(admission) if current(admission) => self.failure(admission, now, policy, unit),
            Input::Overload(admission) if current(admission) => self.overload(admission, now, policy, unit),
            Input::Release(admission) if current(admission) => (self.returned(admission), Decision::Counted),
            Input::Success(_) | Input::Failure(_) | Input::Overload(_) | Input::Release(_) => {
                (self, Decision::Ignored)
            }
            Input::Open { level } => match self.phase {
                Phase::Closed { .. } => (Self { level, ..self }.open(now, policy, unit), Decision::Counted),
                _ => (self, Decision::Ignored),
            },
            Input::Due { at, level } => match self.phase {
                Phase::Open { until } => {
                    let next = self.next(Phase::Open { until: until.min(at) });
                    (Self { level: level.min(self.level), ..next }, Decision::Counted)
                }
                _ => (self, Decision::Ignored),
            },
            Input::Close => match self.phase {
                Phase::Closed { .. } => (Self { phase: Phase::HEALTHY, ..self }, Decision::Counted),
                _ => {
                    let level = self.level.saturating_sub(1);
                    (Self { level, ..self.next(Phase::HEALTHY) }, Decision::Counted)
                }
            },
        }
    }

    fn admit(self, repeated: bool, now: Time, policy: &BreakerPolicy, unit: f64) -> (Self, Decision) {
        // A call that cannot be repeated leaves the first probe call to others for one open time.
        let patience =
            || if repeated { Duration::ZERO } else { policy.open_time(self.level.saturating_sub(1), 0.0) };
        let begin = |successes, failures| {
            let next = self.next(Phase::HalfOpen { since: now, calls: 1, successes, failures });
            (next, Decision::Admitted(next.admission(true)))
        };
        match self.phase {
            Phase::Closed { .. } => (self, Decision::Admitted(self.admission(false))),
            Phase::Open { until } => match until + patience() {
                ready if now >= ready => begin(0, 0),
                ready => (self, Decision::Refused(ready)),
            },
            // No probe call is in flight, so no report is lost when a new generation begins.
            Phase::HalfOpen { since, calls: 0, successes, failures } => {
                let spacing = if policy.half_open_calls.is_some() { Duration::ZERO } else { SPACING };
                let ready = since + if successes == 0 { spacing.max(patience()) } else { spacing };
                if now >= ready { begin(successes, failures) } else { (self, Decision::Refused(ready)) }
            }
            Phase::HalfOpen { since, calls, successes, failures }
                if calls < policy.half_open_calls.unwrap_or(1) =>
            {
                let phase = Phase::HalfOpen { since, calls: calls + 1, successes, failures };
                (Self { phase, ..self }, Decision::Admitted(self.admission(true)))
            }
            // The probe calls of this round did not return in time, which counts as a failure.
            Phase::HalfOpen { since, .. } if now >= since + policy.half_open_wait => {
                let next = self.open(now, policy, unit);
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
            Phase::Closed { score, .. } => {
                Self { phase: Phase::Closed { score: score.saturating_sub(1), overloads: 0 }, ..self }
            }
            // The call came because nothing better was available; now something is.
            _ if !admission.permit => self.next(Phase::HEALTHY),
            Phase::HalfOpen { successes, failures, .. }
                if successes + failures + 1 >= policy.successes(self.level) =>
            {
                self.next(Phase::HEALTHY)
            }
            Phase::HalfOpen { since, calls, successes, failures } => {
                let (calls, successes) = (calls.saturating_sub(1), successes + 1);
                Self { phase: Phase::HalfOpen { since, calls, successes, failures }, ..self }
            }
            Phase::Open { .. } => self,
        }
    }

    fn failure(self, admission: Admission, now: Time, policy: &BreakerPolicy, unit: f64) -> (Self, Decision) {
        match self.phase {
            Phase::Closed { .. } if !policy.enabled => (self, Decision::Counted),
            Phase::Closed { score, overloads } => {
                let score = (score + FAILURE).min(policy.limit());
                let decision = if score == policy.limit() { Decision::Suspect } else { Decision::Counted };
                (Self { phase: Phase::Closed { score, overloads }, ..self }, decision)
            }
            _ => (self.failed_probe(admission, now, policy, unit), Decision::Counted),
        }
    }

    fn overload(
        self,
        admission: Admission,
        now: Time,
        policy: &BreakerPolicy,
        unit: f64,
    ) -> (Self, Decision) {
        match self.phase {
            Phase::Closed { .. } if !policy.enabled => (self, Decision::Counted),
            Phase::Closed { score, overloads } => {
                let overloads = (overloads + 1).min(OVERLOADS);
                let decision = if overloads == OVERLOADS { Decision::Suspect } else { Decision::Counted };
                (Self { phase: Phase::Closed { score, overloads }, ..self }, decision)
            }
            _ => (self.failed_probe(admission, now, policy, unit), Decision::Counted),
        }
    }

    /// A call without a permit changes nothing: otherwise an outage of all endpoints would leave
    /// every one of them at the maximum open time.
    fn failed_probe(self, admission: Admission, now: Time, policy: &BreakerPolicy, unit: f64) -> Self {
        match self.phase {
            Phase::HalfOpen { since, calls, successes, failures } if admission.permit => {
                let failures = failures + 1;
                if policy.fails_round(failures, self.level) {
                    return self.open(now, policy, unit);
                }
                if successes + failures >= policy.successes(self.level) {
                    return self.next(Phase::HEALTHY);
                }
                let calls = calls.saturating_sub(1);
                Self { phase: Phase::HalfOpen { since, calls, successes, failures }, ..self }
            }
            _ => self,
        }
    }

    fn open(self, now: Time, policy: &BreakerPolicy, unit: f64) -> Self {
        let until = now + policy.open_time(self.level, unit);
        Self { level: policy.raised(self.level), ..self.next(Phase::Open { until }) }
    }

    fn returned(self, admission: Admission) -> Self {
        match self.phase {
            Phase::HalfOpen { since, calls, successes, failures } if admission.permit => {
                let calls = calls.saturating_sub(1);
                Self { phase: Phase::HalfOpen { since, calls, successes, failures }, ..self }
            }
            _ => self,
        }
    }

    fn next(self, phase: Phase) -> Self {
        Self { phase, generation: (self.generation + 1) % GENERATIONS, ..self }
    }

    fn admission(&self, permit: bool) -> Admission {
        Admission { generation: self.generation, permit }
    }
}

#[cfg(test)]
mod tests;
