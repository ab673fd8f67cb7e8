//! The table of sticky sessions: which endpoint a session belongs to.
//!
//! The table has a fixed size and one word per session: a part of the key's hash, the endpoint
//! state and the time of last use. A session can be stored in four places; the least recently used
//! of the four is evicted. No operation waits, locks or allocates. Two sessions with the same 24
//! bits of hash and the same four places are treated as one and share an endpoint; in a full table,
//! one session in four million is affected.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Time;

/// The number of places per session.
const WAYS: usize = 4;
/// Layout of a word, from the lowest bit: time of last use 20, endpoint state 20, hash 24.
const USED: u32 = 20;
const USED_MASK: u64 = (1 << USED) - 1;
const STATE_BITS: u32 = 20;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;
const TAG_AT: u32 = USED + STATE_BITS;

#[derive(Debug)]
pub(crate) struct SessionTable {
    /// The length is a power of two. 0 marks a free place.
    places: Box<[AtomicU64]>,
    ttl: Duration,
    /// The unit of the time of last use: a 64th of the time to live, so that a busy session rarely
    /// writes.
    tick: Duration,
}

impl SessionTable {
    pub(crate) fn new(sessions: u32, ttl: Duration) -> Self {
        let places = (sessions as usize).next_power_of_two().max(WAYS);
        let tick = (ttl / 64).max(Duration::from_millis(1));
        Self { places: (0..places).map(|_| AtomicU64::new(0)).collect(), ttl, tick }
    }

    /// Whether the table has this size and time to live.
    pub(crate) fn is_of(&self, sessions: u32, ttl: Duration) -> bool {
        self.ttl == ttl && self.places.len() == (sessions as usize).next_power_of_two().max(WAYS)
    }

    /// Returns the state that the session last used, unless the session has expired.
    #[inline]
    pub(crate) fn lookup(&self, key: u64, now: Time) -> Option<u32> {
        let (ways, tag) = self.ways(key);
        let word =
            ways.iter().map(|place| place.load(Ordering::Relaxed)).find(|word| word >> TAG_AT == tag)?;
        let fresh = self.tick * self.age(word, now) <= self.ttl;
        fresh.then_some(((word >> USED) & STATE_MASK) as u32)
    }

    /// Records that the session uses this state. State numbers of 2^20 and above are not stored.
    #[inline]
    pub(crate) fn keep(&self, key: u64, state: u32, now: Time) {
        if u64::from(state) > STATE_MASK {
            return;
        }
        let (ways, tag) = self.ways(key);
        let word = (tag << TAG_AT) | (u64::from(state) << USED) | self.stamp(now);
        let old = ways.iter().map(|place| (place, place.load(Ordering::Relaxed)));
        // The session's own place comes first, then a free one, then the least recently used one.
        let rank = |read: u64| match read {
            read if read >> TAG_AT == tag => u32::MAX,
            0 => u32::MAX - 1,
            read => self.age(read, now),
        };
        if let Some((place, read)) = old.max_by_key(|(_, read)| rank(*read)) {
            if read != word {
                place.store(word, Ordering::Relaxed);
            }
        }
    }

    /// Returns the places of a session and its part of the hash, which is never 0.
    #[inline]
    fn ways(&self, key: u64) -> (&[AtomicU64], u64) {
        let set = (key as usize & (self.places.len() - 1)) / WAYS * WAYS;
        (&self.places[set..set + WAYS], (key >> TAG_AT).max(1))
    }

    fn stamp(&self, now: Time) -> u64 {
        (now.as_nanos() / self.tick.as_nanos() as u64) & USED_MASK
    }

    /// Returns the ticks since the last use. The tick count wraps after 16 000 times to live; a
    /// session that old looks recent.
    #[inline]
    fn age(&self, word: u64, now: Time) -> u32 {
        (self.stamp(now).wrapping_sub(word) & USED_MASK) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hash::xxh64;

    fn at(secs: u64) -> Time {
        Time::from_nanos(1 + secs * 1_000_000_000)
    }

    fn key(n: u64) -> u64 {
        xxh64(&n.to_le_bytes(), 0)
    }

    #[test]
    fn a_session_stays_for_the_time_limit_after_its_last_call() {
        let sticky = SessionTable::new(64, Duration::from_secs(60));
        assert_eq!(sticky.lookup(key(1), at(0)), None);
        sticky.keep(key(1), 7, at(0));
        sticky.keep(key(1), 7, at(50));
        assert_eq!(sticky.lookup(key(1), at(105)), Some(7));
        assert_eq!(sticky.lookup(key(1), at(112)), None);
        sticky.keep(key(1), 9, at(113));
        assert_eq!(sticky.lookup(key(1), at(113)), Some(9), "it moves");
    }

    #[test]
    fn memory_is_bounded_and_the_one_unused_longest_makes_room() {
        let sticky = SessionTable::new(4, Duration::from_secs(600));
        assert_eq!(sticky.places.len(), 4);
        for n in 0..4 {
            sticky.keep(key(n), n as u32, at(n * 10));
        }
        sticky.keep(key(0), 0, at(60));
        sticky.keep(key(9), 9, at(70));
        let seats: Vec<_> = [0, 1, 2, 3, 9].map(|n| sticky.lookup(key(n), at(70))).into();
        assert_eq!(seats, [Some(0), None, Some(2), Some(3), Some(9)]);
    }

    #[test]
    fn thousands_of_sessions_keep_apart() {
        let sticky = SessionTable::new(65_536, Duration::from_secs(600));
        for n in 0..10_000 {
            sticky.keep(key(n), (n % 1_000) as u32, at(1));
        }
        let kept = (0..10_000).filter(|n| sticky.lookup(key(*n), at(2)) == Some((n % 1_000) as u32)).count();
        assert!(kept >= 9_990, "{kept}");
    }
}
