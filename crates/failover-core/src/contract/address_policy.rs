//! The addresses that a registry may list.
//!
//! Without this policy, a registry writer could send this program's calls, with their credentials,
//! to the cloud's metadata service or to a service that listens only on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::contract::provider::AddressTrust;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::Endpoint;

/// The addresses that a source may list. Host names are not resolved here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressPolicy {
    in_process: bool,
    loopback: bool,
}

impl AddressPolicy {
    /// The program itself configured the endpoint: every address is allowed.
    pub(crate) const IN_PROCESS: Self = Self { in_process: true, loopback: true };

    pub(crate) fn new(trust: AddressTrust, allow_loopback: bool) -> Self {
        match trust {
            AddressTrust::InProcess => Self::IN_PROCESS,
            AddressTrust::Loopback => Self { in_process: false, loopback: true },
            AddressTrust::Remote => Self { in_process: false, loopback: allow_loopback },
        }
    }

    /// Returns the reason why the address of an endpoint is refused, if it is.
    ///
    /// Names are not resolved here, but those that mean this machine everywhere are loopback
    /// addresses by name.
    pub(crate) fn refuses_endpoint(self, endpoint: &Endpoint) -> Option<&'static str> {
        match endpoint.ip() {
            Some(ip) => self.refuses(ip),
            None => (is_loopback_name(endpoint.address()) && !self.loopback).then_some(LOOPBACK),
        }
    }

    /// Returns an error if no caller could use an endpoint at this address: one that means no single
    /// host, and one that a registry of this trust may not list. Callers may be on this machine, so
    /// loopback addresses are allowed.
    pub(crate) fn ensure_callable(trust: AddressTrust, endpoint: &Endpoint) -> Result<(), Error> {
        let policy = Self::new(trust, true);
        let why = match endpoint.ip() {
            Some(ip) if policy.in_process => {
                let remote = Self { in_process: false, loopback: true };
                remote.refuses(ip).filter(|why| *why == NO_HOST)
            }
            _ => policy.refuses_endpoint(endpoint),
        };
        let Some(why) = why else { return Ok(()) };
        let message = format!(
            "address: {} {why}: every caller would leave the endpoint out; register the address at which others \
             reach this process",
            endpoint.address()
        );
        let error = Error::new(ErrorKind::Validation, message).with_code("ADDRESS_REFUSED");
        Err(error.with_detail("field", "address").with_detail("value", endpoint.address()))
    }

    /// Returns the reason why this address is refused, if it is.
    pub(crate) fn refuses(self, ip: IpAddr) -> Option<&'static str> {
        if self.in_process {
            return None;
        }
        // An IPv4-mapped IPv6 address reaches the same host.
        match ip.to_canonical() {
            IpAddr::V4(ip) => refuses_v4(ip),
            IpAddr::V6(ip) => refuses_v6(ip),
        }
        .or_else(|| {
            let refused = ip.to_canonical().is_loopback() && !self.loopback;
            refused.then_some(LOOPBACK)
        })
    }
}

/// Returns whether a host name means this machine: `localhost` and the names below it (RFC 6761),
/// and the other names that the hosts files of common systems give to the loopback address.
fn is_loopback_name(name: &str) -> bool {
    const OTHERS: [&str; 7] = [
        "localhost.localdomain",
        "localhost4",
        "localhost4.localdomain4",
        "localhost6",
        "localhost6.localdomain6",
        "ip6-localhost",
        "ip6-loopback",
    ];
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost") || OTHERS.iter().any(|other| other.eq_ignore_ascii_case(name))
}

const LOOPBACK: &str =
    "is a loopback address named by a remote registry; ManagerBuilder::allow_loopback allows it";

const METADATA: &str = "is the address of a cloud's metadata service, which no registry may name";
const LINK_LOCAL: &str = "is link-local, like metadata services, and no registry may name it";
const NO_HOST: &str = "is not the address of one host";
const TRANSLATED: &str = "is an IPv4 address behind NAT64, which can hide a refused address";

fn refuses_v4(ip: Ipv4Addr) -> Option<&'static str> {
    // Alibaba's metadata service and Azure's wire server; all others are link-local.
    if ip == Ipv4Addr::new(100, 100, 100, 200) || ip == Ipv4Addr::new(168, 63, 129, 16) {
        Some(METADATA)
    } else if ip.is_link_local() {
        Some(LINK_LOCAL)
    } else if ip.octets()[0] == 0 || ip.octets()[0] >= 224 {
        Some(NO_HOST)
    } else {
        None
    }
}

fn refuses_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let segments = ip.segments();
    let amazon = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let google = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    if ip == amazon || ip == google {
        Some(METADATA)
    } else if segments[0] & 0xffc0 == 0xfe80 {
        Some(LINK_LOCAL)
    } else if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] || segments[..3] == [0x64, 0xff9b, 1] {
        Some(TRANSLATED)
    } else if segments[0] == 0x2002 {
        // 6to4: the IPv4 address of its router.
        let [a, b, c, d] =
            [segments[1] >> 8, segments[1], segments[2] >> 8, segments[2]].map(|part| part as u8);
        let router = Ipv4Addr::new(a, b, c, d);
        refuses_v4(router).or(router.is_loopback().then_some(NO_HOST))
    } else if ip.is_unspecified() || ip.is_multicast() || (segments[..6] == [0; 6] && !ip.is_loopback()) {
        // The last are "IPv4-compatible", long deprecated.
        Some(NO_HOST)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: AddressPolicy, ip: &str) -> bool {
        policy.refuses(ip.parse().expect(ip)).is_some()
    }

    #[test]
    fn a_registry_elsewhere_may_name_hosts_and_nothing_else() {
        let remote = AddressPolicy::new(AddressTrust::Remote, false);
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.1.1",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "::ffff:100.100.100.200",
            "::ffff:127.0.0.1",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "255.255.255.255",
            "169.254.0.0",
            "169.254.255.255",
            "::ffff:a9fe:a9fe",
            "0:0:0:0:0:ffff:a9fe:a9fe",
            "::ffff:169.254.170.2",
            "::ffff:224.0.0.1",
            "::ffff:255.255.255.255",
            "::127.0.0.1",
            "::7f00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:ffff::7f00:1",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
            "fd00:0ec2:0:0:0:0:0:254",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "168.63.129.16",
            "2002:a83f:8110::1",
            "ff0e::1",
            "240.0.0.1",
        ] {
            assert!(refused(remote, ip), "{ip}");
        }
        for ip in [
            "10.0.0.1",
            "192.168.1.1",
            "100.100.100.201",
            "8.8.8.8",
            "fd00::1",
            "2001:db8::1",
            "2002:0a00:1::1",
            "168.63.129.17",
            "fd20:ce::255",
            "::ffff:10.0.0.1",
        ] {
            assert!(!refused(remote, ip), "{ip}");
        }
    }

    #[test]
    fn loopback_is_allowed_for_registries_on_loopback_and_on_request() {
        for (policy, loopback, metadata) in [
            (AddressPolicy::new(AddressTrust::Remote, false), true, true),
            (AddressPolicy::new(AddressTrust::Remote, true), false, true),
            (AddressPolicy::new(AddressTrust::Loopback, false), false, true),
            (AddressPolicy::new(AddressTrust::InProcess, false), false, false),
        ] {
            for ip in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                assert_eq!(refused(policy, ip), loopback, "{policy:?} {ip}");
            }
            assert_eq!(refused(policy, "169.254.169.254"), metadata, "{policy:?}");
        }
    }

    #[test]
    fn names_of_the_loopback_address_are_refused_like_the_address() {
        let remote = AddressPolicy::new(AddressTrust::Remote, false);
        let named = |name: &str| Endpoint::builder("a", "users", name, 80).build().expect("valid");
        for name in [
            "localhost",
            "LocalHost",
            "localhost.",
            "db.localhost",
            "a.b.LOCALHOST.",
            "localhost.localdomain",
            "localhost4",
            "localhost6.localdomain6",
            "ip6-localhost",
            "ip6-loopback",
            "127.0.0.1",
        ] {
            assert_eq!(remote.refuses_endpoint(&named(name)), Some(LOOPBACK), "{name}");
            for allowed in [
                AddressPolicy::new(AddressTrust::Remote, true),
                AddressPolicy::new(AddressTrust::Loopback, false),
                AddressPolicy::IN_PROCESS,
            ] {
                assert_eq!(allowed.refuses_endpoint(&named(name)), None, "{name}");
            }
        }
        for name in ["notlocalhost", "localhost.example.com", "localhost-1", "my-localhost", "db.example.com"]
        {
            assert_eq!(remote.refuses_endpoint(&named(name)), None, "{name}");
        }
    }

    /// Forms that a resolver may read as 169.254.169.254 or 127.0.0.1 although they are written
    /// differently. No endpoint can have one as its address, so none gets here as a host name.
    #[test]
    fn no_endpoint_has_an_address_that_a_resolver_could_read_as_another() {
        for address in [
            "2852039166",
            "2130706433",
            "0xa9fea9fe",
            "0xA9FEA9FE",
            "0x7f000001",
            "0x7f.0.0.1",
            "0x7f.1",
            "025177524776",
            "017700000001",
            "0251.0376.0251.0376",
            "0177.0.0.1",
            "0xa9.0xfe.0xa9.0xfe",
            "169.254.43518",
            "169.16689662",
            "127.1",
            "127.0.1",
            "127.0.0.01",
            "0",
            "0.0",
            "169.254.169.254.",
            "127.0.0.1.",
            "[::ffff:169.254.169.254]%eth0",
            "fe80::1%eth0",
            "::ffff:0xa9fea9fe",
            "１２７.0.0.1",
            "127。0。0。1",
            "169.254.169.254\u{0}",
            "http://169.254.169.254",
            "10.0.0.1@169.254.169.254",
            "169.254.169.254/latest",
            "169.254.169.254#",
            "169.254.169.254:80",
        ] {
            let built = Endpoint::builder("a", "users", address, 80).build();
            if let Ok(endpoint) = &built {
                // Text that parses as an address is checked as one.
                let ip = endpoint.ip();
                assert!(
                    ip.is_some_and(|ip| refused(
                        AddressPolicy::new(AddressTrust::Remote, false),
                        &ip.to_string()
                    )),
                    "{address}: {ip:?}"
                );
            }
        }
    }
}
