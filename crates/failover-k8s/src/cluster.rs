//! One namespace of a cluster: its API, its settings, and what is known about its Services.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::provider::EndpointSet;
use failover_core::{Error, ErrorKind, ServiceName, Time};
use failover_provider_kit::SharedWatches;
use serde_json::Value;

use crate::api::{Api, Kind, Scope};
use crate::client::ApiClient;
use crate::pods::{LatestLabels, PodLabels, PodStore};
use crate::reflector::{Periods, follow};
use crate::settings::{PortChoice, Reading, ServicePort, Settings, Target, UsedPort};
use crate::slices::Slices;
use crate::{convert, error, names};

/// How long it is remembered that a Service allows registrations, or that Services may not be read.
const SERVICE_KNOWN: Duration = Duration::from_secs(30);

/// The maximum number of services about which something is remembered.
const MAX_SERVICES: usize = 4096;

/// State shared by the provider and its tasks.
pub(crate) struct Cluster {
    pub(crate) client: ApiClient,
    pub(crate) settings: Settings,
    services: Mutex<HashMap<ServiceName, Time>>,
    /// The port that each service's endpoints are called on, so that it stays in use when others
    /// join it.
    ports: Mutex<HashMap<Target, UsedPort>>,
    /// The ports of Service objects, for a port that is chosen by the number it has there.
    service_ports: Mutex<HashMap<Target, Vec<ServicePort>>>,
    /// The zone of this process's node, once it was looked up.
    zone: Mutex<Option<String>>,
    /// The labels of the pods of each namespace.
    pods: SharedWatches<String, Arc<PodLabels>>,
    /// When reading Services was refused. The refusal is harmless and expires: an API server
    /// refuses every request while it starts.
    refused: Mutex<Option<Time>>,
}

impl Cluster {
    pub(crate) fn new(client: ApiClient, settings: Settings) -> Self {
        let pods = SharedWatches::new(client.timing.clone());
        Self {
            client,
            settings,
            services: Mutex::default(),
            ports: Mutex::default(),
            service_ports: Mutex::default(),
            zone: Mutex::default(),
            pods,
            refused: Mutex::default(),
        }
    }

    pub(crate) fn api(&self) -> Api<'_> {
        Api { client: &self.client, namespace: &self.settings.namespace }
    }

    pub(crate) fn api_in<'a>(&'a self, target: &'a Target) -> Api<'a> {
        Api { client: &self.client, namespace: self.namespace_of(target) }
    }

    pub(crate) fn namespace_of<'a>(&'a self, target: &'a Target) -> &'a str {
        target.namespace.as_deref().unwrap_or(&self.settings.namespace)
    }

    /// Returns the API and the scope of a service's slices.
    pub(crate) fn slices_of<'a>(&'a self, target: &'a Target) -> (Api<'a>, Scope) {
        let label = self.settings.reading.label;
        (self.api_in(target), Scope::labelled(Kind::Slices, format!("{label}={}", target.service)))
    }

    /// Returns how the slices of a service are read now.
    pub(crate) fn reading(&self, target: &Target) -> Reading {
        let mut reading = self.settings.reading.clone();
        reading.port = target.port.clone().unwrap_or(reading.port);
        reading.zone = reading.zone.or_else(|| lock(&self.zone).clone());
        reading.used = lock(&self.ports).get(target).cloned();
        reading.service_ports = lock(&self.service_ports).get(target).cloned().unwrap_or_default();
        reading
    }

    /// Remembers the port that a service's endpoints are called on.
    pub(crate) fn remember_port(&self, target: &Target, used: &UsedPort) {
        let mut ports = lock(&self.ports);
        let known = ports.get(target);
        if known == Some(used) || known.is_none() && ports.len() >= MAX_SERVICES {
            return;
        }
        if let Some(before) = ports.insert(target.clone(), used.clone()) {
            tracing::info!(target: "failover::k8s", "{}: port {} instead of {}", target.service, shown(used), shown(&before));
        }
    }

    /// Follows the labels of the pods of a service's namespace, until dropped.
    pub(crate) async fn follow_pods(self: &Arc<Self>, target: &Target, labels: &LatestLabels) {
        if !self.settings.pod_labels {
            return;
        }
        let namespace = self.slices_of(target).0.namespace.to_owned();
        let (cluster, of) = (Arc::clone(self), namespace.clone());
        let mut watch = self.pods.listen(namespace, |publisher| async move {
            let api = Api { client: &cluster.client, namespace: &of };
            let periods = Periods { watch: cluster.settings.watch, relist: cluster.settings.relist };
            follow(api, Scope::labelled(Kind::Pods, ""), periods, PodStore::new(publisher)).await;
        });
        while let Some(found) = poll_fn(|context| watch.as_mut().poll_next(context)).await {
            if let Ok(found) = found {
                labels.put(found);
            }
        }
    }

    /// Looks up the zone of this process's node, unless it is known.
    pub(crate) async fn find_zone(&self) {
        let reading = &self.settings.reading;
        let (Some(node), None) = (&reading.node, &reading.zone) else { return };
        if lock(&self.zone).is_some() {
            return;
        }
        match self.api().node(node).await {
            Ok(object) => {
                let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(names::ZONE));
                *lock(&self.zone) = label.and_then(Value::as_str).map(str::to_owned);
            }
            // Without the right to read nodes, hints for zones are not followed.
            Err(error) => {
                tracing::debug!(target: "failover::k8s", "the zone of node {node} is unknown: {error}");
            }
        }
    }

    /// Reads the ports of a Service, so that a port can be chosen by the number it has there.
    pub(crate) async fn read_service_ports(&self, target: &Target) {
        if !matches!(self.reading(target).port, PortChoice::Number(_)) {
            return;
        }
        // Without the right to read Services, the number is that of the pods.
        let Ok(Some(object)) = self.service(target).await else { return };
        let mut ports = lock(&self.service_ports);
        if ports.len() < MAX_SERVICES || ports.contains_key(target) {
            ports.insert(target.clone(), convert::of_service(&object));
        }
    }

    pub(crate) async fn list(&self, target: Option<&Target>) -> Result<EndpointSet, Error> {
        let (api, scope, reading) = match target {
            Some(target) => {
                self.find_zone().await;
                self.read_service_ports(target).await;
                let (api, scope) = self.slices_of(target);
                (api, scope, self.reading(target))
            }
            None => {
                let reading = self.settings.reading.clone();
                (self.api(), Scope::labelled(Kind::Slices, reading.label), reading)
            }
        };
        let read = |object: Value| convert::read(&object, &reading);
        let (slices, version) = api.list(&scope, read).await?;
        let mut services: HashMap<ServiceName, Vec<convert::Slice>> = HashMap::new();
        let mut unreadable = Vec::new();
        for slice in slices {
            match slice {
                Ok(slice) => services.entry(slice.service.clone()).or_default().push(slice),
                Err(error) => unreadable.push(error),
            }
        }
        if let (Some(target), true) = (target, services.is_empty()) {
            self.refuse_external(target).await?;
        }
        let mut entries = Vec::new();
        let mut rejected = Vec::new();
        let (mut confirmed, mut unknown) = (false, services.is_empty() && target.is_some());
        for (service, slices) in services {
            let mut one = Slices::new(reading.family, Duration::ZERO);
            one.listed(slices, &version);
            if one.is_undecided() {
                let plain = || Target::plain(&service);
                one.decide(&self.reading(&target.cloned().unwrap_or_else(plain)));
            }
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
    async fn service(&self, target: &Target) -> Result<Option<Value>, Error> {
        let service = &target.service;
        let can_exist =
            service.as_str().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-');
        let refused = *lock(&self.refused);
        let is_blind = refused.is_some_and(|at| self.client.timing.now().since(at) < SERVICE_KNOWN);
        if !can_exist || is_blind {
            return Ok(None);
        }
        match self.api_in(target).get(Kind::Services, service.as_str()).await {
            Err(error) if error::status(&error) == Some(403) => {
                *lock(&self.refused) = Some(self.client.timing.now());
                tracing::debug!(target: "failover::k8s", "no right to get services: a Service with a selector is not noticed");
                Ok(None)
            }
            other => other,
        }
    }

    /// Refuses an `ExternalName` Service: it has no endpoints to list, so a watch would stay
    /// silent.
    pub(crate) async fn refuse_external(&self, target: &Target) -> Result<(), Error> {
        // The type only improves the message, so a failure to read it is ignored.
        let Ok(Some(object)) = self.service(target).await else { return Ok(()) };
        match object.pointer("/spec/type").and_then(Value::as_str) {
            Some("ExternalName") => Err(external(&target.service)),
            _ => Ok(()),
        }
    }

    /// Refuses a Service whose endpoints Kubernetes itself writes.
    pub(crate) async fn ensure_ours(&self, service: &ServiceName) -> Result<(), Error> {
        names::check_service(service)?;
        let known = lock(&self.services).get(service).copied();
        if known.is_some_and(|known| self.client.timing.now().since(known) < SERVICE_KNOWN) {
            return Ok(());
        }
        let object = self.service(&Target::plain(service)).await?;
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
        let mut services = lock(&self.services);
        if services.len() >= MAX_SERVICES {
            services.clear();
        }
        services.insert(service.clone(), self.client.timing.now());
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shown(port: &UsedPort) -> String {
    if port.name.is_empty() { port.number.to_string() } else { format!("{} ({})", port.name, port.number) }
}

fn external(service: &ServiceName) -> Error {
    let message = format!(
        "Service {service} is of type ExternalName: it is an alias of a DNS name without endpoints; call that name"
    );
    Error::new(ErrorKind::Unsupported, message).with_code("EXTERNAL_NAME")
}
