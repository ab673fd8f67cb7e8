//! The sources of a service: their last answers, and the updates that discovery delivers.

use std::collections::HashSet;
use std::slice::SliceIndex;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::Rejections;
use crate::discovery::{Answered, Update};
use crate::engine::Engine;
use crate::engine::control::source::{Sighted, Source, SourceDescription, SourceId, SourceStatus, sight};
use crate::engine::control::state::MAX_EVENTS_PER_CHANGE;
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventKind};
use crate::model::endpoint::{EndpointEntry, EndpointId};

impl Engine {
    pub(crate) fn add_source(&self, name: Arc<str>, tier: u32) -> SourceId {
        let mut control = self.control();
        let description = SourceDescription {
            provider: Arc::clone(&name),
            query: None,
            addresses: AddressPolicy::IN_PROCESS,
            checks_health: false,
        };
        control.sources.push(Source {
            name,
            tier,
            ended: false,
            description,
            entries: Vec::new(),
            retained: Vec::new(),
            answered: None,
            last: Answered::default(),
            unknown: false,
            error: None,
            rejected: 0,
            faults: HashSet::new(),
        });
        SourceId(control.sources.len() - 1)
    }

    /// Sets what does not change about a source.
    pub(crate) fn describe_source(&self, id: SourceId, description: SourceDescription) {
        self.control().sources[id.0].description = description;
    }

    pub(crate) fn sources(&self) -> Vec<SourceStatus> {
        let now = self.clock.now();
        self.control()
            .sources
            .iter()
            .map(|source| SourceStatus {
                name: Arc::clone(&source.name),
                provider: Arc::clone(&source.description.provider),
                query: source.description.query.clone(),
                tier: source.tier,
                answered: source.answered.is_some(),
                unknown: source.unknown,
                endpoints: source.entries.len(),
                rejected: source.rejected,
                left_out: source.first_faults(),
                age: source.answered.map(|at| now.since(at) + source.last.age),
                revision: source.last.revision.clone(),
                error: source.error.clone(),
            })
            .collect()
    }

    /// Applies an update that discovery found.
    pub(crate) fn update(&self, id: SourceId, update: Update, answered: Option<Answered>) {
        match update {
            Update::Unchanged => self.answered_again(id, answered.unwrap_or_default()),
            Update::Change { gone, come } => {
                self.publish_change(id, &gone, come, answered.unwrap_or_default());
            }
            Update::Whole { entries, retained, unknown } => {
                self.replace(id, entries, retained, unknown, answered);
            }
        }
    }

    /// Replaces the entries of a source by those of its new answer.
    pub(crate) fn publish(&self, id: SourceId, entries: Vec<EndpointEntry>, unknown: bool, age: Duration) {
        self.replace(id, entries, Vec::new(), unknown, Some(Answered { age, revision: None }));
    }

    fn replace(
        &self,
        id: SourceId,
        mut entries: Vec<EndpointEntry>,
        mut retained: Vec<EndpointEntry>,
        unknown: bool,
        answered: Option<Answered>,
    ) {
        let mut _before = None;
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let now = self.clock.now();
            let source = &mut control.sources[id.0];
            if source.ended {
                return;
            }
            let first = source.answered.is_none();
            source.unknown = unknown;
            events.extend(answered.and_then(|answered| source.answer(now, answered, entries.len())));
            // Sorting here means that each rebuild finds the entries nearly sorted, and that a
            // different order is not a change.
            let by_id = |a: &EndpointEntry, b: &EndpointEntry| a.endpoint().id().cmp(b.endpoint().id());
            entries.sort_by(by_id);
            retained.sort_by(by_id);
            let same = |known: &[Sighted], now: &[EndpointEntry]| {
                known.len() == now.len() && known.iter().zip(now).all(|(known, now)| known.entry == *now)
            };
            if !same(&source.entries, &entries) || !same(&source.retained, &retained) || first {
                let known = [&*source.entries, &*source.retained];
                let retained = sight(retained, known, now);
                source.entries = sight(entries, known, now);
                source.retained = retained;
                _before = Some(self.rebuild(&mut control, &mut events));
            }
        }
        self.emit_all(events);
        self.notify_observers();
    }

    /// Like [`publish`](Self::publish), for an answer that differs from the previous one only in
    /// these entries; finding each one is O(log n).
    fn publish_change(
        &self,
        id: SourceId,
        gone: &[EndpointId],
        come: Vec<EndpointEntry>,
        answered: Answered,
    ) {
        let _before;
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let now = self.clock.now();
            let source = &mut control.sources[id.0];
            if source.ended {
                return;
            }
            let position = |entries: &[Sighted], id: &EndpointId| {
                entries.binary_search_by(|sighted| sighted.id().cmp(id))
            };
            let mut removed = Vec::new();
            for id in gone {
                if let Ok(at) = position(&source.entries, id) {
                    removed.push(source.entries.remove(at));
                }
            }
            for entry in come {
                let at = position(&source.entries, entry.endpoint().id());
                // A modified entry is removed and added.
                let known = at.ok().map(|at| &source.entries[at]).into_iter().chain(&removed);
                let before = known.into_iter().find(|sighted| sighted.continues(&entry));
                let first_seen = before.map_or(now, |sighted| sighted.first_seen);
                let sighted = Sighted { entry, first_seen };
                match at {
                    Ok(at) => source.entries[at] = sighted,
                    Err(at) => source.entries.insert(at, sighted),
                }
            }
            source.unknown = false;
            events.extend(source.answer(now, answered, source.entries.len()));
            _before = self.rebuild(&mut control, &mut events);
        }
        self.emit_all(events);
        self.notify_observers();
    }

    /// Records an answer that names the same entries as the previous one.
    fn answered_again(&self, id: SourceId, answered: Answered) {
        let event = {
            let mut control = self.control();
            let now = self.clock.now();
            let source = &mut control.sources[id.0];
            if source.ended {
                return;
            }
            let count = source.entries.len();
            source.answer(now, answered, count)
        };
        self.emit_all(event.into_iter().collect());
    }

    /// Records an answer that is an error or is not trusted yet; the previous entries stay. The
    /// first one in a row emits an event of this kind.
    pub(crate) fn source_failed(&self, id: SourceId, error: Error, kind: EventKind) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let now = self.clock.now();
            let source = &mut control.sources[id.0];
            if source.ended {
                return;
            }
            source.failed(error, kind, now, &mut events);
        }
        self.emit_all(events);
    }

    /// Reports the rejected entries of a source's answer. All are counted; those that the previous
    /// answer contained as well are not reported again.
    pub(crate) fn entries_rejected(&self, id: SourceId, rejected: &Rejections) {
        let events = {
            let mut control = self.control();
            let source = &mut control.sources[id.0];
            source.rejected += rejected.count();
            let faults: Vec<_> =
                rejected.kept().iter().map(|entry| format!("{}: {}", entry.what(), entry.error())).collect();
            let mut events: Vec<_> = rejected
                .kept()
                .iter()
                .zip(&faults)
                .filter(|(_, fault)| !source.faults.contains(*fault))
                .map(|(entry, fault)| {
                    Event::new(EventKind::EntryRejected, fault.clone())
                        .provider(&source.name)
                        .detail("code", entry.error().code())
                })
                .collect();
            let new = events.len();
            events.truncate(MAX_EVENTS_PER_CHANGE);
            let more = (new - events.len()) as u64 + (rejected.count() - faults.len() as u64);
            if more > 0 && new > 0 {
                let reason = format!("and {more} more in the same answer");
                events.push(
                    Event::new(EventKind::EntryRejected, reason).provider(&source.name).detail("more", more),
                );
            }
            source.faults = faults.into_iter().collect();
            events
        };
        self.emit_all(events);
    }

    /// Records that discovery of this service has ended: the known endpoints stay, marked stale.
    pub(crate) fn discovery_ended(&self, why: &Error) {
        self.forget_probes(&mut self.control());
        self.end(.., why);
    }

    /// Records that discovery of this source has ended: its entries stay, marked stale.
    pub(crate) fn source_ended(&self, id: SourceId, why: &Error) {
        self.end(id.0..=id.0, why);
    }

    fn end(&self, which: impl SliceIndex<[Source], Output = [Source]>, why: &Error) {
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let now = self.clock.now();
            for source in control.sources[which].iter_mut().filter(|source| !source.ended) {
                source.ended = true;
                source.failed(why.clone(), EventKind::SourceStale, now, &mut events);
            }
        }
        // Closing the manager is no outage.
        if why.kind() != ErrorKind::Shutdown {
            self.emit_all(events);
        }
        // Wakes tasks that wait for an answer, even if no event was emitted: no answer will come.
        self.changes.send_modify(|count| *count += 1);
        self.listed.send_replace(());
    }

    /// Records that discovery of a source has resumed.
    pub(crate) fn source_resumed(&self, id: SourceId) {
        self.control().sources[id.0].ended = false;
    }

    /// Emits an event about a source.
    pub(crate) fn emit_source(&self, id: SourceId, kind: EventKind, reason: String) {
        let name = Arc::clone(&self.control().sources[id.0].name);
        self.events.emit(Event::new(kind, reason).provider(&name));
    }

    /// Returns the endpoints that a source named last.
    pub(crate) fn source_entries(&self, id: SourceId) -> Vec<EndpointEntry> {
        self.control().sources[id.0].entries.iter().map(|sighted| sighted.entry.clone()).collect()
    }
}
