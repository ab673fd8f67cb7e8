//! A small number for each calling thread, to index per-thread data.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// The numbers that ended threads have returned, and the lowest number that was never assigned.
static FREE: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

const NOT_YET: usize = usize::MAX;
/// The number of a thread that is ending and has returned its own. It exceeds every table length.
const NO_MORE: usize = usize::MAX - 1;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NOT_YET) };
    static LEASE: Lease = Lease::new();
}

/// Returns the number of this thread, starting at 0. No two live threads share a number, and the
/// writes of the previous thread with the same number are visible.
///
/// The first call on a thread takes a lock.
#[inline]
pub(crate) fn thread_number() -> usize {
    let number = NUMBER.get();
    if number == NOT_YET { first() } else { number }
}

#[cold]
fn first() -> usize {
    let number = LEASE.try_with(|lease| lease.0).unwrap_or(NO_MORE);
    NUMBER.set(number);
    number
}

/// Returns the number when its thread ends.
struct Lease(usize);

impl Lease {
    fn new() -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(free.0.pop().unwrap_or_else(|| {
            free.1 += 1;
            free.1 - 1
        }))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        NUMBER.set(NO_MORE);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn threads_that_live_have_numbers_of_their_own_and_the_ended_ones_numbers_are_used_again() {
        let mut most = 0;
        for _ in 0..50 {
            let together = Barrier::new(4);
            let mut numbers = std::thread::scope(|scope| {
                let number = || {
                    together.wait();
                    let number = thread_number();
                    together.wait();
                    assert_eq!(number, thread_number());
                    number
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(number)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
            });
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), 4);
            most = most.max(numbers[3]);
        }
        // 200 threads, four at a time; other tests of this process hold some numbers as well.
        assert!(most < 150, "{most}");
    }
}
