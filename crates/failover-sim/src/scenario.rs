//! What is simulated: endpoints, load, faults, clients.

mod fields;
mod file;

use std::time::Duration;

use failover_core::FailoverConfig;

use crate::Nanos;
use crate::fault::{Burst, Fault, FaultKind};
use crate::registry::Answer;
use crate::server::Queue;
use crate::service_time::ServiceTime;

pub use file::ScenarioFile;

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
    /// The answers of a registry, which names all endpoints at first; without any, endpoints are a fixed list.
    pub(crate) registry: Vec<(Nanos, Answer)>,
    /// When an endpoint that the policy has kept in use is rid of its faults.
    pub(crate) held_returns: Option<Nanos>,
    /// Whether the engine is used by bare picks.
    pub(crate) by_select: bool,
    /// When the client's own process stops, and for how long.
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
    pub(crate) zone: Option<String>,
}

impl Model {
    /// One endpoint of the first tier, in no zone.
    pub(crate) fn new(service: ServiceTime, workers: usize, queue: Queue) -> Self {
        Self { service, workers, queue, priority: 0, zone: None }
    }
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
            registry: Vec::new(),
            held_returns: None,
            by_select: false,
            stalls: Vec::new(),
            config,
        }
    }

    /// The endpoints of the first tier, which come first; the policies that the engine is compared with know no others.
    pub(crate) fn first_tier(&self) -> usize {
        let first = self.endpoints.iter().map(|model| model.priority).min().unwrap_or(0);
        self.endpoints.iter().take_while(|model| model.priority == first).count()
    }

    /// When the last fault ends that ends within the run, else when the first one begins.
    pub(crate) fn recovers_from(&self) -> Nanos {
        let faults = self.faults.iter().map(|fault| (fault.from, fault.until));
        let bursts = self.bursts.iter().map(|burst| (burst.from, burst.until));
        let stalls = self.stalls.iter().map(|(at, length)| (*at, at + length));
        let answers = self.registry.iter().map(|(at, _)| (*at, Nanos::MAX));
        let spans: Vec<_> = faults.chain(bursts).chain(stalls).chain(answers).collect();
        let ends = spans.iter().map(|(_, until)| *until).chain(self.held_returns);
        let end = ends.filter(|until| *until < self.duration).max();
        end.or_else(|| spans.iter().map(|(from, _)| *from).min()).unwrap_or(0)
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
