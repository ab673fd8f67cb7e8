//! The retry budget: a token bucket that successes fill and retries drain.
//!
//! The rules are those of the AWS SDKs' standard retry mode: 500 tokens; a retry costs 5, which are
//! returned if it succeeds; each call that succeeds at its first attempt adds 1. Because only
//! successes fill the bucket, retries do not prolong an outage: a budget funded by requests
//! (Finagle, tower) does, whereas this one recovers as fast as without retries.

use crate::config::RetryBudgetConfig;
use crate::runtime::sync::{AtomicU32, Ordering};

/// The budget's settings, as plain numbers that a call can copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetPolicy {
    pub(crate) enabled: bool,
    pub(crate) capacity: u32,
    pub(crate) cost: u32,
    pub(crate) deposit: u32,
}

impl From<&RetryBudgetConfig> for BudgetPolicy {
    fn from(config: &RetryBudgetConfig) -> Self {
        Self {
            enabled: config.enabled(),
            capacity: config.capacity(),
            cost: config.retry_cost(),
            deposit: config.success_deposit(),
        }
    }
}

/// A bucket shared by all calls of a service. It counts the tokens taken, so that a new bucket is
/// full whatever its capacity, and stays full if the capacity changes.
#[derive(Debug)]
pub(crate) struct Budget {
    taken: AtomicU32,
}

/// Tokens taken for one retry. Dropping this value returns them: a cancelled retry costs nothing.
#[derive(Debug)]
#[must_use]
pub(crate) struct Withdrawal<'a> {
    budget: &'a Budget,
    cost: u32,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { taken: AtomicU32::new(0) }
    }

    /// Takes the cost of a retry. Returns `None` if too few tokens are left.
    pub(crate) fn withdraw(&self, rules: BudgetPolicy) -> Option<Withdrawal<'_>> {
        if !rules.enabled {
            return Some(Withdrawal { budget: self, cost: 0 });
        }
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(rules.cost).filter(|taken| *taken <= rules.capacity)
            })
            .ok()
            .map(|_| Withdrawal { budget: self, cost: rules.cost })
    }

    /// Records a call that succeeded at its first attempt. Writes nothing while the bucket is full.
    #[inline]
    pub(crate) fn deposit(&self, rules: impl FnOnce() -> BudgetPolicy) {
        if self.taken.load(Ordering::Relaxed) != 0 {
            self.put_back(rules().deposit);
        }
    }

    /// The number of tokens left.
    pub(crate) fn left(&self, rules: BudgetPolicy) -> u32 {
        rules.capacity.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    fn put_back(&self, tokens: u32) {
        // The update never refuses, so it cannot fail.
        let _ = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| Some(taken.saturating_sub(tokens)));
    }
}

impl Withdrawal<'_> {
    /// Spends the tokens, because the retry failed.
    pub(crate) fn spend(mut self) {
        self.cost = 0;
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.budget.put_back(self.cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWS: BudgetPolicy = BudgetPolicy { enabled: true, capacity: 500, cost: 5, deposit: 1 };

    #[test]
    fn the_figures_of_the_aws_standard_mode() {
        let budget = Budget::new();
        let first = budget.withdraw(AWS).expect("full");
        assert_eq!(budget.left(AWS), 495);
        let second = budget.withdraw(AWS).expect("nearly full");
        assert_eq!(budget.left(AWS), 490);
        first.spend();
        drop(second);
        assert_eq!(budget.left(AWS), 495);
        budget.deposit(|| AWS);
        assert_eq!(budget.left(AWS), 496);
    }

    #[test]
    fn it_ends_at_empty_and_never_above_full() {
        let budget = Budget::new();
        let taken = std::iter::from_fn(|| budget.withdraw(AWS)).take(1000).map(Withdrawal::spend).count();
        assert_eq!(taken, 100);
        assert!(budget.withdraw(AWS).is_none());
        for _ in 0..5 {
            budget.deposit(|| AWS);
        }
        budget.withdraw(AWS).expect("five successes pay for one").spend();
        for _ in 0..10_000 {
            budget.deposit(|| AWS);
        }
        assert_eq!(budget.left(AWS), 500);
    }

    #[test]
    fn a_success_rate_funds_its_share_of_retries() {
        // With nothing in reserve, a deposit of 1 and a cost of 5 allow one retry in five
        // successes.
        let budget = Budget::new();
        std::iter::from_fn(|| budget.withdraw(AWS)).for_each(Withdrawal::spend);
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.deposit(|| AWS);
            if let Some(withdrawal) = budget.withdraw(AWS) {
                withdrawal.spend();
                retries += 1;
            }
        }
        assert_eq!(retries, 2000);
    }

    #[test]
    fn a_smaller_capacity_takes_effect_at_once() {
        let budget = Budget::new();
        for _ in 0..50 {
            budget.withdraw(AWS).expect("enough").spend();
        }
        let smaller = BudgetPolicy { capacity: 100, ..AWS };
        assert_eq!(budget.left(smaller), 0);
        assert!(budget.withdraw(smaller).is_none());
    }

    #[test]
    fn switched_off_it_never_refuses() {
        let off = BudgetPolicy { enabled: false, ..AWS };
        let budget = Budget::new();
        for _ in 0..10_000 {
            budget.withdraw(off).expect("no budget, no limit").spend();
        }
        assert_eq!(budget.left(AWS), 500);
    }
}
