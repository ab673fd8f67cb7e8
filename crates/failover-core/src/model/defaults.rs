//! The defaults of the model, each with its allowed range. Those of the configuration are in
//! `config::defaults`.

use std::ops::RangeInclusive;
use std::time::Duration;

// Health checks.
pub(crate) const PROBE_PATH: &str = "/";
pub(crate) const PROBE_METHOD: &str = "GET";
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const PROBE_INTERVAL_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const PROBE_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(300);
pub(crate) const HEALTHY_THRESHOLD: u32 = 2;
pub(crate) const UNHEALTHY_THRESHOLD: u32 = 3;
pub(crate) const PROBE_THRESHOLD_RANGE: RangeInclusive<u32> = 1..=100;

// Endpoints.
pub(crate) const WEIGHT: u32 = 1;
pub(crate) const PROTOCOL: &str = "tcp";
