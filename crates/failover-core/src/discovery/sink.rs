//! Where the driver's results go.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::config::FailoverConfig;
use crate::contract::provider::Rejections;
use crate::error::Error;
use crate::events::EventKind;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// What a source's endpoints have become. Every entry has passed validation.
#[derive(Debug)]
pub(crate) enum Update {
    /// The answer names what the last one named.
    Unchanged,
    /// The answer differs from the last one in this alone. An altered entry is in both lists.
    Change { gone: Vec<EndpointId>, come: Vec<EndpointEntry> },
    /// These entries replace the last ones.
    Whole {
        entries: Vec<EndpointEntry>,
        /// Entries that the source no longer names, kept as a last resort.
        retained: Vec<EndpointEntry>,
        /// The source does not know the service.
        unknown: bool,
    },
}

/// Receives what one source's driver finds. The engine implements it, so that discovery depends on nothing that comes
/// after it.
pub(crate) trait Sink: Debug + Send + Sync + 'static {
    fn service(&self) -> &ServiceName;

    fn clock(&self) -> &Clock;

    fn random(&self) -> &Random;

    fn config(&self) -> Arc<FailoverConfig>;

    /// Takes over an update. `age` is how old the answer was when it arrived; without one, time alone has changed
    /// something, and the source has not answered.
    fn publish(&self, update: Update, age: Option<Duration>);

    /// Reports a source that did not answer, or whose answer is not believed yet: its last answer stays. `kind` is the
    /// event for the first time in a row.
    fn unavailable(&self, error: Error, kind: EventKind);

    /// Reports entries of an answer that failed validation.
    fn rejected(&self, entries: &Rejections);

    /// Emits an event about the source.
    fn event(&self, kind: EventKind, reason: String);

    /// Reports that nothing follows the source any more.
    fn ended(&self, why: &Error);
}
