//! The memory provider with a backend that can fail, and with at most one flaw.

mod flaws;
mod registering;
mod storing;
mod watching;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_conformance::Subject;
use failover_core::provider::{
    AddressTrust, ConfigStore, EndpointSet, Feature, Provider, ProviderInfo, Query, Registry, WatchStream,
};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, ServiceName, async_trait};
use failover_memory::{MemoryCluster, MemoryProvider};
use tokio::sync::watch;

pub(crate) use flaws::{FLAWS, Flaw};
use watching::Watch;

pub(crate) const SECRET: &str = "hunter2-canary";

/// The crowd of these subjects: small, because there is one for each flaw.
const CROWD: usize = 300;
/// What a flawed provider returns of a larger answer.
const PAGE: usize = 100;

/// A backend and its flaw.
pub(crate) struct Broken {
    cluster: MemoryCluster,
    flaw: Option<Flaw>,
    down: Arc<watch::Sender<bool>>,
    /// The service that has broken entries.
    hostile: Arc<Mutex<String>>,
}

impl Broken {
    pub(crate) fn new(flaw: Option<Flaw>) -> Self {
        let down = Arc::new(watch::Sender::new(false));
        Self { cluster: MemoryCluster::new(), flaw, down, hostile: Arc::default() }
    }

    fn make(&self) -> Arc<Flawed> {
        Arc::new(Flawed {
            inner: Arc::new(self.cluster.provider()),
            flaw: self.flaw,
            down: Arc::clone(&self.down),
            hostile: Arc::clone(&self.hostile),
            open: Arc::new(AtomicBool::new(true)),
            connected: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
            watches: AtomicU64::new(0),
            registrations: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            locked: Mutex::default(),
            own: Mutex::default(),
            first: Mutex::default(),
            lists: AtomicU64::new(0),
        })
    }
}

#[async_trait]
impl Subject for Broken {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.make();
        provider.connect().await.map(|()| provider as Arc<dyn Provider>)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(self.make()))
    }

    fn backend(&self) -> String {
        "a test's <cluster> & \u{1b}".to_owned()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn crowd(&self) -> usize {
        CROWD
    }

    async fn outage(&self, begins: bool) -> bool {
        self.down.send_replace(begins);
        true
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        *self.hostile.lock().expect("whole") = if begins { service.to_owned() } else { String::new() };
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
    hostile: Arc<Mutex<String>>,
    open: Arc<AtomicBool>,
    connected: AtomicBool,
    /// A connect has failed.
    broken: AtomicBool,
    /// A watch was dropped.
    dropped: AtomicBool,
    watches: AtomicU64,
    registrations: AtomicU64,
    /// Registrations in flight.
    writing: AtomicU64,
    locked: Mutex<HashSet<(ServiceName, EndpointId)>>,
    /// What this provider has registered.
    own: Mutex<Vec<(ServiceName, EndpointId)>>,
    /// The first answer of this provider.
    first: Mutex<Option<EndpointSet>>,
    lists: AtomicU64,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn up(&self) -> Result<&MemoryProvider, Error> {
        if *self.down.borrow() { Err(refused()) } else { Ok(&self.inner) }
    }

    /// Returns the answer for a set that may have broken entries beside it.
    fn beside_broken(&self, query: &Query, set: EndpointSet) -> Result<EndpointSet, Error> {
        let is_hostile = {
            let hostile = self.hostile.lock().expect("whole");
            query.service_name().is_some_and(|service| service.as_str() == *hostile)
        };
        let invalid = || Error::invalid("port", 70_000, "1 to 65535");
        match self.flaw {
            _ if !is_hostile => Ok(set),
            Some(Flaw::OneBrokenEntrySpoilsAll) => Err(invalid()),
            Some(Flaw::DropsTheNeighbours) => Ok(EndpointSet::new(set.into_entries().into_iter().skip(1))),
            Some(Flaw::DropsBrokenEntriesSilently) => Ok(set),
            Some(Flaw::PanicsOnABrokenEntry) => panic!("called `Option::unwrap()` on a `None` value"),
            _ => {
                let mut set = set;
                set.reject("broken", invalid());
                Ok(set)
            }
        }
    }

    /// Lists with the flaws of a working backend.
    async fn listed(&self, query: &Query) -> Result<EndpointSet, Error> {
        let unfiltered = query.service_name().map(Query::service);
        let set = match (self.flaw, unfiltered) {
            (Some(Flaw::IgnoresTags), Some(unfiltered)) if query.tags().next() == Some("blue") => {
                self.inner.list(&unfiltered).await?
            }
            (Some(Flaw::IgnoresMetadata), Some(unfiltered)) => {
                let query = query.tags().fold(unfiltered, Query::tag);
                self.inner.list(&query).await?
            }
            _ => self.inner.list(query).await?,
        };
        match self.flaw {
            Some(Flaw::UnknownServiceIsAnError) if set.is_unknown_service() && is_case(query, 3) => {
                Err(Error::new(ErrorKind::NotFound, "there is no such service"))
            }
            Some(Flaw::InventsAnEndpoint) if set.is_unknown_service() && is_case(query, 3) => {
                let service = query.service_name().expect("the case names one").as_str();
                let invented = Endpoint::builder("default", service, "10.9.9.9", 80).build()?;
                Ok(EndpointSet::new([invented.into()]))
            }
            Some(Flaw::ListsOnePage) if is_case(query, 60) => {
                Ok(EndpointSet::new(set.into_entries().into_iter().take(PAGE)))
            }
            Some(Flaw::ListsTheFirstAnswerForever) if is_case(query, 62) => {
                Ok(self.first.lock().expect("whole").get_or_insert(set).clone())
            }
            Some(Flaw::AnswersFromALaggingReplica) if is_case(query, 62) => {
                // Every second answer is one change behind.
                let is_late = self.lists.fetch_add(1, Ordering::SeqCst) % 2 == 1;
                let behind = set.entries().len().saturating_sub(usize::from(is_late));
                Ok(EndpointSet::new(set.into_entries().into_iter().take(behind)))
            }
            _ => self.beside_broken(query, set),
        }
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::Connection, "connection refused")
}

/// Returns whether this is a query of a case: a flaw that would show everywhere shows only there.
fn is_case(query: &Query, case: u32) -> bool {
    query.service_name().is_some_and(|name| name.as_str().starts_with(&format!("conformance-{case}-")))
}

#[async_trait]
impl Provider for Flawed {
    fn info(&self) -> ProviderInfo {
        // Its backend can fail, so it is not this process.
        let info = self.inner.info().with_trust(AddressTrust::Remote);
        let hidden = match self.flaw {
            Some(Flaw::NamesNoRegistry) => Some(Feature::Registry),
            Some(Flaw::NamesNoWatch) => Some(Feature::Watch),
            _ => None,
        };
        let features: Vec<_> = info.features().to_vec();
        info.with_features(features.into_iter().filter(|feature| Some(*feature) != hidden))
    }

    async fn connect(&self) -> Result<(), Error> {
        let up = self.up();
        if up.is_err() && self.has(Flaw::BreaksOnAFailedConnect) {
            self.broken.store(true, Ordering::SeqCst);
        }
        up?.connect().await?;
        let times = u32::from(self.connected.swap(true, Ordering::SeqCst));
        if times > 0 && self.has(Flaw::CannotConnectTwice) {
            return Err(Error::new(ErrorKind::Internal, "it is connected already"));
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        if self.has(Flaw::PingFails) {
            return Err(Error::new(ErrorKind::Unsupported, "there is no ping"));
        }
        self.up()?.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        if self.has(Flaw::BlocksClose) {
            std::future::pending::<()>().await;
        }
        self.open.store(false, Ordering::SeqCst);
        if self.has(Flaw::CloseDeregistersASuccessor) {
            let own = std::mem::take(&mut *self.own.lock().expect("whole"));
            for (service, id) in own {
                let _ = self.inner.deregister(&service, &id).await;
            }
        }
        self.inner.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        let is_unconnected = self.has(Flaw::NeedsAConnect) && !self.connected.load(Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) || is_unconnected {
            return Err(refused());
        }
        match (self.flaw, self.up()) {
            (Some(Flaw::ListsFromACache), Err(_)) => self.inner.list(query).await,
            (Some(Flaw::OutageIsInvalid), Err(_)) => {
                Err(Error::new(ErrorKind::Validation, "there is no backend"))
            }
            (Some(Flaw::OutageHasAnOddCode), Err(error)) => Err(error.with_code("NO_ROUTE")),
            (Some(Flaw::EmptiesOnAnError), Err(_)) => Ok(EndpointSet::new([])),
            (_, Err(error)) => Err(error),
            (flaw, Ok(_)) => match (flaw, self.listed(query).await) {
                (Some(Flaw::ListsAfterClose), Err(error)) if error.kind() == ErrorKind::Shutdown => {
                    Ok(EndpointSet::unknown_service())
                }
                (Some(Flaw::MiscallsAClosedProvider), Err(error)) => Err(error.with_code("CLOSED")),
                (Some(Flaw::LeaksASecretInAnError), Err(error)) => Err(error.context(SECRET)),
                (_, listed) => listed,
            },
        }
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        Some(Box::pin(Watch::new(self, query)?))
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}
