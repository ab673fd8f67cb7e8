//! A request of the small client.

use std::fmt;
use std::sync::Arc;

use failover_http::service_name;
use http::{HeaderName, HeaderValue, Uri};
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, Response, Url};

use crate::error::Error;
use crate::stacks::Stacks;

/// A request, as reqwest's builder of the same name.
///
/// [`with`](Self::with) reaches everything that reqwest's builder has.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    stacks: Arc<Stacks>,
    inner: Result<reqwest::RequestBuilder, Error>,
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder").finish_non_exhaustive()
    }
}

impl RequestBuilder {
    pub(crate) fn new(stacks: Arc<Stacks>, method: Method, url: &str) -> Self {
        let inner = checked(url).map(|url| stacks.shared().request(method, url));
        Self { stacks, inner }
    }

    /// Adds a header.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N>,
        <HeaderName as TryFrom<N>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        self.with(|inner| inner.header(name, value))
    }

    /// Adds headers, in place of earlier ones of their names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|inner| inner.headers(headers))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|inner| inner.body(body))
    }

    /// Applies methods of reqwest's own builder, such as `json` or `multipart`.
    pub fn with(mut self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        self.inner = self.inner.map(change);
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    ///
    /// Returns [`Error`] if the request is invalid, its URL names no service, or no endpoint gives an
    /// answer.
    ///
    /// # Cancel safety
    ///
    /// See [`Client::execute`](crate::Client::execute).
    pub async fn send(self) -> Result<Response, Error> {
        let request = self.inner?.build()?;
        self.stacks.execute(request).await
    }
}

/// Reads a URL that names a service. reqwest's own type would drop the port 80, and turn a user into a
/// header.
fn checked(url: &str) -> Result<Url, Error> {
    let refuse = |reason: &dyn fmt::Display| Error::Url { reason: reason.to_string() };
    let parsed = Url::parse(url).map_err(|error| refuse(&error))?;
    if is_name_alone(&parsed, url) {
        return Ok(parsed);
    }
    let (scheme, rest) = url.trim().split_once("://").ok_or_else(|| refuse(&"it has no ://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let named: Uri = format!("{scheme}://{authority}").parse().map_err(|error| refuse(&error))?;
    service_name(&named)?;
    Ok(parsed)
}

/// Whether a URL was written with a name, without a user and a port, as nearly all are. The name itself is
/// checked when the request is sent.
fn is_name_alone(parsed: &Url, written: &str) -> bool {
    let (scheme, host) = (parsed.scheme(), parsed.host_str().unwrap_or_default());
    let rest = written.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?', '#', '\\']);
    matches!(scheme, "http" | "https")
        && rest.and_then(|rest| rest.strip_prefix(host)).is_some_and(ends)
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
