//! What a provider was configured with, checked.

use std::time::Duration;

/// Defaults, each in this one place.
pub(crate) mod defaults {
    use std::time::Duration;

    pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
    pub(crate) const WATCH: Duration = Duration::from_secs(60);
    pub(crate) const RELIST: Duration = Duration::from_secs(600);
    pub(crate) const SETTLE: Duration = Duration::from_millis(250);
    pub(crate) const LEASE: Duration = Duration::from_secs(30);
    pub(crate) const DRAIN: Duration = Duration::ZERO;
    pub(crate) const PROTOCOL: &str = "tcp";
}

/// Which addresses of a dual-stack service are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressFamily {
    /// A pod's IPv4 address, and its IPv6 address where it has no other.
    #[default]
    PreferIpv4,
    /// A pod's IPv6 address, and its IPv4 address where it has no other.
    PreferIpv6,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// Both: a dual-stack pod is two endpoints.
    Both,
}

/// Which port of a service's slices is the endpoint's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum PortChoice {
    /// The only one there is.
    #[default]
    Only,
    Name(String),
    Number(u16),
}

/// How the endpoints of slices that others wrote are read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) port: PortChoice,
    pub(crate) family: AddressFamily,
    pub(crate) protocol: String,
}

/// What a provider does, and how long it takes at most.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) deadline: Duration,
    pub(crate) watch: Duration,
    pub(crate) relist: Duration,
    pub(crate) settle: Duration,
    pub(crate) reading: Reading,
    /// `None`: registrations outlive the process.
    pub(crate) lease: Option<Duration>,
    pub(crate) registrant: Option<String>,
    pub(crate) reaper: Option<bool>,
    pub(crate) drain: Duration,
    pub(crate) secrets: bool,
}
