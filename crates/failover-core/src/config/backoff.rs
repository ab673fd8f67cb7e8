//! The waits between retries.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// How the wait between retries grows from [`retry_delay`](super::FailoverConfig::retry_delay).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackoffConfig {
    multiplier: f64,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    max_delay: Option<Duration>,
    /// The `retry_delay` of the enclosing configuration.
    #[serde(skip)]
    first: Duration,
}

impl BackoffConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> BackoffConfigBuilder {
        BackoffConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> BackoffConfigBuilder {
        BackoffConfigBuilder { draft: self.clone() }
    }

    /// Returns the factor by which each wait grows, 1 to 10. Default: 2.
    pub fn multiplier(&self) -> f64 {
        self.multiplier
    }

    /// Returns the longest wait, 0 to 5 min.
    ///
    /// Default: 250 ms, or the configuration's `retry_delay` if that is longer.
    pub fn max_delay(&self) -> Duration {
        self.max_delay.unwrap_or(defaults::MAX_DELAY.max(self.first))
    }

    /// The default of the longest wait must not shorten a configured first wait.
    pub(super) fn beginning_with(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "backoff", &["multiplier", "max_delay"])?;
        let mut builder = Self::builder();
        if let Some(multiplier) = fields.number("multiplier", &defaults::MULTIPLIER_RANGE)? {
            builder.draft.multiplier = multiplier;
        }
        builder.draft.max_delay = fields.duration("max_delay", &defaults::MAX_DELAY_RANGE)?;
        builder.build()
    }
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { multiplier: defaults::MULTIPLIER, max_delay: None, first: defaults::RETRY_DELAY }
    }
}

impl<'de> Deserialize<'de> for BackoffConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`BackoffConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BackoffConfigBuilder {
    draft: BackoffConfig,
}

impl BackoffConfigBuilder {
    /// Sets the factor by which each wait grows, 1 to 10. Default: 2.
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.draft.multiplier = multiplier;
        self
    }

    /// Sets the longest wait, 0 to 5 min. Default: 250 ms, or `retry_delay` if that is longer.
    pub fn max_delay(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.draft.max_delay = delay.into();
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<BackoffConfig, Error> {
        let config = self.draft;
        let field = |name| document::path(SECTION, name);
        range::number(&field("multiplier"), config.multiplier, &defaults::MULTIPLIER_RANGE)?;
        if let Some(delay) = config.max_delay {
            range::duration(&field("max_delay"), delay, &defaults::MAX_DELAY_RANGE)?;
        }
        Ok(config)
    }
}

const SECTION: &str = "backoff";
