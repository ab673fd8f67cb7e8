//! The memory provider with a backend that can fail, and with at most one flaw.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use failover_conformance::Subject;
use failover_core::provider::{
    ConfigKey, ConfigSet, ConfigStore, ConfigStream, EndpointEntry, EndpointSet, Feature, Provider,
    ProviderInfo, Query, Registry, Revision, StoredConfig, WatchStream,
};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait};
use failover_memory::{MemoryCluster, MemoryProvider};
use futures_core::Stream;
use tokio::sync::watch;

pub(crate) const SECRET: &str = "hunter2-canary";

/// A defect of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NamesNoRegistry,
    CannotConnectTwice,
    UnknownServiceIsAnError,
    DropsMetadata,
    KeepsTheFirstRegistration,
    LosesAnUpdate,
    UpdateRegisters,
    Resurrects,
    MissingIsAnError,
    GetsSomebodyElse,
    IgnoresTags,
    ForgetsTheLast,
    CutsIdsAtTheSlash,
    WritesInTwoSteps,
    ForgetsClaims,
    BeginsEmpty,
    NeverWakes,
    Floods,
    OneWatchForAll,
    EmptiesOnAnError,
    EndsOnAnError,
    HidesErrors,
    ListsFromACache,
    BreaksOnAFailedConnect,
    LosesASetToAnError,
    LosesADocumentToAnError,
    OutageIsInvalid,
    MiscallsALargeDocument,
    MiscallsAConflict,
    CutsDocuments,
    IgnoresCompareAndSwap,
    ConfigNeverWakes,
    BlocksClose,
    LeaksASecretInDebug,
}

/// A backend and its flaw.
pub(crate) struct Broken {
    cluster: MemoryCluster,
    flaw: Option<Flaw>,
    down: Arc<watch::Sender<bool>>,
}

impl Broken {
    pub(crate) fn new(flaw: Option<Flaw>) -> Self {
        Self { cluster: MemoryCluster::new(), flaw, down: Arc::new(watch::Sender::new(false)) }
    }
}

#[async_trait]
impl Subject for Broken {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        Ok(Arc::new(Flawed {
            inner: Arc::new(self.cluster.provider()),
            flaw: self.flaw,
            down: Arc::clone(&self.down),
            connected: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            watches: AtomicU64::new(0),
            reached: Mutex::default(),
        }))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        self.provider().await.map(Some)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn outage(&self, begins: bool) -> bool {
        self.down.send_replace(begins);
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }

    fn shown(&self) -> Vec<String> {
        let token = if self.flaw == Some(Flaw::LeaksASecretInDebug) { SECRET } else { "<redacted>" };
        vec![format!("Broken {{ token: {token} }}")]
    }
}

struct Flawed {
    inner: Arc<MemoryProvider>,
    flaw: Option<Flaw>,
    down: Arc<watch::Sender<bool>>,
    connected: AtomicBool,
    broken: AtomicBool,
    watches: AtomicU64,
    /// Registrations so far, by service.
    reached: Mutex<Vec<ServiceName>>,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn up(&self) -> Result<&MemoryProvider, Error> {
        if *self.down.borrow() { Err(refused()) } else { Ok(&self.inner) }
    }

    fn id(&self, id: &EndpointId) -> EndpointId {
        let end = if self.has(Flaw::CutsIdsAtTheSlash) { id.as_str().find('/') } else { None };
        EndpointId::new(&id.as_str()[..end.unwrap_or(id.as_str().len())]).expect("valid")
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::Connection, "connection refused")
}

fn with_id(endpoint: &Endpoint, id: &EndpointId) -> Endpoint {
    let json = serde_json::to_value(endpoint).expect("serialises");
    let mut json = json;
    json["id"] = id.as_str().into();
    serde_json::from_value(json).expect("valid")
}

#[async_trait]
impl Provider for Flawed {
    fn info(&self) -> ProviderInfo {
        let info = self.inner.info();
        let features: Vec<_> = info.features().to_vec();
        let hidden = self.has(Flaw::NamesNoRegistry);
        info.with_features(features.into_iter().filter(|feature| !(hidden && *feature == Feature::Registry)))
    }

    async fn connect(&self) -> Result<(), Error> {
        if self.connected.swap(true, Ordering::SeqCst) && self.has(Flaw::CannotConnectTwice) {
            return Err(Error::new(ErrorKind::Internal, "it is connected already"));
        }
        let up = self.up();
        self.broken.store(up.is_err() && self.has(Flaw::BreaksOnAFailedConnect), Ordering::SeqCst);
        up?.connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.up()?.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        if self.has(Flaw::BlocksClose) {
            std::future::pending::<()>().await;
        }
        self.inner.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(refused());
        }
        let provider = match self.up() {
            Ok(provider) => provider,
            Err(_) if self.has(Flaw::ListsFromACache) => &self.inner,
            Err(_) if self.has(Flaw::OutageIsInvalid) => {
                return Err(Error::new(ErrorKind::Validation, "there is no backend"));
            }
            Err(_) if self.has(Flaw::EmptiesOnAnError) => return Ok(EndpointSet::new([])),
            Err(error) => return Err(error),
        };
        let set = provider.list(query).await?;
        if set.is_unknown_service() && self.has(Flaw::UnknownServiceIsAnError) && never_used(query) {
            return Err(Error::new(ErrorKind::NotFound, "there is no such service"));
        }
        if self.has(Flaw::IgnoresTags) && set.entries().len() == 1 {
            let service = query.service_name().expect("the cases name one");
            return provider.list(&Query::service(service)).await;
        }
        Ok(set)
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let number = self.watches.fetch_add(1, Ordering::SeqCst);
        let inner = self.inner.watch(query)?;
        Some(Box::pin(Watch {
            inner,
            owner: self,
            down: Box::pin(changed(self.down.subscribe())),
            failed: false,
            emptied: false,
            yielded: 0,
            last: None,
            changes: query.service_name()?.as_str().starts_with("conformance-21-"),
            dead: self.has(Flaw::OneWatchForAll) && number > 1,
            ended: false,
        }))
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}

/// Returns whether this is case 3's query for a service without registrations.
fn never_used(query: &Query) -> bool {
    query.service_name().is_some_and(|name| name.as_str().starts_with("conformance-3-"))
}

async fn changed(mut down: watch::Receiver<bool>) -> bool {
    // The subject holds the sender.
    let _ = down.changed().await;
    *down.borrow()
}

#[allow(clippy::struct_excessive_bools, reason = "each is a state of its own")]
struct Watch<'a> {
    inner: WatchStream<'a>,
    owner: &'a Flawed,
    down: Pin<Box<dyn Future<Output = bool> + Send>>,
    /// An error that was not yielded yet.
    failed: bool,
    /// It has yielded an empty set in place of the error.
    emptied: bool,
    yielded: u32,
    last: Option<EndpointSet>,
    /// Whether it is a watch of the case about changes: other cases watch, too, and would fail with
    /// it.
    changes: bool,
    dead: bool,
    ended: bool,
}

impl Stream for Watch<'_> {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        if watch.ended || watch.dead {
            return if watch.ended { Poll::Ready(None) } else { Poll::Pending };
        }
        while let Poll::Ready(down) = watch.down.as_mut().poll(context) {
            watch.down = Box::pin(changed(watch.owner.down.subscribe()));
            watch.failed |= down;
            if down && watch.owner.has(Flaw::LosesASetToAnError) {
                watch.failed = false;
                return Poll::Ready(Some(Err(refused())));
            }
        }
        if watch.owner.has(Flaw::NeverWakes) && watch.yielded > 0 && watch.changes {
            return Poll::Pending;
        }
        match watch.inner.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(set))) => {
                watch.yielded += 1;
                watch.last = Some(set.clone());
                let blind =
                    watch.owner.has(Flaw::BeginsEmpty) && watch.yielded == 1 && !set.entries().is_empty();
                if blind
                    && set
                        .entries()
                        .iter()
                        .all(|entry| entry.endpoint().service().as_str().starts_with("conformance-20-"))
                {
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(set)))
            }
            Poll::Pending if watch.failed && watch.owner.has(Flaw::EmptiesOnAnError) && !watch.emptied => {
                watch.emptied = true;
                Poll::Ready(Some(Ok(EndpointSet::new([]))))
            }
            Poll::Pending if watch.owner.has(Flaw::HidesErrors) => Poll::Pending,
            Poll::Pending if std::mem::take(&mut watch.failed) => {
                watch.ended = watch.owner.has(Flaw::EndsOnAnError);
                Poll::Ready(Some(Err(refused())))
            }
            Poll::Pending if watch.owner.has(Flaw::Floods) && watch.yielded > 0 => {
                context.waker().wake_by_ref();
                Poll::Ready(watch.last.clone().map(Ok))
            }
            other => other,
        }
    }
}

#[async_trait]
impl Registry for Flawed {
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let provider = self.up()?;
        let mut endpoint = with_id(endpoint, &self.id(endpoint.id()));
        if self.has(Flaw::DropsMetadata) {
            endpoint = endpoint.to_builder().metadata_map::<&str, &str>([]).build().expect("valid");
        }
        if self.has(Flaw::KeepsTheFirstRegistration)
            && provider.get(endpoint.service(), endpoint.id()).await.is_ok()
        {
            return Ok(());
        }
        let number = {
            let mut reached = self.reached.lock().expect("whole");
            reached.push(endpoint.service().clone());
            reached.iter().filter(|service| *service == endpoint.service()).count()
        };
        if self.has(Flaw::ForgetsTheLast) && number == 20 {
            return Ok(());
        }
        if self.has(Flaw::WritesInTwoSteps) {
            let half = endpoint.to_builder().weight(1).build().expect("valid");
            provider.register(&half).await?;
            tokio::task::yield_now().await;
        }
        provider.register(&endpoint).await
    }

    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let provider = self.up()?;
        if self.has(Flaw::LosesAnUpdate) {
            return provider.get(endpoint.service(), endpoint.id()).await.map(drop);
        }
        if self.has(Flaw::UpdateRegisters) {
            return provider.register(endpoint).await;
        }
        provider.update(endpoint).await
    }

    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        let provider = self.up()?;
        let id = &self.id(id);
        let before = provider.get(service, id).await;
        let was = provider.deregister(service, id).await?;
        if !was && self.has(Flaw::MissingIsAnError) {
            return Err(Error::new(ErrorKind::NotFound, "it is not there"));
        }
        if let (true, Ok(entry)) = (self.has(Flaw::Resurrects), before) {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let _ = inner.register(entry.endpoint()).await;
            });
        }
        Ok(was)
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        let provider = self.up()?;
        let found = provider.get(service, &self.id(id)).await;
        match found {
            Err(_) if self.has(Flaw::GetsSomebodyElse) => {
                let set = provider.list(&Query::service(service)).await?;
                set.into_entries()
                    .into_iter()
                    .next()
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, "not registered"))
            }
            found => found,
        }
    }

    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        if self.has(Flaw::ForgetsClaims) {
            return self.up()?.get(service, id).await.map(drop);
        }
        self.up()?.set_health(service, id, health).await
    }

    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.up()?.set_lifecycle(service, id, lifecycle).await
    }
}

#[async_trait]
impl ConfigStore for Flawed {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        let stored = self.up()?.load(key).await?;
        let cut = |stored: StoredConfig| {
            let document: String = stored.document().chars().filter(char::is_ascii).collect();
            StoredConfig::new(document, stored.revision().clone())
        };
        Ok(if self.has(Flaw::CutsDocuments) { stored.map(cut) } else { stored })
    }

    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        let provider = self.up()?;
        if self.has(Flaw::IgnoresCompareAndSwap) {
            let current = provider.load(key).await?;
            return provider.store(key, document, current.as_ref().map(StoredConfig::revision)).await;
        }
        if self.has(Flaw::MiscallsALargeDocument) && document.len() > 1 << 20 {
            return Err(Error::new(ErrorKind::Validation, "the document is too large"));
        }
        let stored = provider.store(key, document, expected).await;
        stored.map_err(|error| match error.kind() {
            ErrorKind::Conflict if self.has(Flaw::MiscallsAConflict) => error.with_code("CHANGED"),
            _ => error,
        })
    }

    fn watch(&self) -> ConfigStream<'_> {
        let inner = ConfigStore::watch(&*self.inner);
        if self.has(Flaw::ConfigNeverWakes) {
            return Box::pin(Once(inner, false));
        }
        let down = Box::pin(changed(self.down.subscribe()));
        Box::pin(ConfigWatch { inner, owner: self, down, failed: false })
    }
}

struct ConfigWatch<'a> {
    inner: ConfigStream<'a>,
    owner: &'a Flawed,
    down: Pin<Box<dyn Future<Output = bool> + Send>>,
    /// An error that was not yielded yet.
    failed: bool,
}

impl Stream for ConfigWatch<'_> {
    type Item = Result<ConfigSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        while let Poll::Ready(down) = watch.down.as_mut().poll(context) {
            watch.down = Box::pin(changed(watch.owner.down.subscribe()));
            watch.failed |= down;
        }
        let first = watch.owner.has(Flaw::LosesADocumentToAnError);
        if first && std::mem::take(&mut watch.failed) {
            return Poll::Ready(Some(Err(refused())));
        }
        match watch.inner.as_mut().poll_next(context) {
            Poll::Pending if std::mem::take(&mut watch.failed) => Poll::Ready(Some(Err(refused()))),
            other => other,
        }
    }
}

/// Yields the first item and then stays pending.
struct Once<'a>(ConfigStream<'a>, bool);

impl Stream for Once<'_> {
    type Item = Result<ConfigSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let once = self.get_mut();
        if once.1 {
            return Poll::Pending;
        }
        let item = once.0.as_mut().poll_next(context);
        once.1 = item.is_ready();
        item
    }
}
