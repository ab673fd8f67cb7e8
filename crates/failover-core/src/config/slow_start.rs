//! Slow start settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// Slow start: how traffic ramps up to a new or recovered endpoint.
///
/// As in Envoy, the endpoint receives `max(10 %, (time / window)^(1 / aggression))` of its full
/// share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowStartConfig {
    #[serde(serialize_with = "duration::write")]
    window: Duration,
    aggression: f64,
}

impl SlowStartConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> SlowStartConfigBuilder {
        SlowStartConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> SlowStartConfigBuilder {
        SlowStartConfigBuilder { draft: self.clone() }
    }

    /// Returns the time until an endpoint receives its full share, 0 to 1 h. Default: 0.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Returns how fast the share grows, 0.1 to 10. Default: 1, linear.
    ///
    /// Above 1, it grows faster at first.
    pub fn aggression(&self) -> f64 {
        self.aggression
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "slow start", &["window", "aggression"])?;
        let mut builder = Self::builder();
        if let Some(window) = fields.duration("window", &defaults::SLOW_START_RANGE)? {
            builder.draft.window = window;
        }
        if let Some(aggression) = fields.number("aggression", &defaults::AGGRESSION_RANGE)? {
            builder.draft.aggression = aggression;
        }
        builder.build()
    }
}

impl Default for SlowStartConfig {
    fn default() -> Self {
        Self { window: defaults::SLOW_START, aggression: defaults::AGGRESSION }
    }
}

impl<'de> Deserialize<'de> for SlowStartConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`SlowStartConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct SlowStartConfigBuilder {
    draft: SlowStartConfig,
}

impl SlowStartConfigBuilder {
    /// Sets the time until an endpoint receives its full share, 0 to 1 h. Default: 0.
    pub fn window(mut self, window: Duration) -> Self {
        self.draft.window = window;
        self
    }

    /// Sets how fast the share grows, 0.1 to 10. Default: 1, linear.
    ///
    /// Above 1, it grows faster at first.
    pub fn aggression(mut self, aggression: f64) -> Self {
        self.draft.aggression = aggression;
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<SlowStartConfig, Error> {
        let config = self.draft;
        let field = |name| document::path(SECTION, name);
        range::duration(&field("window"), config.window, &defaults::SLOW_START_RANGE)?;
        range::number(&field("aggression"), config.aggression, &defaults::AGGRESSION_RANGE)?;
        Ok(config)
    }
}

const SECTION: &str = "slow_start";
