//! What goes wrong, where, and when.

use crate::Nanos;

/// What an endpoint does while a fault holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FaultKind {
    /// The process is gone: what it worked on is reset, what comes is refused.
    Refuse,
    /// Connections are reset.
    Reset,
    /// Nothing comes back.
    BlackHole,
    /// A status of 500.
    Error,
    /// A status of 503, perhaps with the time after which to come back.
    Overload(Option<Nanos>),
    /// Service takes this many times as long: 2 halves the capacity.
    Slow(f64),
}

/// One fault of some endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The indices of the endpoints.
    pub(crate) endpoints: Vec<usize>,
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
    /// The share of requests that it hits, above 0 to 1.
    pub(crate) share: f64,
    /// Flapping: the fault holds in the first half of each period only.
    pub(crate) period: Option<Nanos>,
}

impl Fault {
    /// The times at which it begins and ends, in order.
    pub(crate) fn switches(&self, end: Nanos) -> Vec<(Nanos, bool)> {
        let until = self.until.min(end);
        let Some(period) = self.period else {
            return vec![(self.from, true), (self.until, false)];
        };
        let starts = (0..).map(|turn| self.from + turn * period).take_while(|start| *start < until);
        starts.flat_map(|start| [(start, true), ((start + period / 2).min(until), false)]).collect()
    }
}

/// A factor on the rate of calls for some time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Burst {
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
    pub(crate) factor: f64,
}
