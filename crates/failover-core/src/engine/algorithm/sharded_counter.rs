//! The turn counter: one counter shared by all threads, from which threads draw batches under
//! contention.
//!
//! While several threads take more than a million turns a second, the counter's cache line moves
//! between cores with each turn, which costs as much as the rest of a pick. Under such contention a
//! thread draws [`BATCH`] turns at once and uses them up before it draws again. The turns of a
//! batch are consecutive, so the call counts of two endpoints differ by at most one, plus one per
//! thread with unused turns. Without contention each turn follows the previous one, on any thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::engine::algorithm::thread_index::thread_number;
use crate::runtime::clock::Time;

/// The number of turns that a thread draws at once under contention.
const BATCH: u64 = 16;
/// Average interval between increments, in nanoseconds, below which the counter counts as
/// contended, if more than one thread takes turns.
const RUSH: u64 = 1_000;
/// One in `LOOK` turns checks for contention.
const LOOK: u64 = 64;
/// The number of threads that can draw batches; other threads draw single turns. A power of two.
const PLACES: usize = 32;

/// The turn counter of one service.
#[derive(Debug)]
pub(crate) struct ShardedCounter {
    contended: AtomicBool,
    counter: CachePadded<AtomicU64>,
    /// The time of the last check, and in the lowest bits the number of the thread that made it.
    looked: CachePadded<AtomicU64>,
    places: Box<[CachePadded<Shard>; PLACES]>,
}

/// A value on its own cache lines, because it is written by every call of its writers.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CachePadded<T>(T);

/// The batch of one thread. No other thread writes it, so the updates need not be atomic as a
/// whole.
#[derive(Debug, Default)]
struct Shard {
    /// The next unused turn of the batch, and the end of the batch.
    next: AtomicU64,
    end: AtomicU64,
    /// When the batch was drawn.
    when: AtomicU64,
}

impl ShardedCounter {
    pub(crate) fn from(first: u64) -> Self {
        Self {
            contended: AtomicBool::new(false),
            counter: CachePadded(AtomicU64::new(first)),
            looked: CachePadded::default(),
            places: Box::default(),
        }
    }

    /// Returns the next turn for this thread.
    #[inline]
    pub(crate) fn take(&self, now: Time) -> u64 {
        self.take_as(thread_number, now)
    }

    #[inline]
    fn take_as(&self, thread: impl Fn() -> usize, now: Time) -> u64 {
        if self.contended.load(Ordering::Relaxed) {
            return self.batch(thread(), now);
        }
        let turn = self.counter.0.fetch_add(1, Ordering::Relaxed);
        // The checks are scattered, so that two threads that alternate both make some of them.
        if turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) < u64::MAX / LOOK {
            self.look(thread(), now);
        }
        turn
    }

    /// Detects contention: the previous check was made by another thread a short time ago.
    #[cold]
    fn look(&self, thread: usize, now: Time) {
        if thread >= PLACES {
            return;
        }
        let looked = self.looked.0.swap(now.as_nanos() * PLACES as u64 + thread as u64, Ordering::Relaxed);
        let since = now.as_nanos().saturating_sub(looked / PLACES as u64);
        let other = looked > 0 && looked % PLACES as u64 != thread as u64;
        if other && since < LOOK * RUSH {
            self.contended.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the next turn of a thread under contention.
    #[inline(never)]
    fn batch(&self, thread: usize, now: Time) -> u64 {
        let Some(CachePadded(place)) = self.places.get(thread) else {
            return self.counter.0.fetch_add(1, Ordering::Relaxed);
        };
        let (next, end) = (place.next.load(Ordering::Relaxed), place.end.load(Ordering::Relaxed));
        if next < end {
            place.next.store(next + 1, Ordering::Relaxed);
            return next;
        }
        let turn = self.counter.0.fetch_add(BATCH, Ordering::Relaxed);
        place.next.store(turn + 1, Ordering::Relaxed);
        place.end.store(turn + BATCH, Ordering::Relaxed);
        let when = place.when.load(Ordering::Relaxed);
        place.when.store(now.as_nanos(), Ordering::Relaxed);
        // Even the maximum number of contending threads draws batches faster than this. And a
        // thread that drew two batches in a row is the only one.
        let slow = now.as_nanos().saturating_sub(when) > BATCH * RUSH * PLACES as u64;
        if slow && when > 0 || turn == end {
            self.contended.store(false, Ordering::Relaxed);
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Takes `count` turns, one every `each` nanoseconds starting at `from`, by two alternating
    /// threads.
    fn by_two(turns: &ShardedCounter, count: u64, from: u64, each: u64) -> Vec<u64> {
        let one = |n: u64| turns.take_as(|| n as usize % 2, Time::from_nanos(from + n * each));
        (0..count).map(one).collect()
    }

    fn follow_each_other(taken: &[u64]) -> bool {
        taken.windows(2).all(|pair| pair[1] == pair[0] + 1)
    }

    /// Whether no turn was taken twice, and at most the unused turns of two threads are missing.
    fn none_is_lost(turns: &ShardedCounter, mut taken: Vec<u64>) -> bool {
        let left = turns.counter.0.load(Ordering::Relaxed) - taken.len() as u64;
        taken.sort_unstable();
        taken.windows(2).all(|pair| pair[0] < pair[1]) && left < 2 * BATCH
    }

    #[test]
    fn one_thread_takes_one_after_the_other_however_fast() {
        let turns = ShardedCounter::from(5);
        let taken: Vec<_> = (0..10_000).map(|_| turns.take_as(|| 0, Time::from_nanos(SECOND))).collect();
        assert_eq!(taken, (5..10_005).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_rush_turns_follow_each_other_on_any_threads() {
        let turns = ShardedCounter::from(0);
        assert_eq!(by_two(&turns, 10_000, SECOND, 2 * RUSH), (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn threads_without_a_place_take_one_by_one_in_a_rush_as_well() {
        let turns = ShardedCounter::from(0);
        let now = Time::from_nanos(SECOND);
        turns.contended.store(true, Ordering::Relaxed);
        let taken: Vec<_> = (0..200).map(|n| turns.take_as(|| PLACES + n % 2, now)).collect();
        assert_eq!(taken, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn in_a_rush_a_thread_draws_some_ahead_and_none_are_lost() {
        let turns = ShardedCounter::from(0);
        let mut taken = by_two(&turns, 10_000, SECOND, 20);
        assert!(turns.contended.load(Ordering::Relaxed));
        let last: Vec<_> = taken[9_900..].iter().copied().step_by(2).collect();
        let breaks = last.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        assert!((2..=4).contains(&breaks), "{last:?}");
        // Later there is no contention any more, and turns are drawn one by one again.
        taken.extend(by_two(&turns, 100, 2 * SECOND, RUSH));
        assert!(follow_each_other(&taken[10_050..]) && !turns.contended.load(Ordering::Relaxed), "{taken:?}");
        assert!(none_is_lost(&turns, taken));
    }

    #[test]
    fn a_thread_that_is_left_alone_is_in_no_rush() {
        let turns = ShardedCounter::from(0);
        by_two(&turns, 10_000, SECOND, 20);
        let alone = |n: u64| turns.take_as(|| 0, Time::from_nanos(SECOND + (10_000 + n) * 20));
        let taken: Vec<_> = (0..100).map(alone).collect();
        assert!(follow_each_other(&taken[50..]) && !turns.contended.load(Ordering::Relaxed), "{taken:?}");
    }

    #[test]
    fn threads_that_race_never_get_the_same_turn_and_leave_few() {
        let turns = ShardedCounter::from(0);
        let clock = crate::runtime::clock::Clock::system();
        let mut taken: Vec<_> = std::thread::scope(|scope| {
            let work = || (0..20_000).map(|_| turns.take(clock.now())).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        taken.sort_unstable();
        assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(taken[79_999] < 80_000 + 4 * BATCH, "{}", taken[79_999]);
    }
}
