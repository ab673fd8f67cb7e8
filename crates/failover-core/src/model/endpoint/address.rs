//! Validates host names and IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Error;
use crate::model::endpoint::limits;

/// Validates an address; an IP address is returned in its canonical form.
pub(super) fn parse(field: &str, given: &str) -> Result<(String, Option<IpAddr>), Error> {
    if let Ok(ip) = given.parse::<Ipv4Addr>() {
        return Ok((ip.to_string(), Some(ip.into())));
    }
    if let Ok(ip) = given.parse::<Ipv6Addr>() {
        return Ok((ip.to_string(), Some(ip.into())));
    }
    match why_not_a_host(given) {
        None => Ok((given.to_owned(), None)),
        Some(wanted) => Err(Error::invalid(field, without_user(given), wanted)),
    }
}

/// Returns the part of a text, which may be a URL, that can be shown: without user and password,
/// query and fragment.
pub(super) fn without_user(text: &str) -> String {
    let shown = match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            let separator = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{separator}…@{host}")
        }
    };
    match shown.find(['?', '#']) {
        None => shown,
        Some(end) => format!("{}…", &shown[..=end]),
    }
}

fn why_not_a_host(given: &str) -> Option<&'static str> {
    let host = given.strip_suffix('.').unwrap_or(given);
    let label_is_right = |label: &str| {
        (1..=limits::HOST_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    Some(if given.is_empty() {
        "an IP address or a host name"
    } else if given.contains(['/', '@', '?', '#']) {
        "the host alone, not a URL; protocol and port are separate fields"
    } else if given.contains('[') || given.contains(']') {
        "an IPv6 address without brackets; the port is a separate field"
    } else if given.contains('%') {
        "an address without a zone id, which is meaningful on one machine only"
    } else if is_host_and_port(given) {
        "the host alone; the port is a separate field"
    } else if given.contains(':') {
        "an IPv6 address such as fd00::1, or a host name, which has no colon"
    } else if !given.is_ascii() {
        "a host name in ASCII, an international one in its xn-- form"
    } else if host.len() > limits::HOST {
        "a host name of at most 253 characters"
    } else if !host.split('.').all(label_is_right) {
        "a host name of labels with 1 to 63 letters, digits, hyphens and underscores, none of which starts or ends with a hyphen"
    } else if ends_in_a_number(host) {
        // Resolvers disagree about these: 010.1.2.3 is 8.1.2.3 to one and 10.1.2.3 to another.
        "an IPv4 address as four decimal numbers from 0 to 255 without leading zeros; this only looks like one"
    } else {
        return None;
    })
}

fn is_host_and_port(given: &str) -> bool {
    given
        .split_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns whether a browser would parse the host as an IPv4 address, by the WHATWG URL standard.
fn ends_in_a_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}
