//! How an endpoint that has just come is broken in.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::defaults;
use crate::error::Error;

/// How the share of an endpoint grows after it has come, or come back: Envoy's slow start,
/// `max(10 %, (time / window)^(1 / aggression))` of what it would get.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowStartConfig {
    #[serde(serialize_with = "duration::write")]
    window: Duration,
    aggression: f64,
}

impl SlowStartConfig {
    /// A builder that holds the defaults.
    pub fn builder() -> SlowStartConfigBuilder {
        SlowStartConfigBuilder { draft: Self::default() }
    }

    /// A builder that holds these values.
    pub fn to_builder(&self) -> SlowStartConfigBuilder {
        SlowStartConfigBuilder { draft: self.clone() }
    }

    /// How long it takes until it gets its whole share, 0 to 1 h; default 0, at once.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// How fast the share grows: 1 evenly, above it faster at first; 0.1 to 10, default 1.
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

/// Builds a [`SlowStartConfig`]; what is not set has its default.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct SlowStartConfigBuilder {
    draft: SlowStartConfig,
}

impl SlowStartConfigBuilder {
    /// How long it takes until an endpoint gets its whole share, 0 to 1 h; default 0, at once.
    pub fn window(mut self, window: Duration) -> Self {
        self.draft.window = window;
        self
    }

    /// How fast the share grows: 1 evenly, above it faster at first; 0.1 to 10, default 1.
    pub fn aggression(mut self, aggression: f64) -> Self {
        self.draft.aggression = aggression;
        self
    }

    /// Checks the values.
    pub fn build(self) -> Result<SlowStartConfig, Error> {
        let config = self.draft;
        let field = |name| document::path(SECTION, name);
        range::duration(&field("window"), config.window, &defaults::SLOW_START_RANGE)?;
        range::number(&field("aggression"), config.aggression, &defaults::AGGRESSION_RANGE)?;
        Ok(config)
    }
}

const SECTION: &str = "slow_start";
