//! The place of an endpoint: two endpoints at one place are the same process.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::model::endpoint::Endpoint;

/// The canonical address and port of an endpoint. Letter case, a trailing dot and the prefix
/// `::ffff:` make no difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    host: Host<'a>,
    port: u16,
}

#[derive(Clone, Copy, Debug)]
enum Host<'a> {
    Ip(IpAddr),
    /// Without a trailing dot; letter case is ignored by the comparisons below.
    Name(&'a str),
}

impl Endpoint {
    /// Returns the endpoint's place.
    pub(crate) fn place(&self) -> Place<'_> {
        let host = match self.ip() {
            Some(ip) => Host::Ip(ip.to_canonical()),
            None => Host::Name(self.address().strip_suffix('.').unwrap_or(self.address())),
        };
        Place { host, port: self.port() }
    }
}

fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
}

impl Ord for Place<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let host = match (self.host, other.host) {
            (Host::Ip(a), Host::Ip(b)) => a.cmp(&b),
            (Host::Name(a), Host::Name(b)) => lower(a).cmp(lower(b)),
            (Host::Ip(_), Host::Name(_)) => Ordering::Less,
            (Host::Name(_), Host::Ip(_)) => Ordering::Greater,
        };
        host.then(self.port.cmp(&other.port))
    }
}

impl PartialOrd for Place<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        let host = match (self.host, other.host) {
            (Host::Ip(a), Host::Ip(b)) => a == b,
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        };
        host && self.port == other.port
    }
}

impl Eq for Place<'_> {}

impl Hash for Place<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.host {
            Host::Ip(IpAddr::V4(ip)) => state.write_u32(ip.to_bits()),
            Host::Ip(IpAddr::V6(ip)) => state.write_u128(ip.to_bits()),
            Host::Name(name) => lower(name).for_each(|byte| state.write_u8(byte)),
        }
        state.write_u16(self.port);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn at(address: &str, port: u16) -> Endpoint {
        Endpoint::builder("a", "users", address, port).build().expect("valid")
    }

    #[test]
    fn spelling_makes_no_other_place_and_port_and_host_do() {
        for same in [
            ["10.0.0.1", "::ffff:10.0.0.1"],
            ["::ffff:a00:1", "10.0.0.1"],
            ["db.example.com", "DB.Example.COM."],
            ["fd00::1", "FD00:0:0:0:0:0:0:1"],
        ] {
            let [a, b] = same.map(|address| at(address, 80));
            assert_eq!(a.place(), b.place(), "{same:?}");
            assert_eq!(a.place().cmp(&b.place()), Ordering::Equal, "{same:?}");
            assert_eq!(HashSet::from([a.place(), b.place()]).len(), 1, "{same:?}");
        }
        let all = [
            at("10.0.0.1", 80),
            at("10.0.0.1", 81),
            at("10.0.0.2", 80),
            at("fd00::1", 80),
            at("db.example.com", 80),
            at("db.example.co", 80),
            at("localhost", 80),
            at("127.0.0.1", 80),
        ];
        assert_eq!(all.iter().map(Endpoint::place).collect::<HashSet<_>>().len(), all.len());
    }
}
