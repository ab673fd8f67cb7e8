//! The endpoints of a service that no manager discovers: a list that the program replaces, and their
//! probes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{FailoverConfig, defaults};
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::EndpointSet;
use crate::discovery::validate::validate;
use crate::engine::{Engine, SourceId};
use crate::error::Error;
use crate::model::endpoint::place::PlaceKey;
use crate::model::endpoint::{Endpoint, EndpointEntry};
use crate::model::health_check::HealthCheck;
use crate::probing::probes::{Probes, ProbesByProtocol};
use crate::probing::scheduler::Scheduler;
use crate::runtime::require::{current_runtime, ensure_timers};
use crate::runtime::task::Task;

/// Where a service's endpoints come from. A handle keeps it.
#[derive(Clone)]
pub(crate) enum Origin {
    /// The program itself.
    Fixed(Arc<FixedList>),
    /// A manager, which the drop of the last clone signals.
    Manager { _lease: Arc<dyn Send + Sync> },
}

/// The only source of a service without a manager.
#[derive(Debug)]
pub(crate) struct FixedList {
    source: SourceId,
    probes: Arc<Probes>,
    health_check: Option<HealthCheck>,
    /// Ends with the last handle.
    _prober: Option<Task>,
}

impl FixedList {
    /// Adds the source to the engine, without endpoints, and starts to probe if there is a probe.
    pub(super) fn start(
        engine: &Arc<Engine>,
        probes: ProbesByProtocol,
        health_check: Option<HealthCheck>,
    ) -> Result<Self, Error> {
        let source = engine.add_source(Arc::from("fixed"), 0);
        let probes = Arc::new(Probes::new(probes, defaults::MAX_PROBES));
        let prober = if probes.is_empty() {
            None
        } else {
            let runtime = current_runtime("a service with a probe")?;
            ensure_timers()?;
            let scheduler = Scheduler { engine: Arc::clone(engine), probes: Arc::clone(&probes) };
            Some(Task::spawn(&runtime, async move { match scheduler.run().await {} }))
        };
        Ok(Self { source, probes, health_check, _prober: prober })
    }

    /// Returns the configuration to use: a list with probes is probed unless the configuration says
    /// otherwise.
    pub(super) fn configured(&self, config: FailoverConfig) -> FailoverConfig {
        if self.probes.is_empty() { config } else { config.probing_by_default() }
    }

    /// Replaces the list. If an endpoint is invalid, the list stays as it was.
    pub(super) fn replace(
        &self,
        engine: &Engine,
        endpoints: impl IntoIterator<Item = Result<Arc<Endpoint>, Error>>,
    ) -> Result<(), Error> {
        let entry = |endpoint: Result<Arc<Endpoint>, Error>| self.checked(endpoint?).map(EndpointEntry::new);
        let entries = endpoints.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let sifted = validate(engine.name(), EndpointSet::new(entries), AddressPolicy::IN_PROCESS);
        // An error in a fixed list is an error of the program, so it is returned at once.
        if let Some(rejected) = sifted.rejected.kept().first() {
            return Err(rejected.error().clone().context(rejected.what()));
        }
        let mut places = HashSet::with_capacity_and_hasher(sifted.entries.len(), PlaceKey::random());
        for entry in &sifted.entries {
            let endpoint = entry.endpoint();
            if !places.insert(endpoint.place()) {
                let value = format!("{} twice", endpoint.authority());
                return Err(Error::invalid("endpoints", value, "each address and port once"));
            }
        }
        drop(places);
        engine.publish(self.source, sifted.entries, false, Duration::ZERO);
        Ok(())
    }

    /// Gives the endpoint the health check of the list, if it has none and can be probed.
    fn checked(&self, endpoint: Arc<Endpoint>) -> Result<Arc<Endpoint>, Error> {
        let bare = endpoint.health_check().is_none();
        let check = match &self.health_check {
            Some(check) if bare => check.clone(),
            None if bare && self.probes.for_endpoint(&endpoint).is_some() => HealthCheck::default(),
            _ => return Ok(endpoint),
        };
        endpoint.to_builder().health_check(check).build().map(Arc::new)
    }
}
