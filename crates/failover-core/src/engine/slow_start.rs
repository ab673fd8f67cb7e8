//! Slow start: how traffic ramps up to a new or recovered endpoint.

use std::time::Duration;

use crate::config::SlowStartConfig;

/// The minimum share.
const MIN_SHARE: f64 = 0.1;

/// Envoy's slow start: `max(0.1, (t / window)^(1 / aggression))` of the full share, `t` after the
/// endpoint entered rotation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowStart {
    pub(crate) window: Duration,
    exponent: f64,
}

impl From<&SlowStartConfig> for SlowStart {
    fn from(config: &SlowStartConfig) -> Self {
        Self { window: config.window(), exponent: 1.0 / config.aggression() }
    }
}

impl SlowStart {
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        !self.window.is_zero()
    }

    /// Returns the part of the full share, 0.1 to 1, at this time after the endpoint entered
    /// rotation.
    pub(crate) fn part(&self, after: Duration) -> f64 {
        if after >= self.window {
            return 1.0;
        }
        let after = after.max(Duration::from_millis(1));
        (after.as_secs_f64() / self.window.as_secs_f64()).powf(self.exponent).clamp(MIN_SHARE, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_of_envoy() {
        let part = |window: u64, aggression: f64, after: u64| {
            let window = Duration::from_secs(window);
            SlowStart { window, exponent: 1.0 / aggression }.part(Duration::from_secs(after))
        };
        let table = [
            (60, 1.0, 0, 0.1),
            (60, 1.0, 6, 0.1),
            (60, 1.0, 30, 0.5),
            (60, 1.0, 60, 1.0),
            (60, 1.0, 9_999, 1.0),
            (100, 2.0, 25, 0.5),
            (100, 0.5, 50, 0.25),
        ];
        for (window, aggression, after, expected) in table {
            let found = part(window, aggression, after);
            assert!((found - expected).abs() < 1e-9, "{window} {aggression} {after}: {found}");
        }
    }
}
