//! The provider: its parts, its background tasks, and what it reads.

pub(crate) mod builder;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::{
    ConfigKey, ConfigStore, EndpointSet, Error, Feature, Provider, ProviderInfo, Query, Registry,
    ServiceName, StoredConfig, WatchStream, async_trait,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::Kind;
use crate::client::{ApiClient, ApiRequest};
use crate::cluster::Cluster;
use crate::endpoints::Endpoints;
use crate::lease::ProcessLease;
use crate::reflector::{Periods, follow};
use crate::settings::Settings;
use crate::task::Task;
use crate::watch::{Hub, Teller, tell_error};
use crate::{names, reaper};

/// What closing may take for telling the server.
const FAREWELL: Duration = Duration::from_millis(700);

/// A provider whose registry is one namespace of a Kubernetes cluster.
///
/// It finds the endpoints of a Service in its `EndpointSlices`, whoever writes them, and can register endpoints of its own,
/// each as a slice. What it registers is bound to a Lease that it renews: see [`KubernetesProviderBuilder::lease_duration`].
/// Configuration is kept in a `ConfigMap` for each document.
///
/// Dropping it ends all that runs in the background; what it has registered is left to its lease.
pub struct KubernetesProvider {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) lease: Arc<ProcessLease>,
    endpoints: Hub<ServiceName, EndpointSet>,
    pub(crate) configs: Hub<ConfigKey, Option<StoredConfig>>,
    renewal_task: Mutex<Option<Task>>,
    reaper_task: Mutex<Option<Task>>,
}

impl KubernetesProvider {
    pub(crate) fn new(client: ApiClient, settings: Settings) -> Self {
        let lease = ProcessLease::new(settings.registrant.as_deref(), settings.lease);
        let reaps = settings.reaper == Some(true);
        let provider = Self {
            cluster: Arc::new(Cluster::new(client, settings)),
            lease: Arc::new(lease),
            endpoints: Hub::default(),
            configs: Hub::default(),
            renewal_task: Mutex::default(),
            reaper_task: Mutex::default(),
        };
        if reaps {
            provider.start_reaper();
        }
        provider
    }

    /// Keeps registrations alive from now on, and takes out those that other processes left behind.
    pub(crate) fn start_renewing(&self) {
        if self.cluster.settings.lease.is_none() {
            return;
        }
        self.ensure(&self.renewal_task, || {
            let (cluster, lease) = (Arc::clone(&self.cluster), Arc::clone(&self.lease));
            tokio::spawn(async move { lease.keep(&cluster).await })
        });
        if self.cluster.settings.reaper != Some(false) {
            self.start_reaper();
        }
    }

    fn start_reaper(&self) {
        self.ensure(&self.reaper_task, || {
            let (cluster, lease) = (Arc::clone(&self.cluster), Arc::clone(&self.lease));
            tokio::spawn(async move { reaper::reap(&cluster, lease.name()).await })
        });
    }

    /// Starts a task unless it runs or the provider is closed: closing stops only the tasks that were started before.
    fn ensure(&self, slot: &Mutex<Option<Task>>, start: impl FnOnce() -> JoinHandle<()>) {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cluster.client.is_open() && !slot.as_ref().is_some_and(Task::is_running) {
            *slot = Some(Task::new(start()));
        }
    }

    fn begin(&self, service: &ServiceName, teller: Teller<EndpointSet>) -> Option<JoinHandle<()>> {
        if !self.cluster.client.is_open() {
            return None;
        }
        let (cluster, service) = (Arc::clone(&self.cluster), service.clone());
        Some(tokio::spawn(async move {
            if let Err(error) = names::check_service(&service) {
                // Nobody can have registered it, and no label selector can ask for it.
                tell_error(&teller, error);
                return std::future::pending().await;
            }
            let settings = &cluster.settings;
            let pace = Periods { watch: settings.watch, relist: settings.relist };
            let asking = external_names(&cluster, &service, teller.clone());
            let mirror = Endpoints::new(service.clone(), settings.reading.clone(), settings.settle, teller);
            let following = follow(cluster.api(), Cluster::scope(Some(&service)), pace, mirror);
            tokio::join!(following, asking);
        }))
    }
}

/// Says so when a service that has no slices is an `ExternalName`.
async fn external_names(cluster: &Cluster, service: &ServiceName, teller: Teller<EndpointSet>) {
    let mut told = teller.subscribe();
    while told.changed().await.is_ok() {
        let unknown = told.borrow_and_update().answer().is_some_and(EndpointSet::is_unknown_service);
        if unknown && let Err(error) = cluster.refuse_external(service).await {
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
            .field("namespace", &self.cluster.settings.namespace)
            .field("client", &self.cluster.client)
            .field("registered", &self.lease.registrations.count())
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
            .with_connection(self.cluster.client.info())
            .with_trust(self.cluster.client.trust())
    }

    /// Asks whether the API server is there and whether this user may list and watch slices.
    async fn connect(&self) -> Result<(), Error> {
        self.cluster.client.reopen();
        self.ping().await?;
        let api = self.cluster.api();
        api.ensure_allowed("list", Kind::Slices).await?;
        api.ensure_allowed("watch", Kind::Slices).await?;
        if self.lease.registrations.count() > 0 {
            self.start_renewing();
        }
        if self.cluster.settings.reaper == Some(true) {
            self.start_reaper();
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        self.cluster.client.ensure_open()?;
        let ask = ApiRequest::get("/version".to_owned(), "ask for the version".to_owned());
        self.cluster.client.object(&ask).await.map(drop)
    }

    /// What is still registered is left to its lease: it goes when nobody renews that. What is under way has 700 ms to
    /// come to its end, and is stopped then; what is begun meanwhile is refused.
    async fn close(&self) -> Result<(), Error> {
        let Some(closing) = self.cluster.client.close() else { return Ok(()) };
        stop(&self.renewal_task);
        stop(&self.reaper_task);
        self.endpoints.close();
        self.configs.close();
        let told = timeout(FAREWELL, self.lease.leave(&self.cluster)).await.unwrap_or(Ok(()));
        drop(closing);
        told
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.cluster.client.ensure_open()?;
        let service = query.service_name();
        if service.is_some_and(|service| names::check_service(service).is_err()) {
            return Ok(EndpointSet::unknown_service());
        }
        let set = self.cluster.list(service).await?;
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
        assert_eq!(provider.lease.registrations.count(), 1, "it is left to its lease");
        for slot in [&provider.renewal_task, &provider.reaper_task] {
            assert!(slot.lock().expect("whole").is_none());
        }
    }
}
