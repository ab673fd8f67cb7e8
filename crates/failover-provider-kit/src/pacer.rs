//! Pauses after answers: a pure function of the answers and their times.

use std::time::Duration;

use failover_core::Time;

/// Spaces requests, so that a service that changes continuously does not cost one request per
/// change.
///
/// For watches that send a request after each answer, such as blocking queries. Two requests may
/// follow immediately; after that, requests are 600 ms apart. A large answer increases this spacing
/// to 1 s per MiB, and each consecutive repetition from the 4th on doubles it, up to 10 s.
///
/// ```
/// use std::time::Duration;
/// use failover_provider_kit::{RequestPacer, Timing};
///
/// let (mut pacer, now) = (RequestPacer::new(), Timing::tokio().now());
/// assert_eq!(pacer.after_answer(now, 1000, true), Duration::ZERO);
/// assert_eq!(pacer.after_answer(now, 1000, true), Duration::ZERO);
/// assert!(pacer.after_answer(now, 1000, true) > Duration::from_millis(500));
/// ```
#[derive(Clone, Debug)]
pub struct RequestPacer {
    tokens: f64,
    last: Option<Time>,
    spacing: Duration,
    /// Consecutive answers without a change.
    repetitions: u32,
}

impl RequestPacer {
    const BURST: f64 = 2.0;
    const SPACING: Duration = Duration::from_millis(600);
    const MAX_SPACING: Duration = Duration::from_secs(10);
    /// This many repetitions can be a coincidence.
    const PATIENCE: u32 = 3;
    /// Roughly the time to read an answer.
    const BYTES_PER_SECOND: f64 = (1 << 20) as f64;

    /// Creates a pacer without answers.
    pub const fn new() -> Self {
        Self { tokens: Self::BURST, last: None, spacing: Self::SPACING, repetitions: 0 }
    }

    /// Counts an answer of this many bytes, and returns how long to wait before the next request.
    /// `is_new` says whether it differs from the one before.
    pub fn after_answer(&mut self, now: Time, bytes: usize, is_new: bool) -> Duration {
        if let Some(last) = self.last {
            let passed = now.since(last);
            let gained = passed.as_secs_f64() / self.spacing.as_secs_f64();
            self.tokens = (self.tokens + gained).min(Self::BURST);
            // The period of frequent answers is over.
            if passed > Self::MAX_SPACING {
                self.repetitions = 0;
            }
        }
        self.last = Some(now);
        self.repetitions = if is_new { 0 } else { self.repetitions.saturating_add(1) };
        let least = Self::SPACING.max(Duration::from_secs_f64(bytes as f64 / Self::BYTES_PER_SECOND));
        let doublings = self.repetitions.saturating_sub(Self::PATIENCE).min(10);
        self.spacing = least.saturating_mul(1 << doublings).min(Self::MAX_SPACING);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { self.spacing.mul_f64(-self.tokens) }
    }
}

impl Default for RequestPacer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timing;

    /// Returns the number of requests in this many seconds if each is answered immediately.
    fn requests(seconds: u64, bytes: usize, is_new: bool) -> usize {
        let (begin, mut pacer, mut count) = (Timing::tokio().now(), RequestPacer::new(), 0);
        let mut at = begin;
        while at.since(begin) < Duration::from_secs(seconds) {
            count += 1;
            at = at + pacer.after_answer(at, bytes, is_new) + Duration::from_millis(1);
        }
        count
    }

    #[test]
    fn answers_that_come_at_once_are_spaced() {
        assert!(requests(10, 1000, false) <= 10, "the same again: {}", requests(10, 1000, false));
        let changing = requests(60, 1000, true);
        assert!((90..=120).contains(&changing), "a change each time: {changing} in a minute");
        assert!(requests(60, 5 << 20, true) <= 15, "large ones: {}", requests(60, 5 << 20, true));
    }

    #[test]
    fn a_change_after_quiet_is_answered_by_the_next_request_at_once() {
        let (mut at, mut pacer) = (Timing::tokio().now(), RequestPacer::new());
        for _ in 0..20 {
            assert_eq!(pacer.after_answer(at, 1000, true), Duration::ZERO);
            at = at + Duration::from_secs(2);
        }
    }
}
