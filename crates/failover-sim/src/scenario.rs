//! What is simulated: endpoints, load, faults, clients.

use std::time::Duration;

use failover_core::FailoverConfig;

use crate::Nanos;
use crate::fault::{Burst, Fault, FaultKind};
use crate::server::Queue;
use crate::service_time::ServiceTime;

/// One scenario; [`rows`](crate::rows) has named ones.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) duration: Nanos,
    pub(crate) endpoints: Vec<Model>,
    pub(crate) load: Load,
    pub(crate) clients: usize,
    /// The share of calls that may be repeated.
    pub(crate) idempotent: f64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) bursts: Vec<Burst>,
    /// When an endpoint that the policy has kept in use is rid of its faults.
    pub(crate) held_returns: Option<Nanos>,
    /// Whether the engine is used by bare picks.
    pub(crate) by_select: bool,
    /// When the client's own process stands still, and for how long.
    pub(crate) stalls: Vec<(Nanos, Nanos)>,
    pub(crate) config: FailoverConfig,
}

/// The model of one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) service: ServiceTime,
    pub(crate) workers: usize,
    pub(crate) queue: Queue,
    pub(crate) priority: u32,
}

/// How calls come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// A Poisson process with this many calls a second, whatever becomes of them.
    Open(f64),
    /// Callers that begin the next call this long after the last one has ended.
    Closed { callers: usize, think: Nanos },
}

impl Scenario {
    /// A scenario without faults, with attempts of 1 s and calls of 3 s.
    pub(crate) fn new(name: &str, duration: Nanos, endpoints: Vec<Model>, load: Load) -> Self {
        let config = FailoverConfig::builder()
            .timeout(Duration::from_secs(3))
            .attempt_timeout(Duration::from_secs(1))
            .build()
            .expect("an attempt is shorter than its call");
        Self {
            name: name.to_owned(),
            duration,
            endpoints,
            load,
            clients: 1,
            idempotent: 1.0,
            faults: Vec::new(),
            bursts: Vec::new(),
            held_returns: None,
            by_select: false,
            stalls: Vec::new(),
            config,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a fault from one time until another, for every request of these endpoints.
    pub(crate) fn fault(
        self,
        kind: FaultKind,
        endpoints: impl IntoIterator<Item = usize>,
        span: (Nanos, Nanos),
    ) -> Self {
        self.fault_share(kind, endpoints, span, 1.0)
    }

    /// Adds a fault that hits a share of the requests.
    pub(crate) fn fault_share(
        mut self,
        kind: FaultKind,
        endpoints: impl IntoIterator<Item = usize>,
        span: (Nanos, Nanos),
        share: f64,
    ) -> Self {
        let endpoints = endpoints.into_iter().collect();
        self.faults.push(Fault { kind, endpoints, from: span.0, until: span.1, share, period: None });
        self
    }
}
