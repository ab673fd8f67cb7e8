//! One client that calls through a balancer of another library.

use std::time::Duration;

use crate::Nanos;
use crate::peer::{Balancer, Peer};
use crate::record::Ended;
use crate::scenario::Scenario;
use crate::server::{Reply, Server};
use crate::world::{Exchange, Shared};

/// One client.
pub(crate) struct Other {
    balancer: Box<dyn Balancer>,
    endpoints: usize,
    attempt_timeout: Nanos,
}

impl Other {
    pub(crate) fn new(scenario: &Scenario, peer: Peer) -> Self {
        let endpoints = scenario.first_tier();
        let attempt_timeout = scenario.config.attempt_timeout().as_nanos() as Nanos;
        Self { balancer: (peer.balancer)(endpoints), endpoints, attempt_timeout }
    }

    pub(crate) async fn call(&self, world: &Shared) -> Ended {
        let chosen = self.balancer.choose().filter(|endpoint| *endpoint < self.endpoints);
        let Some(endpoint) = chosen else { return Ended { succeeded: false, first_failed: true } };
        let until = world.borrow().now + self.attempt_timeout;
        let succeeded = Exchange::until(world, endpoint, until).await == Some(Reply::Ok);
        Ended { succeeded, first_failed: !succeeded }
    }

    /// Lets time pass, and returns when to do so again.
    pub(crate) fn advance(&self, world: &Shared) -> Nanos {
        let world = world.borrow();
        let answers: Vec<_> = world.servers[..self.endpoints].iter().map(Server::check).collect();
        let next = self.balancer.advance(Duration::from_nanos(world.now), &answers).as_nanos();
        let next = Nanos::try_from(next).unwrap_or(Nanos::MAX);
        if next > world.now { next } else { world.now + 1_000_000 }
    }

    /// Whether each endpoint is out.
    pub(crate) fn out(&self, endpoints: usize) -> Vec<bool> {
        (0..endpoints).map(|index| index < self.endpoints && self.balancer.is_out(index)).collect()
    }
}
