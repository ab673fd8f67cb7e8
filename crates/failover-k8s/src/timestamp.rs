//! Time and jitter: the only place that asks for them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Monotonic time, which every decision uses; tests can pause it.
#[allow(clippy::disallowed_methods, reason = "the one place; it is tokio's clock, which tests pause")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock as Kubernetes writes times with microseconds. For people: nothing is decided by it.
pub(crate) fn stamp() -> String {
    format!("{:.6}", Timestamp::now())
}

/// A number from 0 to 1, another one each time. It spreads load and keeps no secret.
pub(crate) fn unit() -> f64 {
    // Each state has keys of its own.
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// 64 random bits, to tell processes apart.
pub(crate) fn bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A duration that is off by at most this share, at random.
pub(crate) fn jittered(duration: Duration, share: f64) -> Duration {
    duration.mul_f64(1.0 - share + 2.0 * share * unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_microseconds_as_kubernetes_wants_them() {
        let stamp = stamp();
        assert_eq!(stamp.len(), "2026-11-24T12:00:00.000000Z".len(), "{stamp}");
        assert!(stamp.ends_with('Z') && stamp.as_bytes()[19] == b'.', "{stamp}");
    }

    #[test]
    fn jitter_stays_within_its_share_and_differs() {
        let second = Duration::from_secs(1);
        let all: Vec<_> = (0..1000).map(|_| jittered(second, 0.2)).collect();
        assert!(all.iter().all(|one| (0.8..=1.2).contains(&one.as_secs_f64())));
        assert!(all.iter().any(|one| *one != all[0]));
    }
}
