//! The attempts of a call: the handle that the operation receives, and the record that is kept.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::codec::duration::rough;
use crate::contract::classify::reason::Reason;
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::{Clock, Time};

/// One try on one endpoint, passed to the operation. Dereferences to its [`Endpoint`].
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) number: u32,
    pub(super) until: Time,
    pub(super) clock: Clock,
}

impl Attempt {
    /// Returns the endpoint to send the request to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns the attempt's number within the call, starting at 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the time left for this attempt, zero once it has expired.
    ///
    /// The engine ends the attempt at that time by itself; use this value to set a deadline on the
    /// request. While the thread makes many calls, it can be up to 10 ms too low, but not for an attempt that
    /// may take less than a second.
    pub fn time_left(&self) -> Duration {
        self.until.since(self.clock.now())
    }

    /// Waits until the endpoint leaves the service, moves to another address, or is drained.
    ///
    /// For connections that outlive a call, such as streams and web sockets: the future borrows
    /// nothing. It is ready at once if that has happened already. It never completes if
    /// discovery ends first, since nothing is known of the endpoint then.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future has no effect.
    ///
    /// ```
    /// # use failover_core::ServiceHandle;
    /// # struct Socket;
    /// # impl Socket { async fn next(&mut self) -> Option<String> { None } async fn close(self) {} }
    /// # async fn connect(_: String) -> Result<Socket, std::io::Error> { Ok(Socket) }
    /// # async fn example(users: ServiceHandle) -> Result<(), failover_core::Error> {
    /// let done = users
    ///     .execute(async |endpoint| Ok::<_, std::io::Error>((connect(endpoint.url("/")).await?, endpoint.departed())))
    ///     .await?;
    /// let (mut socket, departed) = done.value;
    /// let mut departed = std::pin::pin!(departed);
    /// loop {
    ///     tokio::select! {
    ///         () = &mut departed => break, // closes in good order, and connects to another endpoint
    ///         message = socket.next() => println!("{message:?}"),
    ///     }
    /// }
    /// socket.close().await;
    /// # Ok(()) }
    /// ```
    pub fn departed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.endpoint.departed()
    }
}

impl Deref for Attempt {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// A finished attempt.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// The endpoint of the attempt.
    #[serde(serialize_with = "id_of")]
    pub endpoint: Arc<Endpoint>,
    /// How it ended.
    pub class: AttemptClass,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Reason>,
    /// How long it took; zero for most of those that succeed without ever waiting while their thread makes
    /// many calls (see [`Clock`]).
    #[serde(flatten, serialize_with = "crate::codec::seconds::duration")]
    pub duration: Duration,
}

impl AttemptRecord {
    /// Returns why the attempt did not succeed, if its classifier gave a reason: at most 256 bytes,
    /// without control characters.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

fn id_of<S: Serializer>(endpoint: &Arc<Endpoint>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(endpoint.id().as_str())
}

/// One line: `server-2: timeout after 250ms`, `server-2: failure (connection refused) after 1ms`.
impl fmt::Display for AttemptRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint.id(), self.class)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        write!(f, " after {}", rough(self.duration))
    }
}

/// All attempts of a successful call, in order. The last one succeeded.
#[derive(Clone, Debug)]
pub struct Attempts {
    pub(super) failed: Vec<AttemptRecord>,
    pub(super) last: AttemptRecord,
}

impl Attempts {
    /// Returns the number of attempts: 1 if the first one succeeded.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.failed.len() + 1
    }

    /// Returns an iterator over the attempts, in order.
    pub fn iter(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.failed.iter().chain(std::iter::once(&self.last))
    }

    /// Returns the total duration of all attempts, excluding the waits between them.
    pub fn duration(&self) -> Duration {
        self.iter().map(|record| record.duration).sum()
    }

    /// Returns the attempt that succeeded.
    pub fn last(&self) -> &AttemptRecord {
        &self.last
    }
}

/// A call that succeeded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Completed<T> {
    /// The value that the operation returned.
    pub value: T,
    /// The endpoint that answered.
    pub endpoint: Arc<Endpoint>,
    /// All attempts of the call.
    pub attempts: Attempts,
}
