//! The only clock: monotonic time for every decision, wall-clock time for display.

use std::ops::Add;
use std::time::{Duration, SystemTime};

/// A point in monotonic time, as read from a [`Clock`].
///
/// Times of one clock, and of its clones, can be compared. Adding a [`Duration`] saturates.
// Nanoseconds since the clock was created, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// A time later than any that is reached.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the duration since `earlier`, or zero if `self` is not later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Like [`since`](Self::since), in nanoseconds: avoids the division of a `Duration` in every
    /// call.
    #[inline]
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the latest representable time.
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// A source of time for services.
///
/// [`Clock::system`] is for production. [`Clock::tokio`] follows tokio's clock, which a test can
/// pause and advance, so that breakers, timeouts and back-off run in virtual time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Tsc { clock: quanta::Clock, start: u64 },
    Tokio { start: tokio::time::Instant },
}

impl Clock {
    /// Creates a clock that reads the processor's time stamp counter, or the system's monotonic
    /// clock if the counter is not reliable.
    ///
    /// A reading takes about 12 ns, half of `std::time::Instant::now`. The first clock of a process
    /// calibrates the counter, which can take some milliseconds.
    pub fn system() -> Self {
        let clock = quanta::Clock::new();
        let start = clock.raw();
        Self(Source::Tsc { clock, start })
    }

    /// Creates a clock that follows tokio's clock, for tests in virtual time. Its wall-clock time
    /// starts at 1970, so that runs are repeatable.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn tokio() -> Self {
        Self(Source::Tokio { start: tokio::time::Instant::now() })
    }

    /// Returns the current time.
    #[inline]
    pub fn now(&self) -> Time {
        let nanos = match &self.0 {
            Source::Tsc { clock, start } => clock.delta_as_nanos(*start, clock.raw()),
            Source::Tokio { start } => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1),
        };
        Time(nanos + 1)
    }

    /// Returns the wall-clock time, for display only; no decision depends on it.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::Tsc { .. } => SystemTime::now(),
            Source::Tokio { start } => SystemTime::UNIX_EPOCH + start.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_forward() {
        let clock = Clock::system();
        let first = clock.now();
        let mut last = first;
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(first.as_nanos() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_follows_paused_time() {
        let clock = Clock::tokio();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(3600));
    }

    #[test]
    fn time_saturates() {
        assert_eq!(Time(5) + Duration::MAX, Time::NEVER);
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
    }
}
