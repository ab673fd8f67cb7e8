//! The provider: its state, its background tasks and its reads.

pub(crate) mod builder;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::provider::{
    ConfigSet, ConfigStore, EndpointSet, Feature, Provider, ProviderInfo, Query, Registry, WatchStream,
};
use failover_core::{Error, async_trait};
use failover_provider_kit::{AbortOnDrop, Publisher, SharedWatches};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::api::Kind;
use crate::client::{ApiClient, ApiRequest};
use crate::cluster::Cluster;
use crate::endpoints::{Endpoints, Notices};
use crate::lease::ProcessLease;
use crate::namespace_watch::NamespaceWatches;
use crate::pods::LatestLabels;
use crate::reflector::{Periods, follow};
use crate::settings::{Settings, Target};
use crate::{names, reaper};

/// The time limit of requests during closing.
const FAREWELL: Duration = Duration::from_millis(700);

/// A provider backed by one namespace of a Kubernetes cluster.
///
/// Finds the endpoints of a Service in its `EndpointSlices` and registers each endpoint as a slice.
/// Registrations are bound to a Lease that the provider renews: see
/// [`lease_duration`](crate::KubernetesProviderBuilder::lease_duration). Configuration is stored in
/// one `ConfigMap` per document.
///
/// Dropping it ends its background tasks; its registrations expire with its lease.
pub struct KubernetesProvider {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) lease: Arc<ProcessLease>,
    endpoints: SharedWatches<Query, EndpointSet>,
    /// The watches of all slices of a namespace.
    namespaces: Arc<NamespaceWatches>,
    pub(crate) configs: SharedWatches<(), ConfigSet>,
    renewal_task: Mutex<Option<AbortOnDrop>>,
    reaper_task: Mutex<Option<AbortOnDrop>>,
}

impl KubernetesProvider {
    pub(crate) fn new(client: ApiClient, settings: Settings) -> Self {
        let timing = client.timing.clone();
        let may_reap = settings.reaper != Some(false);
        let lease = ProcessLease::new(settings.registrant.as_deref(), settings.lease, may_reap, &timing);
        let reaps = settings.reaper == Some(true);
        let provider = Self {
            cluster: Arc::new(Cluster::new(client, settings)),
            lease: Arc::new(lease),
            endpoints: SharedWatches::new(timing.clone()),
            namespaces: Arc::default(),
            configs: SharedWatches::new(timing),
            renewal_task: Mutex::default(),
            reaper_task: Mutex::default(),
        };
        if reaps {
            provider.start_reaper();
        }
        provider
    }

    /// Starts the tasks that keep registrations alive and remove those of processes that are gone.
    pub(crate) fn start_renewing(&self) {
        if self.cluster.settings.lease.is_none() {
            return;
        }
        self.ensure(&self.renewal_task, || {
            let (cluster, lease) = (Arc::clone(&self.cluster), Arc::clone(&self.lease));
            AbortOnDrop::spawn(async move { lease.keep(&cluster).await })
        });
        if self.cluster.settings.reaper != Some(false) {
            self.start_reaper();
        }
    }

    fn start_reaper(&self) {
        self.ensure(&self.reaper_task, || {
            let (cluster, lease) = (Arc::clone(&self.cluster), Arc::clone(&self.lease));
            AbortOnDrop::spawn(async move { reaper::reap(&cluster, &lease).await })
        });
    }

    /// Starts a task unless it is running or the provider is closed: closing stops only tasks that
    /// were started before.
    fn ensure(&self, slot: &Mutex<Option<AbortOnDrop>>, start: impl FnOnce() -> AbortOnDrop) {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cluster.client.is_open() && !slot.as_ref().is_some_and(AbortOnDrop::is_running) {
            *slot = Some(start());
        }
    }
}

/// Publishes a service's endpoints until aborted; returns immediately if the provider is closed.
async fn follow_service(
    cluster: Arc<Cluster>,
    namespaces: Arc<NamespaceWatches>,
    query: Query,
    publisher: Publisher<EndpointSet>,
) {
    if !cluster.client.is_open() {
        return;
    }
    let target = match Target::of(&query) {
        Ok(Some(target)) => target,
        Ok(None) => return,
        Err(error) => {
            // The service cannot have been registered, and no label selector can name it.
            publisher.error(error);
            return std::future::pending().await;
        }
    };
    let settings = &cluster.settings;
    let periods = Periods { watch: settings.watch, relist: settings.relist };
    cluster.find_zone().await;
    cluster.read_service_ports(&target).await;
    let (unknown, undecided) = (Notify::new(), Notify::new());
    let check = report_external_name(&cluster, &target, &publisher, &unknown);
    let ports = async {
        loop {
            undecided.notified().await;
            cluster.read_service_ports(&target).await;
        }
    };
    let labels = LatestLabels::default();
    let notices = Notices { unknown: &unknown, undecided: &undecided, labels: &labels };
    let store = Endpoints::new(&cluster, target.clone(), publisher.clone(), notices);
    let following = async {
        let own = namespaces.own(cluster.namespace_of(&target));
        if own.is_some() {
            let (api, scope) = cluster.slices_of(&target);
            follow(api, scope, periods, store).await;
        } else {
            namespaces.follow(&cluster, &target, store).await;
        }
    };
    let pods = cluster.follow_pods(&target, &labels);
    let ((), (), (), ()) = tokio::join!(following, check, ports, pods);
}

/// Publishes an error if a service without slices is an `ExternalName`.
async fn report_external_name(
    cluster: &Cluster,
    target: &Target,
    publisher: &Publisher<EndpointSet>,
    unknown: &Notify,
) {
    loop {
        unknown.notified().await;
        if let Err(error) = cluster.refuse_external(target).await {
            publisher.error(error);
        }
    }
}

fn stop(slot: &Mutex<Option<AbortOnDrop>>) {
    drop(slot.lock().unwrap_or_else(PoisonError::into_inner).take());
}

impl fmt::Debug for KubernetesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesProvider")
            .field("namespace", &self.cluster.settings.namespace)
            .field("client", &self.cluster.client)
            .field("registered", &self.lease.registrations.kept())
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
                Feature::Namespaces,
                Feature::Ports,
                Feature::WeightedRouting,
                Feature::GeographicRouting,
            ])
            .with_connection(self.cluster.client.info())
            .with_trust(self.cluster.client.trust())
    }

    /// Checks that the API server answers and that this user may list and watch slices.
    async fn connect(&self) -> Result<(), Error> {
        self.cluster.client.reopen();
        self.ping().await?;
        let api = self.cluster.api();
        api.ensure_known().await?;
        api.ensure_allowed("list", Kind::Slices).await?;
        api.ensure_allowed("watch", Kind::Slices).await?;
        if self.lease.registrations.kept() > 0 {
            self.start_renewing();
        }
        if self.cluster.settings.reaper == Some(true) {
            self.start_reaper();
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        self.cluster.client.ensure_open()?;
        let ask = ApiRequest::get(
            "/version".to_owned(),
            format!("read the version at {}", self.cluster.client.named()),
        );
        self.cluster.client.object(&ask).await.map(drop)
    }

    /// Closes the provider. Remaining registrations stay until the lease, which is no longer
    /// renewed, expires. Operations in progress have 700 ms to finish and are then aborted; new
    /// ones are refused.
    async fn close(&self) -> Result<(), Error> {
        let Some(closing) = self.cluster.client.close() else { return Ok(()) };
        stop(&self.renewal_task);
        stop(&self.reaper_task);
        self.endpoints.close();
        self.configs.close();
        let left = timeout(FAREWELL, self.lease.leave(&self.cluster)).await.unwrap_or(Ok(()));
        drop(closing);
        left
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.cluster.client.ensure_open()?;
        let service = query.service_name();
        if service.is_some_and(|service| names::check_service(service).is_err()) {
            return Ok(EndpointSet::unknown_service());
        }
        let set = self.cluster.list(Target::of(query)?.as_ref()).await?;
        Ok(set.matching(query))
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let (cluster, namespaces) = (Arc::clone(&self.cluster), Arc::clone(&self.namespaces));
        let of = query.clone();
        query.service_name()?;
        Some(
            self.endpoints
                .listen(query.unfiltered(), |publisher| follow_service(cluster, namespaces, of, publisher)),
        )
    }

    /// Reads the compact form, such as `users.shop:http`: a Service, its namespace, and its port.
    fn query(&self, service: &str) -> Result<Query, Error> {
        service.parse::<Target>().map(|target| target.query())
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

    /// A registration in progress when closing starts may finish, but starts no background task.
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
        assert_eq!(provider.lease.registrations.kept(), 1, "it is left to its lease");
        for slot in [&provider.renewal_task, &provider.reaper_task] {
            assert!(slot.lock().expect("whole").is_none());
        }
    }
}
