//! The validated configuration of a provider.

use std::time::Duration;

use failover_core::provider::Query;
use failover_core::{Error, ServiceName};

use crate::names;

/// All defaults of this crate.
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

/// The addresses used of a dual-stack service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressFamily {
    /// A pod's IPv4 address, or its IPv6 address if it has no other.
    #[default]
    PreferIpv4,
    /// A pod's IPv6 address, or its IPv4 address if it has no other.
    PreferIpv6,
    /// Only IPv4.
    Ipv4,
    /// Only IPv6.
    Ipv6,
    /// Both: a dual-stack pod is two endpoints.
    Both,
}

/// The port of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum PortChoice {
    /// The only port.
    #[default]
    Only,
    Name(String),
    Number(u16),
}

impl TryFrom<&failover_core::provider::PortChoice> for PortChoice {
    type Error = Error;

    fn try_from(choice: &failover_core::provider::PortChoice) -> Result<Self, Error> {
        use failover_core::provider::PortChoice as Asked;
        match choice {
            Asked::Name(name) if names::is_label(name) => Ok(Self::Name(name.clone())),
            Asked::Number(number) if *number > 0 => Ok(Self::Number(*number)),
            other => {
                let shown: String = other.to_string().chars().take(200).collect();
                Err(Error::invalid("port", shown, "the name of a port, such as http, or 1 to 65535"))
            }
        }
    }
}

/// The port that a service's endpoints are called on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedPort {
    /// Empty for an unnamed port.
    pub(crate) name: String,
    pub(crate) number: u16,
}

/// A port of a Service object, whose name its slices use, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) number: u16,
}

/// A Service, possibly in another namespace, and one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) service: ServiceName,
    /// If `None`, the namespace of the provider.
    pub(crate) namespace: Option<String>,
    /// If `None`, the port of the provider's settings.
    pub(crate) port: Option<PortChoice>,
}

impl Target {
    /// Returns what a query asks for, if it names a service.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if no Service or namespace can have such a name.
    pub(crate) fn of(query: &Query) -> Result<Option<Self>, Error> {
        let Some(service) = query.service_name() else {
            return match (query.namespace_name(), query.port_choice()) {
                (None, None) => Ok(None),
                _ => Err(Error::invalid("query", "no service", "a service with its namespace or port")),
            };
        };
        names::check_service(service)?;
        let mut target = Self::plain(service);
        if let Some(namespace) = query.namespace_name() {
            if !names::is_namespace(namespace) {
                let shown: String = namespace.chars().take(200).collect();
                return Err(Error::invalid("namespace", shown, "the name of a namespace, such as shop"));
            }
            target.namespace = Some(namespace.to_owned());
        }
        if let Some(port) = query.port_choice() {
            target.port = Some(PortChoice::try_from(port)?);
        }
        Ok(Some(target))
    }

    /// Returns the query for this Service.
    pub(crate) fn query(&self) -> Query {
        let mut query = Query::service(&self.service);
        if let Some(namespace) = &self.namespace {
            query = query.namespace(namespace);
        }
        match &self.port {
            None | Some(PortChoice::Only) => query,
            Some(PortChoice::Name(name)) => query.port(name.as_str()),
            Some(PortChoice::Number(number)) => query.port(*number),
        }
    }

    /// The Service of this name, in the provider's namespace.
    pub(crate) fn plain(service: &ServiceName) -> Self {
        Self { service: service.clone(), namespace: None, port: None }
    }
}

/// How endpoints in slices written by others are read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) port: PortChoice,
    pub(crate) family: AddressFamily,
    pub(crate) protocol: String,
    /// The port in use until now, for slices of which `port` selects none.
    pub(crate) used: Option<UsedPort>,
    /// The ports of the Service object, if it was read.
    pub(crate) service_ports: Vec<ServicePort>,
    /// The label with the name of the service.
    pub(crate) label: &'static str,
    /// The zone and the node of this process, whose hints are followed.
    pub(crate) zone: Option<String>,
    pub(crate) node: Option<String>,
}

impl Reading {
    pub(crate) fn new(port: PortChoice, family: AddressFamily, protocol: impl Into<String>) -> Self {
        Self {
            port,
            family,
            protocol: protocol.into(),
            used: None,
            service_ports: Vec::new(),
            label: names::SERVICE,
            zone: None,
            node: None,
        }
    }
}

/// The settings, validated.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) deadline: Duration,
    pub(crate) watch: Duration,
    pub(crate) relist: Duration,
    pub(crate) settle: Duration,
    pub(crate) reading: Reading,
    /// If `None`, registrations outlive the process.
    pub(crate) lease: Option<Duration>,
    pub(crate) registrant: Option<String>,
    pub(crate) reaper: Option<bool>,
    pub(crate) drain: Duration,
    pub(crate) secrets: bool,
    /// Whether the labels of pods are read.
    pub(crate) pod_labels: bool,
}
