//! The endpoints of one service, published as its slices change.

use std::time::Duration;

use failover_core::provider::EndpointSet;
use failover_core::{Error, ServiceName, Time};
use failover_provider_kit::Publisher;
use serde_json::Value;
use tokio::sync::Notify;

use crate::convert::{self, Slice};
use crate::reflector::ReflectorStore;
use crate::settings::{Reading, Settings};
use crate::slices::Slices;

/// The minimum interval between sets: changes in between are published together.
const SPACING: Duration = Duration::from_millis(10);

/// Stores the slices of one service and publishes their set of endpoints.
pub(crate) struct Endpoints<'a> {
    service: ServiceName,
    reading: Reading,
    slices: Slices,
    publisher: Publisher<EndpointSet>,
    /// Notified when the service has no slices.
    unknown: &'a Notify,
    listed: bool,
    published: Option<Time>,
    /// When a delayed change is published.
    waits: Option<Time>,
    error: Option<Error>,
    /// Whether the API server is unreachable. Nothing is published meanwhile, because a published
    /// set counts as fresh.
    down: bool,
}

impl<'a> Endpoints<'a> {
    pub(crate) fn new(
        service: ServiceName,
        settings: &Settings,
        publisher: Publisher<EndpointSet>,
        unknown: &'a Notify,
    ) -> Self {
        let reading = settings.reading.clone();
        let slices = Slices::new(reading.family, settings.settle);
        Self {
            service,
            reading,
            slices,
            publisher,
            unknown,
            listed: false,
            published: None,
            waits: None,
            error: None,
            down: false,
        }
    }
}

impl ReflectorStore for Endpoints<'_> {
    type Item = Slice;

    fn read(&self, object: Value) -> Slice {
        convert::read(&object, &self.reading)
            .unwrap_or_else(|error| Slice::unreadable(&object, &self.service, error))
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
        if let Some(set) = self.slices.next_set(now) {
            self.published = Some(now);
            let is_unknown = set.is_unknown_service();
            self.publisher.publish(set);
            if is_unknown {
                self.unknown.notify_one();
            }
        }
    }

    fn due(&self) -> Option<Time> {
        let due = self.waits.into_iter().chain(self.slices.due()).min().filter(|_| !self.down)?;
        Some(self.published.map_or(due, |at| due.max(at + SPACING)))
    }
}
