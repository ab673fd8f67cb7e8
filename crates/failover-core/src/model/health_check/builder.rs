//! Builds and validates the settings of a health check.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::names::{MAX_HEADER_NAME, field, header_path, is_token, name_part};
use super::{HealthCheck, statuses};
use crate::codec::{duration, range};
use crate::error::{Error, is_unprintable};
use crate::model::defaults;

/// Builds a [`HealthCheck`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HealthCheckBuilder {
    pub(super) draft: HealthCheck,
}

impl HealthCheckBuilder {
    pub(super) fn new(draft: HealthCheck) -> Self {
        Self { draft }
    }

    /// Sets the path to request, with its query. Default: `/`.
    ///
    /// It starts with `/` and has at most 2048 bytes.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.draft.path = path.into();
        self
    }

    /// Sets the port to probe, 1 to 65535. Default: the port of the endpoint.
    ///
    /// An endpoint whose metrics and health are served on a port of their own sets it.
    pub fn port(mut self, port: u16) -> Self {
        self.draft.port = Some(port);
        self
    }

    /// Adds HTTP statuses of a healthy endpoint, such as `200..=299` or `401..=401`.
    ///
    /// Each from 100 to 599, the lower first, at most 32 ranges. Default: those of the probe.
    pub fn expect_status(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.draft.expected_statuses.push(statuses);
        self
    }

    /// Sets the name that a gRPC health check asks for. Default: the server as a whole.
    ///
    /// At most 256 bytes, without white space and control characters.
    pub fn grpc_service(mut self, service: impl Into<String>) -> Self {
        self.draft.grpc_service = Some(service.into());
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
        if check.port == Some(0) {
            return Err(Error::invalid(&field("port"), 0, "a port from 1 to 65535"));
        }
        statuses::check(&field("expected_statuses"), &check.expected_statuses)?;
        check.grpc_service = check.grpc_service.filter(|service| !service.is_empty());
        check_service(check.grpc_service.as_deref().unwrap_or_default())?;
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

const MAX_PATH: usize = 2048;
const MAX_SERVICE: usize = 256;
const MAX_METHOD: usize = 32;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_VALUE: usize = 8 * 1024;
const MAX_BODY: usize = 64 * 1024;

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

fn check_service(service: &str) -> Result<(), Error> {
    if service.len() <= MAX_SERVICE && !service.chars().any(|c| c.is_whitespace() || is_unprintable(c)) {
        return Ok(());
    }
    let wanted = "a name of at most 256 bytes without white space and control characters";
    Err(Error::invalid(&field("grpc_service"), service, wanted))
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
