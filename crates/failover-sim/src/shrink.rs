//! Makes a failing scenario smaller, as long as the seed still fails in it.

use failover_core::Error;

use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::Row;
use crate::scenario::{Load, Scenario};

/// One change that makes a scenario smaller; `None` where it changes nothing.
type Step = fn(&Scenario) -> Option<Scenario>;

const STEPS: &[(&str, Step)] = &[
    ("one client", |s| (s.clients > 1).then(|| Scenario { clients: 1, ..s.clone() })),
    ("half as many clients", |s| (s.clients > 1).then(|| Scenario { clients: s.clients / 2, ..s.clone() })),
    ("without the last fault", |s| shorter(&s.faults).map(|faults| Scenario { faults, ..s.clone() })),
    ("without the last burst", |s| shorter(&s.bursts).map(|bursts| Scenario { bursts, ..s.clone() })),
    ("without the last stall", |s| shorter(&s.stalls).map(|stalls| Scenario { stalls, ..s.clone() })),
    ("all calls repeatable", |s| (s.idempotent < 1.0).then(|| Scenario { idempotent: 1.0, ..s.clone() })),
    ("half the load", |s| {
        let load = match s.load {
            Load::Open(rate) if rate >= 2.0 => Load::Open(rate / 2.0),
            Load::Closed { callers, think } if callers > 1 => Load::Closed { callers: callers / 2, think },
            _ => return None,
        };
        Some(Scenario { load, ..s.clone() })
    }),
    ("three quarters of the time", |s| {
        let duration = s.duration / SECOND * 3 / 4 * SECOND;
        (duration >= 2 * SECOND).then(|| Scenario { duration, ..s.clone() })
    }),
];

fn shorter<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    list.split_last().map(|(_, rest)| rest.to_vec())
}

/// Applies what makes the row's scenario smaller while the policy fails from this seed and random without any logic
/// does not: where that fails as well, the step has made the target unreachable rather than the fault clearer. Rows that
/// random fails from the beginning are compared by the policy alone, and keep their length.
///
/// # Errors
///
/// As [`run`](crate::run).
pub fn shrink(mut row: Row, policy: Policy, seed: u64) -> Result<(Row, Vec<String>), Error> {
    let fair = row.judge(Policy::Random, seed)?.passed;
    let mut taken = Vec::new();
    loop {
        let mut changed = false;
        for (name, step) in STEPS {
            let Some(scenario) = step(row.scenario()) else { continue };
            if !fair && scenario.duration != row.scenario().duration {
                continue;
            }
            let smaller = row.with_scenario(scenario);
            let verdict = smaller.judge(policy, seed)?;
            if !verdict.passed && (!fair || smaller.judge(Policy::Random, seed)?.passed) {
                taken.push(format!("{name}: {}", verdict.figure));
                row = smaller;
                changed = true;
            }
        }
        if !changed {
            return Ok((row, taken));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    #[test]
    fn a_failing_row_gets_smaller_and_still_fails() {
        let row = rows::all().into_iter().find(|row| row.name() == "own_stall_5s").expect("it is a row");
        let before = row.scenario().clone();
        let (small, steps) = shrink(row, Policy::Ejecting, 1).expect("it runs");
        assert!(!steps.is_empty());
        assert!(!small.judge(Policy::Ejecting, 1).expect("it runs").passed);
        let callers = |scenario: &Scenario| match scenario.load {
            Load::Closed { callers, .. } => callers,
            Load::Open(_) => 0,
        };
        assert!(callers(small.scenario()) < callers(&before));
        assert_eq!(small.scenario().stalls.len(), 1, "without it nothing fails");
    }
}
