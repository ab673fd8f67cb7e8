//! A provider that follows a script.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use failover_core::provider::{
    AddressTrust, ConnectionInfo, ConnectionStatus, EndpointEntry, EndpointSet, Feature, Provider,
    ProviderInfo, Query, WatchStream,
};
use failover_core::{Error, ErrorKind, async_trait};
use futures_core::Stream;

/// The next action of a [`ScriptedProvider`].
///
/// A watch takes each step once and then waits for the next one. [`list`](Provider::list) takes a
/// step if there is one, and otherwise repeats the last one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Answers with this set.
    Answer(EndpointSet),
    /// Fails with this error.
    Fail(Error),
    /// Ends the watch; for a list, the same as `Hang`.
    End,
    /// Panics.
    Panic,
    /// Never answers this request, nor anything more on this watch.
    Hang,
    /// Answers with the next step, once there is one.
    Wait,
}

/// Controls a [`ScriptedProvider`] and counts its requests. Clones share one script.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

struct State {
    steps: VecDeque<Step>,
    last: Step,
    waiting: Vec<Waker>,
    unreachable: Option<Error>,
    asked: usize,
}

/// A provider for tests of registry faults: errors, silence, empty, partial and false answers,
/// floods of answers, streams that end or panic.
///
/// It follows one script for all services. By default it is trusted like a registry on another
/// machine, whose addresses are checked accordingly; see [`with_trust`](Self::with_trust).
///
/// ```
/// use std::time::Duration;
///
/// use failover_core::{Clock, Endpoint, Error, ErrorKind, FailoverManager};
/// use failover_test::ScriptedProvider;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (provider, script) = ScriptedProvider::watching();
/// script.endpoints([Endpoint::builder("users-1", "users", "10.0.0.1", 8080).build()?]);
/// let manager = FailoverManager::builder().provider(provider).clock(Clock::tokio()).build().await?;
/// let users = manager.service("users").await?;
///
/// // The registry goes down: what it said last stays.
/// script.fail(Error::new(ErrorKind::Connection, "the registry is down"));
/// tokio::time::sleep(Duration::from_secs(3600)).await;
/// assert!(users.is_stale());
/// assert_eq!(users.select()?.endpoint().id().as_str(), "users-1");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ScriptedProvider {
    script: Script,
    watches: bool,
    trust: AddressTrust,
}

impl ScriptedProvider {
    /// Returns a provider that can watch, and its script, which is empty.
    pub fn watching() -> (Self, Script) {
        Self::new(true)
    }

    /// Returns a provider that cannot watch and is polled, and its script, which is empty.
    pub fn polled() -> (Self, Script) {
        Self::new(false)
    }

    /// Sets which addresses the provider may name; default those of a registry on another machine.
    pub fn with_trust(mut self, trust: AddressTrust) -> Self {
        self.trust = trust;
        self
    }

    fn new(watches: bool) -> (Self, Script) {
        let state = State {
            steps: VecDeque::new(),
            last: Step::Wait,
            waiting: Vec::new(),
            unreachable: None,
            asked: 0,
        };
        let script = Script(Arc::new(Mutex::new(state)));
        (Self { script: script.clone(), watches, trust: AddressTrust::Remote }, script)
    }
}

impl Script {
    /// Adds a step.
    pub fn step(&self, step: Step) {
        let waiting = {
            let mut state = self.state();
            state.steps.push_back(step);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Adds an answer with these endpoints.
    pub fn endpoints<E: Into<EndpointEntry>>(&self, endpoints: impl IntoIterator<Item = E>) {
        self.step(Step::Answer(EndpointSet::new(endpoints.into_iter().map(Into::into))));
    }

    /// Adds an unconfirmed empty answer, as of a registry that has lost its data.
    pub fn empty(&self) {
        self.step(Step::Answer(EndpointSet::new([])));
    }

    /// Adds an answer with these endpoints and `bad` unreadable entries.
    pub fn partial<E: Into<EndpointEntry>>(&self, endpoints: impl IntoIterator<Item = E>, bad: usize) {
        let mut set = EndpointSet::new(endpoints.into_iter().map(Into::into));
        for number in 0..bad {
            let error = Error::new(ErrorKind::Validation, "it is not an endpoint at all");
            set.reject(format!("entry {number}"), error);
        }
        self.step(Step::Answer(set));
    }

    /// Adds an answer of `entries` unreadable entries.
    pub fn garbage(&self, entries: usize) {
        self.partial::<EndpointEntry>([], entries);
    }

    /// Adds many answers; `answer` returns the one of each number, starting at 0.
    pub fn flood(&self, answers: usize, answer: impl FnMut(usize) -> EndpointSet) {
        let waiting = {
            let mut state = self.state();
            state.steps.extend((0..answers).map(answer).map(Step::Answer));
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Adds an error.
    pub fn fail(&self, error: Error) {
        self.step(Step::Fail(error));
    }

    /// Adds a panic.
    pub fn panic(&self) {
        self.step(Step::Panic);
    }

    /// Makes `connect` and `ping` fail with this error from now on, or succeed again.
    pub fn unreachable(&self, error: impl Into<Option<Error>>) {
        self.state().unreachable = error.into();
    }

    /// Returns how many times a watch was started or a list requested.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// Returns the number of remaining steps.
    pub fn left(&self) -> usize {
        self.state().steps.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        self.state().asked += 1;
    }

    fn poll_step(&self, waker: &Waker) -> Poll<Step> {
        let mut state = self.state();
        loop {
            match state.steps.pop_front() {
                Some(Step::Wait) => {}
                Some(step) => return Poll::Ready(step),
                None => break,
            }
        }
        if !state.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
        Poll::Pending
    }

    /// Takes the next step, or repeats the last one.
    fn poll_list(&self, waker: &Waker) -> Poll<Step> {
        let last = {
            let mut state = self.state();
            if let Some(step) = state.steps.pop_front() {
                state.last = step;
            }
            state.last.clone()
        };
        match last {
            Step::Wait => {
                let step = ready!(self.poll_step(waker));
                self.state().last = step.clone();
                Poll::Ready(step)
            }
            step => Poll::Ready(step),
        }
    }

    fn reached(&self) -> Result<(), Error> {
        self.state().unreachable.clone().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, asked) = (self.left(), self.asked());
        f.debug_struct("Script").field("left", &left).field("asked", &asked).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for ScriptedProvider {
    fn info(&self) -> ProviderInfo {
        let reached = self.script.reached().is_ok();
        let status = if reached { ConnectionStatus::Connected } else { ConnectionStatus::Disconnected };
        ProviderInfo::new("scripted", env!("CARGO_PKG_VERSION"))
            .with_features(self.watches.then_some(Feature::Watch))
            .with_connection(ConnectionInfo::new(status))
            .with_trust(self.trust)
    }

    async fn connect(&self) -> Result<(), Error> {
        self.script.reached()
    }

    async fn ping(&self) -> Result<(), Error> {
        self.script.reached()
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        self.script.count();
        match poll_fn(|context| self.script.poll_list(context.waker())).await {
            Step::Answer(set) => Ok(set),
            Step::Fail(error) => Err(error),
            Step::Panic => panic!("the script says so"),
            Step::End | Step::Hang | Step::Wait => std::future::pending().await,
        }
    }

    fn watch(&self, _query: &Query) -> Option<WatchStream<'_>> {
        self.watches.then(|| {
            self.script.count();
            let stream: WatchStream<'_> = Box::pin(Steps { script: &self.script, hangs: false });
            stream
        })
    }
}

struct Steps<'a> {
    script: &'a Script,
    hangs: bool,
}

impl Stream for Steps<'_> {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.hangs {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(self.script.poll_step(context.waker())) {
            Step::Answer(set) => Some(Ok(set)),
            Step::Fail(error) => Some(Err(error)),
            Step::End => None,
            Step::Panic => panic!("the script says so"),
            Step::Hang | Step::Wait => {
                self.hangs = true;
                return Poll::Pending;
            }
        })
    }
}
