//! A policy that probes servers for their load, after Prequal (Wydrowski et al., NSDI 2024).
//!
//! Each call sends three probes; an answer is the number of requests in flight and the time that requests took at about
//! that load. Answers arrive at once here, after the call that sent them has chosen. A server that would not answer a
//! health check answers no probe.

use std::cell::RefCell;
use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Nanos;
use crate::policy::request_budget::RequestBudget;
use crate::record::{Ended, SECOND};
use crate::scenario::Scenario;
use crate::server::Reply;
use crate::world::{Exchange, Shared};

/// Probes for each call.
const PROBES: usize = 3;
/// Answers that are kept.
const POOL: usize = 16;
/// The age of an answer that is too old.
const AGE: Nanos = SECOND;
/// Loads above this quantile of the newest ones are hot. The paper has about 0.84; with that the calls of these models
/// herd, as its implementation in Rust has found.
const HOT: f64 = 0.6;
/// How many loads that quantile looks back.
const WINDOW: usize = 64;

/// What one server answered.
struct Entry {
    server: usize,
    at: Nanos,
    in_flight: usize,
    time: Nanos,
    /// How often it may still be chosen by.
    uses: u32,
}

/// One client; requests pay for its retries.
pub(crate) struct Probing {
    pool: RefCell<Pool>,
    budget: RefCell<RequestBudget>,
    retries: u32,
    attempt_timeout: Nanos,
    timeout: Nanos,
}

struct Pool {
    servers: usize,
    entries: Vec<Entry>,
    loads: VecDeque<usize>,
    /// Whether the next entry to remove is the oldest; the worst one otherwise.
    oldest: bool,
    random: SmallRng,
}

impl Probing {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let pool = Pool {
            servers: scenario.first_tier(),
            entries: Vec::new(),
            loads: VecDeque::new(),
            oldest: true,
            random: SmallRng::seed_from_u64(seed),
        };
        Self {
            pool: RefCell::new(pool),
            budget: RefCell::default(),
            retries: scenario.config.max_retries(),
            attempt_timeout: scenario.config.attempt_timeout().as_nanos() as Nanos,
            timeout: scenario.config.timeout().as_nanos() as Nanos,
        }
    }

    pub(crate) async fn call(&self, world: &Shared, idempotent: bool) -> Ended {
        let began = world.borrow().now;
        let end = began + self.timeout;
        self.budget.borrow_mut().deposit(began);
        for attempt in 0..=self.retries {
            let now = world.borrow().now;
            let server = {
                let mut pool = self.pool.borrow_mut();
                let server = pool.choose(now);
                pool.probe(world);
                server
            };
            let reply = Exchange::until(world, server, (now + self.attempt_timeout).min(end)).await;
            if reply == Some(Reply::Ok) {
                return Ended { succeeded: true, first_failed: attempt > 0 };
            }
            // A server that fails fast looks idle.
            self.pool.borrow_mut().entries.retain(|entry| entry.server != server);
            let repeatable = idempotent || reply == Some(Reply::Refused);
            let now = world.borrow().now;
            if attempt == self.retries || !repeatable || now >= end || !self.budget.borrow_mut().withdraw(now)
            {
                break;
            }
        }
        Ended { succeeded: false, first_failed: true }
    }
}

impl Pool {
    /// The cold entry with the least time, else the one with the least in flight; random with fewer than two entries.
    fn choose(&mut self, now: Nanos) -> usize {
        self.entries.retain(|entry| now - entry.at <= AGE && entry.uses > 0);
        if self.entries.len() < 2 {
            return self.random.random_range(0..self.servers);
        }
        let hot = self.threshold();
        let cold = (0..self.entries.len()).filter(|i| self.entries[*i].in_flight <= hot);
        let chosen = cold.min_by_key(|i| (self.entries[*i].time, self.entries[*i].in_flight));
        let chosen = chosen
            .or_else(|| (0..self.entries.len()).min_by_key(|i| self.entries[*i].in_flight))
            .unwrap_or(0);
        let entry = &mut self.entries[chosen];
        entry.in_flight += 1;
        entry.uses -= 1;
        let server = entry.server;
        self.remove();
        server
    }

    fn threshold(&self) -> usize {
        let mut loads: Vec<_> = self.loads.iter().copied().collect();
        loads.sort_unstable();
        let place = (loads.len() as f64 * HOT) as usize;
        loads.get(place.min(loads.len().saturating_sub(1))).copied().unwrap_or(0)
    }

    /// Removes one entry for each call, in turn the oldest and the worst.
    fn remove(&mut self) {
        if self.entries.len() <= 2 {
            return;
        }
        let places = 0..self.entries.len();
        let place = if self.oldest {
            places.min_by_key(|i| self.entries[*i].at)
        } else {
            places.max_by_key(|i| (self.entries[*i].in_flight, self.entries[*i].time))
        };
        self.oldest = !self.oldest;
        if let Some(place) = place {
            self.entries.swap_remove(place);
        }
    }

    fn probe(&mut self, world: &Shared) {
        let world = world.borrow();
        let mut asked = Vec::with_capacity(PROBES);
        while asked.len() < PROBES.min(self.servers) {
            let server = self.random.random_range(0..self.servers);
            if asked.contains(&server) {
                continue;
            }
            asked.push(server);
            let Some((in_flight, time)) = world.servers[server].probe() else { continue };
            self.entries.retain(|entry| entry.server != server);
            if self.entries.len() >= POOL {
                let oldest = (0..self.entries.len()).min_by_key(|i| self.entries[*i].at).unwrap_or(0);
                self.entries.swap_remove(oldest);
            }
            self.entries.push(Entry { server, at: world.now, in_flight, time, uses: self.uses() });
            self.loads.push_back(in_flight);
            if self.loads.len() > WINDOW {
                self.loads.pop_front();
            }
        }
    }

    /// How often an answer may be used: `1 + delta / ((1 - m/n) r_probe - r_remove)` with delta 1, from 1 to 16.
    fn uses(&self) -> u32 {
        let kept = (1.0 - POOL as f64 / self.servers as f64) * PROBES as f64 - 1.0;
        if kept <= 0.0 { 16 } else { (1.0 + 1.0 / kept).clamp(1.0, 16.0) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(entries: &[(usize, usize, Nanos)]) -> Pool {
        let entry = |&(server, in_flight, time)| Entry { server, at: 0, in_flight, time, uses: 16 };
        Pool {
            servers: 10,
            entries: entries.iter().map(entry).collect(),
            loads: [0, 1, 1, 1, 1, 1, 1, 1, 9, 9].into(),
            oldest: true,
            random: SmallRng::seed_from_u64(1),
        }
    }

    #[test]
    fn the_quickest_of_the_cold_is_chosen() {
        assert_eq!(pool(&[(1, 1, 50), (2, 1, 20), (3, 20, 10)]).choose(0), 2);
        assert_eq!(pool(&[(1, 20, 50), (2, 30, 20)]).choose(0), 1, "all hot: the least in flight");
        let mut old = pool(&[(1, 1, 50), (2, 1, 20)]);
        old.choose(2 * AGE);
        assert!(old.entries.is_empty(), "answers older than a second count for nothing");
    }
}
