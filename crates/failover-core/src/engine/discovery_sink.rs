//! A source of the engine, as discovery sees it.

use std::sync::Arc;

use crate::config::FailoverConfig;
use crate::contract::provider::Rejections;
use crate::discovery::{Answered, Sink, Update};
use crate::engine::{Engine, SourceId};
use crate::error::Error;
use crate::events::EventKind;
use crate::model::endpoint::ServiceName;
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

    fn config(&self) -> Arc<FailoverConfig> {
        self.engine.config()
    }

    fn publish(&self, update: Update, answered: Option<Answered>) {
        self.engine.update(self.id, update, answered);
    }

    fn unavailable(&self, error: Error, kind: EventKind) {
        self.engine.source_failed(self.id, error, kind);
    }

    fn rejected(&self, entries: &Rejections) {
        self.engine.entries_rejected(self.id, entries);
    }

    fn event(&self, kind: EventKind, reason: String) {
        self.engine.emit_source(self.id, kind, reason);
    }

    fn ended(&self, why: &Error) {
        self.engine.source_ended(self.id, why);
    }
}
