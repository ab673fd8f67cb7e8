//! How many connections watches may hold: fewer while the agent refuses some.
//!
//! An agent limits the connections of all processes on one address together
//! (`limits.http_max_conns_per_client`). A process cannot know what the others hold, so it holds as
//! many as it is given, polls the services that are left, and tries for more now and then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::{Error, Time};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::wire::answer::Answer;

/// The connections of the watches.
#[derive(Debug)]
pub(crate) struct WatchConnections {
    permits: Semaphore,
    withheld: Mutex<Withheld>,
    /// Blocking queries that wait for their answer.
    waiting: AtomicUsize,
    /// Notified when one of them has to give its connection up.
    wanted: Notify,
    /// Whether the agent has closed the connection of another request before it was served.
    turned_away: AtomicBool,
}

/// The outcome of a blocking query.
#[derive(Debug)]
pub(crate) enum Waited {
    Answered(Result<Answer, Error>),
    /// The agent has no connection left for it.
    Refused,
    /// Another request of this process needs the connection.
    GivenUp,
}

impl WatchConnections {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            permits: Semaphore::new(most),
            withheld: Mutex::default(),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            turned_away: AtomicBool::new(false),
        }
    }

    fn withheld(&self) -> MutexGuard<'_, Withheld> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the permit of a watch that waits, if one is left.
    pub(crate) fn acquire(&self, now: Time) -> Option<SemaphorePermit<'_>> {
        self.permits.add_permits(self.withheld().due(now));
        self.permits.try_acquire().ok()
    }

    /// Takes the permit of a watch that the agent refused, and all that are free with it.
    pub(crate) fn refuse(&self, permit: Option<SemaphorePermit<'_>>, now: Time) {
        let Some(permit) = permit else { return };
        let mut withheld = self.withheld();
        let mut count = 1;
        permit.forget();
        while let Ok(free) = self.permits.try_acquire() {
            free.forget();
            count += 1;
        }
        withheld.refused(count, now);
    }

    /// Returns whether the agent has refused connections that this process would use.
    pub(crate) fn is_short(&self) -> bool {
        self.withheld().count > 0
    }

    /// Counts a blocking query as waiting until the returned guard is dropped.
    pub(crate) fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Records that the agent closed the connection of a request before it was served. Returns whether it
    /// did so before; a watch that gives up its connection ends the count.
    pub(crate) fn turns_away(&self) -> bool {
        self.turned_away.swap(true, Ordering::Relaxed)
    }

    /// Resolves when a waiting blocking query has to give up its connection.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Makes one waiting blocking query give up its connection. Returns false if there is none, or one did
    /// so within `every`: an older agent frees the connection only at the end of the query's wait.
    pub(crate) fn take_one(&self, now: Time, every: Duration) -> bool {
        let has_some = self.has_waiting() && self.withheld().takes_one(now, every);
        if has_some {
            self.turned_away.store(false, Ordering::Relaxed);
            self.wanted.notify_one();
        }
        has_some
    }
}

/// Counts a blocking query while it waits, however it ends.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The permits that are withheld, and when some of them are tried again: one after a minute, twice as
/// many each minute while the agent accepts them, and later and later while it does not.
#[derive(Debug, Default)]
struct Withheld {
    count: usize,
    due: Option<Time>,
    pause: Duration,
    /// How many are tried next.
    step: usize,
    /// Whether none was refused since some were tried.
    is_trying: bool,
    /// When a watch last gave up its connection.
    taken: Option<Time>,
}

impl Withheld {
    const FIRST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(600);

    fn takes_one(&mut self, now: Time, every: Duration) -> bool {
        let takes = self.taken.is_none_or(|taken| now.since(taken) >= every);
        if takes {
            self.taken = Some(now);
        }
        takes
    }

    fn refused(&mut self, count: usize, now: Time) {
        self.count += count;
        if std::mem::take(&mut self.is_trying) {
            self.pause = (self.pause * 2).min(Self::LONGEST);
        }
        self.pause = self.pause.max(Self::FIRST);
        self.step = 1;
        self.due = Some(now + self.pause);
    }

    /// Returns how many permits are free again.
    fn due(&mut self, now: Time) -> usize {
        if self.count == 0 || self.due.is_some_and(|due| now < due) {
            return 0;
        }
        if std::mem::replace(&mut self.is_trying, true) {
            self.pause = Self::FIRST;
            self.step *= 2;
        }
        let free = self.step.min(self.count);
        self.count -= free;
        self.due = Some(now + Self::FIRST);
        free
    }
}

#[cfg(test)]
mod tests {
    use failover_provider_kit::Timing;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn refused_connections_are_tried_again_rarely_and_accepted_ones_twice_as_many_each_time() {
        let (mut withheld, begin) = (Withheld::default(), Timing::tokio().now());
        assert_eq!(withheld.due(begin), 0, "nothing is withheld");
        withheld.refused(60, begin);
        withheld.refused(1, begin);
        assert_eq!(withheld.due(begin + MINUTE / 2), 0);
        let mut tried = Vec::new();
        for minute in 1..=60 {
            let now = begin + MINUTE * minute;
            let count = withheld.due(now);
            if count > 0 {
                tried.push(minute);
                assert_eq!(count, 1, "refused each time");
                withheld.refused(count, now);
            }
        }
        assert_eq!(tried, [1, 3, 7, 15, 25, 35, 45, 55]);
        let accepted: Vec<_> = (65..75).map(|minute| withheld.due(begin + MINUTE * minute)).collect();
        assert_eq!(accepted.iter().sum::<usize>(), 61, "{accepted:?}");
        assert_eq!(accepted.iter().filter(|count| **count > 0).count(), 6, "{accepted:?}");
    }

    #[test]
    fn a_refusal_withholds_free_permits_as_well() {
        let (connections, now) = (WatchConnections::new(10), Timing::tokio().now());
        let first = connections.acquire(now);
        let second = connections.acquire(now);
        assert!(first.is_some() && second.is_some() && !connections.is_short());
        connections.refuse(second, now);
        assert!(connections.is_short() && connections.acquire(now).is_none());
        // The first one's connection is free for another watch once it ends.
        drop(first);
        assert!(connections.acquire(now).is_some());
        assert!(!connections.take_one(now, MINUTE), "no blocking query waits");
        let _waiting = connections.waiting();
        let taken = [0, 1, 2, 3].map(|half| connections.take_one(now + MINUTE / 2 * half, MINUTE));
        assert_eq!(taken, [true, false, true, false]);
    }
}
