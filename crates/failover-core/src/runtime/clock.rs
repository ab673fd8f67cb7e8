//! The only clock: monotonic time for every decision, wall-clock time for display.

use std::fmt;
use std::ops::Add;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::runtime::random::Random;
use crate::runtime::rush::{Rush, Timing};

/// The ticks of a clock in virtual time, in nanoseconds.
const TICK: u64 = 4_000_000;

thread_local! {
    static RUSH: Rush = const { Rush::new() };
}

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
///
/// Its [`Display`](fmt::Display) form names the clocks of the machine that it reads.
///
/// # Rushes
///
/// A reading can cost more than the choice of an endpoint. While one thread
/// [selects](crate::ServiceHandle::select) more than 48 endpoints within one tick of the machine's coarse
/// clock (1 to 10 ms; on Linux, where a reading of it costs less), one call of every eight, drawn at
/// random, is timed and counts as eight in percentiles and histograms. The other seven take the last
/// reading of that tick for the current time. Numbers of calls are exact.
///
/// A call of [`execute`](crate::ServiceHandle::execute) is treated like that if its operation succeeds
/// without ever waiting: the duration on [its record](crate::AttemptRecord::duration) is then zero for the
/// other seven. Its start and deadline are set when it first waits, or when it begins if its attempts may
/// take less than a second.
///
/// Always timed are the calls of a service that has several tiers, watches slow calls or a failure rate, or
/// has seen a failure within the last minute.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    System {
        clock: &'static quanta::Clock,
        start: u64,
        /// Whether the coarse clock saves something.
        coarse: bool,
    },
    Tokio {
        start: tokio::time::Instant,
        /// Tells clocks apart.
        number: u64,
    },
}

impl Clock {
    /// Creates a clock that reads the processor's time stamp counter, or the system's monotonic
    /// clock if the counter is not reliable.
    ///
    /// A reading takes about 12 ns, half of `std::time::Instant::now`; on some virtual machines 40 ns. The
    /// first clock of a process calibrates the counter, which can take some milliseconds.
    pub fn system() -> Self {
        let clock = precise();
        Self(Source::System { clock, start: clock.raw(), coarse: coarse::is_worthwhile(clock) })
    }

    /// Creates a clock that follows tokio's clock, for tests in virtual time. Its wall-clock time
    /// starts at 1970, so that runs are repeatable.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn tokio() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(Source::Tokio { start: tokio::time::Instant::now(), number })
    }

    /// Returns the current time.
    #[inline]
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System { clock, start, .. } => time_of(clock, *start, clock.raw()),
            Source::Tokio { start, .. } => {
                Time(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1)
            }
        }
    }

    /// Returns whether this is the machine's clock, not one in virtual time.
    pub(crate) const fn is_system(&self) -> bool {
        matches!(self.0, Source::System { .. })
    }

    /// Returns the time at which a call begins, and whether it is timed: see [Rushes](Self#rushes).
    #[inline]
    pub(crate) fn begin(&self, random: &Random) -> (Time, Timing) {
        match self.0 {
            Source::System { coarse: false, .. } => (self.now(), Timing::Each),
            Source::System { clock, start, coarse: true } => {
                let (raw, timing) = begin(coarse::tick(), 0, random, || clock.raw());
                (time_of(clock, start, raw), timing)
            }
            Source::Tokio { number, .. } => {
                let now = self.now().0;
                let (read, timing) = begin(now / TICK, number, random, || now);
                (Time(read), timing)
            }
        }
    }

    /// Returns the wall-clock time, for display only; no decision depends on it.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System { .. } => SystemTime::now(),
            Source::Tokio { start, .. } => SystemTime::UNIX_EPOCH + start.elapsed(),
        }
    }
}

/// Returns the time of tokio's clock after this duration, for its timers; `None` if that is beyond its range.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn after(duration: Duration) -> Option<tokio::time::Instant> {
    tokio::time::Instant::now().checked_add(duration)
}

/// Counts a call of this thread that begins in this tick of a clock, and returns its reading or, of a call
/// that is not timed, the last one.
#[inline]
fn begin(tick: u64, clock: u64, random: &Random, read: impl FnOnce() -> u64) -> (u64, Timing) {
    RUSH.with(|rush| {
        let timing = rush.begin(tick, clock, |bound| random.below(bound));
        if timing != Timing::Skipped {
            rush.read.set(read());
        }
        (rush.read.get(), timing)
    })
}

/// The clock of the machine. There is one calibration for a process.
fn precise() -> &'static quanta::Clock {
    static PRECISE: OnceLock<quanta::Clock> = OnceLock::new();
    PRECISE.get_or_init(quanta::Clock::new)
}

#[inline]
fn time_of(clock: &quanta::Clock, start: u64, raw: u64) -> Time {
    Time(clock.delta_as_nanos(start, raw) + 1)
}

/// Any number of readings that a counter would not take for as many nanoseconds.
const SOME: u64 = 1 << 40;

/// For example `the time stamp counter, and the coarse clock in a rush`.
impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source::System { clock, coarse, .. } = &self.0 else { return f.write_str("tokio's clock") };
        // A reading of the monotonic clock is in nanoseconds; no counter runs at exactly that rate.
        let is_counter = clock.delta_as_nanos(1, SOME) != SOME - 1;
        f.write_str(if is_counter { "the time stamp counter" } else { "the monotonic clock" })?;
        f.write_str(if *coarse { ", and the coarse clock in a rush" } else { "" })
    }
}

/// The coarse clock, which advances by a tick of the kernel at a time.
#[cfg(target_os = "linux")]
mod coarse {
    use nix::time::ClockId;

    use super::OnceLock;

    /// The number of readings that are compared, and how often.
    const READINGS: u32 = 32;
    const ROUNDS: u32 = 5;

    /// Returns a number that differs between two ticks.
    #[inline]
    pub(super) fn tick() -> u64 {
        let now = ClockId::CLOCK_MONOTONIC_COARSE.now();
        // Nanoseconds have 30 bits. The clock is there: `is_worthwhile` has read it.
        now.map_or(0, |now| (now.tv_sec() as u64) << 30 | now.tv_nsec() as u64)
    }

    /// Returns whether a coarse reading costs less than a precise one: where it is a system call, it costs
    /// more.
    pub(super) fn is_worthwhile(clock: &quanta::Clock) -> bool {
        static FOUND: OnceLock<bool> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let took = |read: &dyn Fn() -> u64| {
                let round = |_| {
                    let began = clock.raw();
                    (0..READINGS).for_each(|_| {
                        std::hint::black_box(read());
                    });
                    clock.delta_as_nanos(began, clock.raw())
                };
                (0..ROUNDS).map(round).min().unwrap_or(0)
            };
            tick() > 0 && took(&tick) < took(&|| clock.raw())
        })
    }
}

/// There is no coarse clock.
#[cfg(not(target_os = "linux"))]
mod coarse {
    pub(super) const fn tick() -> u64 {
        0
    }

    pub(super) const fn is_worthwhile(_: &quanta::Clock) -> bool {
        false
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
