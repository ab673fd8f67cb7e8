//! Whole answers: the instances of a service as a set of endpoints.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use failover_core::provider::{EndpointEntry, EndpointSet, PortChoice};
use failover_core::{EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName};

use crate::convert::adjust::{self, Notes};
use crate::convert::{entry, with_id};
use crate::error;
use crate::settings::{Order, Settings};
use crate::wire::{Instance, entries};

/// Parses the instances of an answer like [`set`], off the runtime's thread if that takes
/// milliseconds.
pub(crate) async fn read_set(
    settings: &Arc<Settings>,
    service: &ServiceName,
    port: Option<&PortChoice>,
    body: Vec<u8>,
    order: Order,
) -> Result<EndpointSet, Error> {
    const LARGE: usize = 128 << 10;
    if body.len() < LARGE {
        return set(service, port, &body, settings, order);
    }
    let (settings, service, port) = (Arc::clone(settings), service.clone(), port.cloned());
    let reading = tokio::task::spawn_blocking(move || set(&service, port.as_ref(), &body, &settings, order));
    reading
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, format!("reading an answer: {error}"))))
}

/// Parses all instances of an answer as endpoints of this service. An unusable instance is skipped
/// and reported.
///
/// An id on several nodes makes as many endpoints, each of which is `id@node`: the id alone names
/// none of them, whatever their order and health.
///
/// # Errors
///
/// Returns an error if the answer is not a list.
pub(crate) fn set(
    service: &ServiceName,
    port: Option<&PortChoice>,
    body: &[u8],
    settings: &Settings,
    order: Order,
) -> Result<EndpointSet, Error> {
    let mut read = Vec::new();
    let mut rejected = Rejected::default();
    let entries = entries(body).map_err(|why| Error::bad_answer(format!("service {service}"), why))?;
    for (number, raw) in entries.into_iter().enumerate() {
        match serde_json::from_str::<Instance<'_>>(raw.get()) {
            Ok(instance) => read.push(instance),
            Err(error) => {
                let why = error::json(&error);
                let error = Error::new(ErrorKind::Validation, format!("it cannot be read: {why}"));
                rejected.add(|| format!("instance {number}"), error);
            }
        }
    }
    if order == Order::ById {
        read.sort_by(|a, b| key(a).cmp(&key(b)));
    }
    let mut converted = Vec::with_capacity(read.len());
    let mut holders: HashMap<EndpointId, u32> = HashMap::with_capacity(read.len());
    for instance in &read {
        let ((id, node), mut notes) = (key(instance), Notes::default());
        match entry(service, port, instance, settings, &mut notes) {
            Ok(entry) => {
                *holders.entry(entry.endpoint().id().clone()).or_default() += 1;
                converted.push((entry, node, notes));
            }
            Err(error) => rejected.add(|| format!("instance {id} on node {node}"), error),
        }
    }
    let mut found = Vec::with_capacity(converted.len());
    for (mut entry, node, mut notes) in converted {
        let id = entry.endpoint().id().clone();
        if holders.get(&id).is_some_and(|count| *count > 1) {
            match at_node(&entry, node, &mut notes) {
                Ok(renamed) => entry = renamed,
                Err(error) => {
                    rejected.add(|| format!("instance {id} on node {node}"), error);
                    continue;
                }
            }
        }
        if let Some(error) = notes.error() {
            rejected.add(|| format!("instance {id} on node {node}"), error);
        }
        found.push(entry);
    }
    let mut set = EndpointSet::new(found);
    for (what, error) in rejected.0 {
        set.reject(what, error);
    }
    Ok(set)
}

/// The most nodes of which the ids are kept, and the longest answer that is read for them: what is on
/// more nodes is not lost with one agent.
const MAX_NODES: usize = 8;
const MAX_NODES_BODY: usize = 128 << 10;

/// Returns the nodes of an answer that have an id, by their names; none if they are many.
pub(crate) fn nodes(body: &[u8]) -> BTreeMap<String, String> {
    let raw = if body.len() <= MAX_NODES_BODY { entries(body).unwrap_or_default() } else { Vec::new() };
    let mut nodes = BTreeMap::new();
    for raw in raw {
        let node = serde_json::from_str::<Instance<'_>>(raw.get()).ok().and_then(|instance| instance.node);
        if let Some((name, id)) =
            node.and_then(|node| node.name.zip(node.id)).filter(|(_, id)| !id.is_empty())
        {
            nodes.insert(name.into_owned(), id.into_owned());
        }
    }
    if nodes.len() <= MAX_NODES { nodes } else { BTreeMap::new() }
}

/// The unusable entries: the first are named, the others counted.
#[derive(Default)]
struct Rejected(Vec<(String, Error)>);

impl Rejected {
    const NAMED: usize = 1024;

    fn add(&mut self, what: impl FnOnce() -> String, error: Error) {
        match self.0.last().filter(|_| self.0.len() >= Self::NAMED) {
            None => self.0.push((what(), error)),
            // Shares the last message: the entry is only counted.
            Some((_, last)) => {
                let last = last.clone();
                self.0.push((String::new(), last));
            }
        }
    }
}

fn key<'a>(instance: &'a Instance<'_>) -> (&'a str, &'a str) {
    let service = instance.service.as_ref();
    let id = service.and_then(|s| s.id.as_deref().filter(|id| !id.is_empty()).or(s.name.as_deref()));
    (id.unwrap_or_default(), node(instance))
}

pub(crate) fn node<'a>(instance: &'a Instance<'_>) -> &'a str {
    instance.node.as_ref().and_then(|node| node.name.as_deref()).unwrap_or_default()
}

fn at_node(entry: &EndpointEntry, node: &str, notes: &mut Notes) -> Result<EndpointEntry, Error> {
    let endpoint = entry.endpoint();
    let id = EndpointId::new(adjust::id(&format!("{}@{node}", endpoint.id()), notes))?;
    Ok(EndpointEntry::new(with_id(endpoint, id)?)
        .with_health(entry.health())
        .with_lifecycle(entry.lifecycle()))
}

/// Returns the endpoints of which every check is passing, as Consul's own `?passing` does, and the
/// rejected entries. An empty result is certain: the servers know endpoints, none of which passes.
pub(crate) fn only_passing(set: EndpointSet) -> EndpointSet {
    let passes = |entry: &EndpointEntry| {
        entry.health() == Health::Healthy && entry.lifecycle() == Lifecycle::InService
    };
    if set.entries().iter().all(passes) {
        return set;
    }
    let rejected: Vec<_> =
        set.rejected().iter().map(|entry| (entry.what().to_owned(), entry.error().clone())).collect();
    let (age, revision) = (set.age(), set.revision().cloned());
    let mut left = EndpointSet::new(set.into_entries().into_iter().filter(passes)).with_age(age).confirmed();
    if let Some(revision) = revision {
        left = left.with_revision(revision);
    }
    for (what, error) in rejected {
        left.reject(what, error);
    }
    left
}
