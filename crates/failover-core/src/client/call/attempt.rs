//! One try on one endpoint: what the operation is given, and what is kept of it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::codec::duration::rough;
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::{Clock, Time};

/// One try on one endpoint, as the operation is given it. It stands for the [`Endpoint`].
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) number: u32,
    pub(super) until: Time,
    pub(super) clock: Clock,
}

impl Attempt {
    /// Where to send it.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The how many-th attempt of the call it is, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How much time is left for this attempt; zero when it is over.
    ///
    /// The engine ends the attempt by itself then; this is for telling the other side.
    pub fn time_left(&self) -> Duration {
        self.until.since(self.clock.now())
    }
}

impl Deref for Attempt {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// One attempt that has ended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// Where it went.
    #[serde(serialize_with = "id_of")]
    pub endpoint: Arc<Endpoint>,
    /// How it ended.
    pub class: AttemptClass,
    /// How long it took.
    #[serde(serialize_with = "crate::codec::duration::write")]
    pub duration: Duration,
}

fn id_of<S: Serializer>(endpoint: &Arc<Endpoint>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(endpoint.id().as_str())
}

/// One line: `server-2: timeout after 250ms`.
impl fmt::Display for AttemptRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} after {}", self.endpoint.id(), self.class, rough(self.duration))
    }
}

/// All attempts of a call that succeeded, in order. The one that succeeded is the last.
#[derive(Clone, Debug)]
pub struct Attempts {
    pub(super) failed: Vec<AttemptRecord>,
    pub(super) last: AttemptRecord,
}

impl Attempts {
    /// How many there were: 1 when the call succeeded at once.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.failed.len() + 1
    }

    /// Each of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.failed.iter().chain(std::iter::once(&self.last))
    }

    /// The time of all attempts together; waits between them are not in it.
    pub fn duration(&self) -> Duration {
        self.iter().map(|record| record.duration).sum()
    }

    /// The one that succeeded.
    pub fn last(&self) -> &AttemptRecord {
        &self.last
    }
}

/// A call that succeeded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Completed<T> {
    /// What the operation answered.
    pub value: T,
    /// The endpoint that answered.
    pub endpoint: Arc<Endpoint>,
    /// Every attempt that it took.
    pub attempts: Attempts,
}
