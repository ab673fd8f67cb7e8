//! Core's clock and randomness as timers and jitter.

use std::time::Duration;

use failover_core::{Clock, Random, Time};

/// A clock and a source of randomness, with the timers and jitter that providers need.
///
/// Cloning it shares both.
///
/// ```
/// use std::time::Duration;
/// use failover_provider_kit::Timing;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let timing = Timing::tokio();
/// let begin = timing.now();
/// tokio::time::sleep(timing.jittered(Duration::from_millis(10), 0.2)).await; // 8 to 12 ms
/// assert!(timing.now().since(begin) >= Duration::from_millis(8));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Timing {
    clock: Clock,
    random: Random,
}

impl Timing {
    /// Creates a timing from its parts, such as a seeded [`Random`] in a test.
    pub fn new(clock: Clock, random: Random) -> Self {
        Self { clock, random }
    }

    /// Creates a timing with the clock of tokio's timers and a generator seeded by the operating
    /// system.
    ///
    /// Providers use this one: computed pauses and timers agree, even while a test has paused the
    /// runtime's time.
    pub fn tokio() -> Self {
        Self::new(Clock::tokio(), Random::system())
    }

    /// Returns the current time. It is monotonic.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Returns a random number from 0 to just below 1.
    pub fn unit(&self) -> f64 {
        self.random.unit()
    }

    /// Returns 64 random bits, to distinguish processes. They are not fit for secrets.
    pub fn bits(&self) -> u64 {
        let half = || u64::from(self.random.below(1 << 16)) << 16 | u64::from(self.random.below(1 << 16));
        half() << 32 | half()
    }

    /// Returns `duration`, changed randomly by at most `share` of it in either direction.
    ///
    /// `share` ranges from 0 to 1.
    pub fn jittered(&self, duration: Duration, share: f64) -> Duration {
        duration.mul_f64(1.0 - share + 2.0 * share * self.unit())
    }

    /// Waits until `until`, or not at all if that has passed.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future leaves nothing behind.
    pub async fn sleep_until(&self, until: Time) {
        tokio::time::sleep(until.since(self.now())).await;
    }

    /// Runs `future` until `until`, and returns `None` if it is not done by then.
    ///
    /// # Cancel safety
    ///
    /// As safe as `future` itself.
    pub async fn timeout_at<T>(&self, until: Time, future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(until.since(self.now()), future).await.ok()
    }
}

impl Default for Timing {
    /// Returns [`Timing::tokio`].
    fn default() -> Self {
        Self::tokio()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_share_and_differs() {
        let (timing, second) = (Timing::new(Clock::tokio(), Random::seeded(1)), Duration::from_secs(1));
        let all: Vec<_> = (0..1000).map(|_| timing.jittered(second, 0.2)).collect();
        assert!(all.iter().all(|one| (0.8..=1.2).contains(&one.as_secs_f64())));
        assert!(all.iter().any(|one| *one != all[0]));
    }

    #[test]
    fn random_bits_differ_in_both_halves() {
        let timing = Timing::tokio();
        let (one, two) = (timing.bits(), timing.bits());
        assert_ne!((one >> 32, one as u32), (two >> 32, two as u32));
        let any = (0..64).fold(0, |any, _| any | timing.bits());
        assert_eq!(any, u64::MAX, "every bit is set at times");
    }

    #[tokio::test(start_paused = true)]
    async fn timers_go_by_the_paused_clock() {
        let timing = Timing::tokio();
        let begin = timing.now();
        timing.sleep_until(begin + Duration::from_secs(60)).await;
        assert!(timing.now().since(begin) >= Duration::from_secs(60));
        timing.sleep_until(begin).await;
        let late = timing.timeout_at(timing.now() + Duration::from_secs(1), std::future::pending::<()>());
        assert_eq!(late.await, None);
        assert_eq!(timing.timeout_at(begin, async { 7 }).await, Some(7), "what is ready is not late");
    }
}
