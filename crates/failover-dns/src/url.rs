//! The line that names a service.

use std::net::{IpAddr, SocketAddr};

use failover_core::Error;

use crate::family::Family;
use crate::provider::{DnsProvider, DnsProviderBuilder, protocol_of};
use crate::source::dns_name;

const FORMS: &str = "dns://NAME:PORT or srv://_SERVICE._PROTOCOL.NAME, such as \
                     dns://user-service.prod.svc.cluster.local:8080";
const MAX_BYTES: usize = 2048;

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) provider: DnsProviderBuilder,
}

impl Line {
    pub(crate) fn parse(line: &str) -> Result<Self, Error> {
        let refuse = |wanted: &str| Error::invalid("line", shown(line), wanted);
        if line.len() > MAX_BYTES {
            return Err(refuse("at most 2048 bytes"));
        }
        let (scheme, rest) = line.split_once("://").ok_or_else(|| refuse(FORMS))?;
        let is_srv = match scheme.to_ascii_lowercase().as_str() {
            "dns" => false,
            "srv" => true,
            _ => return Err(refuse(FORMS)),
        };
        if rest.contains('@') {
            return Err(refuse("a line without a user and a password; DNS has none"));
        }
        if rest.contains('#') {
            return Err(refuse("a line without a fragment"));
        }
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, host) = match place.split_once('/') {
            Some((host, "")) => (None, host),
            Some((server, host)) => (Some(server).filter(|server| !server.is_empty()), host),
            None => (None, place),
        };
        if host.contains('/') {
            return Err(refuse("a line without a path"));
        }
        let mut provider = DnsProvider::builder();
        if let Some(server) = server {
            provider = provider.nameserver(server_of(server)?);
        }
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        };
        dns_name("name", name)?;
        provider = match (is_srv, port) {
            (true, None) => provider.srv().protocol(protocol_of(name)),
            (true, Some(_)) => return Err(refuse("srv://NAME without a port; SRV records name the ports")),
            (false, None) => return Err(refuse("dns://NAME:PORT; only SRV records name ports")),
            (false, Some(port)) => {
                let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
                let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
                provider.port(port.ok_or_else(|| refuse("a port from 1 to 65535"))?)
            }
        };
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            provider = apply(provider, parameter)?;
        }
        Ok(Self { name: name.to_owned(), provider })
    }
}

fn apply(provider: DnsProviderBuilder, parameter: &str) -> Result<DnsProviderBuilder, Error> {
    let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    Ok(match (key, value) {
        ("search", "true") => provider.search(true),
        ("search", "false") => provider.search(false),
        ("search", _) => return Err(Error::invalid("search", value, "true or false")),
        ("family", "4") => provider.family(Family::V4),
        ("family", "6") => provider.family(Family::V6),
        ("family", "both") => provider.family(Family::Both),
        ("family", _) => return Err(Error::invalid("family", value, "4, 6 or both")),
        ("protocol", _) => provider.protocol(value),
        ("server", _) => provider.nameserver(server_of(value)?),
        _ => return Err(Error::invalid("parameter", key, "one of server, search, protocol and family")),
    })
}

/// Reads the address of a name server, with port 53 if none is given.
fn server_of(text: &str) -> Result<SocketAddr, Error> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
    address.ok().filter(|address| address.port() != 0).ok_or_else(|| {
        let wanted = "the IP address of a name server, such as 10.0.0.53, 10.0.0.53:53 or [fd00::53]:53";
        Error::invalid("server", shown(text), wanted)
    })
}

/// Hides what may be a password.
fn shown(line: &str) -> String {
    match line.rsplit_once('@') {
        None => line.to_owned(),
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://…@{after}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_service_the_server_and_the_rest() {
        for (line, name, parts) in [
            ("dns://users.example.com:8080", "users.example.com", &["port: Some(8080)", "servers: []"][..]),
            ("DNS://users.example.com.:80/", "users.example.com.", &["port: Some(80)"]),
            ("dns://10.0.0.53/users:80", "users", &["servers: [10.0.0.53:53]"]),
            ("dns:///users:80", "users", &["servers: []"]),
            ("dns://[fd00::53]:5353/users:80", "users", &["servers: [[fd00::53]:5353]"]),
            (
                "srv://_https._tcp.users?server=[fd00::1]&server=10.0.0.1:54&search=true&family=4",
                "_https._tcp.users",
                &[
                    "prefix: Some(\"\")",
                    "[[fd00::1]:53, 10.0.0.1:54]",
                    "search: true",
                    "family: V4",
                    "protocol: Some(\"https\")",
                ],
            ),
            ("dns://users:80?protocol=grpc", "users", &["protocol: Some(\"grpc\")"]),
        ] {
            let read = Line::parse(line).expect(line);
            assert_eq!(read.name, name);
            let shown = format!("{:?}", read.provider);
            for part in parts {
                assert!(shown.contains(part), "{line}: {part} in {shown}");
            }
        }
    }

    #[test]
    fn a_line_that_is_not_valid_says_what_to_write() {
        let long = format!("dns://{}:80", "a".repeat(3000));
        let label = format!("dns://{}:80", "a".repeat(64));
        for (line, reason) in [
            ("", "dns://NAME:PORT"),
            ("users:80", "dns://NAME:PORT"),
            ("http://users:80", "dns://NAME:PORT"),
            ("dns://", "an empty value"),
            ("dns://users", "only SRV records name ports"),
            ("dns://users:", "a port from 1 to 65535"),
            ("dns://users:0", "a port from 1 to 65535"),
            ("dns://users:+80", "a port from 1 to 65535"),
            ("dns://users:65536", "a port from 1 to 65535"),
            ("srv://_http._tcp.users:80", "SRV records name the ports"),
            ("dns://10.0.0.1:80", "`ServiceHandle::fixed` takes addresses"),
            ("dns://[::1]:80", "a DNS name"),
            ("dns://us ers:80", "a DNS name"),
            ("dns://us\ners:80", "a DNS name"),
            ("dns://us%20ers:80", "a DNS name"),
            ("dns://b\u{fc}cher:80", "Punycode"),
            ("dns://a..b:80", "a DNS name"),
            ("dns://.:80", "a DNS name"),
            (&label, "a DNS name"),
            (&long, "at most 2048 bytes"),
            ("dns://ns.example.com/users:80", "the IP address of a name server"),
            ("dns://10.0.0.53:0/users:80", "the IP address of a name server"),
            ("dns://a/b/users:80", "without a path"),
            ("dns://users:80#x", "without a fragment"),
            ("dns://users:80?serach=true", "one of server, search, protocol and family"),
            ("dns://users:80?search=yes", "true or false"),
            ("dns://users:80?family=5", "4, 6 or both"),
            ("dns://users:80?server=", "the IP address of a name server"),
        ] {
            let error = Line::parse(line).expect_err(line);
            assert_eq!(error.kind(), failover_core::ErrorKind::Validation);
            assert!(error.to_string().contains(reason), "{line}: {error}");
        }
        for line in ["dns://me:secret@users:80", "dns://me:secret@10.0.0.1/users:80"] {
            let error = format!("{:?}", Line::parse(line).expect_err(line));
            assert!(error.contains("without a user") && !error.contains("secret"), "{error}");
        }
    }
}
