//! The kinds of events, and their severity.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The result of a health check changed.
    HealthCheck,
    /// An attempt went to another endpoint after a failure.
    Failover,
    /// An endpoint's breaker closed: the endpoint has recovered.
    Recovery,
    /// An endpoint no longer receives calls.
    EndpointDown,
    /// An endpoint receives calls again.
    EndpointUp,
    /// An endpoint's breaker opened.
    CircuitOpen,
    /// An endpoint's breaker closed.
    CircuitClose,
    /// An endpoint's breaker admits a few probe calls.
    CircuitHalfOpen,
    /// The split of calls between the tiers changed, or the algorithm `first` moved to another
    /// endpoint.
    LoadBalance,
    /// A call is retried on an endpoint that it has already tried.
    Retry,
    /// An attempt timed out.
    Timeout,
    /// The registry listed a new endpoint.
    EndpointAdded,
    /// The registry no longer lists an endpoint.
    EndpointRemoved,
    /// The entries that name one place, which is one endpoint, changed: several name it, or another
    /// one of them counts.
    PlaceShared,
    /// An endpoint was taken out of rotation for a while: it asked for a pause.
    EndpointEjected,
    /// An endpoint that was taken out for a while returned to rotation.
    EndpointReadmitted,
    /// The registry is unreachable; its last good answer is used.
    SourceStale,
    /// The registry answers again.
    SourceFresh,
    /// Another registry now provides the service's endpoints.
    SourceChanged,
    /// An unconfirmed empty answer is held and not yet applied.
    EmptyHeld,
    /// Many endpoints were removed at once, or an answer has no valid entry any more; the endpoints
    /// before are retained for a while.
    RemovalHeld,
    /// An entry of the registry's answer was invalid and was skipped.
    EntryRejected,
    /// An endpoint of this process is registered: after a start in the background, a loss or a failure.
    Registered,
    /// The registry lost an endpoint of this process; it is being registered again.
    RegistrationLost,
    /// The registry does not answer for an endpoint of this process, or refuses it.
    RegistrationFailed,
    /// Another process has registered an endpoint with the id of this process's; it is left alone.
    RegistrationTakenOver,
    /// A new configuration was applied.
    ConfigApplied,
    /// A new configuration is invalid; the last valid one stays in use.
    ConfigRejected,
    /// The store of the configuration does not answer; the last one stays in use.
    ConfigStale,
    /// The store of the configuration answers again.
    ConfigFresh,
    /// A provider panicked; restarting it.
    ProviderPanicked,
    /// This process stalled; measurements from that time are ignored.
    ProcessStalled,
    /// Most endpoints failed at the same time, as in an overload: for a while, timeouts and overload
    /// answers take no endpoint out.
    CommonCause,
    /// The caller's own strategy panicked, or picked something that is not a candidate.
    StrategyFailed,
}

impl EventKind {
    /// Returns the name of this kind, as in JSON.
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
            Self::PlaceShared => "place_shared",
            Self::EndpointEjected => "endpoint_ejected",
            Self::EndpointReadmitted => "endpoint_readmitted",
            Self::SourceStale => "source_stale",
            Self::SourceFresh => "source_fresh",
            Self::SourceChanged => "source_changed",
            Self::EmptyHeld => "empty_held",
            Self::RemovalHeld => "removal_held",
            Self::EntryRejected => "entry_rejected",
            Self::Registered => "registered",
            Self::RegistrationLost => "registration_lost",
            Self::RegistrationFailed => "registration_failed",
            Self::RegistrationTakenOver => "registration_taken_over",
            Self::ConfigApplied => "config_applied",
            Self::ConfigRejected => "config_rejected",
            Self::ConfigStale => "config_stale",
            Self::ConfigFresh => "config_fresh",
            Self::ProviderPanicked => "provider_panicked",
            Self::ProcessStalled => "process_stalled",
            Self::CommonCause => "common_cause",
            Self::StrategyFailed => "strategy_failed",
        }
    }

    /// Returns whether the event concerns a single call.
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
            | Self::RegistrationLost
            | Self::RegistrationFailed
            | Self::RegistrationTakenOver
            | Self::ConfigRejected
            | Self::ProviderPanicked
            | Self::ProcessStalled
            | Self::CommonCause
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
