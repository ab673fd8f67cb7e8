//! Which processes remove the registrations of others.
//!
//! The leases that processes have anyway elect them: the first two by name that are alive. Every
//! process reads only the first few, so that its cost does not grow with the number of processes.
//! With two, the death of one costs no time: the other has observed all leases meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use failover_core::Time;

/// The number of processes that reap.
const REAPERS: usize = 2;
/// The number of leases that are read at first, and at most. More are read while too few of them are
/// alive.
const FIRST: usize = 8;
const MAX: usize = 512;

/// What one process knows about the leases that come first.
#[derive(Debug)]
pub(crate) struct Election {
    own: String,
    limit: usize,
    /// The mark of each lease, which changes with its renewal, and since when it is the same.
    seen: HashMap<String, (String, Time)>,
}

impl Election {
    pub(crate) fn new(own: &str) -> Self {
        Self { own: own.to_owned(), limit: FIRST, seen: HashMap::new() }
    }

    /// Returns the number of leases to read.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes the first leases (name, mark and duration), and whether these are all. Returns whether
    /// this process is elected, or `None` if more leases are to be read at once.
    pub(crate) fn look(
        &mut self,
        mut leases: Vec<(String, String, Duration)>,
        is_whole: bool,
        now: Time,
    ) -> Option<bool> {
        leases.sort_by(|a, b| a.0.cmp(&b.0));
        let before = std::mem::take(&mut self.seen);
        let mut alive = Vec::new();
        for (name, mark, duration) in leases {
            let since = before.get(&name).filter(|known| known.0 == mark).map_or(now, |known| known.1);
            if name == self.own || now.since(since) < duration {
                alive.push(name.clone());
            }
            self.seen.insert(name, (mark, since));
        }
        if alive.len() < REAPERS && !is_whole && self.limit < MAX {
            self.limit = (self.limit * 2).min(MAX);
            return None;
        }
        if alive.len() > FIRST {
            self.limit = FIRST;
        }
        Some(alive.iter().take(REAPERS).any(|name| *name == self.own))
    }
}

#[cfg(test)]
mod tests {
    use failover_provider_kit::Timing;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    /// Leases whose marks are these numbers.
    fn leases(all: &[(&str, u32)]) -> Vec<(String, String, Duration)> {
        all.iter().map(|(name, mark)| ((*name).to_owned(), mark.to_string(), LEASE)).collect()
    }

    #[test]
    fn the_first_two_that_are_alive_are_elected() {
        let begin = Timing::tokio().now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut elections = ["a", "b", "c", "d"].map(Election::new);
        let mut elected = |all: &[(&str, u32)], seconds| {
            elections.each_mut().map(|one| one.look(leases(all), true, at(seconds)).expect("these are all"))
        };
        assert_eq!(elected(&[("d", 1), ("c", 1), ("b", 1), ("a", 1)], 0), [true, true, false, false]);
        // The first one dies: a third takes its place when its lease is over.
        assert_eq!(elected(&[("a", 1), ("b", 2), ("c", 2), ("d", 2)], 29), [true, true, false, false]);
        assert_eq!(elected(&[("a", 1), ("b", 3), ("c", 3), ("d", 3)], 31)[1..], [true, true, false]);
        // It comes back, and then all others are gone.
        assert_eq!(elected(&[("a", 2), ("b", 4), ("c", 4), ("d", 4)], 40), [true, true, false, false]);
        assert_eq!(elected(&[("d", 5)], 50), [false, false, false, true]);
    }

    /// The leases of a node that died come first until they are deleted.
    #[test]
    fn more_are_read_while_too_few_are_alive() {
        let begin = Timing::tokio().now();
        let names: Vec<_> = (0..20).map(|number| format!("p{number:02}")).collect();
        let mut election = Election::new("p15");
        let mut look = |seconds: u64, dead: usize| {
            loop {
                let limit = election.limit();
                let mark = |index: usize| if index < dead { 0 } else { seconds };
                let all = names.iter().enumerate().take(limit);
                let page = all.map(|(index, name)| (name.clone(), mark(index).to_string(), LEASE)).collect();
                if let Some(elected) = election.look(page, limit >= 20, begin + Duration::from_secs(seconds))
                {
                    return (elected, limit);
                }
            }
        };
        assert_eq!(look(0, 15), (false, 8));
        assert_eq!(look(20, 15), (false, 8));
        assert_eq!(look(31, 15), (false, 16), "the second eight look alive when they are first seen");
        assert_eq!(look(62, 15), (true, 32), "its turn comes");
        assert_eq!(look(70, 0), (false, 32));
        assert_eq!(look(80, 0), (false, 8), "it reads few again");
    }
}
