//! Per-call counters of a service, and what calls deposit into and withdraw from the retry budget.
//!
//! Attempts are counted where they end, in `report`; everything counted per call is counted here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::engine::retry_budget::{Budget, BudgetPolicy, Withdrawal};
use crate::engine::state::buckets::bucket;
use crate::engine::state::durations::{DurationCounts, Durations};
use crate::model::attempt_class::AttemptClass;
use crate::runtime::clock::Clock;

/// The counters of a service's calls. Apart from the budget, nothing is written while calls succeed
/// at their first attempt.
#[derive(Debug)]
pub(crate) struct CallAccounts {
    budget: Budget,
    durations: CallDurations,
    /// Failed calls, except refused ones: a reader of two counters, one a part of the other, could see
    /// their difference decrease.
    failed: AtomicU64,
    refused: AtomicU64,
    retried: AtomicU64,
    failovers: AtomicU64,
    /// Failures of the custom strategy.
    strategy_faults: AtomicU64,
    /// Wall time in milliseconds since 1970; 0 for never.
    last_failover: AtomicU64,
    last_recovery: AtomicU64,
}

/// What tells the durations of calls from those of attempts.
///
/// A call with a single attempt takes as long as that, and costs nothing more. The attempts of other
/// calls, and failed ones, are subtracted from all attempts, and these calls are added.
#[derive(Debug)]
struct CallDurations {
    parts: DurationCounts,
    calls: DurationCounts,
    /// The last reading. An attempt that ends during a reading may be in one part of it and not in the
    /// other; no reading is below the one before for that reason.
    last: Mutex<Durations>,
}

/// The counters at the time they were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTotals {
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) retried: u64,
    pub(crate) failovers: u64,
    pub(crate) last_failover: Option<SystemTime>,
    pub(crate) last_recovery: Option<SystemTime>,
}

impl CallAccounts {
    pub(super) fn new() -> Self {
        Self {
            budget: Budget::new(),
            durations: CallDurations {
                parts: DurationCounts::new(),
                calls: DurationCounts::new(),
                last: Mutex::new(Durations::NONE),
            },
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failovers: AtomicU64::new(0),
            strategy_faults: AtomicU64::new(0),
            last_failover: AtomicU64::new(0),
            last_recovery: AtomicU64::new(0),
        }
    }

    /// Counts the end of a call that is a single attempt.
    #[inline]
    pub(crate) fn end_single(&self, class: AttemptClass, policy: impl FnOnce() -> BudgetPolicy) {
        match class {
            AttemptClass::Success => self.budget.deposit(policy),
            AttemptClass::Rejected => {}
            _ => self.fail(),
        }
    }

    /// Counts a call whose first attempt succeeded, and deposits into the retry budget.
    #[inline]
    pub(crate) fn succeed_at_once(&self, policy: BudgetPolicy) {
        self.budget.deposit(|| policy);
    }

    /// Counts a call that has failed on an endpoint.
    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that failed because no endpoint was available.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Records an attempt that was not a whole call.
    pub(crate) fn attempted(&self, duration: Duration) {
        self.durations.parts.record(bucket(nanos(duration)));
    }

    /// Records a call whose attempts are recorded like that.
    pub(crate) fn took(&self, duration: Duration) {
        self.durations.calls.record(bucket(nanos(duration)));
    }

    /// Returns the durations of all calls, given those of all attempts.
    pub(crate) fn call_durations(&self, attempts: &Durations) -> Durations {
        let CallDurations { parts, calls, last } = &self.durations;
        let mut all = attempts.since(&parts.read());
        all.add(&calls.read());
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.max(&all);
        *last
    }

    /// Withdraws the cost of a retry. Returns `None` if the budget is exhausted.
    pub(crate) fn pay_retry(&self, policy: BudgetPolicy) -> Option<Withdrawal<'_>> {
        self.budget.withdraw(policy)
    }

    /// Counts a call that makes its second attempt.
    pub(crate) fn retry(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt on another endpoint after a failure.
    pub(crate) fn fail_over(&self, clock: &Clock) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
        self.last_failover.store(milliseconds(clock), Ordering::Relaxed);
    }

    /// Records that an endpoint has recovered.
    pub(super) fn recover(&self, clock: &Clock) {
        self.last_recovery.store(milliseconds(clock), Ordering::Relaxed);
    }

    /// Counts a failure of the custom strategy, and returns the number of failures so far.
    pub(super) fn strategy_fault(&self) -> u64 {
        self.strategy_faults.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of tokens left in the retry budget.
    pub(super) fn retry_tokens(&self, policy: BudgetPolicy) -> u32 {
        self.budget.left(policy)
    }

    pub(super) fn totals(&self) -> CallTotals {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = count(&self.refused);
        CallTotals {
            failed: count(&self.failed) + refused,
            refused,
            retried: count(&self.retried),
            failovers: count(&self.failovers),
            last_failover: time(count(&self.last_failover)),
            last_recovery: time(count(&self.last_recovery)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(clock: &Clock) -> u64 {
    let since = clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // 0 means never.
    (since.as_millis() as u64).max(1)
}

fn time(milliseconds: u64) -> Option<SystemTime> {
    (milliseconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds))
}
