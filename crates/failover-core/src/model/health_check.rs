//! Health check settings.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::{duration, range};
use crate::error::{Error, is_unprintable};
use crate::model::defaults;

/// The settings of an endpoint's health check. Every value has a default.
///
/// Header values and the body can hold secrets: `Debug` and errors never show them, and
/// [`without_secrets`](Self::without_secrets) removes them before storing the settings where others
/// can read them. serde does write them, with the JSON names of the Go package: `path interval
/// timeout method headers body`, and `healthy_threshold unhealthy_threshold`. Durations are written
/// as `"10s"`; an integer is nanoseconds; 0, `""` and `null` are absent.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    path: String,
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
        HealthCheckBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> HealthCheckBuilder {
        HealthCheckBuilder { draft: self.clone() }
    }

    /// Returns the path to request, with its query. Default: `/`.
    pub fn path(&self) -> &str {
        &self.path
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

/// Builds a [`HealthCheck`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HealthCheckBuilder {
    draft: HealthCheck,
}

impl HealthCheckBuilder {
    /// Sets the path to request, with its query. Default: `/`.
    ///
    /// It starts with `/` and has at most 2048 bytes.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.draft.path = path.into();
        self
    }

    /// Sets the time between two probes, 100 ms to 1 h. Default: 10 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.draft.interval = interval;
        self
    }

    /// Sets the timeout of a probe, 10 ms to 5 min and at most the interval. Default: 2 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.timeout = Some(timeout);
        self
    }

    /// Sets the HTTP method, converted to upper case. Default: `GET`.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.draft.method = method.into();
        self
    }

    /// Adds a header, at most 64 of them; a value is visible ASCII, spaces and tabs, at most 8 KiB.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.draft.headers.insert(name.into(), value.into());
        self
    }

    /// Replaces all headers.
    pub fn headers<K: Into<String>, V: Into<String>>(
        mut self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.draft.headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// Sets the body to send, at most 64 KiB. Default: none.
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.draft.body = Some(body.into());
        self
    }

    /// Sets how many consecutive probes must succeed, 1 to 100. Default: 2.
    pub fn healthy_threshold(mut self, threshold: u32) -> Self {
        self.draft.healthy_threshold = threshold;
        self
    }

    /// Sets how many consecutive probes must fail, 1 to 100. Default: 3.
    pub fn unhealthy_threshold(mut self, threshold: u32) -> Self {
        self.draft.unhealthy_threshold = threshold;
        self
    }

    /// Validates the values.
    ///
    /// # Errors
    ///
    /// Returns the first invalid value; a header's value and the body are never shown.
    pub fn build(self) -> Result<HealthCheck, Error> {
        let mut check = self.draft;
        check_path(&check.path)?;
        range::duration(&field("interval"), check.interval, &defaults::PROBE_INTERVAL_RANGE)?;
        if let Some(timeout) = check.timeout {
            range::duration(&field("timeout"), timeout, &defaults::PROBE_TIMEOUT_RANGE)?;
            if timeout > check.interval {
                let wanted = format!("at most the interval, {}", duration::short(check.interval));
                return Err(Error::invalid(&field("timeout"), duration::short(timeout), &wanted));
            }
        }
        if check.method.len() > MAX_METHOD || !is_token(&check.method) {
            return Err(Error::invalid(&field("method"), check.method, "an HTTP method, such as GET"));
        }
        check.method.make_ascii_uppercase();
        check_headers(&check.headers)?;
        check.body = check.body.filter(|body| !body.is_empty());
        if let Some(size) = check.body.as_ref().map(String::len).filter(|size| *size > MAX_BODY) {
            return Err(Error::invalid(&field("body"), format!("{size} bytes"), "at most 65536 bytes"));
        }
        let thresholds = &defaults::PROBE_THRESHOLD_RANGE;
        range::whole(&field("healthy_threshold"), check.healthy_threshold, thresholds)?;
        range::whole(&field("unhealthy_threshold"), check.unhealthy_threshold, thresholds)?;
        Ok(check)
    }
}

const SECTION: &str = "health_check";

const KEYS: &[&str] =
    &["path", "interval", "timeout", "method", "headers", "body", "healthy_threshold", "unhealthy_threshold"];

const MAX_PATH: usize = 2048;
const MAX_METHOD: usize = 32;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_NAME: usize = 256;
const MAX_HEADER_VALUE: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;

fn field(name: &str) -> String {
    document::path(SECTION, name)
}

fn check_path(path: &str) -> Result<(), Error> {
    let wanted = if !path.starts_with('/') || path.starts_with("//") {
        "a path that begins with one /, not a whole URL; the address and port are the endpoint's"
    } else if path.chars().any(|c| c.is_whitespace() || is_unprintable(c)) {
        "a path without white space and control characters"
    } else if path.len() > MAX_PATH {
        "a path of at most 2048 bytes"
    } else {
        return Ok(());
    };
    Err(Error::invalid(&field("path"), path, wanted))
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Error> {
    if headers.len() > MAX_HEADERS {
        return Err(Error::invalid(&field("headers"), headers.len(), "at most 64 headers"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (name, value) in headers {
        if name.len() > MAX_HEADER_NAME || !is_token(name) {
            return Err(Error::invalid(
                &field("headers"),
                format!("the name \"{}\"", name_part(name)),
                "a name of at most 256 letters, digits and !#$%&'*+-.^_`|~",
            ));
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(Error::invalid(&header_path(name), "a second value", "each header once"));
        }
        let visible = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
        if value.len() > MAX_HEADER_VALUE || !value.bytes().all(visible) {
            return Err(Error::invalid(
                &header_path(name),
                "this value, which is not shown,",
                "at most 8192 visible ASCII characters, spaces and tabs",
            ));
        }
    }
    Ok(())
}

fn header_path(name: &str) -> String {
    document::path("health_check.headers", name_part(name))
}

/// Returns the part that can be a header's name, so that a header given as
/// `Authorization: Bearer …` does not reach a log.
fn name_part(name: &str) -> &str {
    let end = name.find(|c: char| !c.is_ascii() || !is_token_byte(c as u8)).unwrap_or(name.len());
    &name[..end.min(MAX_HEADER_NAME)]
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
