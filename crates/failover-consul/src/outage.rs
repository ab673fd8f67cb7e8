//! Kinds of failure, and how long services that fail together wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::{Error, ErrorKind, Time, codes};

use crate::wire::answer::Answer;

/// A kind of failure. What makes one service fail in this way makes the others fail, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// The agent does not answer.
    Unreachable,
    /// The agent takes no more connections or requests.
    Limited,
    /// The token is refused.
    Denied,
    /// The answers are of no use.
    Other,
}

impl Outage {
    pub(crate) fn of(error: &Error) -> Self {
        match error.code() {
            codes::CONNECTION_ERROR | codes::CONNECTION_LOST | codes::TIMEOUT => Self::Unreachable,
            codes::RATE_LIMITED => Self::Limited,
            _ if error.kind() == ErrorKind::Permission => Self::Denied,
            _ => Self::Other,
        }
    }
}

/// What an answer says about the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It is well.
    Good,
    /// It answers. Whether it would answer another request is not known.
    Neutral,
    Bad(Outage),
}

impl Sign {
    /// `is_state` says that the status of an answer with an instance is that of its checks.
    pub(crate) fn of(answer: &Result<Answer, Error>, is_state: bool) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            // A request can take too long for reasons of its own.
            Err(error) if error.code() == codes::TIMEOUT => return Self::Bad(Outage::Other),
            Err(error) => return Self::Bad(Outage::of(error)),
        };
        match answer.status {
            200..=299 => Self::Good,
            // The servers' own answer for a key that does not exist.
            404 if answer.index.is_some() => Self::Good,
            429 | 503 if is_state && has_instance(answer) => Self::Good,
            429 => Self::Bad(Outage::Limited),
            500..=599 => Self::Bad(Outage::Other),
            _ => Self::Neutral,
        }
    }
}

/// Returns whether the agent refused to serve a request.
pub(crate) fn is_limited(answer: &Answer, is_state: bool) -> bool {
    answer.status == 429 && !(is_state && has_instance(answer))
}

/// Returns whether the agent has too many connections, rather than too many requests.
pub(crate) fn is_about_connections(answer: &Answer) -> bool {
    answer.body.windows(11).any(|word| word.eq_ignore_ascii_case(b"connections"))
}

fn has_instance(answer: &Answer) -> bool {
    answer.body.trim_ascii_start().first() == Some(&b'{')
}

/// The failures of all requests of a provider.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When a request last failed in each way.
    last: [Option<Time>; 4],
    is_failing: bool,
    /// Whether the agent was unreachable since its last good answer.
    is_gone: bool,
    /// When that was last reported to have ended.
    gone_until: Option<Time>,
    returned: Option<Time>,
}

/// The agent's return is reported at most this often: an agent that closes connections above its limit
/// looks like one that goes and returns.
const RETURNS: Duration = Duration::from_secs(3);

/// What a good answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Failures of any kind but refusals, which say nothing about other requests.
    pub(crate) failing: bool,
    /// An agent that was unreachable.
    pub(crate) gone: bool,
}

impl Outages {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what an answer says.
    pub(crate) fn take(&self, sign: Sign, now: Time) -> Ended {
        let mut state = self.state();
        match sign {
            Sign::Good => {
                let is_late = state.gone_until.is_none_or(|at| now.since(at) >= RETURNS);
                if state.is_gone {
                    state.returned = Some(now);
                }
                let gone = is_late && std::mem::take(&mut state.is_gone);
                if gone {
                    state.gone_until = Some(now);
                }
                let failing = std::mem::take(&mut state.is_failing);
                return Ended { failing, gone };
            }
            Sign::Neutral | Sign::Bad(Outage::Limited | Outage::Denied) => {}
            Sign::Bad(outage) => {
                state.is_failing = true;
                state.is_gone |= outage == Outage::Unreachable;
            }
        }
        Ended::default()
    }

    /// Records that a service has failed in this way.
    pub(crate) fn note(&self, outage: Outage, now: Time) {
        self.state().last[outage as usize] = Some(now);
    }

    /// Returns when a service last failed in this way.
    pub(crate) fn last(&self, outage: Outage) -> Option<Time> {
        self.state().last[outage as usize]
    }

    /// Returns when the agent last answered after it was unreachable.
    pub(crate) fn returned(&self) -> Option<Time> {
        self.state().returned
    }
}

#[cfg(test)]
mod tests {
    use failover_provider_kit::Timing;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.into(), ..Answer::default() }
    }

    #[test]
    fn only_an_answer_that_was_asked_for_says_that_the_agent_is_well() {
        let own_404 = Answer { status: 404, index: Some(7), ..Answer::default() };
        for (answer, is_state, sign) in [
            (answer(200, "[]"), false, Sign::Good),
            (own_404, false, Sign::Good),
            (answer(404, "not here"), false, Sign::Neutral),
            (answer(400, "bad"), false, Sign::Neutral),
            (answer(403, "ACL not found"), false, Sign::Neutral),
            (answer(301, ""), false, Sign::Neutral),
            (answer(429, "too many"), false, Sign::Bad(Outage::Limited)),
            (answer(429, "Your IP is issuing too many"), true, Sign::Bad(Outage::Limited)),
            (answer(429, r#"{"AggregatedStatus":"warning"}"#), true, Sign::Good),
            (answer(503, r#"{"AggregatedStatus":"critical"}"#), true, Sign::Good),
            (answer(503, "overloaded"), true, Sign::Bad(Outage::Other)),
            (answer(500, ""), false, Sign::Bad(Outage::Other)),
        ] {
            assert_eq!(Sign::of(&Ok(answer), is_state), sign);
        }
    }

    #[test]
    fn a_refusal_neither_begins_nor_ends_a_failure() {
        let (outages, now) = (Outages::default(), Timing::tokio().now());
        let ended = |failing, gone| Ended { failing, gone };
        for (sign, expected) in [
            (Sign::Good, ended(false, false)),
            (Sign::Bad(Outage::Limited), ended(false, false)),
            (Sign::Good, ended(false, false)),
            (Sign::Bad(Outage::Other), ended(false, false)),
            (Sign::Neutral, ended(false, false)),
            (Sign::Bad(Outage::Limited), ended(false, false)),
            (Sign::Good, ended(true, false)),
        ] {
            assert_eq!(outages.take(sign, now), expected, "{sign:?}");
        }
        assert_eq!(outages.returned(), None, "it was never gone");
        outages.take(Sign::Bad(Outage::Unreachable), now);
        outages.take(Sign::Bad(Outage::Other), now);
        assert_eq!(outages.take(Sign::Good, now), ended(true, true));
        assert_eq!(outages.take(Sign::Good, now), ended(false, false));
        assert_eq!(outages.returned(), Some(now));
        // A return is reported once in three seconds.
        for (second, gone) in [(1, false), (4, true), (5, false), (8, true)] {
            let now = now + Duration::from_secs(second);
            outages.take(Sign::Bad(Outage::Unreachable), now);
            assert_eq!(outages.take(Sign::Good, now), ended(true, gone), "after {second} s");
        }
    }
}
