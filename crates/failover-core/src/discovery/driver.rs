//! The task that keeps a service's endpoints up to date from one source.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;

use crate::codec::duration::rough;
use crate::config::{EmptyPolicy, RemovalGuard};
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::{EndpointSet, Provider, Query};
use crate::discovery::diff::Change;
use crate::discovery::sink::{Sink, Update};
use crate::discovery::validate::{Validated, validate};
use crate::error::{Error, ErrorKind};
use crate::events::EventKind;
use crate::model::endpoint::{EndpointEntry, EndpointId};
use crate::runtime::backoff::Backoff;
use crate::runtime::catch_panic::catch_panic;
use crate::runtime::clock::Time;

/// How often a source is asked, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two questions to a provider that cannot watch; jittered by a tenth.
    pub(crate) poll: Duration,
    /// For one answer of a provider that cannot watch.
    pub(crate) answer: Duration,
}

/// Before a source that failed or ended is started again.
const RESTART: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30), 2.0);
/// A watch that has lived for so long was a good one: its end does not count with the ends before it.
const STEADY: Duration = Duration::from_secs(30);
/// Between two changes that are taken over: what comes meanwhile is taken together, newest wins.
const SPACING: Duration = Duration::from_millis(10);
/// How many waiting answers are skipped for the newest before it is taken over.
const SKIPPED: usize = 1024;

pub(crate) struct Driver {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) pace: Pace,
    /// Which addresses the source may name.
    pub(crate) addresses: AddressPolicy,
    pub(crate) provider: Arc<dyn Provider>,
    /// What the source has named before, where another driver has followed it.
    pub(crate) known: Vec<EndpointEntry>,
}

/// Aborted, or ended with its runtime: what is known of the source grows old from here on.
impl Drop for Driver {
    fn drop(&mut self) {
        let message = "discovery has ended, because its manager or its runtime was dropped";
        self.sink.ended(&Error::new(ErrorKind::Shutdown, message));
    }
}

/// What is kept while one source is followed.
#[derive(Debug, Default)]
struct Following {
    /// Failures in a row, or watches that ended early, for the back-off.
    failures: u32,
    /// An empty answer that is not believed yet, and when it will be.
    held: Option<(Validated, Time)>,
    /// Endpoints that went together with many others, and when they are gone for good.
    retained: Option<(Vec<EndpointEntry>, Time)>,
    /// The answer that was taken over last.
    last: LastAnswer,
}

/// What an answer says beside its entries.
#[derive(Clone, Copy)]
struct Answered {
    is_whole: bool,
    unknown: bool,
    age: Duration,
}

#[derive(Debug, Default)]
struct LastAnswer {
    /// In the source's order.
    entries: Vec<EndpointEntry>,
    /// Nothing of the answer was left out, and it was not empty.
    is_whole: bool,
    /// The source did not know the service.
    unknown: bool,
}

impl Following {
    /// Holds an answer against the last one, where neither has anything to be said of but its endpoints.
    fn change(&self, set: &mut EndpointSet) -> Option<Change> {
        let comparable = self.last.is_whole && self.retained.is_none();
        let plain = comparable && !set.entries().is_empty() && set.rejected_count() == 0;
        plain.then(|| Change::between(&self.last.entries, set.entries_mut()))
    }

    /// Whether an answer may mean that the registry has lost its data, or hides it: an empty one, unconfirmed, after one
    /// that was not empty.
    fn is_doubtful(&self, answer: &Validated) -> bool {
        answer.entries.is_empty() && !answer.confirmed && !self.last.entries.is_empty()
    }

    /// When something must be done although the source says nothing.
    fn due(&self) -> Option<Time> {
        let held = self.held.as_ref().map(|(_, until)| *until);
        let retained = self.retained.as_ref().map(|(_, until)| *until);
        held.into_iter().chain(retained).min()
    }
}

impl Driver {
    /// Follows the source until the task is aborted.
    pub(crate) async fn run(mut self) -> Infallible {
        let known = std::mem::take(&mut self.known);
        let last = LastAnswer { entries: known, ..LastAnswer::default() };
        let mut following = Following { last, ..Following::default() };
        loop {
            let began = self.sink.clock().now();
            let ended = catch_panic(self.follow(&mut following)).await;
            if self.sink.clock().now().since(began) >= STEADY {
                following.failures = 0;
            }
            let error = match ended {
                Ok(()) => Error::new(ErrorKind::Connection, "the provider's watch ended and restarts"),
                Err(panic) => {
                    let reason = format!("the provider panicked: {panic}; restarting it");
                    self.sink.event(EventKind::ProviderPanicked, reason.clone());
                    Error::new(ErrorKind::Internal, reason)
                }
            };
            self.failed(&mut following, error);
            following.failures = following.failures.saturating_add(1);
            self.back_off(&following).await;
        }
    }

    async fn follow(&self, following: &mut Following) {
        match self.provider.watch(self.sink.service()) {
            Some(stream) => self.watch(stream, following).await,
            None => self.poll(following).await,
        }
    }

    async fn watch(
        &self,
        mut stream: Pin<Box<dyn Stream<Item = Result<EndpointSet, Error>> + Send + '_>>,
        following: &mut Following,
    ) {
        loop {
            let item = match following.due() {
                None => next(&mut stream).await,
                Some(until) => {
                    let left = until.since(self.sink.clock().now());
                    match tokio::time::timeout(left, next(&mut stream)).await {
                        Ok(item) => item,
                        Err(_) => {
                            self.time_has_come(following);
                            continue;
                        }
                    }
                }
            };
            let Some(item) = item else { return };
            let waiting = newest(&mut stream, item).await;
            for answer in waiting.good.into_iter().chain(waiting.error) {
                self.take(answer, following);
            }
            if waiting.ended {
                return;
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    async fn poll(&self, following: &mut Following) {
        let query = Query::service(self.sink.service());
        loop {
            let answer = match tokio::time::timeout(self.pace.answer, self.provider.list(&query)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let limit = rough(self.pace.answer);
                    Err(Error::new(ErrorKind::Timeout, format!("no answer in {limit}")))
                }
            };
            following.failures =
                if self.take(answer, following) { 0 } else { following.failures.saturating_add(1) };
            self.time_has_come(following);
            if following.failures > 0 {
                self.back_off(following).await;
            } else {
                let jitter = 0.9 + 0.2 * self.sink.random().unit();
                tokio::time::sleep(self.pace.poll.mul_f64(jitter)).await;
            }
        }
    }

    /// Takes an answer over, or not; false when it was none.
    fn take(&self, answer: Result<EndpointSet, Error>, following: &mut Following) -> bool {
        let mut set = match answer {
            Ok(set) => set,
            Err(error) => {
                self.failed(following, error);
                return false;
            }
        };
        let change = following.change(&mut set);
        if change.is_some_and(Change::is_none) {
            following.held = None;
            self.sink.publish(Update::Unchanged, Some(set.age()));
            return true;
        }
        let is_good = |change: &Change| change.is_good(set.entries(), self.sink.service(), self.addresses);
        let validated = if change.as_ref().is_some_and(is_good) {
            Validated::from(set)
        } else {
            validate(self.sink.service(), set, self.addresses)
        };
        self.sink.rejected(&validated.rejected);
        if validated.is_garbage() {
            let count = validated.rejected.count();
            let message = format!("none of the {count} entries in its answer is valid");
            self.failed(following, Error::new(ErrorKind::Validation, message).with_code("BAD_ANSWER"));
            return false;
        }
        match self.sink.config().empty_policy() {
            EmptyPolicy::Hold(hold) if following.is_doubtful(&validated) => {
                self.hold(validated, hold, following);
            }
            _ => {
                following.held = None;
                self.publish(validated, change, following);
            }
        }
        true
    }

    /// Takes over an answer that is believed. What it removes stays as a last resort where that is suspiciously much.
    /// `change`: what tells it from the last one, where that is known.
    fn publish(&self, validated: Validated, change: Option<Change>, following: &mut Following) {
        let is_whole = validated.rejected.count() == 0 && !validated.entries.is_empty();
        let Validated { entries, unknown, age, .. } = validated;
        let answer = Answered { is_whole, unknown, age };
        let change = change.filter(|_| is_whole);
        let last = std::mem::take(&mut following.last).entries;
        let RemovalGuard::Keep { share, grace } = self.sink.config().removal_guard() else {
            following.retained = None;
            return self.publish_plain(last, entries, change, answer, following);
        };
        let few = change.is_some_and(|change| (change.before as f64) < share * last.len() as f64);
        if few && following.retained.is_none() {
            return self.publish_plain(last, entries, change, answer, following);
        }
        let named: HashSet<&EndpointId> = entries.iter().map(|entry| entry.endpoint().id()).collect();
        let is_gone = |entry: &EndpointEntry| !named.contains(entry.endpoint().id());
        let (mut retained, mut until) = following.retained.take().unwrap_or((Vec::new(), Time::NEVER));
        retained.retain(is_gone);
        let gone: Vec<_> = last.iter().filter(|entry| is_gone(entry)).cloned().collect();
        if !gone.is_empty() && gone.len() as f64 >= share * last.len() as f64 {
            let (count, of) = (gone.len(), last.len());
            let reason = format!(
                "{count} of {of} endpoints disappeared at once; keeping them as a last resort for {}",
                rough(grace)
            );
            self.sink.event(EventKind::RemovalHeld, reason);
            retained.extend(gone);
            until = self.sink.clock().now() + grace;
        }
        following.retained = (!retained.is_empty()).then(|| (retained.clone(), until));
        let now = change.map_or_else(|| entries.clone(), |change| change.made(last, &entries));
        following.last = LastAnswer { entries: now, is_whole, unknown };
        self.sink.publish(Update::Whole { entries, retained, unknown }, Some(age));
    }

    /// Takes over an answer of which nothing is retained: as a change where that is small.
    fn publish_plain(
        &self,
        last: Vec<EndpointEntry>,
        entries: Vec<EndpointEntry>,
        change: Option<Change>,
        answer: Answered,
        following: &mut Following,
    ) {
        let parts = change.and_then(|change| change.parts(&last, &entries));
        let now = change.map_or_else(|| entries.clone(), |change| change.made(last, &entries));
        let Answered { is_whole, unknown, age } = answer;
        following.last = LastAnswer { entries: now, is_whole, unknown };
        let update = match parts {
            Some((gone, come)) => Update::Change { gone, come },
            None => Update::Whole { entries, retained: Vec::new(), unknown },
        };
        self.sink.publish(update, Some(age));
    }

    /// Does what is due by now.
    fn time_has_come(&self, following: &mut Following) {
        let now = self.sink.clock().now();
        if following.held.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.believe(following);
        }
        if following.retained.take_if(|(_, until)| *until <= now).is_some() {
            let LastAnswer { entries, unknown, .. } = &following.last;
            let update = Update::Whole { entries: entries.clone(), retained: Vec::new(), unknown: *unknown };
            self.sink.publish(update, None);
        }
    }

    fn hold(&self, validated: Validated, hold: Duration, following: &mut Following) {
        let until = match following.held.take() {
            Some((_, until)) => until,
            None => self.sink.clock().now() + hold,
        };
        let what = if validated.unknown {
            "the source no longer knows the service"
        } else {
            "the source no longer names an endpoint"
        };
        let message = format!("{what}, unconfirmed; applied after {}", rough(hold));
        let error = Error::new(ErrorKind::NotFound, message).with_code("EMPTY_HELD");
        self.sink.unavailable(error, EventKind::EmptyHeld);
        following.held = Some((validated, until));
    }

    fn believe(&self, following: &mut Following) {
        if let Some((validated, _)) = following.held.take() {
            self.publish(validated, None, following);
        }
    }

    fn failed(&self, following: &mut Following, error: Error) {
        // What it said before it failed is no evidence of what is so now.
        following.held = None;
        self.sink.unavailable(error, EventKind::SourceStale);
    }

    /// Half of the time for certain, the other half at random: never at once, and never all clients together.
    async fn back_off(&self, following: &Following) {
        let unit = 0.5 + 0.5 * self.sink.random().unit();
        tokio::time::sleep(RESTART.delay(following.failures, unit)).await;
    }
}

type Answer = Result<EndpointSet, Error>;

async fn next(stream: &mut Pin<Box<dyn Stream<Item = Answer> + Send + '_>>) -> Option<Answer> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// What has come of a stream at once.
struct Waiting {
    /// The newest good answer.
    good: Option<Answer>,
    /// The error that has come after it.
    error: Option<Answer>,
    /// The stream has ended, and must not be polled again.
    ended: bool,
}

/// The newest of the answers that are waiting already, from the first one on.
async fn newest(stream: &mut Pin<Box<dyn Stream<Item = Answer> + Send + '_>>, first: Answer) -> Waiting {
    let mut waiting = Waiting { good: None, error: None, ended: false };
    waiting.add(first);
    for _ in 0..SKIPPED {
        match poll_fn(|context| Poll::Ready(stream.as_mut().poll_next(context))).await {
            Poll::Ready(Some(answer)) => waiting.add(answer),
            Poll::Ready(None) => {
                waiting.ended = true;
                break;
            }
            Poll::Pending => break,
        }
    }
    waiting
}

impl Waiting {
    fn add(&mut self, answer: Answer) {
        if answer.is_ok() {
            (self.good, self.error) = (Some(answer), None);
        } else {
            self.error = Some(answer);
        }
    }
}
