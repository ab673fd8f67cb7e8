//! How often a server is asked: pure functions of what happened and of the time.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The time of the runtime, which tests can pause.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place where this crate reads the clock, in the runtime's time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A number from 0 up to 1, different in each process and each time.
pub(crate) fn unit() -> f64 {
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A time that is jittered by a tenth in either direction.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * unit())
}

/// How long to wait after failures.
///
/// For the first 25 s a server that comes back is found within 4 s; after that the time doubles up to 30 s, so that ten
/// minutes of outage cost at most 40 requests. Half of each time is random at first, and then a tenth: together that is enough that
/// clients do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    began: Option<Instant>,
    failures: u32,
    /// Failures after the first 25 s.
    late: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const SOON: Duration = Duration::from_secs(4);
    const YOUNG: Duration = Duration::from_secs(25);
    const MOST: Duration = Duration::from_secs(30);

    /// After one more failure; `unit` is random, from 0 to 1.
    pub(crate) fn after_failure(&mut self, now: Instant, unit: f64) -> Duration {
        let began = *self.began.get_or_insert(now);
        let (whole, random) = if now.duration_since(began) < Self::YOUNG {
            (Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::SOON), 0.5)
        } else {
            self.late = self.late.saturating_add(1);
            (Self::SOON.saturating_mul(1 << self.late.min(10)).min(Self::MOST), 0.1)
        };
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - random + random * unit)
    }

    /// After a good answer.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// How long to wait after a good answer, so that a service that changes all the time does not cost a request for each change.
///
/// Two answers may come at once; after that the next request waits. Answers that say nothing new again and again, and large
/// ones, make it wait longer.
#[derive(Debug)]
pub(crate) struct Limiter {
    tokens: f64,
    at: Option<Instant>,
    spacing: Duration,
    /// Answers in a row that said nothing new.
    idle: u32,
}

impl Limiter {
    const BURST: f64 = 2.0;
    const SPACING: Duration = Duration::from_millis(600);
    const MOST: Duration = Duration::from_secs(10);
    /// So many say nothing new before it is taken for more than a coincidence.
    const PATIENCE: u32 = 3;
    /// A large answer is worth about as much time as it takes to read.
    const BYTES_A_SECOND: f64 = (1 << 20) as f64;

    pub(crate) fn new() -> Self {
        Self { tokens: Self::BURST, at: None, spacing: Self::SPACING, idle: 0 }
    }

    /// After an answer of so many bytes that said something new, or not.
    pub(crate) fn after_answer(&mut self, now: Instant, bytes: usize, news: bool) -> Duration {
        if let Some(at) = self.at {
            let passed = now.duration_since(at);
            self.tokens = (self.tokens + passed.as_secs_f64() / self.spacing.as_secs_f64()).min(Self::BURST);
            // Whatever made it hurry is over.
            if passed > Self::MOST {
                self.idle = 0;
            }
        }
        self.at = Some(now);
        self.idle = if news { 0 } else { self.idle.saturating_add(1) };
        let least = Self::SPACING.max(Duration::from_secs_f64(bytes as f64 / Self::BYTES_A_SECOND));
        let doublings = self.idle.saturating_sub(Self::PATIENCE).min(10);
        self.spacing = least.saturating_mul(1 << doublings).min(Self::MOST);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 { Duration::ZERO } else { self.spacing.mul_f64(-self.tokens) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_spread_over_the_unit() {
        let all: Vec<_> = (0..1000).map(|_| unit()).collect();
        assert!(all.iter().all(|u| (0.0..1.0).contains(u)));
        let low = all.iter().filter(|u| **u < 0.5).count();
        assert!((300..700).contains(&low), "{low}");
    }

    #[test]
    fn a_server_that_is_back_soon_is_found_soon_and_a_long_outage_costs_few_requests() {
        for unit in [0.0, 0.5, 1.0] {
            let (begin, mut backoff, mut requests) = (now(), Backoff::default(), 0);
            let mut at = begin;
            while at.duration_since(begin) < Duration::from_secs(600) {
                requests += 1;
                let pause = backoff.after_failure(at, unit);
                let young = at.duration_since(begin) < Duration::from_secs(25);
                assert!(pause <= Duration::from_secs(if young { 4 } else { 30 }));
                at += pause;
            }
            assert!(requests <= 40, "{requests} requests in ten minutes at {unit}");
        }
    }

    /// R2: of a thousand clients that lost their server together few come back together.
    #[test]
    fn clients_do_not_come_back_together() {
        for outage in [10, 30, 60, 120, 300, 600] {
            let begin = now();
            let end = begin + Duration::from_secs(outage);
            let mut slots = std::collections::HashMap::new();
            for _ in 0..1000 {
                let (mut backoff, mut at) = (Backoff::default(), begin);
                while at < end {
                    at += backoff.after_failure(at, unit());
                }
                *slots.entry(at.duration_since(end).as_millis() / 100).or_insert(0) += 1;
            }
            let most = slots.values().max().copied().unwrap_or(0);
            assert!(most <= 60, "{most} of 1000 within 100 ms after {outage} s");
        }
    }

    /// Requests in this many seconds when each answer comes at once.
    fn requests(seconds: u64, bytes: usize, news: bool) -> usize {
        let (begin, mut limiter, mut count) = (now(), Limiter::new(), 0);
        let mut at = begin;
        while at.duration_since(begin) < Duration::from_secs(seconds) {
            count += 1;
            at += limiter.after_answer(at, bytes, news) + Duration::from_millis(1);
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
        let (mut at, mut limiter) = (now(), Limiter::new());
        for _ in 0..20 {
            assert_eq!(limiter.after_answer(at, 1000, true), Duration::ZERO);
            at += Duration::from_secs(2);
        }
    }
}
