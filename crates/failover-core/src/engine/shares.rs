//! Each endpoint's share of the recent attempts, counted when it is asked for.

use std::collections::HashMap;
use std::time::Duration;

use crate::runtime::clock::Time;

/// The shares are those of at least so long.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// How many attempts each cell had when it was last looked at.
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
    /// The attempts of each cell since a sample at least a window old, or since the beginning; and how long that is.
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
            // The cell may be another endpoint's since: then all it has counted is recent.
            (*state, count.checked_sub(before).unwrap_or(*count))
        };
        let counts = attempts.iter().map(recent).collect();
        let window = now.since(self.older.as_ref().map_or(began, |sample| sample.at));
        self.newer.get_or_insert(Sample { at: now, attempts });
        (counts, window)
    }
}
