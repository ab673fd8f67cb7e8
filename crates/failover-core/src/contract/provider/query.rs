//! Queries for endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::endpoint::{Endpoint, ServiceName};

/// Selects endpoints to list or watch. An endpoint matches if it meets every condition.
///
/// ```
/// # use failover_core::ServiceName;
/// # use failover_core::provider::Query;
/// let service = ServiceName::new("user-service")?;
/// let query = Query::service(&service).tag("api").metadata("version", "1.0.0");
/// # Ok::<(), failover_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    service: Option<ServiceName>,
    tags: BTreeSet<String>,
    metadata: BTreeMap<String, String>,
    namespace: Option<String>,
    port: Option<PortChoice>,
}

/// The port to call, of endpoints that have several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortChoice {
    /// The port with this name.
    Name(String),
    /// The port with this number.
    Number(u16),
}

impl From<&str> for PortChoice {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for PortChoice {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<u16> for PortChoice {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for PortChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Query {
    /// Selects every endpoint of every service.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects the endpoints of one service.
    pub fn service(service: &ServiceName) -> Self {
        Self { service: Some(service.clone()), ..Self::default() }
    }

    /// Requires this tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Requires this value under this key of the metadata.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Selects the endpoints of another namespace than the provider's own.
    ///
    /// For providers with [`Feature::Namespaces`](super::Feature::Namespaces).
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Chooses the port, by name or by number, of endpoints that have several.
    ///
    /// For providers with [`Feature::Ports`](super::Feature::Ports).
    pub fn port(mut self, port: impl Into<PortChoice>) -> Self {
        self.port = Some(port.into());
        self
    }

    /// Returns the selected service, if the query names one.
    pub fn service_name(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }

    /// Returns the required tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// Returns the selected namespace, if the query names one.
    pub fn namespace_name(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Returns the query without its tags and its metadata.
    ///
    /// For providers whose watches list all endpoints of a service: queries that differ only in these
    /// can share one watch.
    pub fn unfiltered(&self) -> Self {
        Self { tags: BTreeSet::new(), metadata: BTreeMap::new(), ..self.clone() }
    }

    /// Returns the chosen port, if the query names one.
    pub fn port_choice(&self) -> Option<&PortChoice> {
        self.port.as_ref()
    }

    /// Adds the conditions of another query but for its service. Its namespace and its port prevail.
    pub(crate) fn and(mut self, more: &Self) -> Self {
        self.tags.extend(more.tags.iter().cloned());
        self.metadata.extend(more.metadata.clone());
        self.namespace = more.namespace.clone().or(self.namespace);
        self.port = more.port.clone().or(self.port);
        self
    }

    /// Whether some endpoints of the service may not match.
    pub(crate) fn filters(&self) -> bool {
        !self.tags.is_empty() || !self.metadata.is_empty()
    }

    /// Returns the conditions other than the service, as text that is the same for equal ones only;
    /// `None` without one.
    pub(crate) fn selection(&self) -> Option<String> {
        let tags = self.tags.iter().map(|tag| format!("tag {tag:?}"));
        let metadata = self.metadata.iter().map(|(key, value)| format!("{key:?}={value:?}"));
        let namespace = self.namespace.iter().map(|namespace| format!("namespace {namespace:?}"));
        let port = self.port.iter().map(|port| match port {
            PortChoice::Name(name) => format!("port {name:?}"),
            PortChoice::Number(number) => format!("port {number}"),
        });
        let all: Vec<_> = namespace.chain(port).chain(tags).chain(metadata).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Returns whether an endpoint matches: its service, its tags and its metadata.
    ///
    /// The namespace and the port are known to the provider alone, which lists the endpoints of that
    /// namespace with that port.
    pub fn matches(&self, endpoint: &Endpoint) -> bool {
        self.service.as_ref().is_none_or(|service| service == endpoint.service()) && self.selects(endpoint)
    }

    /// Returns whether an endpoint has the tags and the metadata.
    pub(crate) fn selects(&self, endpoint: &Endpoint) -> bool {
        self.tags.iter().all(|tag| endpoint.tags().contains(tag))
            && self.metadata.iter().all(|(key, value)| endpoint.metadata().get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_named_must_hold() {
        let endpoint = Endpoint::builder("a", "users", "10.0.0.1", 80)
            .tag("api")
            .tag("v2")
            .metadata("region", "eu")
            .build()
            .expect("valid");
        let users = ServiceName::new("users").expect("valid");
        let other = ServiceName::new("orders").expect("valid");
        for (query, expected) in [
            (Query::all(), true),
            (Query::service(&users), true),
            (Query::service(&other), false),
            (Query::all().tag("api").tag("v2"), true),
            (Query::all().tag("api").tag("v3"), false),
            (Query::all().metadata("region", "eu"), true),
            (Query::all().metadata("region", "us"), false),
            (Query::all().metadata("zone", "eu"), false),
            (Query::service(&users).tag("api").metadata("region", "eu"), true),
        ] {
            assert_eq!(query.matches(&endpoint), expected, "{query:?}");
        }
    }

    #[test]
    fn equal_queries_alone_have_equal_selections() {
        let users = Query::service(&ServiceName::new("users").expect("valid"));
        let one = || users.clone().tag("a").tag("b").metadata("k", "v").namespace("shop").port("http");
        assert_eq!(one(), users.clone().port("http").namespace("shop").tag("b").metadata("k", "v").tag("a"));
        let shown = "namespace \"shop\", port \"http\", tag \"a\", tag \"b\", \"k\"=\"v\"";
        assert_eq!(one().selection().as_deref(), Some(shown));
        assert_eq!(users.selection(), None);
        let others = [
            users.clone().tag("a\", tag \"b"),
            users.clone().tag("a").tag("b"),
            users.clone().port("80"),
            users.clone().port(80),
            users.clone().namespace("80"),
        ];
        let texts: BTreeSet<_> = others.iter().map(Query::selection).collect();
        assert_eq!(texts.len(), others.len(), "{texts:?}");
    }
}
