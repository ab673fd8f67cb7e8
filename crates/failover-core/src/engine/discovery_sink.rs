//! A source of the engine's, as discovery sees it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{EmptyPolicy, RemovalGuard};
use crate::contract::provider::Rejections;
use crate::discovery::Sink;
use crate::engine::{Engine, SourceId};
use crate::error::Error;
use crate::events::EventKind;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

#[derive(Clone, Debug)]
pub(crate) struct EngineSink {
    pub(crate) engine: Arc<Engine>,
    pub(crate) id: SourceId,
}

impl Sink for EngineSink {
    fn service(&self) -> &ServiceName {
        &self.engine.name
    }

    fn clock(&self) -> &Clock {
        &self.engine.clock
    }

    fn random(&self) -> &Random {
        &self.engine.random
    }

    fn empty_policy(&self) -> EmptyPolicy {
        self.engine.config().empty_policy()
    }

    fn known(&self) -> usize {
        self.engine.source_endpoints(self.id)
    }

    fn removal_guard(&self) -> RemovalGuard {
        self.engine.config().removal_guard()
    }

    fn entries(&self) -> Vec<EndpointEntry> {
        self.engine.source_entries(self.id)
    }

    fn publish(
        &self,
        entries: Vec<EndpointEntry>,
        retained: Vec<EndpointEntry>,
        unknown: bool,
        age: Duration,
    ) {
        self.engine.publish_with_retained(self.id, entries, retained, unknown, age);
    }

    fn publish_change(&self, gone: &[EndpointId], come: Vec<EndpointEntry>, age: Duration) {
        self.engine.publish_change(self.id, gone, come, age);
    }

    fn answered_again(&self, age: Duration) {
        self.engine.answered_again(self.id, age);
    }

    fn removal_held(&self, reason: String) {
        self.engine.emit_source(self.id, EventKind::RemovalHeld, reason);
    }

    fn drop_retained(&self) {
        self.engine.drop_retained(self.id);
    }

    fn rejected(&self, entries: &Rejections) {
        self.engine.entries_rejected(self.id, entries);
    }

    fn failed(&self, error: Error) {
        self.engine.source_failed(self.id, error, EventKind::SourceStale);
    }

    fn held(&self, error: Error) {
        self.engine.source_failed(self.id, error, EventKind::EmptyHeld);
    }

    fn panicked(&self, reason: String) {
        self.engine.emit_source(self.id, EventKind::ProviderPanicked, reason);
    }

    fn ended(&self, why: &Error) {
        self.engine.source_ended(self.id, why);
    }
}
