//! An operator's decision about an endpoint.

/// What an operator or a test decides about an endpoint for a while.
///
/// The claims of the endpoint's source and the verdicts of active probes still apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forced {
    /// The endpoint gets no new calls.
    Out,
    /// The endpoint's breaker closes, its pause ends, and nothing takes it out by evidence of calls.
    In,
    /// Nothing takes the endpoint out by evidence of calls; what would have is counted
    /// (`unenforced`).
    Observe,
}
