//! The labels of pods, as metadata of their endpoints.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use failover_core::provider::EndpointEntry;
use failover_core::{Error, Time};
use failover_provider_kit::Publisher;
use serde_json::Value;

use crate::names;
use crate::reflector::ReflectorStore;

/// The maximum number of labels of a pod that are kept.
const MAX_LABELS: usize = 64;

/// The labels of each pod, by uid.
pub(crate) type PodLabels = HashMap<Arc<str>, Arc<BTreeMap<String, String>>>;

/// The newest labels, for a reader that looks at times.
#[derive(Debug, Default)]
pub(crate) struct LatestLabels(Mutex<Option<Arc<PodLabels>>>);

impl LatestLabels {
    pub(crate) fn put(&self, labels: Arc<PodLabels>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(labels);
    }

    /// Returns labels that came since the last call.
    pub(crate) fn take(&self) -> Option<Arc<PodLabels>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Returns an entry with the labels of its pod as metadata `k8s.label.NAME`, and the weight of the
/// label `failover.rs/weight`.
pub(crate) fn labelled(entry: &EndpointEntry, labels: &BTreeMap<String, String>) -> EndpointEntry {
    let mut builder = entry.endpoint().to_builder();
    for (name, value) in labels {
        builder = builder.metadata(format!("k8s.label.{name}"), value.as_str());
    }
    if let Some(weight) = labels.get(names::WEIGHT).and_then(|weight| weight.parse().ok()) {
        builder = builder.weight(weight);
    }
    // Labels that do not fit leave the endpoint as it is.
    let Ok(endpoint) = builder.build() else { return entry.clone() };
    EndpointEntry::new(endpoint).with_health(entry.health()).with_lifecycle(entry.lifecycle())
}

/// Stores the labels of all pods of a namespace and publishes them as they change.
pub(crate) struct PodStore {
    publisher: Publisher<Arc<PodLabels>>,
    labels: PodLabels,
    changed: bool,
}

/// A pod's uid and labels.
type Pod = Option<(Arc<str>, Arc<BTreeMap<String, String>>)>;

impl PodStore {
    pub(crate) fn new(publisher: Publisher<Arc<PodLabels>>) -> Self {
        Self { publisher, labels: PodLabels::new(), changed: false }
    }
}

impl ReflectorStore for PodStore {
    type Item = Pod;

    fn read(&self, object: Value) -> Pod {
        let uid = object.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty())?;
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten().take(MAX_LABELS);
        let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Some((uid.into(), Arc::new(labels.collect())))
    }

    fn listed(&mut self, items: Vec<Pod>, _version: &str) {
        let labels: PodLabels = items.into_iter().flatten().collect();
        self.changed |= labels != self.labels;
        self.labels = labels;
    }

    fn changed(&mut self, item: Pod) {
        // Most changes of a pod concern its status.
        if let Some((uid, labels)) = item.filter(|(uid, labels)| self.labels.get(uid) != Some(labels)) {
            self.labels.insert(uid, labels);
            self.changed = true;
        }
    }

    fn deleted(&mut self, item: Pod) {
        if let Some((uid, _)) = item {
            self.labels.remove(&uid);
        }
    }

    fn failed(&mut self, error: Error) {
        tracing::debug!(target: "failover::k8s", "the labels of pods stay as they are: {error}");
    }

    fn recovered(&mut self) {}

    fn publish(&mut self, _now: Time) {
        if std::mem::take(&mut self.changed) {
            self.publisher.publish(Arc::new(self.labels.clone()));
        }
    }

    fn due(&self) -> Option<Time> {
        None
    }
}
