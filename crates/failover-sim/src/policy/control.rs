//! Policies that the engine is compared with.

use std::cell::{Cell, RefCell};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Nanos;
use crate::policy::request_budget::RequestBudget;
use crate::record::Ended;
use crate::scenario::Scenario;
use crate::server::Reply;
use crate::world::{Exchange, Shared};

/// How a control chooses among the endpoints of the first tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Random,
    First,
    InTurn,
    /// In turn over those that pass health checks, or over all when none does.
    Checked,
    LeastBusy,
    /// In turn over those that the registry named last.
    Listed,
    /// In turn over those that have not failed five times in a row this long ago or less.
    Ejecting(Nanos),
}

/// Failures in a row that take an endpoint out.
const FAILURES: u32 = 5;

/// One client of a control policy.
pub(crate) struct Control {
    choice: Choice,
    retries: u32,
    budget: Option<RefCell<RequestBudget>>,
    attempt_timeout: Nanos,
    timeout: Nanos,
    endpoints: usize,
    turn: Cell<usize>,
    in_flight: RefCell<Vec<u32>>,
    /// Failures in a row of each endpoint, and since when it is out.
    failures: RefCell<Vec<(u32, Option<Nanos>)>>,
    random: RefCell<SmallRng>,
}

impl Control {
    pub(crate) fn new(scenario: &Scenario, choice: Choice, retries: u32, budget: bool, seed: u64) -> Self {
        let endpoints = scenario.first_tier();
        let mut random = SmallRng::seed_from_u64(seed);
        Self {
            choice,
            retries,
            budget: budget.then(RefCell::default),
            attempt_timeout: scenario.config.attempt_timeout().as_nanos() as Nanos,
            timeout: scenario.config.timeout().as_nanos() as Nanos,
            endpoints,
            turn: Cell::new(random.random_range(0..endpoints)),
            in_flight: RefCell::new(vec![0; endpoints]),
            failures: RefCell::new(vec![(0, None); endpoints]),
            random: RefCell::new(random),
        }
    }

    pub(crate) async fn call(&self, world: &Shared, idempotent: bool) -> Ended {
        let began = world.borrow().now;
        if let Some(budget) = &self.budget {
            budget.borrow_mut().deposit(began);
        }
        let mut last = None;
        for attempt in 0..=self.retries {
            let now = world.borrow().now;
            let Some(endpoint) = self.choose(world, last, now) else { break };
            let until = (now + self.attempt_timeout).min(began + self.timeout);
            self.in_flight.borrow_mut()[endpoint] += 1;
            let reply = Exchange::until(world, endpoint, until).await;
            self.in_flight.borrow_mut()[endpoint] -= 1;
            self.note(endpoint, reply == Some(Reply::Ok), world.borrow().now);
            if reply == Some(Reply::Ok) {
                return Ended { succeeded: true, first_failed: attempt > 0 };
            }
            last = Some(endpoint);
            let now = world.borrow().now;
            let repeatable = idempotent || reply == Some(Reply::Refused);
            let paid = || self.budget.as_ref().is_none_or(|budget| budget.borrow_mut().withdraw(now));
            if attempt == self.retries || !repeatable || now >= began + self.timeout || !paid() {
                break;
            }
        }
        Ended { succeeded: false, first_failed: true }
    }

    /// Whether each endpoint is out.
    pub(crate) fn out(&self, endpoints: usize, now: Nanos) -> Vec<bool> {
        (0..endpoints).map(|index| index < self.endpoints && self.is_out(index, now)).collect()
    }

    fn is_out(&self, endpoint: usize, now: Nanos) -> bool {
        let Choice::Ejecting(time) = self.choice else { return false };
        self.failures.borrow()[endpoint].1.is_some_and(|since| now - since < time)
    }

    fn note(&self, endpoint: usize, succeeded: bool, now: Nanos) {
        let mut failures = self.failures.borrow_mut();
        let (row, out) = &mut failures[endpoint];
        *row = if succeeded { 0 } else { *row + 1 };
        if *row >= FAILURES {
            (*row, *out) = (0, Some(now));
        }
    }

    /// An endpoint, another one than the last where there are several.
    fn choose(&self, world: &Shared, last: Option<usize>, now: Nanos) -> Option<usize> {
        let checked = &world.borrow().checked;
        let healthy = self.choice == Choice::Checked && checked[..self.endpoints].contains(&true);
        let usable =
            |index: usize| (self.endpoints == 1 || last != Some(index)) && (!healthy || checked[index]);
        let chosen = match self.choice {
            Choice::Ejecting(_) | Choice::Listed => {
                let start = self.turn.get();
                let mut order = (start..start + self.endpoints).map(|i| i % self.endpoints);
                let listed = |index: usize| self.choice != Choice::Listed || world.borrow().listed[index];
                let next = order.find(|index| !self.is_out(*index, now) && listed(*index))?;
                self.turn.set(next + 1);
                next
            }
            Choice::First => 0,
            Choice::Random => {
                let mut random = self.random.borrow_mut();
                let others = self.endpoints - usize::from(self.endpoints > 1 && last.is_some());
                let drawn = random.random_range(0..others);
                drawn + usize::from(others < self.endpoints && last.is_some_and(|last| drawn >= last))
            }
            Choice::InTurn | Choice::Checked => {
                let start = self.turn.get();
                let next = (start..start + self.endpoints).map(|i| i % self.endpoints).find(|i| usable(*i));
                let next = next.unwrap_or(start % self.endpoints);
                self.turn.set(next + 1);
                next
            }
            Choice::LeastBusy => {
                let in_flight = self.in_flight.borrow();
                let start = self.random.borrow_mut().random_range(0..self.endpoints);
                let order = (start..start + self.endpoints).map(|i| i % self.endpoints);
                order.filter(|i| usable(*i)).min_by_key(|i| in_flight[*i]).unwrap_or(start)
            }
        };
        Some(chosen)
    }
}
