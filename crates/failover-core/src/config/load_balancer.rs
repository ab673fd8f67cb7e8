//! Load balancing within a tier.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::config::{Algorithm, defaults};
use crate::error::Error;
use crate::model::endpoint::EndpointId;

/// Load balancing within a tier: algorithm, weights and sticky sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancerConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    weights: BTreeMap<EndpointId, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    sticky: bool,
    #[serde(serialize_with = "duration::write", skip_serializing_if = "is_default_ttl")]
    sticky_ttl: Duration,
    #[serde(serialize_with = "duration::write", skip_serializing_if = "Duration::is_zero")]
    sticky_drain_timeout: Duration,
    #[serde(skip_serializing_if = "is_default_sessions")]
    sticky_sessions: u32,
}

impl LoadBalancerConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> LoadBalancerConfigBuilder {
        Self::default().to_builder()
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> LoadBalancerConfigBuilder {
        LoadBalancerConfigBuilder {
            algorithm: self.algorithm,
            weights: self.weights.iter().map(|(id, weight)| (id.into(), *weight)).collect(),
            max_in_flight: self.max_in_flight,
            sticky: self.sticky,
            sticky_ttl: self.sticky_ttl,
            sticky_drain_timeout: self.sticky_drain_timeout,
            sticky_sessions: self.sticky_sessions,
        }
    }

    /// Returns the algorithm, if one is set. Default: the strategy's.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Returns the weights by endpoint id or `id@source`, which override the endpoints' own.
    ///
    /// A weight for `id@source` comes before one for the id alone. 0 means no new calls.
    pub fn weights(&self) -> &BTreeMap<EndpointId, u32> {
        &self.weights
    }

    /// Returns the most calls that this process has in flight to one endpoint, 1 to 1 000 000, if a
    /// limit is set. Default: no limit.
    ///
    /// A call whose endpoint is at its limit goes to the least busy other one, of at most 64 that are
    /// compared. If all are at their limits, the call is refused with the code `OVERLOADED`, or waits
    /// if it [waits for an endpoint](crate::Call::wait_ready).
    pub fn max_in_flight(&self) -> Option<u32> {
        self.max_in_flight
    }

    /// Returns whether calls with the same key stay on one endpoint. Default: `false`.
    ///
    /// They stay while the endpoint is available.
    pub fn sticky(&self) -> bool {
        self.sticky
    }

    /// Returns how long an idle session is kept, 1 s to 24 h. Default: 30 min.
    pub fn sticky_ttl(&self) -> Duration {
        self.sticky_ttl
    }

    /// Returns how long sessions stay on an endpoint that drains, up to 1 h. Default: 0, they move at
    /// once.
    ///
    /// Calls of other keys go elsewhere from the beginning.
    pub fn sticky_drain_timeout(&self) -> Duration {
        self.sticky_drain_timeout
    }

    /// Returns the maximum number of sessions, 4 to 4 194 304. Default: 65 536.
    ///
    /// A session takes 8 bytes. Beyond the maximum, a session that has been idle for long is evicted.
    pub fn sticky_sessions(&self) -> u32 {
        self.sticky_sessions
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let known = [
            "algorithm",
            "weights",
            "max_in_flight",
            "sticky",
            "sticky_ttl",
            "sticky_drain_timeout",
            "sticky_sessions",
        ];
        let mut fields = Document::open(raw, SECTION, "load balancer", &known)?;
        let mut builder = Self::builder();
        builder.algorithm = match fields.take("algorithm") {
            None => None,
            Some(Raw::Text(word)) if word.is_empty() => None,
            Some(raw) => Some(Algorithm::from_raw(&fields.path("algorithm"), &raw)?),
        };
        for (id, weight) in fields.object("weights")? {
            let weight = document::whole(&document::path(WEIGHTS, &id), &weight, &(0..=u32::MAX))?;
            builder.weights.insert(id, weight);
        }
        builder.max_in_flight = fields.whole("max_in_flight", &defaults::IN_FLIGHT_RANGE)?;
        if let Some(sticky) = fields.flag("sticky")? {
            builder.sticky = sticky;
        }
        if let Some(ttl) = fields.duration("sticky_ttl", &defaults::STICKY_TTL_RANGE)? {
            builder.sticky_ttl = ttl;
        }
        if let Some(time) = fields.duration("sticky_drain_timeout", &defaults::STICKY_DRAIN_RANGE)? {
            builder.sticky_drain_timeout = time;
        }
        if let Some(sessions) = fields.whole("sticky_sessions", &defaults::STICKY_SESSIONS_RANGE)? {
            builder.sticky_sessions = sessions;
        }
        builder.build()
    }
}

impl Default for LoadBalancerConfig {
    fn default() -> Self {
        Self {
            algorithm: None,
            weights: BTreeMap::new(),
            max_in_flight: None,
            sticky: defaults::STICKY,
            sticky_ttl: defaults::STICKY_TTL,
            sticky_drain_timeout: defaults::STICKY_DRAIN,
            sticky_sessions: defaults::STICKY_SESSIONS,
        }
    }
}

impl<'de> Deserialize<'de> for LoadBalancerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`LoadBalancerConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LoadBalancerConfigBuilder {
    algorithm: Option<Algorithm>,
    weights: BTreeMap<String, u32>,
    max_in_flight: Option<u32>,
    sticky: bool,
    sticky_ttl: Duration,
    sticky_drain_timeout: Duration,
    sticky_sessions: u32,
}

impl LoadBalancerConfigBuilder {
    /// Sets the algorithm. Default: the strategy's.
    pub fn algorithm(mut self, algorithm: impl Into<Option<Algorithm>>) -> Self {
        self.algorithm = algorithm.into();
        self
    }

    /// Adds the weight of one endpoint, which overrides its own; 0 means no new calls.
    pub fn weight(mut self, id: impl Into<String>, weight: u32) -> Self {
        self.weights.insert(id.into(), weight);
        self
    }

    /// Replaces all weights.
    pub fn weights<K: Into<String>>(mut self, weights: impl IntoIterator<Item = (K, u32)>) -> Self {
        self.weights = weights.into_iter().map(|(id, weight)| (id.into(), weight)).collect();
        self
    }

    /// Sets the most calls that this process has in flight to one endpoint, 1 to 1 000 000. Default: no
    /// limit.
    ///
    /// Set it if an endpoint has a known capacity, such as a number of connections or workers; refused
    /// calls have the code `OVERLOADED`. See [`LoadBalancerConfig::max_in_flight`].
    pub fn max_in_flight(mut self, calls: impl Into<Option<u32>>) -> Self {
        self.max_in_flight = calls.into();
        self
    }

    /// Sets whether calls with the same key stay on one endpoint. Default: `false`.
    ///
    /// They stay while the endpoint is available.
    pub fn sticky(mut self, sticky: bool) -> Self {
        self.sticky = sticky;
        self
    }

    /// Sets how long an idle session is kept, 1 s to 24 h. Default: 30 min.
    pub fn sticky_ttl(mut self, ttl: Duration) -> Self {
        self.sticky_ttl = ttl;
        self
    }

    /// Sets how long sessions stay on an endpoint that drains, up to 1 h. Default: 0, they move at once.
    ///
    /// Set it if an endpoint needs its sessions' calls to finish what they began, and keeps answering
    /// them while it drains.
    pub fn sticky_drain_timeout(mut self, time: Duration) -> Self {
        self.sticky_drain_timeout = time;
        self
    }

    /// Sets the maximum number of sessions, 4 to 4 194 304. Default: 65 536.
    ///
    /// A session takes 8 bytes.
    pub fn sticky_sessions(mut self, sessions: u32) -> Self {
        self.sticky_sessions = sessions;
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<LoadBalancerConfig, Error> {
        let checked = |(id, weight)| {
            let id = EndpointId::new(id).map_err(|error| error.context(WEIGHTS))?;
            Ok((id, weight))
        };
        let field = |name| document::path(SECTION, name);
        if let Some(calls) = self.max_in_flight {
            range::whole(&field("max_in_flight"), calls, &defaults::IN_FLIGHT_RANGE)?;
        }
        range::duration(&field("sticky_ttl"), self.sticky_ttl, &defaults::STICKY_TTL_RANGE)?;
        let drain = self.sticky_drain_timeout;
        range::duration(&field("sticky_drain_timeout"), drain, &defaults::STICKY_DRAIN_RANGE)?;
        range::whole(&field("sticky_sessions"), self.sticky_sessions, &defaults::STICKY_SESSIONS_RANGE)?;
        Ok(LoadBalancerConfig {
            algorithm: self.algorithm,
            weights: self.weights.into_iter().map(checked).collect::<Result<_, Error>>()?,
            max_in_flight: self.max_in_flight,
            sticky: self.sticky,
            sticky_ttl: self.sticky_ttl,
            sticky_drain_timeout: self.sticky_drain_timeout,
            sticky_sessions: self.sticky_sessions,
        })
    }
}

// Settings of sticky sessions are not written if they are the defaults.
fn is_default_ttl(ttl: &Duration) -> bool {
    *ttl == defaults::STICKY_TTL
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_sessions(sessions: &u32) -> bool {
    *sessions == defaults::STICKY_SESSIONS
}

const SECTION: &str = "load_balancer";
const WEIGHTS: &str = "load_balancer.weights";
