//! Which endpoint a session is on.
//!
//! A table of fixed size, one word for a session: a part of the hash of its key, its cell, and when it was used last.
//! A session has four places where it can stand; the one that was used least of late makes room. Nothing waits, locks
//! or allocates. Two sessions with the same 24 bits of hash in the same four places are taken for one, which puts them
//! on the same endpoint: with all places taken that is one in four million.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime::clock::Time;

/// Places of one session.
const WAYS: usize = 4;
/// Bits of a word, from the lowest: when it was used 20, cell 20, hash 24.
const USED: u32 = 20;
const USED_MASK: u64 = (1 << USED) - 1;
const CELL: u32 = 20;
const CELL_MASK: u64 = (1 << CELL) - 1;
const TAG_AT: u32 = USED + CELL;

#[derive(Debug)]
pub(crate) struct SessionTable {
    /// A power of two of them. 0 is a free place.
    places: Box<[AtomicU64]>,
    ttl: Duration,
    /// What the time of use is counted in: fine enough for a 64th of the time limit, so that a session that is busy
    /// writes seldom.
    tick: Duration,
}

impl SessionTable {
    pub(crate) fn new(sessions: u32, ttl: Duration) -> Self {
        let places = (sessions as usize).next_power_of_two().max(WAYS);
        let tick = (ttl / 64).max(Duration::from_millis(1));
        Self { places: (0..places).map(|_| AtomicU64::new(0)).collect(), ttl, tick }
    }

    /// Whether it is of that size.
    pub(crate) fn is_of(&self, sessions: u32, ttl: Duration) -> bool {
        self.ttl == ttl && self.places.len() == (sessions as usize).next_power_of_two().max(WAYS)
    }

    /// The cell that the session was on last, if that is not too long ago.
    #[inline]
    pub(crate) fn lookup(&self, key: u64, now: Time) -> Option<u32> {
        let (ways, tag) = self.ways(key);
        let word =
            ways.iter().map(|place| place.load(Ordering::Relaxed)).find(|word| word >> TAG_AT == tag)?;
        let fresh = self.tick * self.age(word, now) <= self.ttl;
        fresh.then_some(((word >> USED) & CELL_MASK) as u32)
    }

    /// The session is on this cell now. One beyond the millionth is not kept.
    #[inline]
    pub(crate) fn keep(&self, key: u64, state: u32, now: Time) {
        if u64::from(state) > CELL_MASK {
            return;
        }
        let (ways, tag) = self.ways(key);
        let word = (tag << TAG_AT) | (u64::from(state) << USED) | self.stamp(now);
        let old = ways.iter().map(|place| (place, place.load(Ordering::Relaxed)));
        // Its own place, or a free one, or that of the session that was used least of late.
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

    /// The places of a session, and its part of the hash, which is never 0.
    #[inline]
    fn ways(&self, key: u64) -> (&[AtomicU64], u64) {
        let set = (key as usize & (self.places.len() - 1)) / WAYS * WAYS;
        (&self.places[set..set + WAYS], (key >> TAG_AT).max(1))
    }

    fn stamp(&self, now: Time) -> u64 {
        (now.as_nanos() / self.tick.as_nanos() as u64) & USED_MASK
    }

    /// How many ticks ago it was used. The count goes round after 16 000 time limits; a session that old looks new.
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
