//! An event, with the numbers at that moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use crate::error::one_line;
use crate::events::kind::{EventKind, Weight};
use crate::model::endpoint::{Endpoint, EndpointId, ServiceName};

/// An event, with the numbers at that moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The kind of event.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The time, by the wall clock.
    #[serde(serialize_with = "crate::codec::time::write_time")]
    pub at: SystemTime,
    /// The service, if the event concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The endpoint, if the event concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// The name of the provider, if the event concerns one. For an event about an endpoint, the
    /// source of the endpoint if the endpoints of the service have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// The reason, as one line of text.
    pub reason: String,
    /// The numbers behind the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<&'static str, Value>,
    /// The number of the endpoint's state, which the endpoint keeps when another entry of its place
    /// counts, and the endpoint, because a state can be reused at another place.
    #[serde(skip)]
    pub(crate) subject: Option<(u32, Arc<Endpoint>)>,
}

impl Event {
    pub(crate) fn new(kind: EventKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            at: SystemTime::UNIX_EPOCH,
            service: None,
            endpoint: None,
            provider: None,
            reason: one_line(reason.into()),
            details: BTreeMap::new(),
            subject: None,
        }
    }

    pub(crate) fn endpoint(mut self, id: &EndpointId) -> Self {
        self.endpoint = Some(id.clone());
        self
    }

    pub(crate) fn provider(mut self, name: &Arc<str>) -> Self {
        self.provider = Some(Arc::clone(name));
        self
    }

    pub(crate) fn detail(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(key, value.into());
        self
    }

    pub(super) fn trace(&self) {
        let service = self.service.as_ref().map(tracing::field::display);
        let endpoint = self.endpoint.as_ref().map(tracing::field::display);
        let provider = self.provider.as_ref().map(tracing::field::display);
        let (kind, reason) = (self.kind.as_str(), self.reason.as_str());
        match self.kind.weight() {
            Weight::PerCall => {
                tracing::debug!(target: "failover", kind, service, endpoint, provider, "{reason}");
            }
            Weight::Notice => {
                tracing::info!(target: "failover", kind, service, endpoint, provider, "{reason}");
            }
            Weight::Warning => {
                tracing::warn!(target: "failover", kind, service, endpoint, provider, "{reason}");
            }
        }
    }
}

/// One line: `circuit_open user-service/server-2: 5 consecutive failures, …`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match (&self.service, &self.endpoint) {
            (Some(service), Some(endpoint)) => write!(f, " {service}/{endpoint}")?,
            (Some(service), None) => write!(f, " {service}")?,
            (None, Some(endpoint)) => write!(f, " {endpoint}")?,
            (None, None) => {}
        }
        if let Some(provider) = &self.provider {
            write!(f, " [{provider}]")?;
        }
        write!(f, ": {}", self.reason)
    }
}
