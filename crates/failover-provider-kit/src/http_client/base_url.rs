//! The address of a server, as people write it.

use std::net::{IpAddr, Ipv6Addr};

use failover_core::{Error, ErrorKind};
use http::Uri;

/// The validated address of a server: scheme, host, port and prefix.
///
/// ```
/// use failover_provider_kit::BaseUrl;
///
/// let url = BaseUrl::parse("address", "registry.example", 8500, false)?;
/// assert_eq!(url.as_str(), "http://registry.example:8500");
/// assert_eq!(url.join("/v1/status")?.path(), "/v1/status");
/// assert!(!url.keeps_secrets(), "plain HTTP to another machine");
/// # Ok::<(), failover_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// `http://host:port/prefix`, without a trailing slash or credentials.
    base: String,
    /// Without brackets.
    host: String,
    port: u16,
    https: bool,
}

impl BaseUrl {
    /// Parses an address with or without scheme, port and prefix; `field` names it in errors.
    ///
    /// `tls` forces `https` whatever the scheme, and is the default without one. Without scheme and
    /// port, the port is `default_port`; with a scheme, that of the scheme. International names are
    /// given in their ASCII form.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for anything else. A text with a user or password is refused and not
    /// shown.
    pub fn parse(field: &str, text: &str, default_port: u16, tls: bool) -> Result<Self, Error> {
        let text = text.trim();
        let wanted = format!(
            "an address such as 127.0.0.1:{default_port}, [::1]:{default_port}, \
             http://host.example:{default_port} or https://host.example/prefix"
        );
        // The text is not always quoted: it may contain a password.
        let refused = |why: &str| Error::invalid(field, why, &wanted);
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        if rest.contains('@') {
            return Err(refused("one with a user or password (not shown)"));
        }
        let https = match scheme.as_deref() {
            Some("unix") => return Err(refused("a unix socket")),
            Some("https") => true,
            // An address does not turn TLS off once it is requested.
            Some("http") | None => tls,
            Some(_) => return Err(refused(text)),
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let prefix = prefix.trim_end_matches('/');
        let (host, given) = host_and_port(authority).ok_or_else(|| refused(text))?;
        if !prefix.split('/').skip(1).all(is_plain_segment) {
            return Err(refused(text));
        }
        let port = given.or_else(|| scheme.is_none().then_some(default_port));
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let shown = port.map_or_else(String::new, |port| format!(":{port}"));
        let base = format!("{}://{name}{shown}{prefix}", if https { "https" } else { "http" });
        if base.parse::<Uri>().is_err() {
            return Err(refused(text));
        }
        Ok(Self { base, host, port: port.unwrap_or(if https { 443 } else { 80 }), https })
    }

    /// Returns the address, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// Returns the host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, also where the address does not state it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Returns whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Returns whether the host is this machine: `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }

    /// Returns whether nobody on the way can read what is sent: over `https`, or to this machine.
    pub fn keeps_secrets(&self) -> bool {
        self.https || self.is_loopback()
    }

    /// Returns the URL of a path and query below the prefix. They begin with `/` and are encoded.
    ///
    /// # Errors
    ///
    /// Returns `Internal` if they are not part of a URL. They are not shown.
    pub fn join(&self, path_and_query: &str) -> Result<Uri, Error> {
        let internal = |why: &str| {
            let message = format!("a path below {} cannot be requested: {why}", self.base);
            Error::new(ErrorKind::Internal, message)
        };
        if !path_and_query.starts_with('/') {
            return Err(internal("it does not begin with /"));
        }
        format!("{}{path_and_query}", self.base).parse().map_err(|_| internal("it is not encoded"))
    }
}

/// Returns the host, without brackets, and the port, if there is one.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let port =
        |text: &str| text.parse().ok().filter(|port| *port != 0 && text.bytes().all(|b| b.is_ascii_digit()));
    // The colons of a bare IPv6 address are not a port separator.
    if let Ok(ip) = authority.parse::<Ipv6Addr>() {
        return Some((ip.to_string(), None));
    }
    if let Some((ip, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let ip = ip.parse::<Ipv6Addr>().ok()?.to_string();
        return match rest.strip_prefix(':') {
            Some(text) => Some((ip, Some(port(text)?))),
            None => rest.is_empty().then_some((ip, None)),
        };
    }
    let (host, given) = match authority.split_once(':') {
        Some((host, text)) => (host, Some(port(text)?)),
        None => (authority, None),
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_name = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_plain);
    is_name.then(|| (host.to_ascii_lowercase(), given))
}

fn is_plain_segment(segment: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, tls: bool) -> Result<BaseUrl, Error> {
        BaseUrl::parse("address", text, 8500, tls)
    }

    #[test]
    fn an_address_is_read_with_and_without_scheme_port_and_prefix() {
        for (text, base, authority, loopback) in [
            ("127.0.0.1:8501", "http://127.0.0.1:8501", "127.0.0.1:8501", true),
            ("localhost", "http://localhost:8500", "localhost:8500", true),
            ("LocalHost:8500", "http://localhost:8500", "localhost:8500", true),
            ("consul.example", "http://consul.example:8500", "consul.example:8500", false),
            ("consul.example:80", "http://consul.example:80", "consul.example:80", false),
            ("http://consul.example", "http://consul.example", "consul.example:80", false),
            ("http://consul.example:8500/", "http://consul.example:8500", "consul.example:8500", false),
            ("https://consul.example/a/b/", "https://consul.example/a/b", "consul.example:443", false),
            ("HTTPS://10.0.0.1:8501", "https://10.0.0.1:8501", "10.0.0.1:8501", false),
            ("::1", "http://[::1]:8500", "[::1]:8500", true),
            ("[::1]:9", "http://[::1]:9", "[::1]:9", true),
            ("http://[2001:db8::1]:8500/p", "http://[2001:db8::1]:8500/p", "[2001:db8::1]:8500", false),
            ("[::ffff:127.0.0.1]:8500", "http://[::ffff:127.0.0.1]:8500", "[::ffff:127.0.0.1]:8500", true),
        ] {
            let url = parse(text, false).expect(text);
            assert_eq!((url.as_str(), url.is_loopback()), (base, loopback), "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.keeps_secrets(), loopback || base.starts_with("https"), "{text}");
            assert!(!url.host().contains(['[', ']']) && url.port() > 0, "{url:?}");
            assert_eq!(url.join("/v1/a?b=c").expect("valid").to_string(), format!("{base}/v1/a?b=c"));
        }
        for text in ["consul:8501", "http://consul:8501"] {
            assert_eq!(parse(text, true).expect("valid").as_str(), "https://consul:8501");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_password_is_not_shown() {
        for text in [
            "",
            " ",
            "http://",
            "http:///a",
            "unix:///run/consul.sock",
            "ftp://host",
            "http://user:hunter2@host:8500",
            "hunter2@host",
            "host:0",
            "host:65536",
            "host:+80",
            "host:",
            "host:port",
            "host:80:80",
            "http://host/a/../b",
            "http://host/a//b",
            "http://host/a%2Fb",
            "http://host?dc=dc1",
            "http://host/#a",
            "host#a",
            "ho st:8500",
            "h\u{f6}st",
            "host\r\nX-Header: a",
            "[::1",
            "[::1]8500",
            "[127.0.0.1]:80",
        ] {
            let error = parse(text, false).expect_err(text);
            assert!(error.to_string().starts_with("address: "), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let url = parse("host", false).expect("valid");
        for path in ["v1", "", "/a b", "/a\r\nb", ":80/a", "@other/a"] {
            assert!(url.join(path).is_err(), "{path}");
        }
    }
}
