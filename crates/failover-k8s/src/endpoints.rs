//! The endpoints of one service, published as its slices change.

use std::time::Duration;

use failover_core::{EndpointSet, Error, ServiceName};
use serde_json::Value;
use tokio::time::Instant;

use crate::convert::{self, Slice};
use crate::reflector::ReflectorStore;
use crate::settings::Reading;
use crate::slices::Slices;
use crate::watch::{Teller, tell, tell_error};

/// The least time between two sets: changes in between are published together.
const SPACING: Duration = Duration::from_millis(10);

/// Keeps the slices of one service, and tells the set that they are.
pub(crate) struct Endpoints {
    service: ServiceName,
    reading: Reading,
    slices: Slices,
    teller: Teller<EndpointSet>,
    listed: bool,
    told: Option<Instant>,
    /// When something is told that had to wait.
    waits: Option<Instant>,
    error: Option<Error>,
    /// The API server does not answer: nothing is told until it does, since what is told counts as fresh.
    down: bool,
}

impl Endpoints {
    pub(crate) fn new(
        service: ServiceName,
        reading: Reading,
        settle: Duration,
        teller: Teller<EndpointSet>,
    ) -> Self {
        let slices = Slices::new(reading.family, settle);
        Self {
            service,
            reading,
            slices,
            teller,
            listed: false,
            told: None,
            waits: None,
            error: None,
            down: false,
        }
    }
}

impl ReflectorStore for Endpoints {
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
        self.slices.tell_again();
    }

    fn tell(&mut self, now: Instant) {
        if let Some(error) = self.error.take() {
            tell_error(&self.teller, error);
            return;
        }
        if self.down || !self.listed {
            return;
        }
        if let Some(earliest) = self.told.map(|told| told + SPACING).filter(|earliest| *earliest > now) {
            self.waits = Some(earliest);
            return;
        }
        self.waits = None;
        if let Some(set) = self.slices.tell(now) {
            self.told = Some(now);
            tell(&self.teller, set);
        }
    }

    fn due(&self) -> Option<Instant> {
        let due = self.waits.into_iter().chain(self.slices.due()).min().filter(|_| !self.down)?;
        Some(self.told.map_or(due, |told| due.max(told + SPACING)))
    }
}
