//! Health check settings.

mod builder;
mod names;
mod statuses;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::duration;
use crate::error::Error;
use crate::model::defaults;
use names::{SECTION, field, header_path, name_part};

pub use builder::HealthCheckBuilder;

/// The settings of an endpoint's health check. Every value has a default.
///
/// Header values and the body can hold secrets: `Debug` and errors never show them, and
/// [`without_secrets`](Self::without_secrets) removes them before storing the settings where others
/// can read them. serde does write them, with the JSON names of the Go package: `path interval
/// timeout method headers body`, and `port expected_statuses grpc_service healthy_threshold
/// unhealthy_threshold`. Durations are written as `"10s"`; an integer is nanoseconds; 0, `""` and
/// `null` are absent. `expected_statuses` is a list of `204` or `"200-299"`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(serialize_with = "statuses::write", skip_serializing_if = "Vec::is_empty")]
    expected_statuses: Vec<RangeInclusive<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_service: Option<String>,
    #[serde(serialize_with = "duration::write")]
    interval: Duration,
    #[serde(serialize_with = "duration::write_option", skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    method: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
}

impl HealthCheck {
    /// Returns a builder with the defaults.
    pub fn builder() -> HealthCheckBuilder {
        HealthCheckBuilder::new(Self::default())
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> HealthCheckBuilder {
        HealthCheckBuilder::new(self.clone())
    }

    /// Returns the path to request, with its query. Default: `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the port to probe, 1 to 65535. Default: none, which is the port of the endpoint.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the HTTP statuses of a healthy endpoint, each from 100 to 599.
    ///
    /// Default: none, which leaves them to the probe; the HTTP probe of `failover-probe` then expects
    /// 200 to 299.
    pub fn expected_statuses(&self) -> &[RangeInclusive<u16>] {
        &self.expected_statuses
    }

    /// Returns the name that a gRPC health check asks for. Default: none, which is the server as a
    /// whole.
    pub fn grpc_service(&self) -> Option<&str> {
        self.grpc_service.as_deref()
    }

    /// Returns the time between two probes, 100 ms to 1 h. Default: 10 s.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns the timeout of a probe, 10 ms to 5 min.
    ///
    /// Default: 2 s, or the interval if that is shorter.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(defaults::PROBE_TIMEOUT.min(self.interval))
    }

    /// Returns the HTTP method, in upper case. Default: `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the headers to send, by name. The values can be secrets.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    /// Returns the body to send. It can be a secret.
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// Returns how many consecutive successes make an endpoint healthy again.
    ///
    /// 1 to 100 probes. Default: 2.
    pub fn healthy_threshold(&self) -> u32 {
        self.healthy_threshold
    }

    /// Returns how many consecutive failures make an endpoint unhealthy.
    ///
    /// 1 to 100 probes. Default: 3.
    pub fn unhealthy_threshold(&self) -> u32 {
        self.unhealthy_threshold
    }

    /// Returns a copy without possible secrets.
    ///
    /// It has no body, and no headers except `Accept`, `Accept-Language`, `Content-Type`, `Host`
    /// and `User-Agent`.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        const HARMLESS: [&str; 5] = ["accept", "accept-language", "content-type", "host", "user-agent"];
        let mut copy = self.clone();
        copy.body = None;
        copy.headers.retain(|name, _| HARMLESS.iter().any(|harmless| name.eq_ignore_ascii_case(harmless)));
        copy
    }

    pub(crate) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = Document::open(raw, SECTION, "health check", KEYS)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        if let Some(path) = fields.text("path")? {
            draft.path = path;
        }
        draft.port = fields.whole("port", &(1..=u16::MAX.into()))?.map(|port| port as u16);
        if let Some(statuses) = fields.take("expected_statuses") {
            draft.expected_statuses = statuses::read(&field("expected_statuses"), statuses)?;
        }
        draft.grpc_service = fields.text("grpc_service")?;
        if let Some(interval) = fields.duration("interval", &defaults::PROBE_INTERVAL_RANGE)? {
            draft.interval = interval;
        }
        draft.timeout = fields.duration("timeout", &defaults::PROBE_TIMEOUT_RANGE)?;
        if let Some(method) = fields.text("method")? {
            draft.method = method;
        }
        for (name, value) in fields.object("headers")? {
            let Raw::Text(value) = value else {
                return Err(Error::invalid(&header_path(&name), value.kind(), "text"));
            };
            draft.headers.insert(name, value);
        }
        draft.body = match fields.take("body") {
            None => None,
            Some(Raw::Text(body)) => Some(body),
            Some(other) => return Err(Error::invalid(&fields.path("body"), other.kind(), "text")),
        };
        let thresholds = &defaults::PROBE_THRESHOLD_RANGE;
        if let Some(threshold) = fields.whole("healthy_threshold", thresholds)? {
            draft.healthy_threshold = threshold;
        }
        if let Some(threshold) = fields.whole("unhealthy_threshold", thresholds)? {
            draft.unhealthy_threshold = threshold;
        }
        builder.build()
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: defaults::PROBE_PATH.to_owned(),
            port: None,
            expected_statuses: Vec::new(),
            grpc_service: None,
            interval: defaults::PROBE_INTERVAL,
            timeout: None,
            method: defaults::PROBE_METHOD.to_owned(),
            headers: BTreeMap::new(),
            body: None,
            healthy_threshold: defaults::HEALTHY_THRESHOLD,
            unhealthy_threshold: defaults::UNHEALTHY_THRESHOLD,
        }
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: BTreeMap<_, _> =
            self.headers.keys().map(|name| (name_part(name), "<redacted>")).collect();
        f.debug_struct("HealthCheck")
            .field("path", &self.path)
            .field("port", &self.port)
            .field("expected_statuses", &self.expected_statuses)
            .field("grpc_service", &self.grpc_service)
            .field("interval", &self.interval)
            .field("timeout", &self.timeout())
            .field("method", &self.method)
            .field("headers", &headers)
            .field("body_bytes", &self.body.as_ref().map(String::len))
            .field("healthy_threshold", &self.healthy_threshold)
            .field("unhealthy_threshold", &self.unhealthy_threshold)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for HealthCheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

const KEYS: &[&str] = &[
    "path",
    "port",
    "expected_statuses",
    "grpc_service",
    "interval",
    "timeout",
    "method",
    "headers",
    "body",
    "healthy_threshold",
    "unhealthy_threshold",
];

#[cfg(test)]
mod tests;
