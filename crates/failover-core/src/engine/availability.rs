//! Derives whether an endpoint is in rotation, and the cause if not. No other code decides this.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::codec::duration::rough;
use crate::engine::breaker::{Breaker, Phase};
use crate::model::health::{Health, Lifecycle};
use crate::runtime::clock::Time;

/// The part of a source's claim that decides whether an endpoint is in rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) health: Health,
    pub(crate) lifecycle: Lifecycle,
    /// The weight is 0 while others of its priority have a weight above 0: no new calls.
    pub(crate) weightless: bool,
    /// The source no longer names the endpoint; it is retained as a last resort.
    pub(crate) retained: bool,
}

impl Claim {
    /// Whether the source leaves the decision to the engine.
    pub(crate) fn eligible(self) -> bool {
        self.out().is_none()
    }

    /// Taken out of service gradually, and not for any other reason.
    pub(crate) fn drains(self) -> bool {
        self.lifecycle == Lifecycle::Draining && Self { lifecycle: Lifecycle::InService, ..self }.eligible()
    }

    /// Excluded by its source, but not on purpose: a last resort.
    pub(crate) fn is_unhealthy(self) -> bool {
        matches!(self.out(), Some(UnavailableCause::Unhealthy | UnavailableCause::Removed))
    }

    fn out(self) -> Option<UnavailableCause> {
        match self.lifecycle {
            Lifecycle::Draining => return Some(UnavailableCause::Draining),
            Lifecycle::Maintenance => return Some(UnavailableCause::Maintenance),
            Lifecycle::InService => {}
        }
        if self.retained {
            return Some(UnavailableCause::Removed);
        }
        if self.weightless {
            return Some(UnavailableCause::WeightZero);
        }
        (self.health == Health::Unhealthy).then_some(UnavailableCause::Unhealthy)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.out() {
            Some(cause) => cause.fmt(f),
            None => f.write_str("in service"),
        }
    }
}

/// What the engine concludes about an endpoint from every source of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Availability {
    /// The endpoint is in rotation.
    In {
        /// The breaker is not closed, but so few endpoints are left that this one stays in
        /// rotation.
        pinned: bool,
    },
    /// The endpoint is out of rotation.
    Out {
        /// The cause.
        #[serde(flatten)]
        cause: UnavailableCause,
    },
}

/// Why an endpoint is out of rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnavailableCause {
    /// Its source reports it as draining.
    Draining,
    /// Its source reports it as in maintenance.
    Maintenance,
    /// Its weight is 0, and others have one above 0.
    WeightZero,
    /// Its source reports it as unhealthy.
    Unhealthy,
    /// Its source stopped naming it together with many others: a last resort until the removal
    /// guard's grace period ends.
    Removed,
    /// A probe of this process found it unhealthy.
    ProbeFailed,
    /// Its breaker is open.
    BreakerOpen {
        /// Time until the breaker lets probe calls through.
        #[serde(flatten, serialize_with = "crate::codec::seconds::retry_in")]
        retry_in: Duration,
    },
    /// Its breaker lets only probe calls through.
    BreakerHalfOpen,
    /// An operator forced it out (`force`).
    ForcedOut {
        /// Time until it gets calls again.
        #[serde(flatten, serialize_with = "crate::codec::seconds::retry_in")]
        retry_in: Duration,
    },
    /// It asked for a pause (Retry-After).
    Paused {
        /// Time until it gets calls again.
        #[serde(flatten, serialize_with = "crate::codec::seconds::retry_in")]
        retry_in: Duration,
    },
}

impl UnavailableCause {
    /// Whether the breaker is the only reason that the endpoint cannot be used.
    pub(crate) fn is_breaker(self) -> bool {
        matches!(self, Self::BreakerOpen { .. } | Self::BreakerHalfOpen)
    }
}

impl Availability {
    /// Derives the availability from the source's claim, the probes and the breaker.
    pub(crate) fn derive(
        claim: Claim,
        probed: Health,
        breaker: &Breaker,
        pinned: bool,
        (paused_until, forced_out_until): (Time, Time),
        now: Time,
    ) -> Self {
        if let Some(cause) = claim.out() {
            return Self::Out { cause };
        }
        if now < forced_out_until {
            return Self::Out {
                cause: UnavailableCause::ForcedOut { retry_in: forced_out_until.since(now) },
            };
        }
        match breaker.phase {
            Phase::Closed { .. } if probed != Health::Unhealthy && now < paused_until => {
                Self::Out { cause: UnavailableCause::Paused { retry_in: paused_until.since(now) } }
            }
            Phase::Closed { .. } if probed != Health::Unhealthy => Self::In { pinned: false },
            _ if pinned => Self::In { pinned: true },
            _ if probed == Health::Unhealthy => Self::Out { cause: UnavailableCause::ProbeFailed },
            Phase::Closed { .. } => Self::In { pinned: false },
            Phase::Open { until } => {
                Self::Out { cause: UnavailableCause::BreakerOpen { retry_in: until.since(now) } }
            }
            Phase::HalfOpen { .. } => Self::Out { cause: UnavailableCause::BreakerHalfOpen },
        }
    }

    /// Whether the endpoint is in rotation.
    pub fn is_in(&self) -> bool {
        matches!(self, Self::In { .. })
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In { pinned: false } => f.write_str("in"),
            Self::In { pinned: true } => f.write_str("in, pinned as one of the last endpoints"),
            Self::Out { cause } => write!(f, "out: {cause}"),
        }
    }
}

impl fmt::Display for UnavailableCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("draining"),
            Self::Maintenance => f.write_str("in maintenance"),
            Self::WeightZero => f.write_str("weight 0"),
            Self::Unhealthy => f.write_str("reported unhealthy by its source"),
            Self::Removed => f.write_str("removed by its source together with many others"),
            Self::ProbeFailed => f.write_str("found unhealthy by its probe"),
            Self::BreakerOpen { retry_in } => {
                write!(f, "breaker open, next probe call in {}", rough(*retry_in))
            }
            Self::BreakerHalfOpen => f.write_str("breaker half-open, probe calls only"),
            Self::ForcedOut { retry_in } => write!(f, "forced out, calls again in {}", rough(*retry_in)),
            Self::Paused { retry_in } => write!(f, "asked for a pause, calls again in {}", rough(*retry_in)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim {
        health: Health::Unknown,
        lifecycle: Lifecycle::InService,
        weightless: false,
        retained: false,
    };

    #[test]
    fn every_source_of_health_has_its_say() {
        let at = |secs: u64| Time::from_nanos(secs * 1_000_000_000);
        let closed = Breaker::NEW;
        let open = Breaker { phase: Phase::Open { until: at(9) }, ..Breaker::NEW };
        let half = Breaker {
            phase: Phase::HalfOpen { since: at(1), calls: 0, successes: 0, failures: 0 },
            ..Breaker::NEW
        };
        let out = |cause| Availability::Out { cause };
        let breaker_open = UnavailableCause::BreakerOpen { retry_in: Duration::from_secs(5) };
        let table = [
            (CLAIM, closed, false, Availability::In { pinned: false }),
            (Claim { health: Health::Degraded, ..CLAIM }, closed, false, Availability::In { pinned: false }),
            (Claim { health: Health::Unhealthy, ..CLAIM }, closed, false, out(UnavailableCause::Unhealthy)),
            (
                Claim { lifecycle: Lifecycle::Draining, ..CLAIM },
                closed,
                true,
                out(UnavailableCause::Draining),
            ),
            (
                Claim { lifecycle: Lifecycle::Maintenance, ..CLAIM },
                open,
                true,
                out(UnavailableCause::Maintenance),
            ),
            (Claim { weightless: true, ..CLAIM }, closed, false, out(UnavailableCause::WeightZero)),
            (Claim { retained: true, ..CLAIM }, closed, false, out(UnavailableCause::Removed)),
            (CLAIM, open, false, out(breaker_open)),
            (CLAIM, open, true, Availability::In { pinned: true }),
            (CLAIM, half, false, out(UnavailableCause::BreakerHalfOpen)),
        ];
        let probed = |health, breaker, pinned| {
            Availability::derive(CLAIM, health, breaker, pinned, (at(0), at(0)), at(4))
        };
        assert_eq!(probed(Health::Unhealthy, &closed, false), out(UnavailableCause::ProbeFailed));
        assert_eq!(probed(Health::Unhealthy, &open, false), out(UnavailableCause::ProbeFailed));
        assert_eq!(probed(Health::Unhealthy, &closed, true), Availability::In { pinned: true });
        assert_eq!(probed(Health::Degraded, &closed, false), Availability::In { pinned: false });
        let paused =
            |until| Availability::derive(CLAIM, Health::Unknown, &closed, false, (until, at(0)), at(4));
        let retry_in = Duration::from_secs(2);
        assert_eq!(paused(at(6)), out(UnavailableCause::Paused { retry_in }));
        assert_eq!(paused(at(4)), Availability::In { pinned: false });
        let forced = Availability::derive(CLAIM, Health::Unknown, &open, true, (at(0), at(6)), at(4));
        assert_eq!(forced, out(UnavailableCause::ForcedOut { retry_in }));
        for (claim, breaker, pinned, expected) in table {
            assert_eq!(
                Availability::derive(claim, Health::Unknown, &breaker, pinned, (at(0), at(0)), at(4)),
                expected,
                "{claim:?} {breaker:?}"
            );
        }
    }
}
