//! The agent's address.

use std::net::IpAddr;

use failover_core::Error;
use url::Url;

/// A validated agent address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `http://host:port/prefix`, without a trailing slash or credentials.
    base: String,
    /// Without brackets.
    host: String,
    port: u16,
    https: bool,
    loopback: bool,
}

/// The port of an agent's HTTP interface.
const PORT: u16 = 8500;
const WANTED: &str = "an address such as 127.0.0.1:8500, [::1]:8500, http://consul.example:8500 or \
                      https://consul.example/prefix";

impl Address {
    /// Parses an address with or without scheme, port and prefix. `tls` forces `https` whatever the
    /// scheme. Without scheme and port, the port is 8500.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Self, Error> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => (if tls { "https" } else { "http" }.to_owned(), text),
        };
        // The text is not quoted: it may contain a password.
        let refused = |why: &str| Err(Error::invalid("address", why, WANTED));
        if rest.contains('@') {
            return refused("one with a user or password (not shown)");
        }
        if scheme == "unix" {
            return refused("a unix socket");
        }
        if scheme != "http" && scheme != "https" {
            return refused(text);
        }
        // As in Consul's own clients, an address does not turn TLS off once it is requested.
        let scheme = if tls { "https".to_owned() } else { scheme };
        // The colons of a bare IPv6 address are not a port separator.
        let rest = match rest.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => rest.to_owned(),
        };
        let Ok(url) = Url::parse(&format!("{scheme}://{rest}")) else { return refused(text) };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return refused(text) };
        if url.query().is_some() || url.fragment().is_some() || rest.chars().any(char::is_whitespace) {
            return refused(text);
        }
        let prefix = rest.find('/').map_or("", |slash| &rest[slash..]).trim_end_matches('/');
        if !prefix.split('/').skip(1).all(is_plain_segment) {
            return refused(text);
        }
        let authority = rest.find('/').map_or(rest.as_str(), |slash| &rest[..slash]);
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let port = match url.port() {
            Some(0) => return refused(text),
            Some(port) => Some(port),
            // The URL omits the scheme's default port even if it was given.
            None if has_port => url.port_or_known_default(),
            None if text.contains("://") => None,
            None => Some(PORT),
        };
        let number = port.or_else(|| url.port_or_known_default()).unwrap_or(PORT);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse::<IpAddr>().ok();
        let loopback = ip.map_or(host == "localhost", |ip| ip.to_canonical().is_loopback());
        let base = format!("{scheme}://{host}{port}{prefix}");
        Ok(Self { base, host: bare.to_owned(), port: number, https: scheme == "https", loopback })
    }

    /// Returns the base URL, without a trailing slash.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Returns the host and port to connect to.
    pub(crate) fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Returns whether the address is on this machine: `localhost` or a loopback address.
    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

fn is_plain_segment(segment: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_and_without_scheme_port_and_prefix() {
        for (text, base, loopback) in [
            ("127.0.0.1:8501", "http://127.0.0.1:8501", true),
            ("localhost", "http://localhost:8500", true),
            ("localhost:8500", "http://localhost:8500", true),
            ("consul.example", "http://consul.example:8500", false),
            ("consul.example:80", "http://consul.example:80", false),
            ("http://consul.example", "http://consul.example", false),
            ("http://consul.example:8500/", "http://consul.example:8500", false),
            ("https://consul.example/a/b/", "https://consul.example/a/b", false),
            ("HTTPS://10.0.0.1:8501", "https://10.0.0.1:8501", false),
            ("::1", "http://[::1]:8500", true),
            ("[::1]:9", "http://[::1]:9", true),
            ("http://[2001:db8::1]:8500/p", "http://[2001:db8::1]:8500/p", false),
            ("[::ffff:127.0.0.1]:8500", "http://[::ffff:7f00:1]:8500", true),
        ] {
            let address = Address::parse(text, false).expect(text);
            assert_eq!((address.base(), address.is_loopback()), (base, loopback), "{text}");
            let (host, port) = address.socket();
            assert!(!host.contains(['[', ']']) && port > 0, "{host} {port}");
        }
        for text in ["consul:8501", "http://consul:8501"] {
            assert_eq!(Address::parse(text, true).expect("valid").base(), "https://consul:8501");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_is_not_shown() {
        for text in [
            "",
            " ",
            "http://",
            "unix:///run/consul.sock",
            "ftp://host",
            "http://user:hunter2@host:8500",
            "hunter2@host",
            "host:0",
            "host:65536",
            "host:port",
            "http://host/a/../b",
            "http://host/a//b",
            "http://host/a%2Fb",
            "http://host?dc=dc1",
            "http://host/#a",
            "ho st:8500",
            "host\r\nX-Header: a",
            "[::1",
        ] {
            let error = Address::parse(text, false).expect_err(text);
            assert!(error.to_string().starts_with("address: "), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
