//! One program's access to one namespace of a cluster.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::{
    ConfigKey, ConfigStore, EndpointSet, Error, ErrorKind, Feature, Provider, ProviderInfo, Query, Registry,
    ServiceName, StoredConfig, WatchStream, async_trait,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::api::{Api, Kind, Scope};
use crate::client::{Ask, Origin};
use crate::config::{KubernetesProviderBuilder, Settings};
use crate::follow::{Pace, follow};
use crate::reaper;
use crate::registrant::Registrant;
use crate::slices::Slices;
use crate::watch::{Endpoints, Hub, Teller, tell_error};
use crate::{clock, convert, error, names};

/// How long a Service's own object is believed to be as it was, and that it may not be read.
const SERVICE_KNOWN: Duration = Duration::from_secs(30);
/// What closing may take for telling the server.
const FAREWELL: Duration = Duration::from_millis(700);

/// What the provider's parts and its tasks share.
pub(crate) struct Inner {
    pub(crate) origin: Origin,
    pub(crate) settings: Settings,
    pub(crate) registrant: Registrant,
    services: Mutex<HashMap<ServiceName, Instant>>,
    /// When it was refused to read Services, which is no harm. Not for ever: an API server that starts refuses everybody.
    refused: Mutex<Option<Instant>>,
}

impl Inner {
    pub(crate) fn api(&self) -> Api<'_> {
        Api { origin: &self.origin, namespace: &self.settings.namespace }
    }

    /// The slices of a service, or of all of them.
    fn scope(service: Option<&ServiceName>) -> Scope {
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
            let Some(set) = one.tell(clock::now()) else { continue };
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

    /// The object of a Service, where there is one and it may be read.
    async fn service(&self, service: &ServiceName) -> Result<Option<Value>, Error> {
        let can_exist =
            service.as_str().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-');
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_blind = refused.is_some_and(|at| clock::now().saturating_duration_since(at) < SERVICE_KNOWN);
        if !can_exist || is_blind {
            return Ok(None);
        }
        match self.api().get(Kind::Services, service.as_str()).await {
            Err(error) if error::status(&error) == Some(403) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
                tracing::debug!(target: "failover", "no right to get services: a Service with a selector is not noticed");
                Ok(None)
            }
            other => other,
        }
    }

    /// An `ExternalName` has no endpoints that could be listed: nothing would be said for ever.
    pub(crate) async fn refuse_external(&self, service: &ServiceName) -> Result<(), Error> {
        // Whether it is one is only a better message; that it cannot be told is no error.
        let Ok(Some(object)) = self.service(service).await else { return Ok(()) };
        match object.pointer("/spec/type").and_then(Value::as_str) {
            Some("ExternalName") => Err(external(service)),
            _ => Ok(()),
        }
    }

    /// Fails for a Service whose endpoints Kubernetes itself writes.
    pub(crate) async fn ensure_ours(&self, service: &ServiceName) -> Result<(), Error> {
        names::check_service(service)?;
        let known = {
            let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
            services.get(service).copied()
        };
        if known.is_some_and(|known| clock::now().saturating_duration_since(known) < SERVICE_KNOWN) {
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
        services.insert(service.clone(), clock::now());
        Ok(())
    }
}

fn external(service: &ServiceName) -> Error {
    let message = format!(
        "Service {service} is of type ExternalName: it stands for a DNS name and has no endpoints; call that name"
    );
    Error::new(ErrorKind::Unsupported, message).with_code("EXTERNAL_NAME")
}

/// A task that ends with what it works for.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn new(handle: JoinHandle<()>) -> Self {
        Self(handle)
    }

    fn is_running(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A provider whose registry is one namespace of a Kubernetes cluster.
///
/// It finds the endpoints of a Service in its `EndpointSlices`, whoever writes them, and can register endpoints of its own,
/// each as a slice. What it registers is bound to a Lease that it renews: see [`KubernetesProviderBuilder::lease_duration`].
/// Configuration is kept in a `ConfigMap` for each document.
///
/// Dropping it ends all that runs in the background; what it has registered is left to its lease.
pub struct KubernetesProvider {
    pub(crate) inner: Arc<Inner>,
    endpoints: Hub<ServiceName, EndpointSet>,
    pub(crate) configs: Hub<ConfigKey, Option<StoredConfig>>,
    keeper: Mutex<Option<Task>>,
    reaper: Mutex<Option<Task>>,
}

impl KubernetesProvider {
    /// A provider on the cluster that `kubectl` would talk to (`KUBECONFIG`, `~/.kube/config`), or on its own one in a pod.
    ///
    /// The only function of this crate that looks at the environment, with [`builder`](Self::builder) as long as that is
    /// told nothing else. Proxies that it names are not used.
    ///
    /// # Errors
    ///
    /// As [`KubernetesProviderBuilder::build`].
    ///
    /// # Cancel safety
    ///
    /// As [`KubernetesProviderBuilder::build`].
    pub async fn from_env() -> Result<Self, Error> {
        Self::builder().build().await
    }

    /// A builder that holds the defaults.
    pub fn builder() -> KubernetesProviderBuilder {
        KubernetesProviderBuilder::new()
    }

    /// A builder for a client that was made elsewhere, with a proxy or a credentials plugin of its own.
    ///
    /// The one place where a type of kube, version 5, stands in this crate's interface. Give it a client whose `Config`
    /// has `default_retry = false`, or one request can be repeated for minutes, within the deadline. Where the server is
    /// cannot be told from it, so that loopback addresses count as those of another machine, and that a server which was
    /// away for long is found after up to 36 s; credentials that expire are its own affair.
    pub fn from_client(client: kube::Client) -> KubernetesProviderBuilder {
        KubernetesProviderBuilder::new().client(client)
    }

    pub(crate) fn new(origin: Origin, settings: Settings) -> Self {
        let registrant = Registrant::new(settings.registrant.as_deref(), settings.lease);
        let reaps = settings.reaper == Some(true);
        let inner =
            Inner { origin, settings, registrant, services: Mutex::default(), refused: Mutex::default() };
        let provider = Self {
            inner: Arc::new(inner),
            endpoints: Hub::default(),
            configs: Hub::default(),
            keeper: Mutex::default(),
            reaper: Mutex::default(),
        };
        if reaps {
            provider.start_reaper();
        }
        provider
    }

    /// Sees to it that what is registered is kept alive, and that what others left behind goes.
    pub(crate) fn start_keeping(&self) {
        if self.inner.settings.lease.is_none() {
            return;
        }
        let inner = &self.inner;
        self.ensure(&self.keeper, || {
            let inner = Arc::clone(inner);
            tokio::spawn(async move { inner.registrant.keep(&inner).await })
        });
        if self.inner.settings.reaper != Some(false) {
            self.start_reaper();
        }
    }

    fn start_reaper(&self) {
        self.ensure(&self.reaper, || {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move { reaper::reap(&inner).await })
        });
    }

    /// Starts a task where none runs, unless the provider is closed: whoever closes it stops what was started before.
    fn ensure(&self, slot: &Mutex<Option<Task>>, start: impl FnOnce() -> JoinHandle<()>) {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inner.origin.is_open() && !slot.as_ref().is_some_and(Task::is_running) {
            *slot = Some(Task::new(start()));
        }
    }

    fn begin(&self, service: &ServiceName, teller: Teller<EndpointSet>) -> Option<JoinHandle<()>> {
        if !self.inner.origin.is_open() {
            return None;
        }
        let (inner, service) = (Arc::clone(&self.inner), service.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = names::check_service(&service) {
                // Nobody can have registered it, and no label selector can ask for it.
                tell_error(&teller, error);
                return std::future::pending().await;
            }
            let settings = &inner.settings;
            let pace = Pace { watch: settings.watch, relist: settings.relist };
            let asking = external_names(&inner, &service, teller.clone());
            let mirror = Endpoints::new(service.clone(), settings.reading.clone(), settings.settle, teller);
            let following = follow(inner.api(), Inner::scope(Some(&service)), pace, mirror);
            tokio::join!(following, asking);
        }))
    }
}

/// Says so when a service that has no slices is an `ExternalName`.
async fn external_names(inner: &Inner, service: &ServiceName, teller: Teller<EndpointSet>) {
    let mut told = teller.subscribe();
    while told.changed().await.is_ok() {
        let unknown = told.borrow_and_update().answer().is_some_and(EndpointSet::is_unknown_service);
        if unknown && let Err(error) = inner.refuse_external(service).await {
            tell_error(&teller, error);
        }
    }
}

fn stop(slot: &Mutex<Option<Task>>) {
    drop(slot.lock().unwrap_or_else(PoisonError::into_inner).take());
}

impl fmt::Debug for KubernetesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesProvider")
            .field("namespace", &self.inner.settings.namespace)
            .field("origin", &self.inner.origin)
            .field("registered", &self.inner.registrant.places.count())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for KubernetesProvider {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("kubernetes", env!("CARGO_PKG_VERSION"))
            .with_features([
                Feature::Registry,
                Feature::Watch,
                Feature::ConfigStore,
                Feature::WeightedRouting,
                Feature::GeographicRouting,
            ])
            .with_connection(self.inner.origin.info())
            .with_trust(self.inner.origin.trust())
    }

    /// Asks whether the API server is there and whether this user may list and watch slices.
    async fn connect(&self) -> Result<(), Error> {
        self.inner.origin.reopen();
        self.ping().await?;
        let api = self.inner.api();
        api.ensure_allowed("list", Kind::Slices).await?;
        api.ensure_allowed("watch", Kind::Slices).await?;
        if self.inner.registrant.places.count() > 0 {
            self.start_keeping();
        }
        if self.inner.settings.reaper == Some(true) {
            self.start_reaper();
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        self.inner.origin.ensure_open()?;
        let ask = Ask::get("/version".to_owned(), "ask for the version".to_owned());
        self.inner.origin.object(&ask).await.map(drop)
    }

    /// What is still registered is left to its lease: it goes when nobody renews that. What is under way has 700 ms to
    /// come to its end, and is stopped then; what is begun meanwhile is refused.
    async fn close(&self) -> Result<(), Error> {
        let Some(closing) = self.inner.origin.close() else { return Ok(()) };
        stop(&self.keeper);
        stop(&self.reaper);
        self.endpoints.close();
        self.configs.close();
        let told = timeout(FAREWELL, self.inner.registrant.leave(&self.inner)).await.unwrap_or(Ok(()));
        drop(closing);
        told
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.inner.origin.ensure_open()?;
        let service = query.service_name();
        if service.is_some_and(|service| names::check_service(service).is_err()) {
            return Ok(EndpointSet::unknown_service());
        }
        let set = self.inner.list(service).await?;
        if set.entries().iter().all(|entry| query.matches(entry.endpoint())) {
            return Ok(set);
        }
        let matching = set.entries().iter().filter(|entry| query.matches(entry.endpoint())).cloned();
        let mut chosen = EndpointSet::new(matching.collect::<Vec<_>>()).confirmed();
        for entry in set.rejected() {
            chosen.reject(entry.what(), entry.error().clone());
        }
        Ok(chosen)
    }

    fn watch(&self, service: &ServiceName) -> Option<WatchStream<'_>> {
        let (key, service) = (service.clone(), service.clone());
        Some(self.endpoints.stream(key, move |teller| self.begin(&service, teller)))
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use failover_core::Endpoint;
    use failover_testkit::{FaultServer, Reply, Request};

    use super::*;

    /// A registration that is under way when closing begins may come to its end, and starts nothing that goes on.
    #[tokio::test]
    async fn nothing_is_started_by_what_ends_while_the_provider_closes() {
        let server = FaultServer::start(async |request: Request| match request.method.as_str() {
            "PATCH" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Reply::json(200, "{}")
            }
            "POST" => Reply::json(201, r#"{"metadata":{"uid":"l","resourceVersion":"1"},"spec":{}}"#),
            _ => Reply::json(404, "{}"),
        })
        .await;
        let directory = failover_testkit::TempDir::new().expect("a directory");
        let token = directory.path().join("token");
        std::fs::write(&token, "token").expect("writes");
        let provider = KubernetesProvider::builder().api_server(server.url(), "", &token).namespace("shop");
        let provider = provider.build().await.expect("builds");
        let endpoint = Endpoint::builder("a", "users", "10.0.0.1", 80).build().expect("valid");
        let (registered, closed) = tokio::join!(provider.register(&endpoint), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            provider.close().await
        });
        registered.expect("it was allowed to begin");
        closed.expect("closes");
        assert_eq!(provider.inner.registrant.places.count(), 1, "it is left to its lease");
        for slot in [&provider.keeper, &provider.reaper] {
            assert!(slot.lock().expect("whole").is_none());
        }
    }
}
