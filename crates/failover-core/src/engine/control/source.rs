//! One source of a service and its last answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::duration::rough;
use crate::contract::address_policy::AddressPolicy;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::endpoint::EndpointEntry;
use crate::runtime::clock::Time;

/// Identifies one of a service's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceId(pub(crate) usize);

/// One source of the service's endpoints.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) name: Arc<str>,
    pub(super) tier: u32,
    /// Discovery of this source has ended; later updates are ignored.
    pub(super) ended: bool,
    /// The addresses that the source may name.
    pub(super) addresses: AddressPolicy,
    /// Whether the source checks the health of its endpoints itself.
    pub(super) checks_health: bool,
    pub(super) entries: Vec<EndpointEntry>,
    /// Entries that the source no longer names, retained as a last resort.
    pub(super) retained: Vec<EndpointEntry>,
    pub(super) answered: Option<Time>,
    /// The age of the last good answer when it arrived.
    pub(super) age: Duration,
    pub(super) unknown: bool,
    pub(super) error: Option<Error>,
    pub(super) rejected: u64,
    /// The faults of the last answer, so that a repeated fault is reported once and not with every
    /// answer.
    pub(super) faults: HashSet<String>,
}

/// The last known status of a source.
#[derive(Clone, Debug)]
pub(crate) struct SourceStatus {
    pub(crate) name: Arc<str>,
    pub(crate) tier: u32,
    pub(crate) answered: bool,
    pub(crate) unknown: bool,
    pub(crate) endpoints: usize,
    pub(crate) rejected: u64,
    /// The age of the last good answer.
    pub(crate) age: Option<Duration>,
    pub(crate) error: Option<Error>,
}

impl Source {
    /// Records a good answer with `count` endpoints. Returns an event if the source had failed
    /// before.
    pub(super) fn answer(&mut self, now: Time, age: Duration, count: usize) -> Option<Event> {
        self.answered = Some(now);
        self.age = age;
        let reason = format!("answering again, with {count} endpoints");
        self.error.take().map(|_| Event::new(EventKind::SourceFresh, reason).provider(&self.name))
    }

    /// Records a failed or unconfirmed answer. The first one in a row emits an event of this kind.
    pub(super) fn failed(&mut self, error: Error, kind: EventKind, now: Time, events: &mut Vec<Event>) {
        if self.error.is_none() {
            let served = match self.answered {
                Some(at) => format!(
                    "serving its last {} endpoints ({} old)",
                    self.entries.len(),
                    rough(now.since(at) + self.age)
                ),
                None => "it has never answered, so it serves no endpoints".to_owned(),
            };
            events.push(
                Event::new(kind, format!("{error}; {served}"))
                    .provider(&self.name)
                    .detail("code", error.code()),
            );
        }
        self.error = Some(error);
    }
}
