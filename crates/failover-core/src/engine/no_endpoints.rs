//! The error of a call for which there is no endpoint.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::engine::Engine;
use crate::engine::availability::{Availability, UnavailableCause};
use crate::engine::control::SourceStatus;
use crate::engine::snapshot::Snapshot;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::{EndpointId, ServiceName};

/// The maximum number of endpoints named individually.
const NAMED: usize = 10;

/// No endpoint is available for the call, with the reason.
///
/// The type is small to move, because it shares a `Result` with a pick.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct NoEndpoints(Box<Why>);

#[derive(Clone, Debug, Serialize)]
struct Why {
    service: ServiceName,
    reason: NoEndpointsReason,
    total: usize,
    /// The endpoints that calls may go to, if all of them are full.
    usable: usize,
    /// The configured maximum of calls in flight, if endpoints that could be used have reached it.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    /// Whether at least one endpoint is unavailable only because of its open breaker.
    by_breaker: bool,
    out: Vec<UnavailableEndpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_error: Option<Error>,
}

/// An endpoint that is out of rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnavailableEndpoint {
    /// The endpoint's id, which is unique within its source.
    pub id: EndpointId,
    /// The source that names it, if the endpoints of the service have several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<str>>,
    /// Why it is out.
    #[serde(flatten)]
    pub cause: UnavailableCause,
}

/// Why there is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoEndpointsReason {
    /// No source has answered yet.
    NotYetKnown,
    /// The sources work, and none of them knows the service.
    UnknownService,
    /// The service is known and has no endpoints.
    Empty,
    /// There are endpoints, and none of them may be used now.
    AllOut,
    /// The endpoints that may be used have as many calls in flight as
    /// [`max_in_flight`](crate::config::LoadBalancerConfig::max_in_flight) allows.
    Overloaded,
}

impl NoEndpoints {
    /// The service of the call.
    pub fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// Why no endpoint is available.
    pub fn reason(&self) -> NoEndpointsReason {
        self.0.reason
    }

    /// The endpoints that are out of rotation with their causes, at most ten.
    pub fn out(&self) -> &[UnavailableEndpoint] {
        &self.0.out
    }

    /// Whether open circuit breakers are the reason: with them closed, at least one endpoint could
    /// be used.
    pub fn is_by_breaker(&self) -> bool {
        self.0.by_breaker
    }

    /// The kind of the error that it converts into: [`CircuitBreaker`](ErrorKind::CircuitBreaker)
    /// where open breakers are the reason, [`NoEndpoints`](ErrorKind::NoEndpoints) otherwise.
    pub fn kind(&self) -> ErrorKind {
        if self.is_by_breaker() && self.reason() == NoEndpointsReason::AllOut {
            ErrorKind::CircuitBreaker
        } else {
            ErrorKind::NoEndpoints
        }
    }

    /// The stable code: `OVERLOADED`, `CIRCUIT_OPEN`, `ALL_ENDPOINTS_DOWN` or `NO_ENDPOINTS`.
    pub fn code(&self) -> &'static str {
        match self.reason() {
            NoEndpointsReason::Overloaded => "OVERLOADED",
            _ if self.is_by_breaker() => "CIRCUIT_OPEN",
            NoEndpointsReason::AllOut => "ALL_ENDPOINTS_DOWN",
            _ => "NO_ENDPOINTS",
        }
    }

    /// The source's last error, if its last answer failed.
    pub fn source_error(&self) -> Option<&Error> {
        self.0.source_error.as_ref()
    }
}

impl fmt::Display for NoEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Why { service, reason, total, usable, max_in_flight, out, source_error, .. } = &*self.0;
        match reason {
            NoEndpointsReason::NotYetKnown => {
                write!(f, "{service}: no endpoints are known yet, because no source has answered")?;
            }
            NoEndpointsReason::UnknownService => {
                write!(
                    f,
                    "{service}: no source knows this service; check the name, and that an endpoint is registered"
                )?;
            }
            NoEndpointsReason::Empty => write!(f, "{service}: no endpoint is registered")?,
            NoEndpointsReason::Overloaded => {
                let limit = max_in_flight.unwrap_or_default();
                write!(
                    f,
                    "{service}: {usable} of {total} endpoints may be used, and each has {limit} calls in flight, \
                     the most that load_balancer.max_in_flight allows"
                )?;
            }
            NoEndpointsReason::AllOut => {
                let noun = if *total == 1 { "the only endpoint is" } else { "all endpoints are" };
                write!(f, "{service}: {noun} out (")?;
                for (place, UnavailableEndpoint { id, source, cause }) in out.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "; " };
                    write!(f, "{comma}{id}")?;
                    if let Some(source) = source {
                        write!(f, "@{source}")?;
                    }
                    write!(f, ": {cause}")?;
                }
                if *total > out.len() {
                    write!(f, "; and {} more", total - out.len())?;
                }
                f.write_str(")")?;
            }
        }
        match source_error {
            Some(error) => write!(f, "; the source's last error: {error}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NoEndpoints {}

impl From<NoEndpoints> for Error {
    fn from(none: NoEndpoints) -> Self {
        let (kind, code) = (none.kind(), none.code());
        let reason = serde_json::to_value(none.reason()).unwrap_or_default();
        let error = Self::new(kind, none.to_string())
            .with_code(code)
            .with_detail("service", none.service().as_str())
            .with_detail("reason", reason);
        match none.0.source_error {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl Engine {
    /// Counts a call that consists of a pick, and for which there is no endpoint, as failed.
    #[cold]
    pub(crate) fn refuse(&self) -> NoEndpoints {
        self.accounts.refuse();
        self.why_none()
    }

    /// Returns why the last pick found no endpoint.
    #[cold]
    pub(crate) fn why_none(&self) -> NoEndpoints {
        let snapshot = self.snapshot();
        if self.is_full(&snapshot) {
            return self.overloaded(&snapshot);
        }
        let sources = self.sources();
        let now = self.clock.now();
        let mut out: Vec<_> = snapshot
            .slots
            .iter()
            .filter_map(|slot| {
                let state = self.slab.state(slot.state);
                match Availability::derive(
                    slot.claim,
                    state.placement().probed(),
                    &state.breaker().read(),
                    false,
                    (state.placement().paused_until(), state.placement().forced_out_until()),
                    now,
                ) {
                    Availability::Out { cause } => {
                        let id = slot.endpoint.id().clone();
                        let source =
                            snapshot.has_several_sources().then(|| Arc::clone(snapshot.source(slot)));
                        Some(UnavailableEndpoint { id, source, cause })
                    }
                    Availability::In { .. } => None,
                }
            })
            .collect();
        let reason = if !snapshot.slots.is_empty() {
            NoEndpointsReason::AllOut
        } else if sources.iter().any(|source| source.answered && !source.unknown) {
            NoEndpointsReason::Empty
        } else if sources.iter().any(|source| source.answered) {
            NoEndpointsReason::UnknownService
        } else {
            NoEndpointsReason::NotYetKnown
        };
        let by_breaker = out.iter().any(|endpoint| endpoint.cause.is_breaker());
        out.truncate(NAMED);
        let source_error = sources.into_iter().find_map(|SourceStatus { error, .. }| error);
        let (service, total) = (self.name.clone(), snapshot.slots.len());
        NoEndpoints(Box::new(Why {
            service,
            reason,
            total,
            usable: 0,
            max_in_flight: None,
            by_breaker,
            out,
            source_error,
        }))
    }

    /// Whether endpoints that calls may go to have no room for one more.
    fn is_full(&self, snapshot: &Snapshot) -> bool {
        let limit = snapshot.policy.max_in_flight;
        let at_limit = |state: u32| self.slab.state(state).in_flight() >= limit;
        if limit == u32::MAX {
            return false;
        }
        if snapshot.is_all_out() {
            return snapshot.slots.iter().any(|slot| at_limit(slot.state));
        }
        let mut in_use = snapshot.tiers.iter().flat_map(|tier| tier.members.available());
        in_use.any(|state| at_limit(state.load(Ordering::Relaxed)))
    }

    /// A refusal under load is cheap: it takes no lock and visits few endpoints.
    fn overloaded(&self, snapshot: &Snapshot) -> NoEndpoints {
        let total = snapshot.slots.len();
        // Without an endpoint in use, calls go to all of them in turn.
        let usable = if snapshot.is_all_out() { total } else { snapshot.available() };
        NoEndpoints(Box::new(Why {
            service: self.name.clone(),
            reason: NoEndpointsReason::Overloaded,
            total,
            usable,
            max_in_flight: Some(snapshot.policy.max_in_flight),
            by_breaker: false,
            out: Vec::new(),
            source_error: None,
        }))
    }
}
