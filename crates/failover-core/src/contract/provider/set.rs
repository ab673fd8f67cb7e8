//! A complete answer of a registry.

use std::sync::Arc;
use std::time::Duration;

use crate::contract::provider::query::Query;
use crate::error::{Error, cut, one_line};
use crate::model::endpoint::{Endpoint, EndpointEntry};

/// The characters that are kept of an unusable entry's name: more than a valid id has.
const LONGEST_NAME: usize = 300;

/// All endpoints of a source, as one answer. Replaces the previous answer.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    entries: Vec<EndpointEntry>,
    rejected: Rejections,
    revision: Option<Revision>,
    age: Duration,
    ttl: Option<Duration>,
    confirmed: bool,
    unknown: bool,
}

/// Two answers are equal if they list the same entries, in any order, rejected as many, and claim the
/// same of an empty set. The revision, the age and the time to live do not count: they tell when an
/// answer was given, not what it says.
impl PartialEq for EndpointSet {
    fn eq(&self, other: &Self) -> bool {
        let claims = |set: &Self| (set.entries.len(), set.rejected.count(), set.confirmed, set.unknown);
        claims(self) == claims(other) && same_entries(&self.entries, &other.entries)
    }
}

fn same_entries(one: &[EndpointEntry], other: &[EndpointEntry]) -> bool {
    fn sorted(entries: &[EndpointEntry]) -> Vec<&EndpointEntry> {
        let mut sorted: Vec<_> = entries.iter().collect();
        // By place too: a registry may list an id twice.
        sorted.sort_by_cached_key(|entry| {
            let endpoint = entry.endpoint();
            (endpoint.service().clone(), endpoint.id().clone(), endpoint.authority())
        });
        sorted
    }
    one == other || sorted(one) == sorted(other)
}

impl EndpointSet {
    /// Creates an answer with these entries.
    ///
    /// An empty answer is not applied at once, because a registry that has lost its data or filters
    /// by permission gives the same one. Mark it with [`confirmed`](Self::confirmed) if it is
    /// certain.
    pub fn new(entries: impl IntoIterator<Item = EndpointEntry>) -> Self {
        Self { entries: entries.into_iter().collect(), ..Self::default() }
    }

    /// Creates the answer for a service that the registry does not know.
    ///
    /// It counts as an unconfirmed empty set.
    pub fn unknown_service() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// Marks an empty set as certain: it was read twice, or the registry is this process.
    pub fn confirmed(mut self) -> Self {
        self.confirmed = true;
        self
    }

    /// Sets the registry's revision of this answer, which the statistics of the source show
    /// ([`SourceStats::revision`](crate::inspect::SourceStats::revision)). The engine compares the entries.
    pub fn with_revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Sets the age of the answer, if the registry reports it. Default: zero.
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets the time to live: how long to wait before asking again a provider that cannot watch, such as
    /// the TTL of a DNS record. Default: the manager's polling interval.
    ///
    /// The engine waits at least 250 ms and at most 24 h.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: EndpointEntry) {
        self.entries.push(entry);
    }

    /// Adds another answer, such as that for another service.
    ///
    /// The result is as old as the older one, lasts as long as the one with the shorter time to live, and
    /// is certain or unknown only if both are. It has no revision.
    pub fn and(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self.rejected.append(other.rejected);
        Self {
            entries: self.entries,
            rejected: self.rejected,
            revision: None,
            age: self.age.max(other.age),
            ttl: self.ttl.into_iter().chain(other.ttl).min(),
            confirmed: self.confirmed && other.confirmed,
            unknown: self.unknown && other.unknown,
        }
    }

    /// Adds an unreadable entry: it is skipped, counted and reported; the others are kept. `what` names it, as
    /// far as that is known: 300 characters of it are kept, and those that would break a line are escaped.
    pub fn reject(&mut self, what: impl Into<String>, error: Error) {
        self.rejected.add(|| RejectedEntry::new(what, error));
    }

    /// Returns the entries.
    pub fn entries(&self) -> &[EndpointEntry] {
        &self.entries
    }

    /// Converts into the entries, without a copy.
    pub fn into_entries(self) -> Vec<EndpointEntry> {
        self.entries
    }

    /// Returns the unreadable entries: the first 1 024 of them.
    pub fn rejected(&self) -> &[RejectedEntry] {
        &self.rejected.kept
    }

    /// Returns the number of unreadable entries.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.count()
    }

    /// Drops the entries that do not match a query; the rejected ones stay.
    ///
    /// For registries that cannot filter by every part of a query. If entries were dropped and none
    /// is left, the set is confirmed: the registry listed endpoints, none of which matches.
    pub fn matching(self, query: &Query) -> Self {
        self.retaining(|endpoint| query.matches(endpoint))
    }

    /// Drops the entries without the tags and the metadata of a query.
    pub(crate) fn selected(self, query: &Query) -> Self {
        self.retaining(|endpoint| query.selects(endpoint))
    }

    fn retaining(mut self, keep: impl Fn(&Endpoint) -> bool) -> Self {
        let before = self.entries.len();
        self.entries.retain(|entry| keep(entry.endpoint()));
        self.confirmed |= self.entries.is_empty() && before > 0;
        self
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [EndpointEntry] {
        &mut self.entries
    }

    pub(crate) fn take_rejected(&mut self) -> Rejections {
        std::mem::take(&mut self.rejected)
    }

    /// Returns the registry's revision of this answer.
    pub fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    /// Returns the age of the answer when it arrived.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns the time to live, if it was set.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// Returns whether an empty set is certain.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Returns whether the registry does not know the service.
    pub fn is_unknown_service(&self) -> bool {
        self.unknown
    }
}

/// Unusable entries: the first ones and the total number, so that a million of them use no more
/// memory than a thousand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rejections {
    kept: Vec<RejectedEntry>,
    more: u64,
}

impl Rejections {
    const KEPT: usize = 1024;

    /// Adds an entry, which is not created if enough are kept.
    pub(crate) fn add(&mut self, entry: impl FnOnce() -> RejectedEntry) {
        if self.kept.len() < Self::KEPT {
            self.kept.push(entry());
        } else {
            self.more += 1;
        }
    }

    fn append(&mut self, other: Self) {
        let room = Self::KEPT - self.kept.len();
        self.more += other.more + other.kept.len().saturating_sub(room) as u64;
        self.kept.extend(other.kept.into_iter().take(room));
    }

    pub(crate) fn kept(&self) -> &[RejectedEntry] {
        &self.kept
    }

    pub(crate) fn count(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }
}

/// An unusable entry of a registry's answer.
#[derive(Clone, Debug)]
pub struct RejectedEntry {
    what: String,
    error: Error,
}

impl RejectedEntry {
    pub(crate) fn new(what: impl Into<String>, error: Error) -> Self {
        // A registry can name an entry as it likes, and a thousand of them are kept.
        Self { what: one_line(cut(what.into(), LONGEST_NAME)), error }
    }

    /// Returns the entry's name, as far as it is known.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Returns the reason for the rejection.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

/// A registry's revision of its data. Revisions have no order, only equality.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// Creates a revision from the registry's text.
    pub fn new(mark: impl Into<Arc<str>>) -> Self {
        Self(mark.into())
    }

    /// Returns the registry's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, tag: &str) -> EndpointEntry {
        Endpoint::builder(id, "users", "10.0.0.1", 80).tag(tag).build().expect("valid").into()
    }

    #[test]
    fn sets_are_equal_if_they_say_the_same_of_the_endpoints() {
        let set = || EndpointSet::new([entry("a", "x"), entry("b", "x")]);
        let mut rejecting = set();
        rejecting.reject("c", Error::invalid("port", 0, "a port"));
        let health = |id: &str| entry(id, "x").with_health(crate::model::health::Health::Unhealthy);
        let at =
            |port| EndpointEntry::from(Endpoint::builder("a", "s", "10.0.0.1", port).build().expect("valid"));
        for (other, equal) in [
            (set(), true),
            (EndpointSet::new([entry("b", "x"), entry("a", "x")]), true),
            (set().with_age(Duration::from_secs(1)).with_ttl(Duration::from_secs(1)), true),
            (set().with_revision(Revision::new("7")), true),
            (EndpointSet::new([entry("a", "x"), entry("b", "y")]), false),
            (EndpointSet::new([entry("a", "x")]), false),
            (EndpointSet::new([health("a"), entry("b", "x")]), false),
            (set().confirmed(), false),
            (rejecting, false),
            (EndpointSet::unknown_service(), false),
        ] {
            assert_eq!(set() == other, equal, "{other:?}");
        }
        assert!(EndpointSet::new([]) != EndpointSet::unknown_service());
        assert!(
            EndpointSet::new([at(1), at(2)]) == EndpointSet::new([at(2), at(1)]),
            "an id that is listed twice"
        );
    }

    #[test]
    fn answers_are_added_with_what_they_reject() {
        let second = Duration::from_secs(1);
        let rejecting = |count: usize| {
            let mut set = EndpointSet::new([entry("a", "x")]).with_age(second).with_ttl(second);
            for _ in 0..count {
                set.reject("bad", Error::invalid("port", 0, "a port"));
            }
            set
        };
        for (one, other) in [(0, 3), (1_000, 30), (2_000, 5), (5, 2_000)] {
            let both = rejecting(one).and(rejecting(other).with_age(3 * second).with_ttl(2 * second));
            assert_eq!((both.entries().len(), both.rejected_count()), (2, (one + other) as u64));
            assert_eq!(both.rejected().len(), (one + other).min(Rejections::KEPT));
            assert_eq!((both.age(), both.ttl()), (3 * second, Some(second)));
        }
        let unknown = EndpointSet::unknown_service;
        assert!(
            unknown().and(unknown()).is_unknown_service()
                && !unknown().and(rejecting(0)).is_unknown_service()
        );
        let sure = || EndpointSet::new([]).confirmed();
        assert!(sure().and(sure()).is_confirmed() && !sure().and(EndpointSet::new([])).is_confirmed());
    }

    #[test]
    fn the_name_of_a_rejected_entry_is_bounded_and_one_line() {
        let mut set = EndpointSet::new([]);
        let longest_id = "x".repeat(255);
        for name in ["a\n\u{1b}[2Jb", &longest_id, &"\u{e4}".repeat(1 << 20)] {
            set.reject(name, Error::invalid("port", 0, "a port"));
        }
        let names: Vec<_> = set.rejected().iter().map(RejectedEntry::what).collect();
        assert_eq!(names[..2], ["a\\u{a}\\u{1b}[2Jb", &longest_id]);
        assert_eq!(names[2], format!("{}\u{2026} (2097152 bytes)", "\u{e4}".repeat(LONGEST_NAME)));
    }

    #[test]
    fn only_what_matches_stays_with_what_was_said_of_the_whole() {
        let mut set = EndpointSet::new([entry("a", "blue"), entry("b", "green")])
            .with_revision(Revision::new("7"))
            .with_age(Duration::from_secs(3));
        set.reject("c", Error::invalid("port", 0, "a port"));
        for (query, ids, confirmed) in [
            (Query::all(), &["a", "b"][..], false),
            (Query::all().tag("blue"), &["a"], false),
            (Query::all().tag("red"), &[], true),
        ] {
            let matching = set.clone().matching(&query);
            let found: Vec<_> =
                matching.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
            assert_eq!((&found[..], matching.is_confirmed()), (ids, confirmed), "{query:?}");
            assert_eq!(matching.rejected_count(), 1);
            assert_eq!((matching.revision(), matching.age()), (set.revision(), set.age()));
        }
        let nothing = EndpointSet::new([]).matching(&Query::all().tag("red"));
        assert!(!nothing.is_confirmed(), "the registry listed nothing");
    }
}
