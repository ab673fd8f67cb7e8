//! One source of a service: what it has said last.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::duration::rough;
use crate::contract::address_policy::AddressPolicy;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::endpoint::EndpointEntry;
use crate::runtime::clock::Time;

/// Which of a service's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceId(pub(crate) usize);

/// One place where the service's endpoints come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) name: Arc<str>,
    pub(super) tier: u32,
    /// Nobody keeps it up to date any more; what still arrives is too late.
    pub(super) ended: bool,
    /// Which addresses it may name.
    pub(super) addresses: AddressPolicy,
    /// Whether it checks the health of its endpoints itself.
    pub(super) checks_health: bool,
    pub(super) entries: Vec<EndpointEntry>,
    /// Those that it does not name any more and that are kept as a last resort.
    pub(super) retained: Vec<EndpointEntry>,
    pub(super) answered: Option<Time>,
    /// How old its last good answer was when it came.
    pub(super) age: Duration,
    pub(super) unknown: bool,
    pub(super) error: Option<Error>,
    pub(super) rejected: u64,
    /// What was wrong with its last answer, so that the same fault is told once and not with every answer.
    pub(super) faults: HashSet<String>,
}

/// What a source has said last.
#[derive(Clone, Debug)]
pub(crate) struct SourceStatus {
    pub(crate) name: Arc<str>,
    pub(crate) tier: u32,
    pub(crate) answered: bool,
    pub(crate) unknown: bool,
    pub(crate) endpoints: usize,
    pub(crate) rejected: u64,
    /// How long ago it gave a good answer.
    pub(crate) age: Option<Duration>,
    pub(crate) error: Option<Error>,
}

impl Source {
    /// A good answer with so many endpoints. It is told after a failure.
    pub(super) fn answer(&mut self, now: Time, age: Duration, count: usize) -> Option<Event> {
        self.answered = Some(now);
        self.age = age;
        let reason = format!("answering again, with {count} endpoints");
        self.error.take().map(|_| Event::new(EventKind::SourceFresh, reason).provider(&self.name))
    }

    /// An answer that is an error, or is not believed. It is told as an event of this kind the first time in a row.
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
