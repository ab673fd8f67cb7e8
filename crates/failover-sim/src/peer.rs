//! A balancer of another library, on which this crate does not depend.

use std::fmt;
use std::time::Duration;

/// A balancer of another library, for [`Policy::Peer`](crate::Policy::Peer). A call makes one attempt at the endpoint that
/// it chooses.
pub trait Balancer {
    /// Chooses the endpoint of a call, by its index. The call fails without an attempt if there is none.
    fn choose(&self) -> Option<usize>;

    /// Lets time pass, for health checks. `now` is the time since the beginning of the run, and `answers` says for each
    /// endpoint how it would answer a check that is sent now. Returns when it is to be called again; a time that is not
    /// after `now` counts as 1 ms later.
    fn advance(&self, now: Duration, answers: &[Check]) -> Duration;

    /// Whether an endpoint receives no calls, by its index.
    fn is_out(&self, endpoint: usize) -> bool;
}

/// How an endpoint answers a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// It passes the check, after 0.5 ms.
    Passes,
    /// It fails the check, after 0.5 ms.
    Fails,
    /// It does not answer.
    Silent,
}

/// Another library by its name, and how to make a balancer of it.
#[derive(Clone, Copy)]
pub struct Peer {
    name: &'static str,
    about: &'static str,
    pub(crate) balancer: fn(usize) -> Box<dyn Balancer>,
}

impl Peer {
    /// A library by its name in tables, and a sentence about what is used of it. `balancer` returns the balancer of one
    /// client over this number of endpoints.
    pub const fn new(
        name: &'static str,
        about: &'static str,
        balancer: fn(usize) -> Box<dyn Balancer>,
    ) -> Self {
        Self { name, about, balancer }
    }

    /// The name in tables.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What is used of the library.
    pub fn about(&self) -> &'static str {
        self.about
    }
}

/// Peers are equal by their names.
impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Peer {}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.name).finish()
    }
}
