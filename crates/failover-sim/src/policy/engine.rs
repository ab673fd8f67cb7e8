//! The real engine, by its public interface.

use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::inspect::BreakerState;
use failover_core::{
    Attempt, Classified, Classify, Clock, Endpoint, Error, ErrorKind, FailoverManager, Outcome, Random,
    ServiceHandle, StrategyKind,
};

use failover_test::{Script, ScriptedProvider};

use crate::Nanos;
use crate::record::Ended;
use crate::registry::Answer;
use crate::scenario::Scenario;
use crate::server::Reply;
use crate::world::{Exchange, Shared};

/// The first port; an endpoint's port is its index above it.
const PORT: u16 = 1;

const SERVICE: &str = "modelled";

/// One client's handle.
pub(crate) struct Ours {
    handle: ServiceHandle<Replies>,
    select: bool,
    endpoints: Vec<Endpoint>,
    /// What discovers the endpoints, and what the registry answers it.
    discovery: Option<(FailoverManager, Script)>,
}

/// What replies mean: a refused connection was never sent, 503 is overload, the rest of the errors failures.
#[derive(Clone, Copy, Debug)]
struct Replies;

impl Classify<(), Reply> for Replies {
    fn classify(&self, reply: Result<&(), &Reply>) -> Classified {
        let outcome = match reply {
            Ok(()) | Err(Reply::Ok) => Outcome::Success,
            Err(Reply::Refused) => Outcome::NotSent,
            Err(Reply::Reset | Reply::Error) => Outcome::Failure,
            Err(Reply::Overload(after)) => Outcome::Overload(after.map(Duration::from_nanos)),
        };
        outcome.into()
    }
}

impl Ours {
    pub(crate) async fn new(
        scenario: &Scenario,
        strategy: Option<StrategyKind>,
        select: bool,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut config = scenario.config.to_builder();
        match strategy {
            Some(strategy) if scenario.config.strategy() == StrategyKind::Geographic => {
                // Within the zones, which no other strategy knows.
                let balancer = scenario.config.load_balancer().to_builder();
                config = config.load_balancer(balancer.algorithm(strategy.default_algorithm()).build()?);
            }
            Some(strategy) => config = config.strategy(strategy),
            None => {}
        }
        let endpoints = scenario.endpoints.iter().enumerate().map(|(index, model)| {
            let id = format!("endpoint-{index:05}");
            let endpoint = Endpoint::builder(&id, SERVICE, "10.0.0.1", PORT + index as u16);
            let endpoint = endpoint.priority(model.priority);
            match &model.zone {
                Some(zone) => endpoint.zone(zone).build(),
                None => endpoint.build(),
            }
        });
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        let config = config.build()?;
        let random = Random::seeded(seed);
        let (handle, discovery) = if scenario.registry.is_empty() {
            let handle = ServiceHandle::builder(SERVICE).endpoints(endpoints.clone()).config(config);
            (handle.clock(Clock::tokio()).random(random).build()?, None)
        } else {
            let (provider, script) = ScriptedProvider::watching();
            script.endpoints(endpoints.clone());
            let manager = FailoverManager::builder().provider(provider).service_config(config);
            let manager = manager.clock(Clock::tokio()).random(random).build().await?;
            (manager.service(SERVICE).await?, Some((manager, script)))
        };
        Ok(Self { handle: handle.with_classifier(Replies), select, endpoints, discovery })
    }

    /// The registry answers.
    pub(crate) fn registry(&self, answer: &Answer) {
        let Some((_, script)) = &self.discovery else { return };
        match answer {
            Answer::Lists(list) => script.endpoints(list.iter().map(|index| self.endpoints[*index].clone())),
            Answer::Empty => script.empty(),
            Answer::Down => script.fail(Error::new(ErrorKind::Connection, "the modelled registry is down")),
        }
    }

    pub(crate) async fn call(&self, world: &Shared, idempotent: bool) -> Ended {
        if self.select {
            return self.pick(world).await;
        }
        let operation = |attempt: Attempt| {
            let limit = attempt.time_left().as_nanos() as Nanos;
            let exchange = Exchange::limited_elsewhere(world, index(attempt.endpoint()), limit);
            async move {
                match exchange.await {
                    Some(Reply::Ok) => Ok(()),
                    Some(reply) => Err(reply),
                    // Without a limit of its own it ends with an answer, or is dropped.
                    None => std::future::pending().await,
                }
            }
        };
        match self.handle.call().idempotent(idempotent).execute(operation).await {
            Ok(done) => Ended { succeeded: true, first_failed: done.attempts.len() > 1 },
            Err(_) => Ended { succeeded: false, first_failed: true },
        }
    }

    /// One attempt by a bare pick, whose caller keeps the time and says how it went.
    async fn pick(&self, world: &Shared) -> Ended {
        let Ok(pick) = self.handle.select() else {
            return Ended { succeeded: false, first_failed: true };
        };
        let limit = self.handle.config().attempt_timeout().as_nanos() as Nanos;
        let until = world.borrow().now + limit;
        let reply = Exchange::until(world, index(pick.endpoint()), until).await;
        let outcome = match reply {
            Some(Reply::Ok) => self.handle.outcome::<(), Reply>(&Ok(())),
            Some(reply) => self.handle.outcome::<(), Reply>(&Err(reply)),
            None => Outcome::Failure.into(),
        };
        pick.finish(outcome);
        let succeeded = reply == Some(Reply::Ok);
        Ended { succeeded, first_failed: !succeeded }
    }

    pub(crate) fn stalls(&self) -> u64 {
        let events = self.handle.events(usize::MAX);
        events.iter().filter(|event| event.kind == EventKind::ProcessStalled).count() as u64
    }

    pub(crate) fn state(&self, endpoints: usize) -> (Vec<bool>, Option<u32>) {
        let stats = self.handle.stats();
        let mut out = vec![false; endpoints];
        for endpoint in &stats.endpoints {
            let port = endpoint.address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let place = port.and_then(|port| out.get_mut(usize::from(port - PORT)));
            if let Some(place) = place {
                *place = endpoint.breaker != BreakerState::Closed;
            }
        }
        (out, Some(stats.retry_tokens))
    }
}

fn index(endpoint: &Endpoint) -> usize {
    usize::from(endpoint.port() - PORT)
}
