//! The endpoints, and the watchers of their changes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use failover_core::provider::{EndpointEntry, EndpointSet, Query, Revision};
use failover_core::{EndpointId, Error, ErrorKind, ServiceName};

use crate::store::Documents;

/// The state that the providers of one process share: services, endpoints, and configuration.
///
/// Clones are cheap and refer to the same cluster, which lives as long as any of them or of its
/// providers. A service is known from its first registration on, even after its last endpoint is
/// removed.
#[derive(Clone, Default)]
pub struct MemoryCluster(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    documents: Documents,
}

#[derive(Default)]
struct State {
    services: BTreeMap<ServiceName, Service>,
    /// The number of changes. The revision of an item is the number of its last change.
    changes: u64,
    /// The number of providers and watchers created.
    numbers: u64,
}

#[derive(Default)]
struct Service {
    /// 0 until the first registration: until then the service exists only because it is watched.
    revision: u64,
    entries: BTreeMap<EndpointId, EndpointEntry>,
    watchers: HashMap<u64, Watcher>,
}

struct Watcher {
    provider: u64,
    waker: Option<Waker>,
}

impl MemoryCluster {
    /// Creates a cluster without services.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.0.documents
    }

    pub(crate) fn number(&self) -> u64 {
        self.state().number()
    }

    /// Adds or replaces an entry.
    pub(crate) fn put(&self, entry: EndpointEntry) {
        let wakers = self.state().put(entry);
        wake(wakers);
    }

    /// Replaces an existing entry with the result of `change`.
    pub(crate) fn alter(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        change: impl FnOnce(EndpointEntry) -> EndpointEntry,
    ) -> Result<(), Error> {
        let wakers = {
            let mut state = self.state();
            let changed = change(state.entry(service, id)?);
            state.put(changed)
        };
        wake(wakers);
        Ok(())
    }

    /// Removes an entry and returns whether it existed.
    pub(crate) fn remove(&self, service: &ServiceName, id: &EndpointId) -> bool {
        let removed = self.state().remove(service, id);
        match removed {
            Some(wakers) => {
                wake(wakers);
                true
            }
            None => false,
        }
    }

    pub(crate) fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.state().entry(service, id)
    }

    pub(crate) fn list(&self, query: &Query) -> EndpointSet {
        let state = self.state();
        let matching = |service: &Service| {
            let entries = service.entries.values().filter(|entry| query.matches(entry.endpoint()));
            entries.cloned().collect::<Vec<_>>()
        };
        match query.service_name() {
            Some(name) => match state.services.get(name).filter(|service| service.is_known()) {
                Some(service) => whole(matching(service), service.revision),
                None => unknown(),
            },
            None => whole(state.services.values().flat_map(matching), state.changes),
        }
    }

    /// Adds a watcher if its provider is open, and returns the watcher's number.
    ///
    /// `is_open` is called under the lock that [`close`](Self::close) takes, so that closing misses
    /// no watcher.
    pub(crate) fn enter(
        &self,
        service: &ServiceName,
        provider: u64,
        is_open: impl FnOnce() -> bool,
    ) -> Option<u64> {
        let mut state = self.state();
        if !is_open() {
            return None;
        }
        let number = state.number();
        let watchers = &mut state.services.entry(service.clone()).or_default().watchers;
        watchers.insert(number, Watcher { provider, waker: None });
        Some(number)
    }

    /// Returns the service's endpoints if their revision is not `seen`; otherwise registers `waker`
    /// for the next change. Returns `None` if the watcher's provider was closed.
    pub(crate) fn poll(
        &self,
        service: &ServiceName,
        watcher: u64,
        seen: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<Option<EndpointSet>> {
        // A waker is foreign code, so it is cloned and dropped outside the lock.
        let waker = waker.clone();
        let _replaced = {
            let mut state = self.state();
            let Some(service) = state.services.get_mut(service) else { return Poll::Ready(None) };
            let Some(watcher) = service.watchers.get_mut(&watcher) else { return Poll::Ready(None) };
            if *seen != Some(service.revision) {
                *seen = Some(service.revision);
                return Poll::Ready(Some(service.set()));
            }
            watcher.waker.replace(waker)
        };
        Poll::Pending
    }

    /// Removes a watcher.
    pub(crate) fn leave(&self, service: &ServiceName, watcher: u64) {
        let _gone = self.state().leave(service, watcher);
    }

    /// Runs `shut` and ends the watches of a provider, atomically.
    pub(crate) fn close(&self, provider: u64, shut: impl FnOnce()) {
        let ended = {
            let mut state = self.state();
            shut();
            state.end(provider)
        };
        wake(ended);
        self.documents().close(provider);
    }

    /// Runs `open` while no [`close`](Self::close) is in progress.
    pub(crate) fn connect(&self, open: impl FnOnce()) {
        let _state = self.state();
        open();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, and no operation leaves the state half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Metadata may hold secrets, so endpoints are counted, not shown.
        let (services, endpoints) = {
            let state = self.state();
            let known = || state.services.values().filter(|service| service.is_known());
            (known().count(), known().map(|service| service.entries.len()).sum::<usize>())
        };
        f.debug_struct("MemoryCluster")
            .field("services", &services)
            .field("endpoints", &endpoints)
            .finish_non_exhaustive()
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn entry(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        let found = self.services.get(service).and_then(|service| service.entries.get(id));
        found.cloned().ok_or_else(|| {
            let message = format!("{service}/{id}: there is no such endpoint; register it first");
            Error::new(ErrorKind::NotFound, message)
                .with_detail("service", service.as_str())
                .with_detail("id", id.as_str())
        })
    }

    /// Writes an entry and returns the wakers to wake; an identical entry is not a change.
    fn put(&mut self, entry: EndpointEntry) -> Vec<Waker> {
        let endpoint = entry.endpoint();
        let service = self.services.entry(endpoint.service().clone()).or_default();
        if service.entries.get(endpoint.id()) == Some(&entry) {
            return Vec::new();
        }
        service.entries.insert(endpoint.id().clone(), entry);
        self.changes += 1;
        service.changed(self.changes)
    }

    /// Removes an entry and returns the wakers to wake, or `None` if it did not exist.
    fn remove(&mut self, service: &ServiceName, id: &EndpointId) -> Option<Vec<Waker>> {
        let service = self.services.get_mut(service)?;
        service.entries.remove(id)?;
        self.changes += 1;
        Some(service.changed(self.changes))
    }

    fn leave(&mut self, name: &ServiceName, watcher: u64) -> Option<Watcher> {
        let service = self.services.get_mut(name)?;
        let gone = service.watchers.remove(&watcher);
        if service.is_idle() {
            self.services.remove(name);
        }
        gone
    }

    fn end(&mut self, provider: u64) -> Vec<Waker> {
        let mut wakers = Vec::new();
        self.services.retain(|_, service| {
            service.watchers.retain(|_, watcher| {
                let stays = watcher.provider != provider;
                wakers.extend(watcher.waker.take_if(|_| !stays));
                stays
            });
            !service.is_idle()
        });
        wakers
    }
}

impl Service {
    fn is_known(&self) -> bool {
        self.revision > 0
    }

    /// Returns whether the service can be dropped without losing anything.
    fn is_idle(&self) -> bool {
        !self.is_known() && self.watchers.is_empty()
    }

    fn changed(&mut self, revision: u64) -> Vec<Waker> {
        self.revision = revision;
        self.watchers.values_mut().filter_map(|watcher| watcher.waker.take()).collect()
    }

    fn set(&self) -> EndpointSet {
        if self.is_known() { whole(self.entries.values().cloned(), self.revision) } else { unknown() }
    }
}

/// Returns a confirmed set, empty or not: the registry is this process.
fn whole(entries: impl IntoIterator<Item = EndpointEntry>, revision: u64) -> EndpointSet {
    EndpointSet::new(entries).confirmed().with_revision(mark(revision))
}

fn unknown() -> EndpointSet {
    EndpointSet::unknown_service().with_revision(mark(0))
}

fn mark(revision: u64) -> Revision {
    Revision::new(revision.to_string())
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
