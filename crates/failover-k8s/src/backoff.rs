//! Pauses between requests to the API server after failures.

use std::time::Duration;

use failover_core::{Error, RetryAdvice, codes};

use failover_provider_kit::{BackoffSteps, Timing};

use crate::error;

const LAST: Duration = Duration::from_secs(36);
/// Half of each pause is random, so that clients do not return together.
const STEPS: BackoffSteps = BackoffSteps::new(Duration::from_millis(250), 1.5, LAST);
/// After permission errors: permissions change only by hand.
const REFUSED: Duration = Duration::from_secs(30);
/// Refused credentials are read again at each attempt.
const UNAUTHENTICATED: Duration = Duration::from_secs(60);

/// Consecutive failures.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    /// The latest of them that were refusals. An API server refuses every request for a moment
    /// after it starts.
    refusals: u32,
}

impl Backoff {
    /// Counts an error and returns the pause after it.
    pub(crate) fn after(&mut self, error: &Error, timing: &Timing) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let refused = match error::status(error) {
            Some(401) => Some((2, UNAUTHENTICATED)),
            Some(403) => Some((4, REFUSED)),
            _ if error.code() == codes::UNAUTHENTICATED => Some((2, UNAUTHENTICATED)),
            _ => None,
        };
        let full = match (refused, error.retry()) {
            (Some((soon, late)), _) => {
                self.refusals = self.refusals.saturating_add(1);
                if self.refusals > soon { late } else { step(self.refusals) }
            }
            (None, RetryAdvice::After(asked)) => {
                self.refusals = 0;
                return timing.jittered(asked.max(step(self.failures)), 0.1).max(asked);
            }
            (None, _) => {
                self.refusals = 0;
                step(self.failures)
            }
        };
        BackoffSteps::new(full, 1.0, full).delay(0, timing.unit())
    }
}

/// Returns the longest pause after this many failures.
fn step(failures: u32) -> Duration {
    STEPS.longest(failures.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use failover_core::ErrorKind;

    use super::*;

    fn timing() -> Timing {
        Timing::tokio()
    }

    fn unreachable_server() -> Error {
        Error::new(ErrorKind::Connection, "refused")
    }

    /// Returns the times at which a client sends requests during an outage.
    fn tries(outage: Duration) -> Vec<Duration> {
        let (mut backoff, mut now, mut all) = (Backoff::default(), Duration::ZERO, Vec::new());
        while now <= outage {
            all.push(now);
            now += backoff.after(&unreachable_server(), &timing());
        }
        all.push(now);
        all
    }

    /// Returns how long after the end of an outage a client sends its next request.
    fn back_after(outage: Duration) -> Duration {
        tries(outage).pop().expect("it comes back").saturating_sub(outage)
    }

    /// R1: at most 40 requests in an outage of ten minutes.
    #[test]
    fn an_outage_of_ten_minutes_costs_few_requests() {
        for _ in 0..1000 {
            let count = tries(Duration::from_secs(600)).len() - 1;
            assert!((20..=40).contains(&count), "{count}");
        }
    }

    /// R2: of a thousand clients of one server, at most 5 % return within the same tenth of a
    /// second.
    #[test]
    fn clients_do_not_come_back_together() {
        for outage in [10, 60, 600] {
            let outage = Duration::from_secs(outage);
            let mut slots = std::collections::HashMap::<u128, u32>::new();
            for _ in 0..1000 {
                let back = back_after(outage);
                *slots.entry(back.as_millis() / 100).or_default() += 1;
            }
            let most = slots.values().max().copied().unwrap_or_default();
            assert!(most <= 50, "{most} of 1000 in one slot after {outage:?}");
        }
    }

    #[test]
    fn a_server_that_was_restarted_is_found_again_within_five_seconds() {
        for _ in 0..1000 {
            for outage in [1, 3, 4] {
                let outage = Duration::from_secs(outage);
                let back = back_after(outage);
                assert!(back < Duration::from_secs(5), "{back:?} after {outage:?}");
            }
        }
    }

    #[test]
    fn what_the_server_asks_for_is_waited() {
        let asked = unreachable_server().with_retry(RetryAdvice::After(Duration::from_secs(7)));
        for _ in 0..1000 {
            assert!(Backoff::default().after(&asked, &timing()) >= Duration::from_secs(7));
        }
    }

    /// F8: soon at first, because an API server refuses every request while it starts; rarely
    /// later.
    #[test]
    fn a_refusal_is_not_asked_hotly() {
        for (code, soon, late) in [(403, 4, 15..=30), (401, 2, 30..=60)] {
            let refused = error::refused("list", code, None, b"");
            for _ in 0..100 {
                let mut backoff = Backoff::default();
                for _ in 0..soon {
                    assert!(backoff.after(&refused, &timing()) < Duration::from_secs(1));
                }
                for _ in 0..3 {
                    let pause = backoff.after(&refused, &timing());
                    assert!(late.contains(&pause.as_secs()), "{pause:?}");
                }
                backoff.after(&unreachable_server(), &timing());
                assert!(backoff.after(&refused, &timing()) < Duration::from_secs(1), "it was restarted");
            }
        }
    }

    #[test]
    fn numbers_stay_in_their_range_however_long_it_lasts() {
        let mut backoff = Backoff { failures: u32::MAX - 1, refusals: u32::MAX - 1 };
        for _ in 0..3 {
            assert!(backoff.after(&unreachable_server(), &timing()) <= LAST);
        }
        backoff.refusals = u32::MAX;
        assert!(backoff.after(&error::refused("list", 403, None, b""), &timing()) <= REFUSED);
    }
}
