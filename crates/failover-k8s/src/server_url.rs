//! Which URLs of the API server may receive the token.

use failover_core::{Error, ErrorKind};
use http::Uri;

/// Refuses URLs that would expose the token on the network.
pub(crate) fn check_server(url: &Uri, has_token: bool) -> Result<(), Error> {
    let host = url.host().unwrap_or_default();
    if host.is_empty() {
        return Err(Error::invalid("server", "a URL without a host", "https://HOST:PORT"));
    }
    match url.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if !has_token || is_loopback(host) => Ok(()),
        Some("http") => {
            let message = format!("server: http://{host} would get the token in the clear; use https");
            Err(Error::new(ErrorKind::Validation, message).with_detail("field", "server"))
        }
        _ => Err(Error::invalid("server", host, "a URL that begins with https://")),
    }
}

/// Returns whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
