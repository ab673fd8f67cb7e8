//! One whole answer of a registry.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, one_line};
use crate::model::endpoint::EndpointEntry;

/// All endpoints that a source names, as one answer. It replaces the answer before it.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    entries: Vec<EndpointEntry>,
    rejected: Rejections,
    revision: Option<Revision>,
    age: Duration,
    confirmed: bool,
    unknown: bool,
}

impl EndpointSet {
    /// An answer with these entries.
    ///
    /// An answer without any is not believed at once, because a registry that has lost its data or filters by
    /// permission gives the same one: say [`confirmed`](Self::confirmed) where it is certain.
    pub fn new(entries: impl IntoIterator<Item = EndpointEntry>) -> Self {
        Self { entries: entries.into_iter().collect(), ..Self::default() }
    }

    /// The registry works and does not know the service at all. As an empty set it is unconfirmed.
    pub fn unknown_service() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// Says that an empty set is certain to be empty: it was asked twice, or the registry is this process.
    pub fn confirmed(mut self) -> Self {
        self.confirmed = true;
        self
    }

    /// Sets the registry's own mark of this answer.
    pub fn with_revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Sets how old the answer is already, where the registry says so. Zero unless set.
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Adds an entry that could not be read: it is left out, counted and reported, and the others stand.
    pub fn reject(&mut self, what: impl Into<String>, error: Error) {
        self.rejected.add(|| RejectedEntry::new(what, error));
    }

    /// The entries.
    pub fn entries(&self) -> &[EndpointEntry] {
        &self.entries
    }

    /// The entries, without a copy.
    pub fn into_entries(self) -> Vec<EndpointEntry> {
        self.entries
    }

    /// The entries that could not be read: the first 1 024 of them.
    pub fn rejected(&self) -> &[RejectedEntry] {
        &self.rejected.kept
    }

    /// How many entries could not be read.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.count()
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [EndpointEntry] {
        &mut self.entries
    }

    pub(crate) fn take_rejected(&mut self) -> Rejections {
        std::mem::take(&mut self.rejected)
    }

    /// The registry's own mark of this answer.
    pub fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    /// How old the answer was when it arrived.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Whether an empty set is certain to be empty.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether the registry said that it does not know the service.
    pub fn is_unknown_service(&self) -> bool {
        self.unknown
    }
}

/// Entries that cannot be used: the first ones, and how many there are, so that an answer of a million bad entries
/// costs no more memory than one of a thousand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rejections {
    kept: Vec<RejectedEntry>,
    more: u64,
}

impl Rejections {
    const KEPT: usize = 1024;

    /// Adds an entry; it is not even made when there are enough.
    pub(crate) fn add(&mut self, entry: impl FnOnce() -> RejectedEntry) {
        if self.kept.len() < Self::KEPT {
            self.kept.push(entry());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn kept(&self) -> &[RejectedEntry] {
        &self.kept
    }

    pub(crate) fn count(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }
}

/// An entry of a registry's answer that cannot be used.
#[derive(Clone, Debug)]
pub struct RejectedEntry {
    what: String,
    error: Error,
}

impl RejectedEntry {
    pub(crate) fn new(what: impl Into<String>, error: Error) -> Self {
        Self { what: one_line(what.into()), error }
    }

    /// Which entry it is, as well as it can be told.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What is wrong with it.
    pub fn error(&self) -> &Error {
        &self.error
    }
}

/// A registry's mark of one state of its data. Only equality means anything: there is no order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(Arc<str>);

impl Revision {
    /// A mark, as the registry wrote it.
    pub fn new(mark: impl Into<Arc<str>>) -> Self {
        Self(mark.into())
    }

    /// The mark, as the registry wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
