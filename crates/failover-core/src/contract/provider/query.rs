//! Queries for endpoints.

use std::collections::BTreeMap;

use crate::model::endpoint::{Endpoint, ServiceName};

/// Selects endpoints to list. An endpoint matches if it meets every condition.
///
/// ```
/// # use failover_core::ServiceName;
/// # use failover_core::provider::Query;
/// let service = ServiceName::new("user-service")?;
/// let query = Query::service(&service).tag("api").metadata("version", "1.0.0");
/// # Ok::<(), failover_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    service: Option<ServiceName>,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
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
        self.tags.push(tag.into());
        self
    }

    /// Requires this value under this key of the metadata.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Returns the selected service, if the query names one.
    pub fn service_name(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }

    /// Returns whether an endpoint matches.
    pub fn matches(&self, endpoint: &Endpoint) -> bool {
        self.service.as_ref().is_none_or(|service| service == endpoint.service())
            && self.tags.iter().all(|tag| endpoint.tags().contains(tag))
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
}
