//! Who decides where a call goes: the engine, or a control that it is compared with.

mod control;
mod engine;
mod peer;
mod probing;
mod request_budget;
mod tower;

use std::fmt;

use failover_core::{Error, StrategyKind};

use crate::Nanos;
use crate::peer::Peer;
use crate::policy::control::{Choice, Control};
use crate::policy::engine::Ours;
use crate::policy::peer::Other;
use crate::policy::probing::Probing;
use crate::policy::tower::Tower;
use crate::record::{Ended, SECOND};
use crate::registry::Answer;
use crate::scenario::Scenario;
use crate::world::Shared;

/// A policy by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The engine as the scenario configures it; round robin unless it says otherwise.
    Default,
    /// The engine with the strategy `least_connections`.
    LeastConnections,
    /// The engine with the strategy `health_based`.
    HealthBased,
    /// The engine by `select()` alone: one attempt, and its outcome.
    Select,
    /// Uniformly random, one attempt: no logic at all.
    Random,
    /// The first endpoint, one attempt.
    First,
    /// In turn, one attempt.
    RoundRobin,
    /// In turn over the endpoints that pass a health check each second; two failed checks take one out.
    HealthChecks,
    /// The fewest calls in flight, one attempt.
    LeastBusy,
    /// In turn over the endpoints that the registry named last, one attempt; calls fail when it named none.
    Listed,
    /// In turn, one attempt; five failures in a row take an endpoint out for 30 s, and with none left calls fail.
    Ejecting,
    /// The same, for ever.
    Banning,
    /// Random, with as many retries as the scenario configures, and nothing that limits them.
    Retrying,
    /// The same with a budget of 20 % of the requests and 10 a second.
    RequestBudget,
    /// tower's power of two choices with `PeakEwma`, its retries and their budget: its own code.
    Tower,
    /// Probes for load, after Prequal, with the retries of `RequestBudget`.
    Probing,
    /// A balancer of another library, on which this crate does not depend; scenario files cannot name it.
    Peer(Peer),
}

const NAMES: &[(Policy, &str)] = &[
    (Policy::Default, "default"),
    (Policy::LeastConnections, "least_connections"),
    (Policy::HealthBased, "health_based"),
    (Policy::Select, "select"),
    (Policy::Random, "random"),
    (Policy::First, "first"),
    (Policy::RoundRobin, "round_robin"),
    (Policy::HealthChecks, "health_checks"),
    (Policy::LeastBusy, "least_busy"),
    (Policy::Listed, "listed"),
    (Policy::Ejecting, "ejecting"),
    (Policy::Banning, "banning"),
    (Policy::Retrying, "retrying"),
    (Policy::RequestBudget, "request_budget"),
    (Policy::Tower, "tower"),
    (Policy::Probing, "probing"),
];

impl Policy {
    /// The name, as scenario files write it.
    pub fn as_str(self) -> &'static str {
        if let Self::Peer(peer) = self {
            return peer.name();
        }
        NAMES.iter().find(|(policy, _)| *policy == self).map_or("", |(_, name)| name)
    }

    /// The policy of a name.
    ///
    /// # Errors
    ///
    /// `Validation` when there is none.
    pub fn parse(field: &str, name: &str) -> Result<Self, Error> {
        let found = NAMES.iter().find(|(_, other)| *other == name).map(|(policy, _)| *policy);
        found.ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(_, name)| *name).collect();
            Error::invalid(field, name, &format!("one of {}", names.join(", ")))
        })
    }

    /// One client with state of its own.
    pub(crate) async fn client(self, scenario: &Scenario, seed: u64) -> Result<Client, Error> {
        let retries = scenario.config.max_retries();
        let ours = async |strategy, select| {
            Ours::new(scenario, strategy, select, seed).await.map(|ours| Client::Ours(Box::new(ours)))
        };
        let control = |choice, retries, budget| {
            Ok(Client::Control(Box::new(Control::new(scenario, choice, retries, budget, seed))))
        };
        match self {
            Self::Default => ours(None, scenario.by_select).await,
            Self::LeastConnections => ours(Some(StrategyKind::LeastConnections), scenario.by_select).await,
            Self::HealthBased => ours(Some(StrategyKind::HealthBased), scenario.by_select).await,
            Self::Select => ours(None, true).await,
            Self::Random => control(Choice::Random, 0, false),
            Self::First => control(Choice::First, 0, false),
            Self::RoundRobin => control(Choice::InTurn, 0, false),
            Self::HealthChecks => control(Choice::Checked, 0, false),
            Self::LeastBusy => control(Choice::LeastBusy, 0, false),
            Self::Listed => control(Choice::Listed, 0, false),
            Self::Ejecting => control(Choice::Ejecting(30 * SECOND), 0, false),
            Self::Banning => control(Choice::Ejecting(Nanos::MAX), 0, false),
            Self::Retrying => control(Choice::Random, retries, false),
            Self::RequestBudget => control(Choice::Random, retries, true),
            Self::Tower => Ok(Client::Tower(Box::new(Tower::new(scenario, seed)))),
            Self::Probing => Ok(Client::Probing(Box::new(Probing::new(scenario, seed)))),
            Self::Peer(peer) => Ok(Client::Peer(Other::new(scenario, peer))),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One client of a service.
pub(crate) enum Client {
    Ours(Box<Ours>),
    Control(Box<Control>),
    Tower(Box<Tower>),
    Probing(Box<Probing>),
    Peer(Other),
}

impl Client {
    pub(crate) async fn call(&self, world: &Shared, idempotent: bool) -> Ended {
        match self {
            Self::Ours(ours) => ours.call(world, idempotent).await,
            Self::Control(control) => control.call(world, idempotent).await,
            Self::Tower(tower) => tower.call(world, idempotent).await,
            Self::Probing(probing) => probing.call(world, idempotent).await,
            Self::Peer(peer) => peer.call(world).await,
        }
    }

    /// How often it has noticed that its own process stood still, for a policy that can say.
    pub(crate) fn stalls(&self) -> Option<u64> {
        match self {
            Self::Ours(ours) => Some(ours.stalls()),
            Self::Control(_) | Self::Tower(_) | Self::Probing(_) | Self::Peer(_) => None,
        }
    }

    /// Lets time pass for a policy that waits for it, and returns when to do so again.
    pub(crate) fn advance(&self, world: &Shared) -> Option<Nanos> {
        if let Self::Peer(peer) = self { Some(peer.advance(world)) } else { None }
    }

    /// The registry answers.
    pub(crate) fn registry(&self, answer: &Answer) {
        if let Self::Ours(ours) = self {
            ours.registry(answer);
        }
    }

    /// Whether each endpoint is out, and the tokens of its retry budget; what a policy cannot say is false or absent.
    pub(crate) fn state(&self, endpoints: usize, now: Nanos) -> (Vec<bool>, Option<u32>) {
        match self {
            Self::Ours(ours) => ours.state(endpoints),
            Self::Control(control) => (control.out(endpoints, now), None),
            Self::Tower(_) | Self::Probing(_) => (vec![false; endpoints], None),
            Self::Peer(peer) => (peer.out(endpoints), None),
        }
    }
}
