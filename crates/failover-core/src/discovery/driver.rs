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
use crate::config::{EmptyPolicy, RemovalGuard, defaults};
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::{EndpointSet, Provider, Query};
use crate::discovery::diff::Change;
use crate::discovery::sink::{Answered, Sink, Update};
use crate::discovery::validate::{Validated, validate};
use crate::error::{Error, ErrorKind, RetryAdvice};
use crate::events::EventKind;
use crate::model::endpoint::place::PlaceKey;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::runtime::backoff::Backoff;
use crate::runtime::catch_panic::catch_panic;
use crate::runtime::clock::Time;

/// The poll interval and the time limit of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The interval between two polls of a provider that cannot watch, jittered by 10 %.
    pub(crate) poll: Duration,
    /// The time limit for an answer of a provider that cannot watch.
    pub(crate) answer: Duration,
}

/// The back-off before a source that failed or ended is restarted.
const RESTART: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30), 2.0);
/// A watch that lasted this long was healthy: its end resets the count of failures.
const STEADY: Duration = Duration::from_secs(30);
/// The minimum interval between two published changes. Answers that arrive in between are merged:
/// the newest wins.
const SPACING: Duration = Duration::from_millis(10);
/// The range of the times to live that are honoured.
const SHORTEST_TTL: Duration = Duration::from_millis(250);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The maximum number of waiting answers that are skipped in favour of the newest.
const SKIPPED: usize = 1024;

pub(crate) struct Driver {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) pace: Pace,
    /// The addresses that the source may name.
    pub(crate) addresses: AddressPolicy,
    pub(crate) provider: Arc<dyn Provider>,
    /// What is asked of the source. Its service may have another name there.
    pub(crate) query: Query,
    /// The entries that the source named to a previous driver.
    pub(crate) known: Vec<EndpointEntry>,
}

/// The driver was aborted or ended with its runtime: from here on the known entries become stale.
impl Drop for Driver {
    fn drop(&mut self) {
        let message = "discovery has ended, because its manager or its runtime was dropped";
        self.sink.ended(&Error::new(ErrorKind::Shutdown, message));
    }
}

/// The state that is kept while a source is followed.
#[derive(Debug, Default)]
struct Following {
    /// Consecutive failures, or watches that ended early, for the back-off.
    failures: u32,
    /// An empty answer that is not trusted yet, and the time when it is applied.
    held: Option<(Validated, Time)>,
    /// Endpoints that were removed together with many others, and the time when they are dropped.
    retained: Option<(Vec<EndpointEntry>, Time)>,
    /// Whether the source has failed since its last good answer. The end of a watch does not replace
    /// that error.
    failing: bool,
    /// The last answer that was applied.
    last: LastAnswer,
}

/// The properties of an answer besides its entries.
struct Properties {
    is_whole: bool,
    unknown: bool,
    answered: Answered,
}

#[derive(Debug, Default)]
struct LastAnswer {
    /// In the source's order.
    entries: Vec<EndpointEntry>,
    /// No entry of the answer was rejected, and it was not empty.
    is_whole: bool,
    /// The source did not know the service.
    unknown: bool,
}

impl Following {
    /// Compares an answer with the previous one, if the two can differ only in their endpoints.
    fn change(&self, set: &mut EndpointSet) -> Option<Change> {
        let comparable = self.last.is_whole && self.retained.is_none();
        let plain = comparable && !set.entries().is_empty() && set.rejected_count() == 0;
        plain.then(|| Change::between(&self.last.entries, set.entries_mut()))
    }

    /// Whether an answer may mean that the registry has lost its data or hides it: an unconfirmed
    /// empty answer after one that was not empty.
    fn is_doubtful(&self, answer: &Validated) -> bool {
        answer.entries.is_empty() && !answer.confirmed && !self.last.entries.is_empty()
    }

    /// The time at which a held answer or retained endpoints must be processed, even if the source
    /// sends nothing.
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
                // The error says more than the end that followed it.
                Ok(()) if following.failing => None,
                Ok(()) => Some(Error::new(ErrorKind::Connection, "the provider's watch ended and restarts")),
                Err(panic) => {
                    let reason = format!("the provider panicked: {panic}; restarting it");
                    self.sink.event(EventKind::ProviderPanicked, reason.clone());
                    Some(Error::new(ErrorKind::Internal, reason))
                }
            };
            if let Some(error) = error {
                self.failed(&mut following, error);
            }
            following.failures = following.failures.saturating_add(1);
            tokio::time::sleep(self.back_off(&following)).await;
        }
    }

    /// Returns the name that the service has at the source.
    fn service(&self) -> &ServiceName {
        self.query.service_name().unwrap_or(self.sink.service())
    }

    async fn follow(&self, following: &mut Following) {
        match self.provider.watch(&self.query) {
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
        loop {
            let answer = match tokio::time::timeout(self.pace.answer, self.provider.list(&self.query)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let limit = rough(self.pace.answer);
                    Err(Error::new(ErrorKind::Timeout, format!("no answer in {limit}")))
                }
            };
            let wanted = match &answer {
                Ok(set) => set.ttl().map_or(self.pace.poll, |ttl| ttl.clamp(SHORTEST_TTL, LONGEST_TTL)),
                Err(error) => match error.retry() {
                    RetryAdvice::After(pause) => pause.min(LONGEST_TTL),
                    _ => Duration::ZERO,
                },
            };
            following.failures =
                if self.take(answer, following) { 0 } else { following.failures.saturating_add(1) };
            self.time_has_come(following);
            let pause = if following.failures > 0 {
                self.back_off(following).max(wanted)
            } else {
                wanted.mul_f64(0.9 + 0.2 * self.sink.random().unit())
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Processes an answer. Returns false if the answer is an error or has no valid entry.
    fn take(&self, answer: Result<EndpointSet, Error>, following: &mut Following) -> bool {
        let mut set = match answer {
            Ok(set) if self.query.filters() => set.selected(&self.query),
            Ok(set) => set,
            Err(error) => {
                self.failed(following, error);
                return false;
            }
        };
        let change = following.change(&mut set);
        if change.is_some_and(Change::is_none) {
            following.failing = false;
            following.held = None;
            self.sink.publish(Update::Unchanged, Some(Answered::from(&set)));
            return true;
        }
        let is_good = |change: &Change| change.is_good(set.entries(), self.service(), self.addresses);
        let validated = if change.as_ref().is_some_and(is_good) {
            Validated::from(set)
        } else {
            validate(self.service(), set, self.addresses)
        };
        self.sink.rejected(&validated.rejected);
        if validated.is_garbage() {
            self.hold_unusable(validated, following);
            return false;
        }
        following.failing = false;
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

    /// Applies a trusted answer. Endpoints that it removes are retained as a last resort if they
    /// are suspiciously many. `change` is the difference from the previous answer, if known.
    fn publish(&self, validated: Validated, change: Option<Change>, following: &mut Following) {
        let is_whole = validated.rejected.count() == 0 && !validated.entries.is_empty();
        let Validated { entries, unknown, answered, .. } = validated;
        let properties = Properties { is_whole, unknown, answered };
        let change = change.filter(|_| is_whole);
        let last = std::mem::take(&mut following.last).entries;
        let RemovalGuard::Keep { share, grace } = self.sink.config().removal_guard() else {
            following.retained = None;
            return self.publish_plain(last, entries, change, properties, following);
        };
        let few = change.is_some_and(|change| (change.before as f64) < share * last.len() as f64);
        if few && following.retained.is_none() {
            return self.publish_plain(last, entries, change, properties, following);
        }
        let named: HashSet<&EndpointId> = entries.iter().map(|entry| entry.endpoint().id()).collect();
        let mut places = HashSet::with_capacity_and_hasher(entries.len(), PlaceKey::random());
        places.extend(entries.iter().map(|entry| entry.endpoint().place()));
        // An endpoint whose address another id has now is not lost.
        let is_gone = |entry: &EndpointEntry| {
            !named.contains(entry.endpoint().id()) && !places.contains(&entry.endpoint().place())
        };
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
        self.sink.publish(Update::Whole { entries, retained, unknown }, Some(properties.answered));
    }

    /// Applies an answer of which nothing is retained, as a change if the change is small.
    fn publish_plain(
        &self,
        last: Vec<EndpointEntry>,
        entries: Vec<EndpointEntry>,
        change: Option<Change>,
        properties: Properties,
        following: &mut Following,
    ) {
        let parts = change.and_then(|change| change.parts(&last, &entries));
        let now = change.map_or_else(|| entries.clone(), |change| change.made(last, &entries));
        let Properties { is_whole, unknown, answered } = properties;
        following.last = LastAnswer { entries: now, is_whole, unknown };
        let update = match parts {
            Some((gone, come)) => Update::Change { gone, come },
            None => Update::Whole { entries, retained: Vec::new(), unknown },
        };
        self.sink.publish(update, Some(answered));
    }

    /// Applies a held answer and drops retained endpoints whose time has come.
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

    /// Reports a whole answer without a valid entry. It is an error and no empty set, but the
    /// endpoints before it do not outlast it for ever: the source names none of them any more.
    fn hold_unusable(&self, validated: Validated, following: &mut Following) {
        let before = following.held.take().filter(|(held, _)| held.is_garbage());
        let count = validated.rejected.count();
        let message = format!("none of the {count} entries in its answer is valid");
        self.failed(following, Error::new(ErrorKind::Validation, message.clone()).with_code("BAD_ANSWER"));
        let known = following.last.entries.len();
        if known == 0 {
            return;
        }
        let begin = || {
            let hold = match self.sink.config().empty_policy() {
                EmptyPolicy::Hold(hold) => hold,
                // Trust in empty answers is no trust in unreadable ones.
                EmptyPolicy::Trust => defaults::EMPTY_HOLD,
            };
            let reason = format!("{message}; the last {known} endpoints are removed after {}", rough(hold));
            self.sink.event(EventKind::RemovalHeld, reason);
            self.sink.clock().now() + hold
        };
        let until = before.map_or_else(begin, |(_, until)| until);
        following.held = Some((validated, until));
    }

    fn believe(&self, following: &mut Following) {
        let Some((validated, _)) = following.held.take() else { return };
        if !validated.is_garbage() {
            return self.publish(validated, None, following);
        }
        (following.last, following.retained) = (LastAnswer::default(), None);
        let update = Update::Whole { entries: Vec::new(), retained: Vec::new(), unknown: false };
        // Without an age: the source has not given a usable answer.
        self.sink.publish(update, None);
    }

    fn failed(&self, following: &mut Following, error: Error) {
        following.failing = true;
        // An answer from before the failure is no evidence of the current state.
        following.held = None;
        self.sink.unavailable(error, EventKind::SourceStale);
    }

    /// Returns half of the delay plus a random part of the other half: never zero, and never the same for
    /// all clients.
    fn back_off(&self, following: &Following) -> Duration {
        let unit = 0.5 + 0.5 * self.sink.random().unit();
        RESTART.delay(following.failures, unit)
    }
}

type Answer = Result<EndpointSet, Error>;

async fn next(stream: &mut Pin<Box<dyn Stream<Item = Answer> + Send + '_>>) -> Option<Answer> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// The answers that a stream had ready at one time.
struct Waiting {
    /// The newest good answer.
    good: Option<Answer>,
    /// The error that followed it.
    error: Option<Answer>,
    /// The stream has ended and must not be polled again.
    ended: bool,
}

/// Collects the newest of the answers that are already waiting, starting with `first`.
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
