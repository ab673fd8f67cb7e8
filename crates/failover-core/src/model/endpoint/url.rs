//! Parses an endpoint from a URL or from `host:port`.

use crate::error::Error;
use crate::model::endpoint::address::without_user;
use crate::model::endpoint::{Endpoint, ServiceName};

impl Endpoint {
    /// Parses `http://10.0.0.1:8080`, `https://host`, `10.0.0.1:8080`, `[::1]:80` or `host:1234`.
    ///
    /// The protocol is the URL's scheme, or `tcp` without one; `http` and `https` have their
    /// default ports. The id is the host and port, as in `10.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for a URL with a user, a path other than `/`, a query or a fragment,
    /// and for values that [`EndpointBuilder::build`](crate::EndpointBuilder::build) rejects. A
    /// user or password is never shown.
    pub fn from_url(service: &ServiceName, url: &str) -> Result<Self, Error> {
        parse(service, url)
    }
}

fn parse(service: &ServiceName, url: &str) -> Result<Endpoint, Error> {
    let refuse = |wanted: &str| Error::invalid("url", without_user(url), wanted);
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    if rest.contains('@') {
        return Err(refuse("a URL without a user and password; the call itself has to carry them"));
    }
    if rest.contains('#') {
        return Err(refuse("a URL without a fragment"));
    }
    if rest.contains('?') {
        return Err(refuse("a URL without a query; Endpoint::url adds the path and query of a call"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err(refuse("a URL without a path; Endpoint::url adds the path of a call"));
    }
    let (host, port) = split(authority)
        .ok_or_else(|| refuse("http://host:port or host:port, with an IPv6 address in brackets"))?;
    let port = match port {
        Some(digits) => Some(digits)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| refuse("a port from 1 to 65535"))?,
        None => usual_port(scheme).ok_or_else(|| refuse("a port, as in host:8080"))?,
    };
    let mut builder = Endpoint::builder("", service, host, port);
    if let Some(scheme) = scheme {
        builder = builder.protocol(scheme);
    }
    builder
        .id_from_authority()
        .build()
        .map_err(|error| error.context(format_args!("url {}", without_user(url))))
}

fn usual_port(scheme: Option<&str>) -> Option<u16> {
    let scheme = scheme?;
    if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else {
        None
    }
}

/// Splits off the port and removes the host's brackets. A bare IPv6 address has no port that could
/// be distinguished from it.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':')?),
        };
        return host.contains(':').then_some((host, port));
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}
