//! The state of the rules that concern a service as a whole: budget, gate, freeze, rotation.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::codec::duration::rough;
use crate::engine::view::EngineView;
use crate::model::endpoint::EndpointId;

/// The state of the rules that concern a service as a whole. `Display` prints a line for each one
/// that matters now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServiceRules {
    /// The remaining tokens of the retry budget.
    pub retry_tokens: u32,
    /// The tokens of a full budget.
    pub retry_capacity: u32,
    /// The share of timeouts and overload answers among the latest attempts, 0 to 1; of several
    /// tiers, the lowest.
    pub ambiguous_share: f64,
    /// Whether no retry follows a timeout or an overload answer now: that share exceeds
    /// `retry_budget.max_ambiguous`, or answers are slow and too many attempts fail so at endpoints that
    /// have just answered.
    pub retry_gate_closed: bool,
    /// Whether answers took more than a fifth of an attempt's timeout on average when the last attempt
    /// timed out or got an overload answer.
    pub slow_answers: bool,
    /// How much longer timeouts and overload answers take no endpoint out, after an overload was
    /// recognised; absent if the service is not frozen.
    #[serde(flatten, serialize_with = "crate::codec::seconds::frozen_for")]
    pub frozen_for: Option<Duration>,
    /// Whether calls go to all endpoints in turn, because none is in use or all of them fail.
    pub rotates: bool,
    /// The endpoint that all calls go to, with the algorithm `first`; absent before the first call and
    /// with any other algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<EndpointId>,
    /// The most calls in flight to one endpoint (`load_balancer.max_in_flight`); absent without a
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// The endpoints that have as many calls in flight.
    pub full: usize,
    /// How often an endpoint stayed in use although it failed, because too many others were out.
    pub unenforced: u64,
}

impl ServiceRules {
    pub(super) fn of(view: &EngineView<'_>) -> Self {
        let policy = view.policy();
        let share = view.ambiguous_share();
        let frozen_for = view.frozen_for();
        Self {
            retry_tokens: view.retry_tokens(),
            retry_capacity: policy.call.budget.capacity,
            ambiguous_share: f64::from(share),
            retry_gate_closed: view.gate_is_closed(),
            slow_answers: view.answers_are_slow(),
            frozen_for: (!frozen_for.is_zero()).then_some(frozen_for),
            rotates: view.rotates(),
            first: view.first().cloned(),
            max_in_flight: (policy.max_in_flight < u32::MAX).then_some(policy.max_in_flight),
            full: view.endpoints().filter(|of| of.in_flight() >= policy.max_in_flight).count(),
            unenforced: view.unenforced(),
        }
    }
}

impl fmt::Display for ServiceRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  retries: {} of {} tokens", self.retry_tokens, self.retry_capacity)?;
        if self.retry_gate_closed {
            let percent = self.ambiguous_share * 100.0;
            write!(
                f,
                "; none after a timeout or an overload answer, which end {percent:.0} % of the attempts"
            )?;
            if self.slow_answers {
                write!(f, " while answers are slow")?;
            }
        }
        writeln!(f)?;
        if let Some(time) = self.frozen_for {
            writeln!(
                f,
                "  overload: timeouts and overload answers take no endpoint out for {}",
                rough(time)
            )?;
        }
        if let Some(id) = &self.first {
            writeln!(f, "  all calls go to {id} until it is out")?;
        }
        if let Some(limit) = self.max_in_flight {
            let full = self.full;
            writeln!(
                f,
                "  in flight: at most {limit} calls to an endpoint; {full} endpoints are at the limit"
            )?;
        }
        if self.unenforced > 0 {
            writeln!(f, "  kept in use {} times, because too many others were out", self.unenforced)?;
        }
        if self.rotates {
            writeln!(f, "  no endpoint answers: calls go to all of them in turn")?;
        }
        Ok(())
    }
}
