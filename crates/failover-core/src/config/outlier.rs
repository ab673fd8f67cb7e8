//! Outlier detection settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// Outlier detection: endpoints that fail clearly more often than the others are taken out.
///
/// The rules and most defaults are Envoy's. Timeouts and overload answers do not count, because an
/// overload produces them at all endpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutlierConfig {
    enabled: bool,
    #[serde(serialize_with = "duration::write")]
    interval: Duration,
    min_endpoints: u32,
    min_attempts: u32,
    deviations: f64,
    failure_percentage: f64,
    max_ejected: f64,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    slow_call: Option<Duration>,
    slow_percentage: f64,
}

impl OutlierConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> OutlierConfigBuilder {
        OutlierConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> OutlierConfigBuilder {
        OutlierConfigBuilder { draft: self.clone() }
    }

    /// Returns whether outliers are taken out. Default: `true`.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Returns the interval whose attempts are compared, 1 s to 1 h. Default: 10 s.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns how many endpoints must have enough attempts, 2 to 10 000. Default: 5.
    pub fn min_endpoints(&self) -> u32 {
        self.min_endpoints
    }

    /// Returns how many attempts within the interval are enough, 1 to 1 000 000. Default: 100.
    pub fn min_attempts(&self) -> u32 {
        self.min_attempts
    }

    /// Returns how many standard deviations below the mean success rate an outlier is, 0.1 to 100.
    /// Default: 1.9.
    pub fn deviations(&self) -> f64 {
        self.deviations
    }

    /// Returns the percentage of failures that makes an outlier by itself, 1 to 100. Default: 85.
    pub fn failure_percentage(&self) -> f64 {
        self.failure_percentage
    }

    /// Returns the share of the endpoints that may be out as outliers, 0 to 1, but at least one
    /// endpoint unless it is 0. Default: 0.1.
    pub fn max_ejected(&self) -> f64 {
        self.max_ejected
    }

    /// Returns the duration from which a successful attempt is slow, 1 ms to 1 h, if configured.
    ///
    /// Default: none; attempts are not judged by their duration.
    pub fn slow_call(&self) -> Option<Duration> {
        self.slow_call
    }

    /// Returns the percentage of slow attempts that makes an outlier, 1 to 100, unless the others are
    /// half as slow or slower. Default: 50. Without `slow_call` it has no effect.
    pub fn slow_percentage(&self) -> f64 {
        self.slow_percentage
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "outlier detection", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        if let Some(enabled) = fields.flag("enabled")? {
            draft.enabled = enabled;
        }
        if let Some(interval) = fields.duration("interval", &defaults::OUTLIER_INTERVAL_RANGE)? {
            draft.interval = interval;
        }
        if let Some(endpoints) = fields.whole("min_endpoints", &defaults::OUTLIER_ENDPOINTS_RANGE)? {
            draft.min_endpoints = endpoints;
        }
        if let Some(attempts) = fields.whole("min_attempts", &defaults::OUTLIER_ATTEMPTS_RANGE)? {
            draft.min_attempts = attempts;
        }
        if let Some(deviations) = fields.number("deviations", &defaults::DEVIATIONS_RANGE)? {
            draft.deviations = deviations;
        }
        if let Some(percentage) = fields.number("failure_percentage", &defaults::FAILURE_PERCENTAGE_RANGE)? {
            draft.failure_percentage = percentage;
        }
        if let Some(share) = fields.number("max_ejected", &defaults::MAX_OUTLIERS_RANGE)? {
            draft.max_ejected = share;
        }
        draft.slow_call = fields.duration("slow_call", &defaults::SLOW_CALL_RANGE)?;
        if let Some(percentage) = fields.number("slow_percentage", &defaults::FAILURE_PERCENTAGE_RANGE)? {
            draft.slow_percentage = percentage;
        }
        builder.build()
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            enabled: defaults::OUTLIERS_ENABLED,
            interval: defaults::OUTLIER_INTERVAL,
            min_endpoints: defaults::OUTLIER_ENDPOINTS,
            min_attempts: defaults::OUTLIER_ATTEMPTS,
            deviations: defaults::DEVIATIONS,
            failure_percentage: defaults::FAILURE_PERCENTAGE,
            max_ejected: defaults::MAX_OUTLIERS,
            slow_call: None,
            slow_percentage: defaults::SLOW_PERCENTAGE,
        }
    }
}

impl<'de> Deserialize<'de> for OutlierConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds an [`OutlierConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct OutlierConfigBuilder {
    draft: OutlierConfig,
}

impl OutlierConfigBuilder {
    /// Sets whether outliers are taken out. Default: `true`.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.draft.enabled = enabled;
        self
    }

    /// Sets the interval whose attempts are compared, 1 s to 1 h. Default: 10 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.draft.interval = interval;
        self
    }

    /// Sets how many endpoints must have enough attempts, 2 to 10 000. Default: 5.
    pub fn min_endpoints(mut self, endpoints: u32) -> Self {
        self.draft.min_endpoints = endpoints;
        self
    }

    /// Sets how many attempts within the interval are enough, 1 to 1 000 000. Default: 100.
    pub fn min_attempts(mut self, attempts: u32) -> Self {
        self.draft.min_attempts = attempts;
        self
    }

    /// Sets how many standard deviations below the mean success rate an outlier is, 0.1 to 100.
    /// Default: 1.9.
    pub fn deviations(mut self, deviations: f64) -> Self {
        self.draft.deviations = deviations;
        self
    }

    /// Sets the percentage of failures that makes an outlier by itself, 1 to 100. Default: 85.
    pub fn failure_percentage(mut self, percentage: f64) -> Self {
        self.draft.failure_percentage = percentage;
        self
    }

    /// Sets the share of the endpoints that may be out as outliers, 0 to 1, but at least one endpoint
    /// unless it is 0. Default: 0.1.
    pub fn max_ejected(mut self, share: f64) -> Self {
        self.draft.max_ejected = share;
        self
    }

    /// Sets the duration from which a successful attempt is slow, 1 ms to 1 h.
    ///
    /// Default: none; attempts are not judged by their duration. A slow probe call counts as failed.
    pub fn slow_call(mut self, duration: impl Into<Option<Duration>>) -> Self {
        self.draft.slow_call = duration.into();
        self
    }

    /// Sets the percentage of slow attempts that makes an outlier, 1 to 100, unless the others are
    /// half as slow or slower. Default: 50. Without `slow_call` it has no effect.
    pub fn slow_percentage(mut self, percentage: f64) -> Self {
        self.draft.slow_percentage = percentage;
        self
    }

    /// Validates the values.
    ///
    /// # Errors
    ///
    /// `Validation` with the field, the value and the allowed range.
    pub fn build(self) -> Result<OutlierConfig, Error> {
        let config = self.draft;
        let field = |name| document::path(SECTION, name);
        range::duration(&field("interval"), config.interval, &defaults::OUTLIER_INTERVAL_RANGE)?;
        range::whole(&field("min_endpoints"), config.min_endpoints, &defaults::OUTLIER_ENDPOINTS_RANGE)?;
        range::whole(&field("min_attempts"), config.min_attempts, &defaults::OUTLIER_ATTEMPTS_RANGE)?;
        range::number(&field("deviations"), config.deviations, &defaults::DEVIATIONS_RANGE)?;
        let percentage = config.failure_percentage;
        range::number(&field("failure_percentage"), percentage, &defaults::FAILURE_PERCENTAGE_RANGE)?;
        if let Some(duration) = config.slow_call {
            range::duration(&field("slow_call"), duration, &defaults::SLOW_CALL_RANGE)?;
        }
        let percentage = config.slow_percentage;
        range::number(&field("slow_percentage"), percentage, &defaults::FAILURE_PERCENTAGE_RANGE)?;
        range::number(&field("max_ejected"), config.max_ejected, &defaults::MAX_OUTLIERS_RANGE)?;
        Ok(config)
    }
}

pub(super) const SECTION: &str = "outlier_detection";

const KEYS: &[&str] = &[
    "enabled",
    "interval",
    "min_endpoints",
    "min_attempts",
    "deviations",
    "failure_percentage",
    "max_ejected",
    "slow_call",
    "slow_percentage",
];
