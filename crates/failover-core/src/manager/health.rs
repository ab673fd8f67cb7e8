//! Health checks on request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::codec::duration::rough;
use crate::contract::probe::ProbeTarget;
use crate::engine::availability::{Availability, UnavailableCause};
use crate::engine::view::EndpointView;
use crate::error::Error;
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::model::health::Health;

/// The health of an endpoint, and the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The service.
    pub service: ServiceName,
    /// The endpoint.
    pub id: EndpointId,
    /// Its health.
    pub health: Health,
    /// Whether the endpoint was probed; otherwise its registry and calls are the evidence.
    pub probed: bool,
    /// The evidence, as one line of text.
    pub evidence: String,
    /// How long the probe took.
    #[serde(flatten, serialize_with = "crate::codec::seconds::took")]
    pub took: Option<Duration>,
}

/// One line: `user-service/users-1: healthy, by a probe in 3 ms: 200 OK`.
impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}", self.service, self.id, self.health)?;
        match self.took {
            Some(took) => write!(f, ", by a probe in {}: {}", rough(took), self.evidence),
            None => write!(f, ", not probed: {}", self.evidence),
        }
    }
}

impl Inner {
    pub(super) async fn check(self: &Arc<Self>, named: &Named, entry: &EndpointEntry) -> HealthReport {
        let endpoint = entry.endpoint();
        let report = |health, probed, evidence, took| HealthReport {
            service: endpoint.service().clone(),
            id: endpoint.id().clone(),
            health,
            probed,
            evidence,
            took,
        };
        let probe = match (endpoint.health_check(), self.probes.for_endpoint(endpoint)) {
            (Some(_), Some(probe)) => probe,
            (None, _) => {
                let (health, known) = self.known_health(named, entry);
                return report(health, false, format!("it has no health_check; {known}"), None);
            }
            (_, None) => {
                let (health, known) = self.known_health(named, entry);
                let protocol = endpoint.protocol();
                let evidence = format!("the manager has no probe for {protocol}; {known}");
                return report(health, false, evidence, None);
            }
        };
        let target = ProbeTarget::within(Arc::clone(endpoint), self.addresses(named));
        let begun = self.clock.now();
        let found = self.probes.ask(&**probe, &target).await;
        let took = Some(self.clock.now().since(begun));
        match found {
            Ok(finding) => report(finding.health(), true, finding.evidence().to_owned(), took),
            Err(error) => report(Health::Unhealthy, true, error.to_string(), took),
        }
    }

    /// Checks all endpoints, with at most the configured number of concurrent probes.
    pub(super) async fn check_all(
        self: &Arc<Self>,
        named: &Named,
        entries: Vec<EndpointEntry>,
    ) -> Result<Vec<HealthReport>, Error> {
        self.ensure_open()?;
        let mut checks = JoinSet::new();
        for (entry, number) in entries.into_iter().zip(0..) {
            let (inner, named) = (Arc::clone(self), named.clone());
            checks.spawn(async move { (number, inner.check(&named, &entry).await) });
        }
        let mut reports: Vec<(usize, HealthReport)> = Vec::with_capacity(checks.len());
        while let Some(report) = checks.join_next().await {
            // A probe's own panic is reported as a result; nothing else panics here, and nothing
            // aborts it.
            reports.extend(report.ok());
        }
        reports.sort_by_key(|(number, _)| *number);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }

    /// Returns the health that the registry claims and that calls have shown.
    fn known_health(&self, named: &Named, entry: &EndpointEntry) -> (Health, String) {
        let claim = format!("its registry says {}", entry.health());
        let endpoint = entry.endpoint();
        let asking = self.services().asking(&named.name, endpoint.service());
        let views: Vec<_> = asking.iter().map(|(engine, source)| (engine.view(), source)).collect();
        let found = views.iter().find_map(|(view, source)| {
            let is_it =
                |of: &EndpointView<'_>| view.snapshot().is_listed(of.slot, endpoint.id().as_str(), source);
            view.endpoints().find(is_it)
        });
        let Some(of) = found else {
            return (entry.health(), format!("{claim}; this process sends it no calls"));
        };
        let (counters, availability) = (of.counters(), of.availability);
        let calls = format!(
            "{claim}; {} of {} attempts failed, and it is {availability}",
            counters.ended.failures(),
            of.attempts()
        );
        let by_calls = match availability {
            Availability::Out {
                cause: UnavailableCause::BreakerOpen { .. } | UnavailableCause::ProbeFailed,
            } => Health::Unhealthy,
            Availability::Out { cause: UnavailableCause::BreakerHalfOpen } => Health::Degraded,
            _ if counters.ended.of(AttemptClass::Success) > 0 => Health::Healthy,
            _ => Health::Unknown,
        };
        // Takes the worst known health; an unknown health is no claim.
        let worst = [Health::Unhealthy, Health::Degraded, Health::Healthy]
            .into_iter()
            .find(|health| entry.health() == *health || by_calls == *health);
        (worst.unwrap_or_default(), calls)
    }
}
