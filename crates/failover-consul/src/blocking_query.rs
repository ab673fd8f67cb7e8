//! The loop that follows one service by blocking queries, and judges their answers.

use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::{EndpointSet, Revision};
use failover_core::{Error, ErrorKind, RetryAdvice, ServiceName, Time, codes};
use failover_provider_kit::{Backoff, Publisher, RequestPacer};
use tokio::sync::SemaphorePermit;

use crate::backoff::backoff;
use crate::client::{Client, Limit};
use crate::convert;
use crate::empty_check::{self, Emptiness};
use crate::error;
use crate::leader::Leader;
use crate::metrics::{Counts, Watching};
use crate::settings::Consistency;
use crate::wire::answer::Answer;
use crate::wire::{Mode, Read};

/// After a refusal for lack of permission: the file has no other token yet.
const REFUSED: Duration = Duration::from_secs(30);
/// A pause after an error of the servers that is longer than this ends early when they have a leader.
const NO_LEADER: Duration = Duration::from_secs(2);
/// After an index that went back.
const LEADER: Duration = Duration::from_secs(60);

/// Follows a service until it is aborted.
pub(crate) struct ServiceWatch {
    pub(crate) client: Arc<Client>,
    pub(crate) leader: Arc<Leader>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) service: ServiceName,
    pub(crate) publisher: Publisher<EndpointSet>,
}

/// What is kept from one answer to the next.
struct WatchState<'a> {
    /// The index to wait for a change of; 0 asks at once.
    index: u64,
    /// The highest index that counted.
    highest: u64,
    /// The next answer has to be the leader's.
    in_doubt: bool,
    /// Until then the leader is asked: a server that lags would be met again at once.
    leader_until: Option<Time>,
    /// Until then an empty answer is not believed: the servers have gone back to older data.
    empty_from: Option<Time>,
    last: Option<EndpointSet>,
    failing: bool,
    /// The last pause ended early, because a listener came.
    woken_early: bool,
    backoff: Backoff,
    pacer: RequestPacer,
    permit: Option<SemaphorePermit<'a>>,
    watching: Watching,
}

/// What an answer was.
enum Step {
    /// It counts, and said something new or not.
    Good { news: bool },
    /// It does not count; ask again, within the rate.
    Again,
    /// The service is to be called stale, and asked for after a while.
    Failed(Error),
}

impl ServiceWatch {
    pub(crate) async fn run(self) {
        let client = Arc::clone(&self.client);
        let mut state = WatchState {
            index: 0,
            highest: 0,
            in_doubt: false,
            leader_until: None,
            empty_from: None,
            last: None,
            failing: false,
            woken_early: false,
            backoff: backoff(),
            pacer: RequestPacer::new(),
            permit: None,
            watching: self.counts.watching(),
        };
        loop {
            self.find_permit(&client, &mut state);
            if state.watching.is_polling() && state.index > 0 {
                tokio::time::sleep(self.client.timing.jittered(client.settings.poll, 0.1)).await;
                self.find_permit(&client, &mut state);
            }
            let began = self.client.timing.now();
            let (mode, after) = self.next(&state);
            let (step, bytes) = match self.ask(mode, after, state.failing).await {
                Ok(answer) => {
                    let bytes = answer.body.len();
                    (self.take(answer, mode, after, began, &mut state).await, bytes)
                }
                Err(error) => (Step::Failed(error), 0),
            };
            match step {
                Step::Failed(error) => self.failed(error, &mut state).await,
                Step::Good { .. }
                    if after.is_some_and(|(_, wait)| self.client.timing.now().since(began) >= wait) => {}
                Step::Good { news } => {
                    let pause = state.pacer.after_answer(self.client.timing.now(), bytes, news);
                    tokio::time::sleep(pause).await;
                }
                Step::Again => {
                    let pause = state.pacer.after_answer(self.client.timing.now(), bytes, false);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Takes a place among the watches that wait, or says that there is none.
    fn find_permit<'a>(&self, client: &'a Client, state: &mut WatchState<'a>) {
        if state.permit.is_none() {
            state.permit = client.watch_permit();
        }
        let polling = state.permit.is_none();
        if polling != state.watching.is_polling() {
            state.watching.set_polling(polling);
            let service = self.service.as_str();
            if polling {
                let (most, every) = (client.settings.connections, client.settings.poll);
                tracing::warn!(target: "failover::consul",
                    service,
                    connections = most,
                    "no connection is left for a watch: the service is polled every {every:?} (connections)"
                );
            } else {
                tracing::info!(target: "failover::consul", service, "the service is watched again instead of polled");
            }
        }
    }

    fn next(&self, state: &WatchState<'_>) -> (Mode, Option<(u64, Duration)>) {
        let settings = &self.client.settings;
        let mode = match settings.consistency {
            _ if state.in_doubt
                || state.leader_until.is_some_and(|until| self.client.timing.now() < until) =>
            {
                Mode::Leader
            }
            Consistency::Stale(_) => Mode::Stale,
            Consistency::Leader => Mode::Leader,
            Consistency::Consistent => Mode::Consistent,
        };
        if state.index == 0 || state.watching.is_polling() {
            return (mode, None);
        }
        // While an empty answer is held the end of that is not slept through.
        let held = state.empty_from.map(|until| until.since(self.client.timing.now()));
        let wait = held.map_or(settings.wait, |left| left.clamp(Duration::from_secs(1), settings.wait));
        (mode, Some((state.index, Duration::from_secs(wait.as_secs().max(1)))))
    }

    async fn ask(
        &self,
        mode: Mode,
        after: Option<(u64, Duration)>,
        is_failing: bool,
    ) -> Result<Answer, Error> {
        let call = self.client.settings.health(self.service.as_str(), None, Read { mode, after })?;
        let what = call.what.clone();
        let limit = after.map_or(Limit::Short, |(_, wait)| Limit::Wait(wait));
        // Servers without a leader delay a leader read by 7 s. Listeners that have the last state learn of
        // it sooner.
        let asks_leader = after.is_none() && mode != Mode::Stale && !is_failing;
        let answer = tokio::select! {
            answer = self.client.ask(call, limit) => answer?,
            error = self.leader.lost(&self.client), if asks_leader => return Err(error),
        };
        if answer.status == 200 {
            return Ok(answer);
        }
        let refused = error::of_status(&what, &answer);
        if refused.kind() == ErrorKind::Permission {
            return Err(refused.with_retry(RetryAdvice::After(self.client.timing.jittered(REFUSED, 0.1))));
        }
        Err(refused)
    }

    async fn take(
        &self,
        mut answer: Answer,
        mode: Mode,
        after: Option<(u64, Duration)>,
        began: Time,
        state: &mut WatchState<'_>,
    ) -> Step {
        let what = format!("reading service {}", self.service);
        let set =
            match convert::read_set(&self.client.settings, &self.service, std::mem::take(&mut answer.body))
                .await
            {
                Ok(set) => set,
                Err(error) => return Step::Failed(error.context(&what)),
            };
        // 0 would ask again and again without a pause.
        let index = answer.index.unwrap_or(1).max(1);
        if index < state.highest {
            // A server with older data, or one that has lost its data. The leader's answer is published instead.
            tracing::debug!(target: "failover::consul", service = self.service.as_str(), "the index went back; the leader is asked");
            state.highest = index;
            state.index = 0;
            state.in_doubt = true;
            state.leader_until = Some(self.client.timing.now() + LEADER);
            state.empty_from = Some(self.client.timing.now() + self.client.settings.empty_grace);
            return Step::Again;
        }
        let set = set.with_age(answer.last_contact).with_revision(Revision::new(index.to_string()));
        let has_waited = after.is_some_and(|(_, wait)| self.client.timing.now().since(began) >= wait / 2);
        if let Some(error) = self.lags(&answer, mode) {
            if error.code() == error::NO_LEADER
                && has_waited
                && self.leader.is_known(&self.client).await.is_ok()
            {
                // So it was when the wait began, in an election that is over. What has changed meanwhile the leader knows.
                state.index = 0;
                state.in_doubt = true;
                return Step::Again;
            }
            if state.last.is_none() && !set.entries().is_empty() {
                // Better than nothing; the error makes it stale at once.
                self.publish(set, state);
            }
            return Step::Failed(error);
        }
        if set.entries().is_empty() && set.rejected_count() == 0 {
            return self.take_empty(&answer, set, index, state).await;
        }
        state.empty_from = None;
        state.highest = index;
        let waited_for_nothing = has_waited && after.is_some_and(|(old, _)| old == index);
        state.index = index;
        state.in_doubt = false;
        if waited_for_nothing {
            // What an answer says of the leader was so when the wait began; and the part of newer servers that answers watches does
            // not know, and has an answer without any server.
            match self.leader.is_known(&self.client).await {
                Err(error) if answer.is_streaming() || error.code() == error::NO_LEADER => {
                    return Step::Failed(error);
                }
                _ => {}
            }
        }
        state.backoff.reset();
        Step::Good { news: self.publish(set, state) }
    }

    /// An answer without instances: there are none, or the data are lost or hidden.
    async fn take_empty(
        &self,
        answer: &Answer,
        set: EndpointSet,
        index: u64,
        state: &mut WatchState<'_>,
    ) -> Step {
        let before = state.last.as_ref();
        if before.is_some_and(|last| last.entries().is_empty())
            && !state.failing
            && state.empty_from.is_none()
        {
            // It was looked into already.
            state.highest = index;
            state.index = index;
            return Step::Good { news: false };
        }
        let had_some = before.is_some_and(|last| !last.entries().is_empty());
        match empty_check::verify(&self.client, &self.service, answer).await {
            Ok(Emptiness::NotEmpty) => {
                // The leader knows better; its answer is asked for on its own.
                state.index = 0;
                state.in_doubt = true;
                Step::Again
            }
            Ok(found) => {
                state.highest = index;
                state.index = index;
                state.in_doubt = false;
                let held = state.empty_from.is_some_and(|until| self.client.timing.now() < until);
                if had_some && held {
                    if !state.failing {
                        state.failing = true;
                        let message = format!(
                            "service {} is empty since the servers went back to older data; for {:?} that is not believed",
                            self.service, self.client.settings.empty_grace
                        );
                        self.publisher
                            .error(Error::new(ErrorKind::NotFound, message).with_code("EMPTY_AFTER_RESET"));
                    }
                    return Step::Good { news: false };
                }
                let was_reset = state.empty_from.take().is_some();
                state.backoff.reset();
                let empty = EndpointSet::unknown_service()
                    .with_age(set.age())
                    .with_revision(Revision::new(index.to_string()));
                let sure = found == Emptiness::Certain && !(was_reset && had_some);
                Step::Good { news: self.publish(if sure { empty.confirmed() } else { empty }, state) }
            }
            Err(error) => Step::Failed(error),
        }
    }

    /// Whether an answer is too old to count.
    fn lags(&self, answer: &Answer, mode: Mode) -> Option<Error> {
        let Consistency::Stale(most) = self.client.settings.consistency else { return None };
        if mode != Mode::Stale {
            return None;
        }
        let late = answer.last_contact;
        if late > most {
            let message =
                format!("reading service {}: the server is {late:?} behind the leader", self.service);
            return Some(Error::new(ErrorKind::Connection, message).with_code("STALE"));
        }
        if answer.known_leader == Some(false) && !answer.is_streaming() {
            let message = format!("reading service {}: the servers have no leader", self.service);
            return Some(Error::new(ErrorKind::Connection, message).with_code(error::NO_LEADER));
        }
        None
    }

    /// Publishes a set that is new or ends a failure. Returns whether it is new.
    fn publish(&self, set: EndpointSet, state: &mut WatchState<'_>) -> bool {
        let same = state.last.as_ref().is_some_and(|last| is_same(last, &set));
        if same && !state.failing {
            return false;
        }
        state.failing = false;
        state.last = Some(set.clone());
        self.publisher.publish(set);
        !same
    }

    async fn failed(&self, error: Error, state: &mut WatchState<'_>) {
        let pause = match error.retry() {
            RetryAdvice::After(pause) => pause,
            _ => state.backoff.after_failure(self.client.timing.now(), self.client.timing.unit()),
        };
        // A listener without any set gets that of a server without a leader, every other time.
        state.in_doubt = state.last.is_some() || !state.in_doubt;
        state.failing = true;
        state.index = 0;
        // A time that the server asked for is kept, whatever is answered meanwhile.
        let is_told = error.kind() == ErrorKind::Permission || matches!(error.retry(), RetryAdvice::After(_));
        let code = error.code();
        // Not again at once where somebody listened and nothing was to be had: the pauses are to grow.
        let is_absent = code == codes::CONNECTION_ERROR;
        let reconnects = is_absent && !state.woken_early;
        state.woken_early = false;
        self.publisher.error(error);
        if is_told {
            tokio::time::sleep(pause).await;
        } else if matches!(code, error::NO_LEADER | codes::SERVER_ERROR | "STALE") {
            // The agent answers, and what it lacks is asked for once for all services. That it answers somebody, a heartbeat for one,
            // says nothing of that.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.leader.returned(&self.client), if code != codes::SERVER_ERROR || pause > NO_LEADER => {}
            }
        } else if is_absent {
            tokio::select! {
                () = self.client.pause_unreachable(pause, &mut state.backoff) => {}
                () = self.client.reconnect.wait(true), if reconnects => state.woken_early = true,
            }
        } else {
            self.client.pause(pause).await;
        }
    }
}

fn is_same(a: &EndpointSet, b: &EndpointSet) -> bool {
    let rejected = |set: &EndpointSet| -> Vec<String> {
        set.rejected().iter().map(|entry| format!("{} {}", entry.what(), entry.error())).collect()
    };
    a.entries() == b.entries()
        && a.rejected_count() == b.rejected_count()
        && a.is_confirmed() == b.is_confirmed()
        && rejected(a) == rejected(b)
}
