//! One namespace of a cluster: its API, its settings, and what is known about its Services.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use failover_core::provider::EndpointSet;
use failover_core::{Error, ErrorKind, ServiceName, Time};
use serde_json::Value;

use crate::api::{Api, Kind, Scope};
use crate::client::ApiClient;
use crate::settings::Settings;
use crate::slices::Slices;
use crate::{convert, error, names};

/// How long it is remembered that a Service allows registrations, or that Services may not be read.
const SERVICE_KNOWN: Duration = Duration::from_secs(30);

/// State shared by the provider and its tasks.
pub(crate) struct Cluster {
    pub(crate) client: ApiClient,
    pub(crate) settings: Settings,
    services: Mutex<HashMap<ServiceName, Time>>,
    /// When reading Services was refused. The refusal is harmless and expires: an API server
    /// refuses every request while it starts.
    refused: Mutex<Option<Time>>,
}

impl Cluster {
    pub(crate) fn new(client: ApiClient, settings: Settings) -> Self {
        Self { client, settings, services: Mutex::default(), refused: Mutex::default() }
    }

    pub(crate) fn api(&self) -> Api<'_> {
        Api { client: &self.client, namespace: &self.settings.namespace }
    }

    /// Returns the scope of a service's slices, or of all slices.
    pub(crate) fn scope(service: Option<&ServiceName>) -> Scope {
        match service {
            Some(service) => Scope::labelled(Kind::Slices, format!("{}={service}", names::SERVICE)),
            None => Scope::labelled(Kind::Slices, names::SERVICE),
        }
    }

    pub(crate) async fn list(&self, service: Option<&ServiceName>) -> Result<EndpointSet, Error> {
        let reading = &self.settings.reading;
        let read = |object: Value| convert::read(&object, reading);
        let (slices, version) = self.api().list(&Self::scope(service), read).await?;
        let mut services: HashMap<ServiceName, Vec<convert::Slice>> = HashMap::new();
        let mut unreadable = Vec::new();
        for slice in slices {
            match slice {
                Ok(slice) => services.entry(slice.service.clone()).or_default().push(slice),
                Err(error) => unreadable.push(error),
            }
        }
        if let (Some(service), true) = (service, services.is_empty()) {
            self.refuse_external(service).await?;
        }
        let mut entries = Vec::new();
        let mut rejected = Vec::new();
        let (mut confirmed, mut unknown) = (false, services.is_empty() && service.is_some());
        for slices in services.into_values() {
            let mut one = Slices::new(reading.family, Duration::ZERO);
            one.listed(slices, &version);
            let Some(set) = one.next_set(self.client.timing.now()) else { continue };
            confirmed |= set.is_confirmed();
            unknown |= set.is_unknown_service();
            rejected
                .extend(set.rejected().iter().map(|entry| (entry.what().to_owned(), entry.error().clone())));
            entries.extend(set.into_entries());
        }
        let is_empty = entries.is_empty() && rejected.is_empty() && unreadable.is_empty();
        let mut set =
            if is_empty && unknown { EndpointSet::unknown_service() } else { EndpointSet::new(entries) };
        if confirmed {
            set = set.confirmed();
        }
        for (what, error) in rejected {
            set.reject(what, error);
        }
        for error in unreadable {
            set.reject("a slice", error);
        }
        Ok(set)
    }

    /// Returns the Service object, if it exists and may be read.
    async fn service(&self, service: &ServiceName) -> Result<Option<Value>, Error> {
        let can_exist =
            service.as_str().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-');
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_blind = refused.is_some_and(|at| self.client.timing.now().since(at) < SERVICE_KNOWN);
        if !can_exist || is_blind {
            return Ok(None);
        }
        match self.api().get(Kind::Services, service.as_str()).await {
            Err(error) if error::status(&error) == Some(403) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.client.timing.now());
                tracing::debug!(target: "failover::k8s", "no right to get services: a Service with a selector is not noticed");
                Ok(None)
            }
            other => other,
        }
    }

    /// Refuses an `ExternalName` Service: it has no endpoints to list, so a watch would stay
    /// silent.
    pub(crate) async fn refuse_external(&self, service: &ServiceName) -> Result<(), Error> {
        // The type only improves the message, so a failure to read it is ignored.
        let Ok(Some(object)) = self.service(service).await else { return Ok(()) };
        match object.pointer("/spec/type").and_then(Value::as_str) {
            Some("ExternalName") => Err(external(service)),
            _ => Ok(()),
        }
    }

    /// Refuses a Service whose endpoints Kubernetes itself writes.
    pub(crate) async fn ensure_ours(&self, service: &ServiceName) -> Result<(), Error> {
        names::check_service(service)?;
        let known = {
            let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
            services.get(service).copied()
        };
        if known.is_some_and(|known| self.client.timing.now().since(known) < SERVICE_KNOWN) {
            return Ok(());
        }
        let object = self.service(service).await?;
        if let Some(object) = object {
            if object.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName") {
                return Err(external(service));
            }
            let selector = object.pointer("/spec/selector").and_then(Value::as_object);
            if selector.is_some_and(|selector| !selector.is_empty()) {
                let message = format!(
                    "Service {service} has a selector: its endpoints are the pods that it selects, and Kubernetes writes \
                     them; register under a Service without one, or under a name that no Service has"
                );
                return Err(Error::new(ErrorKind::Unsupported, message).with_code("SERVICE_HAS_SELECTOR"));
            }
        }
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if services.len() >= 1024 {
            services.clear();
        }
        services.insert(service.clone(), self.client.timing.now());
        Ok(())
    }
}

fn external(service: &ServiceName) -> Error {
    let message = format!(
        "Service {service} is of type ExternalName: it is an alias of a DNS name without endpoints; call that name"
    );
    Error::new(ErrorKind::Unsupported, message).with_code("EXTERNAL_NAME")
}
