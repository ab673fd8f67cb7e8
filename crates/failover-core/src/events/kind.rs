//! The kinds of events, and how much each of them matters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A health check changed its finding.
    HealthCheck,
    /// An attempt went to another endpoint after a failure.
    Failover,
    /// An endpoint's breaker closed: it works again.
    Recovery,
    /// An endpoint is no longer given calls.
    EndpointDown,
    /// An endpoint is given calls again.
    EndpointUp,
    /// An endpoint's breaker opened.
    CircuitOpen,
    /// An endpoint's breaker closed.
    CircuitClose,
    /// An endpoint's breaker lets a few probe calls through.
    CircuitHalfOpen,
    /// Calls are spread over the tiers in another way than before.
    LoadBalance,
    /// A call gets another attempt at the endpoint it has tried already.
    Retry,
    /// An attempt ran out of time.
    Timeout,
    /// The registry named a new endpoint.
    EndpointAdded,
    /// The registry no longer names an endpoint.
    EndpointRemoved,
    /// Outlier detection took an endpoint out.
    EndpointEjected,
    /// Outlier detection let an endpoint back.
    EndpointReadmitted,
    /// The registry cannot be reached; its last good answer is served.
    SourceStale,
    /// The registry answers again.
    SourceFresh,
    /// Another registry answers for the service now.
    SourceChanged,
    /// An unconfirmed empty answer is not believed yet.
    EmptyHeld,
    /// Many endpoints went at once; they are kept as a last resort for a while.
    RemovalHeld,
    /// One entry of the registry's answer cannot be used and was left out.
    EntryRejected,
    /// A new configuration is in use.
    ConfigApplied,
    /// A new configuration cannot be used; the last good one stays.
    ConfigRejected,
    /// A provider panicked; restarting it.
    ProviderPanicked,
    /// This process stood still; what it measured in that time does not count.
    ProcessStalled,
    /// The caller's own strategy panicked, or chose what is no candidate.
    StrategyFailed,
}

impl EventKind {
    /// The word for this kind, as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HealthCheck => "health_check",
            Self::Failover => "failover",
            Self::Recovery => "recovery",
            Self::EndpointDown => "endpoint_down",
            Self::EndpointUp => "endpoint_up",
            Self::CircuitOpen => "circuit_open",
            Self::CircuitClose => "circuit_close",
            Self::CircuitHalfOpen => "circuit_half_open",
            Self::LoadBalance => "load_balance",
            Self::Retry => "retry",
            Self::Timeout => "timeout",
            Self::EndpointAdded => "endpoint_added",
            Self::EndpointRemoved => "endpoint_removed",
            Self::EndpointEjected => "endpoint_ejected",
            Self::EndpointReadmitted => "endpoint_readmitted",
            Self::SourceStale => "source_stale",
            Self::SourceFresh => "source_fresh",
            Self::SourceChanged => "source_changed",
            Self::EmptyHeld => "empty_held",
            Self::RemovalHeld => "removal_held",
            Self::EntryRejected => "entry_rejected",
            Self::ConfigApplied => "config_applied",
            Self::ConfigRejected => "config_rejected",
            Self::ProviderPanicked => "provider_panicked",
            Self::ProcessStalled => "process_stalled",
            Self::StrategyFailed => "strategy_failed",
        }
    }

    /// Whether it is about a single call.
    pub(crate) fn is_per_call(self) -> bool {
        self.weight() == Weight::PerCall
    }

    pub(super) fn weight(self) -> Weight {
        match self {
            Self::Failover | Self::Retry | Self::Timeout => Weight::PerCall,
            Self::EndpointDown
            | Self::CircuitOpen
            | Self::EndpointEjected
            | Self::SourceStale
            | Self::EmptyHeld
            | Self::RemovalHeld
            | Self::EntryRejected
            | Self::ConfigRejected
            | Self::ProviderPanicked
            | Self::ProcessStalled
            | Self::StrategyFailed => Weight::Warning,
            _ => Weight::Notice,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    PerCall,
    Notice,
    Warning,
}
