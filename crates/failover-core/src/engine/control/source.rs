//! One source of a service and its last answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::duration::rough;
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::Revision;
use crate::discovery::Answered;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::endpoint::{EndpointEntry, EndpointId};
use crate::runtime::clock::Time;

/// The number of rejected entries that statistics and explanations name.
const MAX_SHOWN_FAULTS: usize = 20;

/// Identifies one of a service's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceId(pub(crate) usize);

/// An entry, and when this process first saw it at its place.
#[derive(Clone, Debug)]
pub(super) struct Sighted {
    pub(super) entry: EndpointEntry,
    pub(super) first_seen: Time,
}

impl Sighted {
    pub(super) fn id(&self) -> &EndpointId {
        self.entry.endpoint().id()
    }

    /// Whether an entry is the same endpoint at the same place.
    pub(super) fn continues(&self, entry: &EndpointEntry) -> bool {
        self.id() == entry.endpoint().id() && self.entry.endpoint().place() == entry.endpoint().place()
    }
}

/// Adds to each entry when it was first seen: now, unless one of these lists has it. All lists are
/// sorted by id.
pub(super) fn sight(entries: Vec<EndpointEntry>, known: [&[Sighted]; 2], now: Time) -> Vec<Sighted> {
    let mut known = known.map(|list| list.iter().peekable());
    let mut first_seen = |entry: &EndpointEntry| {
        let mut found = None;
        for list in &mut known {
            while list.next_if(|sighted| sighted.id() < entry.endpoint().id()).is_some() {}
            let same = list.peek().filter(|sighted| sighted.continues(entry));
            found = found.or(same.map(|sighted| sighted.first_seen));
        }
        found.unwrap_or(now)
    };
    entries.into_iter().map(|entry| Sighted { first_seen: first_seen(&entry), entry }).collect()
}

/// One source of the service's endpoints.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) name: Arc<str>,
    pub(super) tier: u32,
    /// Discovery of this source has ended; later updates are ignored.
    pub(super) ended: bool,
    pub(super) description: SourceDescription,
    /// By id; each id occurs once.
    pub(super) entries: Vec<Sighted>,
    /// Entries that the source no longer names, retained as a last resort, by id.
    pub(super) retained: Vec<Sighted>,
    pub(super) answered: Option<Time>,
    /// The last good answer.
    pub(super) last: Answered,
    pub(super) unknown: bool,
    pub(super) error: Option<Error>,
    pub(super) rejected: u64,
    /// The faults of the last answer, so that a repeated fault is reported once and not with every
    /// answer.
    pub(super) faults: HashSet<String>,
}

/// What does not change about a source, beside its name and its tier.
#[derive(Clone, Debug)]
pub(crate) struct SourceDescription {
    /// The name of its provider.
    pub(crate) provider: Arc<str>,
    /// What the provider is asked for, if it is more than the service by its name.
    pub(crate) query: Option<Arc<str>>,
    /// The addresses that the source may name.
    pub(crate) addresses: AddressPolicy,
    /// Whether the source checks the health of its endpoints itself.
    pub(crate) checks_health: bool,
}

/// The last known status of a source.
#[derive(Clone, Debug)]
pub(crate) struct SourceStatus {
    pub(crate) name: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) query: Option<Arc<str>>,
    pub(crate) tier: u32,
    pub(crate) answered: bool,
    pub(crate) unknown: bool,
    pub(crate) endpoints: usize,
    pub(crate) rejected: u64,
    /// What is left out of the last answer, with the reasons: the first ones.
    pub(crate) left_out: Vec<String>,
    /// The age of the last good answer.
    pub(crate) age: Option<Duration>,
    /// The revision of the last good answer.
    pub(crate) revision: Option<Revision>,
    pub(crate) error: Option<Error>,
}

impl Source {
    /// Returns the first faults of the last answer.
    pub(super) fn first_faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.faults.iter().cloned().collect();
        faults.sort_unstable();
        faults.truncate(MAX_SHOWN_FAULTS);
        faults
    }

    /// Records a good answer with `count` endpoints. Returns an event if the source had failed
    /// before.
    pub(super) fn answer(&mut self, now: Time, answered: Answered, count: usize) -> Option<Event> {
        self.answered = Some(now);
        self.last = answered;
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
                    rough(now.since(at) + self.last.age)
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
