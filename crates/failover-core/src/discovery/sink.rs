//! Where the driver sends its results.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::config::FailoverConfig;
use crate::contract::provider::{EndpointSet, Rejections, Revision};
use crate::error::Error;
use crate::events::EventKind;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// The update of a source's endpoints. Every entry has passed validation.
#[derive(Debug)]
pub(crate) enum Update {
    /// The answer names the same entries as the previous one.
    Unchanged,
    /// The answer differs from the previous one only in these entries. A modified entry is in both
    /// lists.
    Change { gone: Vec<EndpointId>, come: Vec<EndpointEntry> },
    /// These entries replace the previous ones.
    Whole {
        entries: Vec<EndpointEntry>,
        /// Entries that the source no longer names, retained as a last resort.
        retained: Vec<EndpointEntry>,
        /// The source does not know the service.
        unknown: bool,
    },
}

/// What an answer says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    /// Its age when it arrived.
    pub(crate) age: Duration,
    pub(crate) revision: Option<Revision>,
}

impl From<&EndpointSet> for Answered {
    fn from(set: &EndpointSet) -> Self {
        Self { age: set.age(), revision: set.revision().cloned() }
    }
}

/// Receives the results of one source's driver. The engine implements it, so that discovery does
/// not depend on later modules.
pub(crate) trait Sink: Debug + Send + Sync + 'static {
    fn service(&self) -> &ServiceName;

    fn clock(&self) -> &Clock;

    fn random(&self) -> &Random;

    fn config(&self) -> Arc<FailoverConfig>;

    /// Applies an update. Without an answer, the update results from elapsed time alone.
    fn publish(&self, update: Update, answered: Option<Answered>);

    /// Reports a source that did not answer, or whose answer is not trusted yet; its last answer
    /// stays. `kind` is the event to emit for the first report in a row.
    fn unavailable(&self, error: Error, kind: EventKind);

    /// Reports entries of an answer that failed validation.
    fn rejected(&self, entries: &Rejections);

    /// Emits an event about the source.
    fn event(&self, kind: EventKind, reason: String);

    /// Reports that discovery of the source has ended.
    fn ended(&self, why: &Error);
}
