//! One run: time goes from event to event, and the calls are polled in between.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Nanos;
use crate::policy::{Client, Policy};
use crate::record::{Record, Report, SECOND};
use crate::scenario::{Load, Scenario};
use crate::server::Server;
use crate::service_time::exponential;
use crate::world::{Event, Shared, World};

/// Tokio's timers fire at whole milliseconds.
const TICK: Nanos = 1_000_000;

/// Runs a scenario under one policy, from a seed.
///
/// The load and the service times of a seed are the same under every policy, as far as the policy's own choices leave
/// them: each has a random stream of its own.
///
/// # Errors
///
/// `Validation` when the engine refuses the configuration.
///
/// # Panics
///
/// Inside of a tokio runtime, because it builds one with a paused clock.
pub fn run(scenario: &Scenario, policy: Policy, seed: u64) -> Result<Report, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    runtime.block_on(tokio::task::unconstrained(async {
        let mut run = Run::new(scenario, policy, seed).await?;
        run.drive().await;
        Ok(run.report(policy, seed))
    }))
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Run<'a> {
    scenario: &'a Scenario,
    world: Shared,
    clients: Vec<Rc<Client>>,
    tasks: Vec<Option<Task>>,
    free: Vec<u32>,
    live: usize,
    wakers: Vec<Waker>,
    woken: Arc<Mutex<Vec<u32>>>,
    /// The time that tokio knows: behind the world's while the client's process is stopped.
    tokio: Nanos,
    arrivals: SmallRng,
    choices: SmallRng,
}

/// Wakes a task by its number.
struct Woken {
    task: u32,
    list: Arc<Mutex<Vec<u32>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
    }
}

impl<'a> Run<'a> {
    async fn new(scenario: &'a Scenario, policy: Policy, seed: u64) -> Result<Self, Error> {
        let mut seeds = SmallRng::seed_from_u64(seed);
        let (arrivals, choices) = (seeds.random(), seeds.random());
        let servers = scenario
            .endpoints
            .iter()
            .map(|model| Server::new(model.service.clone(), model.workers, model.queue, seeds.random()));
        let servers: Vec<_> = servers.collect();
        let mut clients = Vec::with_capacity(scenario.clients);
        for _ in 0..scenario.clients {
            clients.push(Rc::new(policy.client(scenario, seeds.random()).await?));
        }
        let record = Record::new(servers.len(), scenario.duration);
        let mut run = Self {
            scenario,
            world: Rc::new(RefCell::new(World::new(servers, record))),
            clients,
            tasks: Vec::new(),
            free: Vec::new(),
            live: 0,
            wakers: Vec::new(),
            woken: Arc::default(),
            tokio: 0,
            arrivals: SmallRng::seed_from_u64(arrivals),
            choices: SmallRng::seed_from_u64(choices),
        };
        run.plan();
        Ok(run)
    }

    /// Puts what the scenario fixes into the queue.
    fn plan(&mut self) {
        let first = match self.scenario.load {
            Load::Open(_) => self.pause(0),
            Load::Closed { .. } => 0,
        };
        let mut world = self.world.borrow_mut();
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            for (at, begins) in fault.switches(self.scenario.duration) {
                world.push(at, if begins { Event::Fails(index) } else { Event::Recovers(index) });
            }
        }
        for (at, length) in &self.scenario.stalls {
            world.push(*at, Event::Stall);
            world.push(at + length, Event::Resume);
        }
        for (index, (at, _)) in self.scenario.registry.iter().enumerate() {
            world.push(*at, Event::Registry(index));
        }
        if let Some(at) = self.scenario.held_returns {
            world.push(at, Event::HeldReturns);
        }
        if matches!(self.clients[0].as_ref(), Client::Peer(_)) {
            (0..self.clients.len()).for_each(|client| world.push(0, Event::Advance(client)));
        }
        for second in 1..=self.scenario.duration / SECOND {
            world.push(second * SECOND, Event::Second);
        }
        let calls = match self.scenario.load {
            Load::Open(_) => 1,
            Load::Closed { callers, .. } => callers,
        };
        for _ in 0..calls {
            world.push(first, Event::Call);
        }
    }

    async fn drive(&mut self) {
        loop {
            let (next, now) = {
                let mut world = self.world.borrow_mut();
                let (now, stalled) = (world.now, world.held.is_some());
                let hidden = world.has_hidden_timers() && !stalled;
                let tick = hidden.then(|| (now / TICK + 1) * TICK);
                let next = world.next();
                (next.into_iter().chain(tick).min(), now)
            };
            if now >= self.scenario.duration && self.live == 0 {
                return;
            }
            let Some(at) = next else { return };
            self.advance(at).await;
            let event = {
                let mut world = self.world.borrow_mut();
                if world.next() == Some(at) { world.pop() } else { None }
            };
            if let Some(event) = event {
                self.happen(event).await;
            }
            self.turn().await;
        }
    }

    /// Moves time exactly there, unless the client's process is stopped.
    async fn advance(&mut self, at: Nanos) {
        let stalled = {
            let mut world = self.world.borrow_mut();
            world.now = at;
            world.held.is_some()
        };
        if !stalled && at > self.tokio {
            let by = Duration::from_nanos(at - self.tokio);
            self.tokio = at;
            tokio::time::advance(by).await;
        }
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Call => self.call(),
            Event::Fails(index) => self.fails(index),
            Event::Recovers(index) => {
                let mut world = self.world.borrow_mut();
                for endpoint in &self.scenario.faults[index].endpoints {
                    world.servers[*endpoint].recovers(index);
                }
            }
            Event::Stall => self.world.borrow_mut().held = Some(Vec::new()),
            Event::Resume => self.resume().await,
            Event::Registry(index) => self.registry(index).await,
            Event::HeldReturns => self.held_returns(),
            Event::Advance(client) => self.advance_client(client),
            Event::Second => self.second(),
            other => self.world.borrow_mut().happen(other),
        }
    }

    /// The client's process goes on: its timers fire first, and answers are read after that.
    async fn resume(&mut self) {
        let held = self.world.borrow_mut().held.take().unwrap_or_default();
        let now = self.world.borrow().now;
        self.advance(now).await;
        self.turn().await;
        let mut world = self.world.borrow_mut();
        for (attempt, reply) in held {
            world.answer(attempt, reply);
        }
    }

    fn fails(&mut self, index: usize) {
        let fault = &self.scenario.faults[index];
        let mut world = self.world.borrow_mut();
        for endpoint in &fault.endpoints {
            for attempt in world.servers[*endpoint].fails(index, fault.kind, fault.share) {
                world.answer(attempt, crate::server::Reply::Reset);
            }
        }
    }

    /// The registry answers, and the tasks that watch it take the answer.
    async fn registry(&mut self, index: usize) {
        const TURNS: usize = 16;
        let answer = &self.scenario.registry[index].1;
        for client in &self.clients {
            client.registry(answer);
        }
        self.world.borrow_mut().listed = answer.listed(self.scenario.endpoints.len());
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// An endpoint that the first client has kept in use works again; the last one, where it keeps none.
    fn held_returns(&mut self) {
        let mut world = self.world.borrow_mut();
        let (out, _) = self.clients[0].state(world.servers.len(), world.now);
        let held = out.iter().position(|out| !out).unwrap_or(out.len() - 1);
        for index in 0..self.scenario.faults.len() {
            world.servers[held].recovers(index);
        }
    }

    /// A client lets time pass, unless its process is stopped.
    fn advance_client(&mut self, client: usize) {
        let stopped = self.world.borrow().held.is_some();
        let next = if stopped { None } else { self.clients[client].advance(&self.world) };
        let mut world = self.world.borrow_mut();
        let next = next.unwrap_or(world.now + TICK);
        world.push(next, Event::Advance(client));
    }

    /// Health checks, and the state of the endpoints for the report.
    fn second(&mut self) {
        let mut world = self.world.borrow_mut();
        for index in 0..world.servers.len() {
            let healthy = world.servers[index].is_healthy();
            world.failed_checks[index] = if healthy { 0 } else { world.failed_checks[index] + 1 };
            world.checked[index] = world.failed_checks[index] < 2;
        }
        let faulty = world.servers.iter().map(Server::is_faulty).collect();
        let (out, tokens) = self.clients[0].state(world.servers.len(), world.now);
        let now = world.now;
        world.record.state(now, faulty, out, tokens);
    }

    /// A call begins, and in an open loop the next one is planned.
    fn call(&mut self) {
        let now = self.world.borrow().now;
        if now >= self.scenario.duration {
            return;
        }
        if matches!(self.scenario.load, Load::Open(_)) {
            let next = now + self.pause(now);
            self.world.borrow_mut().push(next, Event::Call);
        }
        if self.world.borrow().held.is_some() {
            // A stopped process begins no calls; callers in a closed loop continue with it.
            if let Load::Closed { .. } = self.scenario.load {
                self.world.borrow_mut().push(now + TICK, Event::Call);
            }
            return;
        }
        let client = Rc::clone(&self.clients[self.choices.random_range(0..self.clients.len())]);
        let idempotent =
            self.scenario.idempotent >= 1.0 || self.choices.random::<f64>() < self.scenario.idempotent;
        let (world, load) = (Rc::clone(&self.world), self.scenario.load);
        self.spawn(Box::pin(async move {
            let ended = client.call(&world, idempotent).await;
            let mut world = world.borrow_mut();
            world.set_between(false);
            let end = world.now;
            world.record.log(6, u64::from(ended.succeeded), end);
            world.record.ended(now, end, ended.succeeded, ended.first_failed);
            if let Load::Closed { think, .. } = load {
                world.push(end + think, Event::Call);
            }
        }));
        let mut world = self.world.borrow_mut();
        world.record.began(now);
        world.record.log(1, u64::from(idempotent), now);
    }

    /// The time until the next call of an open loop.
    fn pause(&mut self, now: Nanos) -> Nanos {
        let Load::Open(rate) = self.scenario.load else { return 0 };
        let bursts = self.scenario.bursts.iter().filter(|burst| burst.from <= now && now < burst.until);
        let factor: f64 = bursts.map(|burst| burst.factor).product();
        exponential(SECOND as f64 / (rate * factor), &mut self.arrivals)
    }

    fn spawn(&mut self, task: Task) {
        let number = self.free.pop().unwrap_or_else(|| {
            let number = self.tasks.len() as u32;
            self.tasks.push(None);
            let woken = Woken { task: number, list: Arc::clone(&self.woken) };
            self.wakers.push(Waker::from(Arc::new(woken)));
            number
        });
        self.tasks[number as usize] = Some(task);
        self.live += 1;
        self.world.borrow_mut().ready.push(number);
    }

    /// Polls what is ready until nothing is.
    async fn turn(&mut self) {
        if self.world.borrow().held.is_some() {
            return;
        }
        loop {
            while self.poll_ready() {}
            if !self.world.borrow().has_hidden_timers() {
                return;
            }
            // A call that yields to others is woken by the runtime itself.
            tokio::task::yield_now().await;
            if self.woken.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
        }
    }

    fn poll_ready(&mut self) -> bool {
        let mut ready = std::mem::take(&mut self.world.borrow_mut().ready);
        ready.append(&mut self.woken.lock().unwrap_or_else(PoisonError::into_inner));
        for number in &ready {
            let index = *number as usize;
            let Some(task) = &mut self.tasks[index] else { continue };
            self.world.borrow_mut().task = *number;
            let mut context = Context::from_waker(&self.wakers[index]);
            if task.as_mut().poll(&mut context).is_ready() {
                self.tasks[index] = None;
                self.free.push(*number);
                self.live -= 1;
            }
        }
        !ready.is_empty()
    }

    fn report(self, policy: Policy, seed: u64) -> Report {
        drop(self.tasks);
        let mut world = self.world.borrow_mut();
        let worked = world.servers.iter().map(|server| server.worked).collect();
        let record = std::mem::replace(&mut world.record, Record::new(0, 0));
        record.report(policy.as_str(), seed, worked, self.clients[0].stalls())
    }
}
