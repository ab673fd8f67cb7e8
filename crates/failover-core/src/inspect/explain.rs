//! The routing of calls: each endpoint's availability, its cause, and what will change it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::codec::duration::rough;
use crate::engine::Engine;
use crate::engine::availability::{Availability, UnavailableCause};
use crate::engine::breaker::{Breaker, Phase};
use crate::engine::policy::Policy;
use crate::engine::snapshot::Listing;
use crate::engine::snapshot::listing::Unresolved;
use crate::engine::view::EndpointView;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::inspect::configured::ConfiguredValue;
use crate::inspect::service_rules::ServiceRules;
use crate::inspect::stats::SourceStats;
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::{Endpoint, EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};
use crate::runtime::clock::Time;

/// The routing of a service's calls, with reasons. `Display` prints a table for a terminal.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The service.
    pub service: ServiceName,
    /// The query for it, if it is more than its name; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Arc<str>>,
    /// The strategy, and the algorithm within a tier.
    pub selection: String,
    /// The sources of the endpoints.
    pub sources: Vec<SourceStats>,
    /// The time window of the shares.
    #[serde(flatten, serialize_with = "crate::codec::seconds::window")]
    pub window: Duration,
    /// The values of the configuration that are not the defaults, and where they come from.
    pub config: Vec<ConfiguredValue>,
    /// The rules that concern the service as a whole.
    pub rules: ServiceRules,
    /// The endpoints, by tier and id.
    pub endpoints: Vec<EndpointExplanation>,
}

/// Whether one endpoint receives calls, and why.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EndpointExplanation {
    /// The endpoint's id, which is unique within its source.
    pub id: EndpointId,
    /// The source that names it.
    pub source: Arc<str>,
    /// The name that operations accept: the id, or `id@source` if several endpoints have the id.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Its tier: that of its source, then its own priority.
    pub tier: (u32, u32),
    /// Whether it receives calls, and why not.
    pub availability: Availability,
    /// How long this has been the case.
    #[serde(flatten, serialize_with = "crate::codec::seconds::since")]
    pub since: Duration,
    /// What changes it next.
    pub next: String,
    /// Its share of the service's attempts in the window, 0 to 1.
    pub share: f64,
    /// Its attempts in the window.
    pub attempts: u64,
    /// How its last attempt that failed ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// The newest event about a change of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Arc<Event>>,
    /// The other entries for the same address and port, which is one endpoint. The healthiest entry
    /// counts, then the one that this process saw first at a later time; a lifecycle applies in
    /// whichever entry it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherEntry>,
}

/// An entry for an endpoint's address and port that does not count, because another one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OtherEntry {
    /// Its id.
    pub id: EndpointId,
    /// Its source.
    pub source: Arc<str>,
    /// The health that it claims.
    pub health: Health,
    /// Whether it takes the endpoint out of service on purpose.
    pub lifecycle: Lifecycle,
}

impl From<&Listing> for OtherEntry {
    fn from(of: &Listing) -> Self {
        let (id, source) = (of.id.clone(), Arc::clone(&of.source));
        Self { id, source, health: of.health, lifecycle: of.lifecycle }
    }
}

impl Explanation {
    /// Returns the explanation of one endpoint, named by its id or by `id@source`.
    ///
    /// The ids of the other entries for its address and port name it as well.
    ///
    /// # Errors
    ///
    /// Returns `NotFound` if there is no such endpoint, and `Validation` if several have that id; the
    /// message names them.
    pub fn endpoint(&self, name: &str) -> Result<&EndpointExplanation, Error> {
        let with = |id: &str, from: Option<&str>| -> Vec<&EndpointExplanation> {
            let is_named = |(of, source): (&EndpointId, &Arc<str>)| {
                of == id && from.is_none_or(|from| **source == *from)
            };
            self.endpoints.iter().filter(|of| of.identities().any(is_named)).collect()
        };
        let mut found = with(name, None);
        if found.is_empty() {
            found = name.rsplit_once('@').map(|(id, source)| with(id, Some(source))).unwrap_or_default();
        }
        let error = match found[..] {
            [only] => return Ok(only),
            [] => Unresolved::Unknown,
            _ => {
                let identities = found.iter().flat_map(|of| of.identities()).filter(|(id, _)| *id == name);
                Unresolved::Ambiguous(identities.map(|(id, source)| format!("{id}@{source}")).collect())
            }
        };
        Err(error.error(self.service.as_str(), name))
    }
}

impl EndpointExplanation {
    fn identities(&self) -> impl Iterator<Item = (&EndpointId, &Arc<str>)> {
        let others = self.others.iter().map(|other| (&other.id, &other.source));
        std::iter::once((&self.id, &self.source)).chain(others)
    }
}

/// How an endpoint's last failed attempt ended.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LastFailure {
    /// The class of the attempt.
    pub class: AttemptClass,
    /// The reason that the classifier gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long ago it ended.
    #[serde(flatten, serialize_with = "crate::codec::seconds::ago")]
    pub ago: Duration,
}

/// `failure (connection refused) 3s ago`.
impl fmt::Display for LastFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        write!(f, " {} ago", rough(self.ago))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = self.query.as_ref().map_or_else(String::new, |query| format!(" ({query})"));
        writeln!(f, "{}{query}: {}, {} endpoints", self.service, self.selection, self.endpoints.len())?;
        for source in &self.sources {
            let state = match (&source.error, source.age) {
                (Some(error), Some(age)) => format!("stale, {} old: {error}", rough(age)),
                (Some(error), None) => format!("has never answered: {error}"),
                (None, Some(_)) => match &source.revision {
                    Some(revision) => format!("fresh, at revision {revision}"),
                    None => "fresh".to_owned(),
                },
                (None, None) => "not yet answered".to_owned(),
            };
            let query =
                source.query.as_ref().map_or_else(String::new, |query| format!(", asked for {query}"));
            writeln!(f, "  from {} (tier {}{query}): {state}", source.provider, source.tier)?;
            for fault in &source.left_out {
                writeln!(f, "    left out: {fault}")?;
            }
        }
        if !self.config.is_empty() {
            let values: Vec<_> = self.config.iter().map(ToString::to_string).collect();
            writeln!(f, "  configured: {}", values.join(", "))?;
        }
        self.rules.fmt(f)?;
        let id = self.endpoints.iter().map(|of| of.name.chars().count()).max().unwrap_or(0);
        let address = self.endpoints.iter().map(|of| of.address.chars().count()).max().unwrap_or(0);
        for of in &self.endpoints {
            let (state, since) = (of.availability.to_string(), rough(of.since));
            writeln!(
                f,
                "  {:id$}  {:address$}  tier {}.{}  {:4.1} %  {state}, for {since}; {}",
                of.name,
                of.address,
                of.tier.0,
                of.tier.1,
                of.share * 100.0,
                of.next
            )?;
            if of.availability != (Availability::In { pinned: false }) {
                if let Some(event) = &of.evidence {
                    writeln!(f, "  {:id$}  because {}: {}", "", event.kind, event.reason)?;
                }
                if let Some(last) = &of.last_failure {
                    writeln!(f, "  {:id$}  last failure: {last}", "")?;
                }
            }
            for OtherEntry { id: other, source, health, lifecycle } in &of.others {
                write!(f, "  {:id$}  also listed as {other}@{source}, {health}", "")?;
                match lifecycle {
                    Lifecycle::InService => writeln!(f)?,
                    _ => writeln!(f, ", {lifecycle}")?,
                }
            }
        }
        Ok(())
    }
}

impl Engine {
    pub(crate) fn explain(&self) -> Explanation {
        let view = self.view();
        let (counts, window) = view.recent_attempts();
        let total = counts.values().sum::<u64>().max(1);
        let events = self.events().newest(usize::MAX);
        let endpoint = |of: EndpointView<'_>| {
            let count = counts.get(&of.slot.state).copied().unwrap_or(0);
            let is_evidence = |event: &&Arc<Event>| {
                let explains = !event.kind.is_per_call() && event.kind != EventKind::PlaceShared;
                let is_about = |(state, endpoint): &(u32, Arc<Endpoint>)| {
                    *state == of.slot.state && endpoint.place() == of.slot.endpoint.place()
                };
                explains && event.subject.as_ref().is_some_and(is_about)
            };
            EndpointExplanation {
                id: of.slot.endpoint.id().clone(),
                source: Arc::clone(view.snapshot().source(of.slot)),
                name: view.snapshot().label(of.slot),
                address: of.slot.endpoint.authority(),
                tier: of.tier,
                availability: of.availability,
                since: of.since(),
                next: next(of.availability, &of.breaker, view.policy(), view.now),
                share: count as f64 / total as f64,
                attempts: count,
                last_failure: of.last_failure().map(|last| LastFailure {
                    class: last.class,
                    reason: last.reason.as_deref().map(str::to_owned),
                    ago: view.now.since(last.at),
                }),
                evidence: events.iter().rev().find(is_evidence).cloned(),
                others: of.slot.others.iter().map(OtherEntry::from).collect(),
            }
        };
        let config = &view.snapshot().config;
        Explanation {
            service: self.name().clone(),
            query: self.query().cloned(),
            selection: format!("strategy {}, algorithm {}", config.strategy(), config.algorithm()),
            sources: self.source_stats(),
            config: ConfiguredValue::all_of(config),
            rules: ServiceRules::of(&view),
            window,
            endpoints: view.endpoints().map(endpoint).collect(),
        }
    }
}

/// What changes an endpoint's availability next.
fn next(availability: Availability, breaker: &Breaker, policy: &Policy, now: Time) -> String {
    let rules = &policy.breaker;
    let by_breaker = || match breaker.phase {
        Phase::Closed { score, .. } if rules.enabled => {
            let rate = policy.failure_rate.map(|of| {
                let (percent, window) = (100.0 * of.rate, rough(of.window));
                format!(", or {percent:.0} % failures of at least {} attempts in {window}", of.min_attempts)
            });
            let left = rules.failures_left(score);
            let failures = if left == 1 { "failure makes" } else { "failures in a row make" };
            format!("{left} more {failures} it suspect{}", rate.unwrap_or_default())
        }
        Phase::Closed { .. } => "its breaker is disabled; only its source or a probe takes it out".to_owned(),
        Phase::Open { until } => format!("probe calls in {}", rough(until.since(now))),
        Phase::HalfOpen { successes, failures, .. } => {
            let needed = rules.successes(breaker.level);
            format!("{} more successes close its breaker", needed.saturating_sub(successes + failures))
        }
    };
    match availability {
        Availability::In { .. } => by_breaker(),
        Availability::Out { cause } => match cause {
            UnavailableCause::Draining | UnavailableCause::Maintenance | UnavailableCause::Unhealthy => {
                "its source returns it to service or removes it".to_owned()
            }
            UnavailableCause::Removed => {
                "its source names it again, or the removal guard's grace ends".to_owned()
            }
            UnavailableCause::WeightZero => "a weight above 0 returns it".to_owned(),
            UnavailableCause::ProbeFailed => "successful probes return it".to_owned(),
            UnavailableCause::ForcedOut { retry_in } | UnavailableCause::Paused { retry_in } => {
                format!("calls again in {}", rough(retry_in))
            }
            UnavailableCause::BreakerOpen { .. } | UnavailableCause::BreakerHalfOpen => by_breaker(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::service::ServiceHandle;
    use crate::engine::shares::WINDOW;
    use crate::model::endpoint::{Endpoint, EndpointEntry};
    use crate::model::health::Lifecycle;
    use crate::runtime::clock::Clock;
    use crate::{Outcome, Random};

    fn of<'a>(explanation: &'a Explanation, id: &str) -> &'a EndpointExplanation {
        explanation.endpoints.iter().find(|of| of.id.as_str() == id).expect("is there")
    }

    #[tokio::test(start_paused = true)]
    async fn each_endpoint_says_whether_why_since_when_what_next_and_how_much() {
        let second = Duration::from_secs(1);
        let users = ServiceHandle::builder("users")
            .endpoints(["10.0.0.1:80", "10.0.0.2:80"])
            .clock(Clock::tokio())
            .random(Random::seeded(3))
            .build()
            .expect("valid");
        let draining = Endpoint::builder("c", "users", "10.0.0.3", 80).build().expect("valid");
        let source = users.engine().add_source(Arc::from("registry"), 1);
        let entry = EndpointEntry::new(draining).with_lifecycle(Lifecycle::Draining);
        users.engine().publish(source, vec![entry], false, Duration::ZERO);
        tokio::time::advance(2 * second).await;
        for _ in 0..10 {
            let pick = users.select().expect("there are two");
            let outcome =
                if pick.endpoint().address() == "10.0.0.1" { Outcome::Failure } else { Outcome::Success };
            pick.finish(outcome);
        }
        tokio::time::advance(second).await;
        let explained = users.explain();
        let [bad, good] = [&explained.endpoints[0], &explained.endpoints[1]];
        assert_eq!((bad.address.as_str(), good.address.as_str()), ("10.0.0.1:80", "10.0.0.2:80"));
        assert!(
            matches!(bad.availability, Availability::Out { cause: UnavailableCause::BreakerOpen { .. } }),
            "{bad:?}"
        );
        assert_eq!(bad.since, second);
        assert!(bad.next.starts_with("probe calls in "), "{}", bad.next);
        assert!(bad.evidence.as_ref().expect("there is evidence").reason.starts_with("too many failures"));
        assert!(good.availability.is_in());
        assert_eq!(
            (good.since, good.next.as_str()),
            (3 * second, "5 more failures in a row make it suspect")
        );
        assert!((good.share - 0.5).abs() < 1e-9 && (bad.attempts, good.attempts) == (5, 5), "{explained:?}");
        let c = of(&explained, "c");
        assert_eq!(
            (c.availability, c.since),
            (Availability::Out { cause: UnavailableCause::Draining }, 3 * second)
        );
        assert_eq!(c.tier, (1, 0));

        let text = explained.to_string();
        assert!(text.contains("users: strategy round_robin, algorithm round_robin, 3 endpoints"), "{text}");
        assert!(text.contains("out: breaker open, next probe call in "), "{text}");
        assert!(text.contains("because circuit_open: too many failures"), "{text}");
        assert!(text.contains("from registry (tier 1): fresh"), "{text}");
        let json = serde_json::to_value(&explained).expect("serialises");
        assert_eq!(json["endpoints"][2]["availability"]["cause"], "draining");
        assert_eq!(json["endpoints"][1]["since"], "3s");

        // An old change is not recent.
        tokio::time::advance(WINDOW).await;
        users.explain();
        users.select().expect("one is left").finish(Outcome::Success);
        let explained = users.explain();
        let attempts: Vec<_> = explained.endpoints.iter().map(|of| of.attempts).collect();
        assert_eq!((attempts.iter().sum::<u64>(), explained.window), (1, WINDOW), "{explained:?}");
        assert!(explained.endpoints.iter().any(|of| (of.share - 1.0).abs() < 1e-9));
    }
}
