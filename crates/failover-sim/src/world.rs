//! The queue of events in nanoseconds, the endpoints, and the attempts under way.

use std::cell::RefCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::Nanos;
use crate::record::Record;
use crate::server::{Effect, Reply, Server};

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A call begins.
    Call,
    /// Work on an attempt ends at a server.
    Finish { server: usize, attempt: u32, life: u32 },
    /// The answer for an attempt arrives at its caller.
    Answer { attempt: u32, reply: Reply },
    /// The time of an attempt ends: its caller looks.
    Deadline { attempt: u32 },
    /// The fault of this index begins.
    Fails(usize),
    /// The fault of this index ends.
    Recovers(usize),
    /// The registry's answer of this index comes.
    Registry(usize),
    /// An endpoint that the policy has kept in use is rid of its faults.
    HeldReturns,
    /// The client's own process is stopped.
    Stall,
    /// It goes on.
    Resume,
    /// A client of this index lets time pass.
    Advance(usize),
    /// A second ends.
    Second,
}

#[derive(PartialEq, Eq)]
struct Entry {
    at: Nanos,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    Answered(Reply),
    Over,
}

struct Attempt {
    task: u32,
    endpoint: u32,
    state: State,
}

/// Everything outside of the client, and its own record.
pub(crate) struct World {
    pub(crate) now: Nanos,
    pub(crate) servers: Vec<Server>,
    pub(crate) record: Record,
    /// The task that is polled.
    pub(crate) task: u32,
    /// Tasks that an event has made ready.
    pub(crate) ready: Vec<u32>,
    /// Whether each endpoint has passed the newest health checks, for policies that look at them.
    pub(crate) checked: Vec<bool>,
    /// Whether the registry named each endpoint last, for policies that believe it.
    pub(crate) listed: Vec<bool>,
    /// Failed checks in a row.
    pub(crate) failed_checks: Vec<u32>,
    /// Answers that arrive while the client's process is stopped.
    pub(crate) held: Option<Vec<(u32, Reply)>>,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    attempts: Vec<Attempt>,
    /// Tasks between two attempts, which may wait for a timer that only tokio knows.
    between: Vec<bool>,
    betweens: usize,
}

/// The world as tasks share it; one thread runs them all.
pub(crate) type Shared = Rc<RefCell<World>>;

impl World {
    pub(crate) fn new(servers: Vec<Server>, record: Record) -> Self {
        let count = servers.len();
        Self {
            now: 0,
            servers,
            record,
            task: 0,
            ready: Vec::new(),
            checked: vec![true; count],
            listed: vec![true; count],
            failed_checks: vec![0; count],
            held: None,
            queue: BinaryHeap::new(),
            number: 0,
            attempts: Vec::new(),
            between: Vec::new(),
            betweens: 0,
        }
    }

    pub(crate) fn push(&mut self, at: Nanos, event: Event) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at, number: self.number, event }));
    }

    /// The time of the next event that matters. Deadlines of attempts that are over are dropped.
    pub(crate) fn next(&mut self) -> Option<Nanos> {
        loop {
            let Reverse(entry) = self.queue.peek()?;
            match entry.event {
                Event::Deadline { attempt } if self.is_over(attempt) => self.queue.pop(),
                _ => return Some(entry.at),
            };
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop().map(|Reverse(entry)| entry.event)
    }

    /// Whether some call may wait for a timer that only tokio knows.
    pub(crate) fn has_hidden_timers(&self) -> bool {
        self.betweens > 0
    }

    /// Takes one event of the servers or the network.
    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Finish { server, attempt, life } => {
                let attempts = &self.attempts;
                let abandoned = |attempt: u32| attempts[attempt as usize].state == State::Over;
                let (answer, begun) = self.servers[server].finish(attempt, life, self.now, abandoned);
                for effect in [answer, begun].into_iter().flatten() {
                    self.follow(server, effect);
                }
            }
            Event::Answer { attempt, reply } => self.answer(attempt, reply),
            Event::Deadline { attempt } => self.ready.push(self.attempts[attempt as usize].task),
            _ => {}
        }
    }

    /// The answer for an attempt arrives; one for an attempt that is over is dropped.
    pub(crate) fn answer(&mut self, attempt: u32, reply: Reply) {
        if let Some(held) = &mut self.held {
            held.push((attempt, reply));
            return;
        }
        let now = self.now;
        let slot = &mut self.attempts[attempt as usize];
        if slot.state == State::Waits {
            slot.state = State::Answered(reply);
            self.ready.push(slot.task);
            let kind = if reply == Reply::Ok { 3 } else { 4 };
            self.record.log(kind, u64::from(attempt) << 16 | u64::from(slot.endpoint), now);
        }
    }

    /// Marks the current task as one that may wait for a timer of tokio.
    pub(crate) fn set_between(&mut self, between: bool) {
        let task = self.task as usize;
        if self.between.len() <= task {
            self.between.resize(task + 1, false);
        }
        if self.between[task] != between {
            self.between[task] = between;
            self.betweens = if between { self.betweens + 1 } else { self.betweens - 1 };
        }
    }

    fn is_over(&self, attempt: u32) -> bool {
        self.attempts[attempt as usize].state != State::Waits
    }

    fn follow(&mut self, server: usize, effect: Effect) {
        match effect {
            Effect::Works { attempt, until, life } => {
                self.push(until, Event::Finish { server, attempt, life });
            }
            Effect::Answers { attempt, at, reply } if at <= self.now => self.answer(attempt, reply),
            Effect::Answers { attempt, at, reply } => self.push(at, Event::Answer { attempt, reply }),
        }
    }

    /// Sends an attempt of the current task to an endpoint. `until` is when its caller stops waiting.
    fn send(&mut self, endpoint: usize, until: Nanos) -> u32 {
        let attempt = self.attempts.len() as u32;
        self.attempts.push(Attempt { task: self.task, endpoint: endpoint as u32, state: State::Waits });
        self.set_between(false);
        self.record.attempt(endpoint, self.now);
        self.record.log(2, u64::from(attempt) << 16 | endpoint as u64, self.now);
        self.push(until, Event::Deadline { attempt });
        if let Some(effect) = self.servers[endpoint].arrive(attempt, self.now) {
            self.follow(endpoint, effect);
        }
        attempt
    }
}

/// One attempt on its way; dropped, it is abandoned.
pub(crate) struct Exchange {
    world: Shared,
    attempt: u32,
    /// When it ends without an answer by itself; the engine ends its attempts instead.
    until: Option<Nanos>,
}

impl Exchange {
    /// An attempt whose time limit is kept elsewhere, by a timer of tokio.
    pub(crate) fn limited_elsewhere(world: &Shared, endpoint: usize, limit: Nanos) -> Self {
        const TICK: Nanos = 1_000_000;
        let mut inner = world.borrow_mut();
        // Tokio's timers fire at the next whole millisecond.
        let until = (inner.now + limit).div_ceil(TICK) * TICK;
        let attempt = inner.send(endpoint, until);
        Self { world: Rc::clone(world), attempt, until: None }
    }

    /// An attempt that ends at this time.
    pub(crate) fn until(world: &Shared, endpoint: usize, until: Nanos) -> Self {
        let attempt = world.borrow_mut().send(endpoint, until);
        Self { world: Rc::clone(world), attempt, until: Some(until) }
    }
}

impl Future for Exchange {
    /// The answer, or none when the time has ended.
    type Output = Option<Reply>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let slot = &mut world.attempts[self.attempt as usize];
        match slot.state {
            State::Answered(reply) => {
                slot.state = State::Over;
                if reply != Reply::Ok {
                    world.set_between(true);
                }
                Poll::Ready(Some(reply))
            }
            State::Waits if self.until.is_none_or(|until| now < until) => Poll::Pending,
            State::Waits | State::Over => {
                slot.state = State::Over;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        let slot = &mut world.attempts[self.attempt as usize];
        if slot.state != State::Over {
            slot.state = State::Over;
            let endpoint = u64::from(slot.endpoint);
            world.set_between(true);
            world.record.log(5, u64::from(self.attempt) << 16 | endpoint, now);
        }
    }
}
