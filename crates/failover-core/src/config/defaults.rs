//! All defaults, each with its allowed range.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::{ProbePolicy, StrategyKind};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

// The whole call.
pub(crate) const STRATEGY: StrategyKind = StrategyKind::RoundRobin;
pub(crate) const HEALTH_CHECK: bool = false;
pub(crate) const PROBE: ProbePolicy = ProbePolicy::Auto;
pub(crate) const MAX_RETRIES: u32 = 2;
pub(crate) const MAX_RETRIES_RANGE: RangeInclusive<u32> = 0..=20;
pub(crate) const RETRY_DELAY: Duration = ms(25);
pub(crate) const RETRY_DELAY_RANGE: RangeInclusive<Duration> = Duration::ZERO..=secs(5 * MINUTE);
pub(crate) const TIMEOUT: Duration = secs(30);
pub(crate) const TIMEOUT_RANGE: RangeInclusive<Duration> = ms(1)..=secs(DAY);
pub(crate) const FAIL_FAST: bool = false;
pub(crate) const EMPTY_HOLD: Duration = secs(5 * MINUTE);
pub(crate) const REMOVAL_SHARE: f64 = 0.5;
pub(crate) const REMOVAL_SHARE_RANGE: RangeInclusive<f64> = 0.01..=1.0;
pub(crate) const REMOVAL_GRACE: Duration = secs(5 * MINUTE);
pub(crate) const REMOVAL_GRACE_RANGE: RangeInclusive<Duration> = EMPTY_HOLD_RANGE;
pub(crate) const EMPTY_HOLD_RANGE: RangeInclusive<Duration> = ms(1)..=secs(7 * DAY);

// The circuit breaker.
pub(crate) const BREAKER_ENABLED: bool = true;
pub(crate) const FAILURE_THRESHOLD: u32 = 5;
pub(crate) const FAILURE_RATE_RANGE: RangeInclusive<f64> = 0.01..=1.0;
pub(crate) const FAILURE_RATE_WINDOW: Duration = secs(20);
pub(crate) const FAILURE_RATE_WINDOW_RANGE: RangeInclusive<Duration> = secs(1)..=secs(HOUR);
pub(crate) const FAILURE_RATE_ATTEMPTS: u32 = 20;
pub(crate) const RECOVERY_TIMEOUT: Duration = secs(5);
pub(crate) const MAX_RECOVERY_TIMEOUT: Duration = secs(60);
/// For both recovery timeouts and for the wait of a half-open breaker.
pub(crate) const RECOVERY_RANGE: RangeInclusive<Duration> = ms(10)..=secs(HOUR);
pub(crate) const JITTER: f64 = 0.2;
pub(crate) const JITTER_RANGE: RangeInclusive<f64> = 0.0..=1.0;
pub(crate) const HALF_OPEN_MAX_WAIT: Duration = secs(30);
/// For the breaker's thresholds and half-open calls.
pub(crate) const BREAKER_COUNT_RANGE: RangeInclusive<u32> = 1..=10_000;
pub(crate) const MIN_AVAILABLE: u32 = 1;
pub(crate) const MAX_EJECTED: f64 = 0.5;
pub(crate) const MAX_EJECTED_RANGE: RangeInclusive<f64> = 0.001..=1.0;
pub(crate) const FREEZE: Duration = secs(30);
pub(crate) const FREEZE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=secs(HOUR);
pub(crate) const MIN_AVAILABLE_RANGE: RangeInclusive<u32> = 0..=10_000;

// The load balancer.
/// For the calls in flight to one endpoint.
pub(crate) const IN_FLIGHT_RANGE: RangeInclusive<u32> = 1..=1_000_000;
pub(crate) const STICKY: bool = false;
pub(crate) const STICKY_TTL: Duration = secs(30 * MINUTE);
pub(crate) const STICKY_TTL_RANGE: RangeInclusive<Duration> = secs(1)..=secs(DAY);
pub(crate) const STICKY_DRAIN: Duration = Duration::ZERO;
pub(crate) const STICKY_DRAIN_RANGE: RangeInclusive<Duration> = Duration::ZERO..=secs(HOUR);
pub(crate) const STICKY_SESSIONS: u32 = 65_536;
pub(crate) const STICKY_SESSIONS_RANGE: RangeInclusive<u32> = 4..=4_194_304;

// Routing when endpoints are unavailable or new.
pub(crate) const PANIC_THRESHOLD: u32 = 0;
pub(crate) const PANIC_THRESHOLD_RANGE: RangeInclusive<u32> = 0..=100;
pub(crate) const SLOW_START: Duration = Duration::ZERO;
pub(crate) const ZONE_WEIGHT_RANGE: RangeInclusive<u32> = 0..=65_535;
pub(crate) const MAX_ZONES: usize = 64;
pub(crate) const SLOW_START_RANGE: RangeInclusive<Duration> = Duration::ZERO..=secs(HOUR);
pub(crate) const AGGRESSION: f64 = 1.0;
pub(crate) const AGGRESSION_RANGE: RangeInclusive<f64> = 0.1..=10.0;

// The waits between retries.
pub(crate) const MULTIPLIER: f64 = 2.0;
pub(crate) const MULTIPLIER_RANGE: RangeInclusive<f64> = 1.0..=10.0;
pub(crate) const MAX_DELAY: Duration = ms(250);
pub(crate) const MAX_DELAY_RANGE: RangeInclusive<Duration> = RETRY_DELAY_RANGE;

// The retry budget.
pub(crate) const BUDGET_ENABLED: bool = true;
pub(crate) const BUDGET_CAPACITY: u32 = 500;
pub(crate) const BUDGET_CAPACITY_RANGE: RangeInclusive<u32> = 1..=1_000_000;
pub(crate) const RETRY_COST: u32 = 5;
pub(crate) const SUCCESS_DEPOSIT: u32 = 1;
pub(crate) const MAX_AMBIGUOUS: f64 = 0.1;
pub(crate) const MAX_AMBIGUOUS_RANGE: RangeInclusive<f64> = 0.0..=1.0;
/// The cost of a retry and the deposit of a success.
pub(crate) const BUDGET_STEP_RANGE: RangeInclusive<u32> = 1..=1_000;

// Outlier detection. The values are Envoy's.
pub(crate) const OUTLIERS_ENABLED: bool = true;
pub(crate) const OUTLIER_INTERVAL: Duration = secs(10);
pub(crate) const OUTLIER_INTERVAL_RANGE: RangeInclusive<Duration> = secs(1)..=secs(HOUR);
pub(crate) const OUTLIER_ENDPOINTS: u32 = 5;
pub(crate) const OUTLIER_ENDPOINTS_RANGE: RangeInclusive<u32> = 2..=10_000;
pub(crate) const OUTLIER_ATTEMPTS: u32 = 100;
pub(crate) const OUTLIER_ATTEMPTS_RANGE: RangeInclusive<u32> = 1..=1_000_000;
pub(crate) const DEVIATIONS: f64 = 1.9;
pub(crate) const DEVIATIONS_RANGE: RangeInclusive<f64> = 0.1..=100.0;
pub(crate) const FAILURE_PERCENTAGE: f64 = 85.0;
pub(crate) const FAILURE_PERCENTAGE_RANGE: RangeInclusive<f64> = 1.0..=100.0;
pub(crate) const MAX_OUTLIERS: f64 = 0.1;
pub(crate) const MAX_OUTLIERS_RANGE: RangeInclusive<f64> = 0.0..=1.0;
pub(crate) const SLOW_CALL_RANGE: RangeInclusive<Duration> = ms(1)..=secs(HOUR);
pub(crate) const SLOW_PERCENTAGE: f64 = 50.0;

// The manager.
pub(crate) const REGISTRY_ATTEMPTS: u32 = 3;
pub(crate) const REGISTRY_ATTEMPTS_RANGE: RangeInclusive<u32> = 1..=20;
pub(crate) const REGISTRY_DELAY: Duration = ms(250);
pub(crate) const REGISTRY_DELAY_RANGE: RangeInclusive<Duration> = RETRY_DELAY_RANGE;
pub(crate) const REGISTRY_TIMEOUT: Duration = secs(30);
pub(crate) const REGISTRY_TIMEOUT_RANGE: RangeInclusive<Duration> = TIMEOUT_RANGE;
pub(crate) const FALLBACK_ENABLED: bool = true;
pub(crate) const STORED_CONFIG: bool = true;
pub(crate) const START_TIMEOUT: Duration = secs(5);
pub(crate) const START_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=secs(5 * MINUTE);
pub(crate) const KEEP_IDLE: Duration = secs(5 * MINUTE);
pub(crate) const KEEP_IDLE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=secs(DAY);
pub(crate) const POLL_INTERVAL: Duration = secs(10);
pub(crate) const POLL_INTERVAL_RANGE: RangeInclusive<Duration> = ms(10)..=secs(HOUR);
pub(crate) const MAX_PROBES: u32 = 32;
pub(crate) const MAX_PROBES_RANGE: RangeInclusive<u32> = 1..=10_000;
pub(crate) const ALLOW_LOOPBACK: bool = false;
/// The time between draining and deregistering an endpoint that this process serves.
pub(crate) const DRAIN: Duration = secs(1);
/// The deadline of draining and deregistering such an endpoint.
pub(crate) const CLOSE: Duration = secs(10);
