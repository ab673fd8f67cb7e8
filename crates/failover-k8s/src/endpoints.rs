//! The endpoints of one service, published as its slices change.

use std::time::Duration;

use failover_core::provider::EndpointSet;
use failover_core::{Error, Time};
use failover_provider_kit::Publisher;
use serde_json::Value;
use tokio::sync::Notify;

use crate::cluster::Cluster;
use crate::convert::{self, Slice};
use crate::pods::LatestLabels;
use crate::reflector::ReflectorStore;
use crate::settings::{Reading, Target};
use crate::slices::Slices;

/// The minimum interval between sets: changes in between are published together.
const SPACING: Duration = Duration::from_millis(10);

/// Pauses between looks at a Service whose slices have no port to use, and the time for one look.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(300);
/// The interval between looks for labels of pods.
const LABELS: Duration = Duration::from_millis(500);

/// Stores the slices of one service and publishes their set of endpoints.
pub(crate) struct Endpoints<'a> {
    cluster: &'a Cluster,
    target: Target,
    /// Contains the port in use.
    reading: Reading,
    slices: Slices,
    publisher: Publisher<EndpointSet>,
    notices: Notices<'a>,
    /// When to look for labels of pods.
    looks_for_labels: Option<Time>,
    looks: Option<Looks>,
    listed: bool,
    published: Option<Time>,
    /// When a delayed change is published.
    waits: Option<Time>,
    error: Option<Error>,
    /// Whether the API server is unreachable. Nothing is published meanwhile, because a published
    /// set counts as fresh.
    down: bool,
}

/// What the store of a service exchanges with the tasks beside it.
#[derive(Clone, Copy)]
pub(crate) struct Notices<'a> {
    /// Notified when the service has no slices.
    pub(crate) unknown: &'a Notify,
    /// Notified when the port to use is unknown: the Service may name it.
    pub(crate) undecided: &'a Notify,
    /// The labels of pods, as they arrive.
    pub(crate) labels: &'a LatestLabels,
}

/// Looks at the Service object, while no port of some slice is the one to use.
#[derive(Clone, Copy)]
struct Looks {
    /// When the Service is asked for, or its answer is used.
    next: Time,
    pause: Duration,
    asked: bool,
}

impl<'a> Endpoints<'a> {
    pub(crate) fn new(
        cluster: &'a Cluster,
        target: Target,
        publisher: Publisher<EndpointSet>,
        notices: Notices<'a>,
    ) -> Self {
        let reading = cluster.reading(&target);
        let slices = Slices::new(reading.family, cluster.settings.settle);
        Self {
            cluster,
            target,
            reading,
            slices,
            publisher,
            notices,
            looks_for_labels: None,
            looks: None,
            listed: false,
            published: None,
            waits: None,
            error: None,
            down: false,
        }
    }

    /// Chooses the port of slices that have several, and remembers the one in use.
    fn decide(&mut self, now: Time) {
        if self.looks.is_some_and(|looks| looks.asked && looks.next <= now) {
            self.reading = Reading { used: self.reading.used.take(), ..self.cluster.reading(&self.target) };
        }
        if let Some(used) = self.slices.decide(&self.reading) {
            if self.reading.used.as_ref() != Some(&used) {
                self.cluster.remember_port(&self.target, &used);
            }
            self.reading.used = Some(used);
        }
        if !self.slices.is_undecided() {
            self.looks = None;
            return;
        }
        // The Service may be created, or changed, later than its slices.
        let looks = self.looks.get_or_insert(Looks { next: now, pause: FIRST_LOOK, asked: false });
        if looks.next > now {
            return;
        }
        if looks.asked {
            looks.next = now + looks.pause;
            looks.pause = (looks.pause * 2).min(LAST_LOOK);
        } else {
            looks.next = now + LOOK;
            self.notices.undecided.notify_one();
        }
        looks.asked = !looks.asked;
    }
}

impl ReflectorStore for Endpoints<'_> {
    type Item = Slice;

    fn read(&self, object: Value) -> Slice {
        convert::read(&object, &self.reading)
            .unwrap_or_else(|error| Slice::unreadable(&object, &self.target.service, error))
    }

    fn listed(&mut self, items: Vec<Slice>, version: &str) {
        self.listed = true;
        self.slices.listed(items, version);
    }

    fn changed(&mut self, item: Slice) {
        self.slices.changed(item);
    }

    fn deleted(&mut self, item: Slice) {
        self.slices.deleted(&item.name, &item.uid, item.version);
    }

    fn failed(&mut self, error: Error) {
        (self.error, self.down) = (Some(error), true);
    }

    fn recovered(&mut self) {
        (self.error, self.down) = (None, false);
        self.slices.republish();
    }

    fn confirmed(&mut self) {
        // The age of the endpoints counts from here.
        self.slices.republish();
    }

    fn publish(&mut self, now: Time) {
        if let Some(error) = self.error.take() {
            self.publisher.error(error);
            return;
        }
        if self.down || !self.listed {
            return;
        }
        if let Some(earliest) = self.published.map(|at| at + SPACING).filter(|earliest| *earliest > now) {
            self.waits = Some(earliest);
            return;
        }
        self.waits = None;
        self.decide(now);
        if self.cluster.settings.pod_labels {
            self.looks_for_labels = Some(now + LABELS);
            if let Some(labels) = self.notices.labels.take() {
                self.slices.label(labels);
            }
        }
        if let Some(set) = self.slices.next_set(now) {
            self.published = Some(now);
            let is_unknown = set.is_unknown_service();
            self.publisher.publish(set);
            if is_unknown {
                self.notices.unknown.notify_one();
            }
        }
    }

    fn due(&self) -> Option<Time> {
        let looks = self.looks.map(|looks| looks.next);
        let due =
            self.waits.into_iter().chain(self.slices.due()).chain(looks).chain(self.looks_for_labels).min();
        let due = due.filter(|_| !self.down)?;
        Some(self.published.map_or(due, |at| due.max(at + SPACING)))
    }
}
