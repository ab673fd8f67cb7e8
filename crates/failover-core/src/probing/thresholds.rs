//! Decides when probe results change the verdict on an endpoint, as a pure state machine.

use crate::model::health::Health;

/// The number of consecutive probes that must agree before the verdict changes. At the start, a
/// single success is enough (`rise` and `fall` of `HAProxy`, Envoy's first check).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) healthy: u32,
    pub(crate) unhealthy: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streak {
    pub(crate) verdict: Health,
    /// Consecutive results that contradict the verdict.
    against: u32,
}

impl Streak {
    /// Returns the state after another result.
    #[must_use]
    pub(crate) fn after(self, found: Health, thresholds: Thresholds) -> Self {
        if is_up(found) == is_up(self.verdict) && self.verdict != Health::Unknown {
            // Between healthy and degraded, the last result decides.
            return Self { verdict: found, against: 0 };
        }
        let needed = match (self.verdict, is_up(found)) {
            (Health::Unknown, true) => 1,
            (_, true) => thresholds.healthy,
            (_, false) => thresholds.unhealthy,
        };
        let against = self.against + 1;
        if against >= needed { Self { verdict: found, against: 0 } } else { Self { against, ..self } }
    }
}

fn is_up(health: Health) -> bool {
    matches!(health, Health::Healthy | Health::Degraded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(findings: &str) -> String {
        let thresholds = Thresholds { healthy: 2, unhealthy: 3 };
        let mut streak = Streak::default();
        findings
            .chars()
            .map(|finding| {
                let found = match finding {
                    '+' => Health::Healthy,
                    '~' => Health::Degraded,
                    _ => Health::Unhealthy,
                };
                streak = streak.after(found, thresholds);
                match streak.verdict {
                    Health::Unknown => '?',
                    Health::Healthy => '+',
                    Health::Degraded => '~',
                    Health::Unhealthy => '-',
                }
            })
            .collect()
    }

    #[test]
    fn three_failures_take_it_out_two_successes_bring_it_back_and_one_is_enough_at_the_start() {
        for (findings, expected) in [
            ("+", "+"),
            ("---", "??-"),
            ("--+", "??+"),
            ("+--+---", "+++++++".get(..6).map(|up| format!("{up}-")).expect("long enough").as_str()),
            ("---+-++", "??----+"),
            ("+~+", "+~+"),
            ("---~~", "??--~"),
        ] {
            assert_eq!(verdicts(findings), expected, "{findings}");
        }
    }
}
