//! One watch of all slices of a namespace, for the services of a process that follows many there.
//!
//! The API server answers each watch on a connection of its own. The first services have one each,
//! which delivers nothing but their slices; those beyond [`OWN`] share one that delivers all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use failover_core::{Error, Time};
use failover_provider_kit::{AbortOnDrop, Timing};
use serde_json::Value;
use tokio::sync::Notify;

use crate::api::{Kind, Scope};
use crate::cluster::Cluster;
use crate::reflector::{Periods, ReflectorStore, follow};
use crate::settings::Target;

/// How many services of a namespace have a watch of their own.
pub(crate) const OWN: usize = 16;

/// The pause before a watch that panicked is replaced.
const RESTART: Duration = Duration::from_secs(1);

/// The watches of namespaces, by the name of the namespace.
#[derive(Default)]
pub(crate) struct NamespaceWatches(Mutex<HashMap<String, Known>>);

#[derive(Default)]
struct Known {
    /// The services with a watch of their own.
    own: usize,
    shared: Weak<Shared>,
}

/// Counts a service with a watch of its own until dropped.
pub(crate) struct OwnWatch<'a> {
    watches: &'a NamespaceWatches,
    namespace: &'a str,
}

impl Drop for OwnWatch<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.watches.known().get_mut(self.namespace) {
            known.own -= 1;
        }
    }
}

impl NamespaceWatches {
    /// Returns a permit for a watch of its own, unless the namespace has enough of them.
    pub(crate) fn own<'a>(&'a self, namespace: &'a str) -> Option<OwnWatch<'a>> {
        let mut known = self.known();
        let known = known.entry(namespace.to_owned()).or_default();
        if known.own >= OWN {
            return None;
        }
        known.own += 1;
        Some(OwnWatch { watches: self, namespace })
    }

    /// Follows the slices of a service through the watch of its namespace, until dropped.
    pub(crate) async fn follow(
        &self,
        cluster: &Arc<Cluster>,
        target: &Target,
        mut store: impl ReflectorStore,
    ) {
        let timing = &cluster.client.timing;
        loop {
            let shared = self.shared(cluster, target);
            let inbox = shared.subscribe(target.service.as_str());
            feed(timing, &inbox, &mut store).await;
            // The task has panicked.
            tokio::time::sleep(timing.jittered(RESTART, 0.5)).await;
        }
    }

    fn shared(&self, cluster: &Arc<Cluster>, target: &Target) -> Arc<Shared> {
        let mut known = self.known();
        let known = known.entry(cluster.namespace_of(target).to_owned()).or_default();
        if let Some(shared) = known.shared.upgrade().filter(|shared| shared.is_running()) {
            return shared;
        }
        let shared = Arc::new(Shared::default());
        shared.start(cluster, target);
        known.shared = Arc::downgrade(&shared);
        shared
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watch of a namespace. It ends with its last subscriber.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    task: Mutex<Option<AbortOnDrop>>,
}

#[derive(Default)]
struct State {
    /// The version of the last list, if there was one.
    version: Option<String>,
    error: Option<Error>,
    /// By the service, and the name of the slice.
    slices: HashMap<String, HashMap<String, Arc<Value>>>,
    subscribers: HashMap<String, Vec<Weak<Inbox>>>,
    /// The services that were told something that is not published yet.
    told: HashSet<String>,
}

/// What a subscriber has not read yet: at most one change of each slice.
#[derive(Default)]
struct Inbox {
    news: Mutex<News>,
    /// Notified when what was told is to be published.
    wake: Notify,
}

#[derive(Default)]
struct News {
    listed: Option<(Vec<Arc<Value>>, String)>,
    /// By the name of the slice, what is newer than the list: whether it was deleted, and the slice.
    changes: HashMap<String, (bool, Arc<Value>)>,
    /// Whether the slices can be watched, if that has changed.
    health: Option<Result<(), Error>>,
    confirmed: bool,
    /// The task has ended.
    ended: bool,
}

impl News {
    fn change(&mut self, name: &str, deleted: bool, object: &Arc<Value>) {
        self.changes.insert(name.to_owned(), (deleted, Arc::clone(object)));
    }
}

impl Inbox {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn start(self: &Arc<Self>, cluster: &Arc<Cluster>, target: &Target) {
        let (cluster, target, shared) = (Arc::clone(cluster), target.clone(), Arc::downgrade(self));
        let task = async move {
            let label = cluster.settings.reading.label;
            let periods = Periods { watch: cluster.settings.watch, relist: cluster.settings.relist };
            let scope = Scope::labelled(Kind::Slices, label);
            follow(cluster.api_in(&target), scope, periods, Distributor { shared, label }).await;
        };
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(AbortOnDrop::spawn(task));
    }

    fn is_running(&self) -> bool {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.as_ref().is_some_and(AbortOnDrop::is_running)
    }

    fn subscribe(&self, service: &str) -> Arc<Inbox> {
        let mut state = self.state();
        let listed = state.version.clone().map(|version| (state.of(service), version));
        let health = state.error.clone().map(Err);
        let inbox = Arc::new(Inbox::default());
        *inbox.news() = News { listed, health, ..News::default() };
        inbox.wake.notify_one();
        state.subscribers.entry(service.to_owned()).or_default().push(Arc::downgrade(&inbox));
        inbox
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&self, service: &str) -> Vec<Arc<Value>> {
        self.slices.get(service).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    fn tell(&mut self, service: &str, news: impl Fn(&mut News)) {
        let inboxes = self.subscribers.get(service).into_iter().flatten().filter_map(Weak::upgrade);
        for inbox in inboxes {
            news(&mut inbox.news());
            self.told.insert(service.to_owned());
        }
    }

    fn tell_all(&mut self, news: impl Fn(&mut News)) {
        let services: Vec<_> = self.subscribers.keys().cloned().collect();
        for service in services {
            self.tell(&service, &news);
        }
    }

    /// Lets those publish that were told something.
    fn publish(&mut self) {
        for service in std::mem::take(&mut self.told) {
            let inboxes = self.subscribers.get(&service).into_iter().flatten().filter_map(Weak::upgrade);
            inboxes.for_each(|inbox| inbox.wake.notify_one());
        }
        self.subscribers.retain(|_, inboxes| {
            inboxes.retain(|inbox| inbox.strong_count() > 0);
            !inboxes.is_empty()
        });
    }
}

/// Keeps the slices of a namespace, and passes them on to the subscribers of their services.
struct Distributor {
    shared: Weak<Shared>,
    label: &'static str,
}

impl Distributor {
    fn with(&self, apply: impl FnOnce(&mut State)) {
        if let Some(shared) = self.shared.upgrade() {
            apply(&mut shared.state());
        }
    }
}

/// A slice, with its service and its name.
struct Labelled {
    service: String,
    name: String,
    object: Arc<Value>,
}

/// The task has ended, which its subscribers learn by the end of their notes.
impl Drop for Distributor {
    fn drop(&mut self) {
        self.with(|state| {
            state.tell_all(|news| news.ended = true);
            state.publish();
        });
    }
}

impl ReflectorStore for Distributor {
    type Item = Labelled;

    fn read(&self, object: Value) -> Labelled {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let labels = object.pointer("/metadata/labels");
        let service = text(labels.and_then(|labels| labels.get(self.label)));
        let name = text(object.pointer("/metadata/name"));
        Labelled { service, name, object: Arc::new(object) }
    }

    fn listed(&mut self, items: Vec<Labelled>, version: &str) {
        self.with(|state| {
            state.slices.clear();
            for Labelled { service, name, object } in items {
                state.slices.entry(service).or_default().insert(name, object);
            }
            state.version = Some(version.to_owned());
            let services: Vec<_> = state.subscribers.keys().cloned().collect();
            for service in services {
                let slices = state.of(&service);
                state.tell(&service, |news| {
                    news.changes.clear();
                    news.listed = Some((slices.clone(), version.to_owned()));
                });
            }
        });
    }

    fn changed(&mut self, item: Labelled) {
        self.with(|state| {
            let Labelled { service, name, object } = item;
            // A slice can change its label, which is a deletion for the service before.
            let moved: Vec<_> = state
                .slices
                .iter_mut()
                .filter(|(of, _)| **of != service)
                .filter_map(|(of, slices)| Some((of.clone(), slices.remove(&name)?)))
                .collect();
            for (before, old) in moved {
                state.tell(&before, |news| news.change(&name, true, &old));
            }
            state.slices.entry(service.clone()).or_default().insert(name.clone(), Arc::clone(&object));
            state.tell(&service, |news| news.change(&name, false, &object));
        });
    }

    fn deleted(&mut self, item: Labelled) {
        self.with(|state| {
            let Labelled { service, name, object } = item;
            if let Some(slices) = state.slices.get_mut(&service) {
                slices.remove(&name);
            }
            state.slices.retain(|_, slices| !slices.is_empty());
            state.tell(&service, |news| news.change(&name, true, &object));
        });
    }

    fn failed(&mut self, error: Error) {
        self.with(|state| {
            state.error = Some(error.clone());
            state.tell_all(|news| news.health = Some(Err(error.clone())));
        });
    }

    fn recovered(&mut self) {
        self.with(|state| {
            state.error = None;
            state.tell_all(|news| news.health = Some(Ok(())));
        });
    }

    fn confirmed(&mut self) {
        self.with(|state| state.tell_all(|news| news.confirmed = true));
    }

    fn publish(&mut self, _now: Time) {
        self.with(State::publish);
    }

    fn due(&self) -> Option<Time> {
        None
    }
}

/// Applies the news of a subscriber to the store of its service, until the task of the watch ends.
async fn feed<M: ReflectorStore>(timing: &Timing, inbox: &Inbox, store: &mut M) {
    loop {
        let wake = inbox.wake.notified();
        match store.due() {
            None => wake.await,
            Some(due) => {
                timing.timeout_at(due, wake).await;
            }
        }
        let News { listed, changes, health, confirmed, ended } = std::mem::take(&mut *inbox.news());
        if ended {
            return;
        }
        if let Some((objects, version)) = listed {
            let items = objects.iter().map(|object| store.read(Value::clone(object))).collect();
            store.listed(items, &version);
        }
        for (deleted, object) in changes.into_values() {
            let item = store.read(Value::clone(&object));
            if deleted { store.deleted(item) } else { store.changed(item) }
        }
        match health {
            Some(Err(error)) => store.failed(error),
            Some(Ok(())) => store.recovered(),
            None => {}
        }
        if confirmed {
            store.confirmed();
        }
        store.publish(timing.now());
    }
}
