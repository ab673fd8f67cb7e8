//! The entries that name a slot's place, and the ids by which operations address a slot.
//!
//! An endpoint is identified by source and id within its service. A text that names one is an id,
//! or `id@source` if several sources have that id. An id can contain `@`: an exact id comes first,
//! and otherwise the text is split at its last `@`, which no name of a source contains.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::engine::snapshot::{Slot, Snapshot};
use crate::error::{Error, ErrorKind, codes};
use crate::events::Event;
use crate::model::endpoint::{Endpoint, EndpointId};
use crate::model::health::{Health, Lifecycle};

/// An entry of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) id: EndpointId,
    pub(crate) source: Arc<str>,
    pub(crate) health: Health,
    pub(crate) lifecycle: Lifecycle,
}

/// `id@source (health)`, with a lifecycle other than in service.
impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({}", self.id, self.source, self.health)?;
        if self.lifecycle != Lifecycle::InService {
            write!(f, ", {}", self.lifecycle)?;
        }
        f.write_str(")")
    }
}

/// The other entries of a place, by id and source.
#[derive(Debug, Default)]
#[allow(clippy::box_collection, reason = "a thin pointer, because nearly every slot has no others")]
pub(crate) struct Others(Option<Box<Vec<Listing>>>);

impl From<Vec<Listing>> for Others {
    fn from(listings: Vec<Listing>) -> Self {
        Self((!listings.is_empty()).then(|| Box::new(listings)))
    }
}

impl Deref for Others {
    type Target = [Listing];

    fn deref(&self) -> &[Listing] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl Slot {
    /// Id and source of each entry that names the place; the one that counts comes first. `sources`
    /// are the names of the sources.
    pub(super) fn identities<'s>(&'s self, sources: &'s [Arc<str>]) -> impl Iterator<Item = Identity<'s>> {
        let others = self.others.iter().map(|other| (&other.id, &other.source));
        std::iter::once((self.endpoint.id(), &sources[self.source as usize])).chain(others)
    }

    /// The first identity by id and source, which does not depend on the entry that counts.
    pub(super) fn name<'s>(&'s self, sources: &'s [Arc<str>]) -> Identity<'s> {
        let own = (self.endpoint.id(), &sources[self.source as usize]);
        self.others.first().map_or(own, |other| own.min((&other.id, &other.source)))
    }
}

/// Id and source of an entry.
pub(crate) type Identity<'a> = (&'a EndpointId, &'a Arc<str>);

/// Why a text names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    Unknown,
    /// Each endpoint with that id, as `id@source`.
    Ambiguous(Vec<String>),
}

impl Unresolved {
    pub(crate) fn error(self, service: &str, text: &str) -> Error {
        match self {
            Self::Unknown => {
                let message = format!("service {service} has no endpoint {text}");
                Error::new(ErrorKind::NotFound, message).with_code(codes::NOT_FOUND)
            }
            Self::Ambiguous(names) => ambiguous(text, names),
        }
    }
}

/// The error for an id that several endpoints have; `names` are their unambiguous names.
pub(crate) fn ambiguous(id: &str, names: Vec<String>) -> Error {
    let all = names.join(" and ");
    let value = format!("{id}, which names several endpoints,");
    Error::invalid("endpoint id", value, &format!("one of {all}")).with_detail("endpoints", names)
}

impl Snapshot {
    /// Returns the ids of slots with several entries, each with its slot.
    pub(super) fn aliases(slots: &[Slot]) -> Box<[(EndpointId, u32)]> {
        let shared = slots.iter().zip(0..).filter(|(slot, _)| !slot.others.is_empty());
        let ids = |slot: &Slot| {
            let others = slot.others.iter().map(|other| other.id.clone());
            others.chain([slot.endpoint.id().clone()]).collect::<Vec<_>>()
        };
        let mut aliases: Vec<_> =
            shared.flat_map(|(slot, index)| ids(slot).into_iter().map(move |id| (id, index))).collect();
        aliases.sort_unstable();
        aliases.dedup();
        aliases.into()
    }

    /// The source of the entry that counts.
    pub(crate) fn source(&self, slot: &Slot) -> &Arc<str> {
        &self.sources[slot.source as usize]
    }

    /// Id and source of each entry that names the place; the one that counts comes first.
    pub(crate) fn identities<'s>(&'s self, slot: &'s Slot) -> impl Iterator<Item = Identity<'s>> {
        slot.identities(&self.sources)
    }

    /// Whether the entry of the slot that counts has this very value, of the same source. It answers
    /// for nearly every slot of a rebuild without a look at the endpoint.
    pub(crate) fn is_kept(&self, slot: &Slot, endpoint: &Arc<Endpoint>, source: &Arc<str>) -> bool {
        Arc::ptr_eq(&slot.endpoint, endpoint) && Arc::ptr_eq(self.source(slot), source)
    }

    /// Whether an entry of this id and source names the place.
    pub(crate) fn is_listed(&self, slot: &Slot, id: &str, source: &str) -> bool {
        let is_own = slot.endpoint.id() == id && **self.source(slot) == *source;
        let order = |other: &Listing| (other.id.as_str(), &*other.source).cmp(&(id, source));
        is_own || slot.others.binary_search_by(order).is_ok()
    }

    /// Returns the slots with an entry of this id, in O(tiers · log endpoints).
    pub(crate) fn with_id<'s>(&'s self, id: &'s str) -> impl Iterator<Item = u32> + 's {
        let ends = self.tiers.iter().skip(1).map(super::Tier::first).chain([self.slots.len() as u32]);
        let by_name = self.tiers.iter().zip(ends).flat_map(move |(tier, end)| {
            let of_tier = &self.slots[tier.first() as usize..end as usize];
            let first = of_tier.partition_point(|slot| slot.name(&self.sources).0.as_str() < id);
            let found = of_tier[first..].iter().take_while(move |slot| slot.name(&self.sources).0 == id);
            found.zip(tier.first() + first as u32..).map(|(_, index)| index)
        });
        let first = self.aliases.partition_point(|(alias, _)| alias.as_str() < id);
        let by_alias = self.aliases[first..].iter().take_while(move |(alias, _)| alias == id);
        let other = move |index: &u32| self.slot(*index).name(&self.sources).0 != id;
        by_name.chain(by_alias.map(|(_, index)| *index).filter(other))
    }

    /// Returns the slot of this very endpoint or, if there is none, the slot with an entry of its id whose
    /// endpoint `is_same` accepts. It takes O(1) for an endpoint that was found before in the same slot.
    pub(crate) fn slot_of(&self, endpoint: &Endpoint, is_same: impl Fn(&Endpoint) -> bool) -> Option<&Slot> {
        let is_it = |slot: &&Slot| std::ptr::eq(Arc::as_ptr(&slot.endpoint), endpoint);
        let last = self.slots.get(endpoint.last_slot() as usize);
        last.filter(is_it).or_else(|| {
            let mut with_id = self.with_id(endpoint.id().as_str());
            let index = with_id.find(|index| is_same(&self.slot(*index).endpoint))?;
            let slot = self.slot(index);
            if is_it(&slot) {
                endpoint.found_in(index);
            }
            Some(slot)
        })
    }

    /// Returns the slot that this text names: an id, or `id@source`.
    pub(crate) fn resolve(&self, text: &str) -> Result<u32, Unresolved> {
        let mut exact = self.with_id(text);
        if let Some(only) = exact.next() {
            if exact.next().is_none() {
                return Ok(only);
            }
            let with_id = |slot: u32| self.identities(self.slot(slot)).filter(|(id, _)| *id == text);
            let all = self.with_id(text).flat_map(with_id);
            return Err(Unresolved::Ambiguous(all.map(|(id, source)| format!("{id}@{source}")).collect()));
        }
        let (id, source) = text.rsplit_once('@').ok_or(Unresolved::Unknown)?;
        self.with_id(id)
            .find(|index| self.is_listed(self.slot(*index), id, source))
            .ok_or(Unresolved::Unknown)
    }

    /// Returns the slot that this text names, if there is exactly one.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.resolve(text).ok()
    }

    /// Whether the entries come from more than one source.
    pub(crate) fn has_several_sources(&self) -> bool {
        self.several_sources
    }

    /// Adds an endpoint to an event, and its source where the endpoints have several.
    pub(crate) fn about(&self, slot: &Slot, event: Event) -> Event {
        let subject = Some((slot.state, Arc::clone(&slot.endpoint)));
        let event = Event { subject, ..event.endpoint(slot.endpoint.id()) };
        if self.several_sources { event.provider(self.source(slot)) } else { event }
    }

    /// The endpoint's id, or `id@source` if another endpoint of the service has the same id.
    pub(crate) fn label(&self, slot: &Slot) -> String {
        let id = slot.endpoint.id();
        let several = self.with_id(id.as_str()).nth(1).is_some();
        if several { format!("{id}@{}", self.source(slot)) } else { id.to_string() }
    }
}
