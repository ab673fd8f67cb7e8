//! Which URLs of the API server may receive the token.

use failover_core::{Error, ErrorKind};
use http::Uri;

/// Refuses URLs with a user or a query, which may be secrets and would be shown in errors.
pub(crate) fn check_url(url: &Uri) -> Result<(), Error> {
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::invalid("server", "a URL with a user", "https://HOST:PORT"));
    }
    if url.query().is_some() {
        return Err(Error::invalid("server", "a URL with a query", "https://HOST:PORT"));
    }
    Ok(())
}

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
            let message = format!(
                "server: http://{host} would get the token in the clear; use https, or \
                 KubernetesProviderBuilder::dangerous_accept_any_server"
            );
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
