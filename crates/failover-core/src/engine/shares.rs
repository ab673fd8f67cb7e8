//! Each endpoint's share of the recent attempts, computed on request.

use std::collections::HashMap;
use std::time::Duration;

use crate::runtime::clock::Time;

/// The minimum period that the shares cover.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// The number of attempts of each state at the time of a sample.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    older: Option<Sample>,
    newer: Option<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: Time,
    attempts: HashMap<u32, u64>,
}

impl Shares {
    /// Returns the attempts of each state since a sample that is at least one window old, or since
    /// the start, and the length of that period.
    pub(crate) fn since(
        &mut self,
        now: Time,
        began: Time,
        attempts: HashMap<u32, u64>,
    ) -> (HashMap<u32, u64>, Duration) {
        if self.newer.as_ref().is_some_and(|sample| now.since(sample.at) >= WINDOW) {
            self.older = self.newer.take();
        }
        let recent = |(state, count): (&u32, &u64)| {
            let before =
                self.older.as_ref().and_then(|sample| sample.attempts.get(state)).copied().unwrap_or(0);
            // The state may have been reused for another endpoint; then all its attempts are
            // recent.
            (*state, count.checked_sub(before).unwrap_or(*count))
        };
        let counts = attempts.iter().map(recent).collect();
        let window = now.since(self.older.as_ref().map_or(began, |sample| sample.at));
        self.newer.get_or_insert(Sample { at: now, attempts });
        (counts, window)
    }
}
