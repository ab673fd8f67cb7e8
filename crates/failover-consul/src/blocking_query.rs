//! The loop that watches one service with blocking queries and judges their answers.

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

/// Pause after a permission error, while the token file still holds the refused token.
const REFUSED: Duration = Duration::from_secs(30);
/// A pause after a server error that is longer than this ends early once the servers have a leader.
const NO_LEADER: Duration = Duration::from_secs(2);
/// Time during which the leader answers after the index went back.
const LEADER: Duration = Duration::from_secs(60);

/// Follows a service until it is aborted.
pub(crate) struct ServiceWatch {
    pub(crate) client: Arc<Client>,
    pub(crate) leader: Arc<Leader>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) service: ServiceName,
    pub(crate) publisher: Publisher<EndpointSet>,
}

/// State kept between answers.
struct WatchState<'a> {
    /// The index to block on; 0 returns immediately.
    index: u64,
    /// The highest accepted index.
    highest: u64,
    /// Whether the next answer must come from the leader.
    in_doubt: bool,
    /// Until then the leader answers: a stale read could reach the lagging server again.
    leader_until: Option<Time>,
    /// Until then an empty answer is held back, because the servers went back to older data.
    empty_from: Option<Time>,
    last: Option<EndpointSet>,
    failing: bool,
    /// Whether the last pause ended early for a new listener.
    woken_early: bool,
    backoff: Backoff,
    pacer: RequestPacer,
    permit: Option<SemaphorePermit<'a>>,
    watching: Watching,
}

/// The verdict on an answer.
enum Step {
    /// Accepted; `news` says whether it changed anything.
    Good { news: bool },
    /// Ignored; ask again, within the rate limit.
    Again,
    /// The service becomes stale and is asked for after a pause.
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

    /// Acquires a watch permit if one is free; otherwise the service is polled.
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
        // The wait must not outlast the grace of a held empty answer.
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
        // Servers without a leader delay a leader read by 7 s. Listeners that have the last state
        // receive the error earlier.
        let asks_leader = after.is_none() && mode != Mode::Stale && !is_failing;
        let answer = tokio::select! {
            answer = self.client.ask(call, limit) => answer?,
            error = self.leader.lost(&self.client), if asks_leader => return Err(error),
        };
        if answer.status == 200 {
            return Ok(answer);
        }
        Err(error::of_status(&what, &answer))
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
        // Index 0 would loop without a pause.
        let index = answer.index.unwrap_or(1).max(1);
        if index < state.highest {
            // The server has older data or has lost its data. The leader's answer is published
            // instead.
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
                // The answer describes the start of the wait, during an election that is now over.
                // The leader knows what has changed meanwhile.
                state.index = 0;
                state.in_doubt = true;
                return Step::Again;
            }
            if state.last.is_none() && !set.entries().is_empty() {
                // There is no earlier set to serve; the error that follows marks this one stale.
                self.publish(set, state);
            }
            return Step::Failed(error);
        }
        if set.entries().is_empty() && set.rejected_count() == 0 {
            return self.take_empty(&answer, set, index, state).await;
        }
        let mut set = set;
        if answer.filtered {
            set.reject(format!("service {}", self.service), empty_check::partly_hidden());
        }
        state.empty_from = None;
        state.highest = index;
        let waited_for_nothing = has_waited && after.is_some_and(|(old, _)| old == index);
        state.index = index;
        state.in_doubt = false;
        if waited_for_nothing {
            // An answer describes the leader as of the start of the wait. The streaming backend of
            // newer servers does not know the leader and answers even if no server is reachable.
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

    /// Judges an answer without instances: there are none, or the data are lost or hidden.
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
            && !answer.filtered
        {
            // It has already been verified.
            state.highest = index;
            state.index = index;
            return Step::Good { news: false };
        }
        let had_some = before.is_some_and(|last| !last.entries().is_empty());
        match empty_check::verify(&self.client, &self.service, answer).await {
            Ok(Emptiness::NotEmpty) => {
                // The leader knows instances; the next request reads them from it.
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
                            "service {} is empty since the servers went back to older data; keeping the last endpoints for {:?}",
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

    /// Returns an error if an answer is too old to be accepted.
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
        let pause = match (error.retry(), error.kind()) {
            (RetryAdvice::After(pause), _) => pause,
            // Servers that restart refuse a token for seconds that they accepted before.
            (_, ErrorKind::Permission) if state.last.is_none() => self.client.timing.jittered(REFUSED, 0.1),
            _ => state.backoff.after_failure(self.client.timing.now(), self.client.timing.unit()),
        };
        // A listener that has no set yet gets, on every other attempt, the set of a server without
        // a leader.
        state.in_doubt = state.last.is_some() || !state.in_doubt;
        state.failing = true;
        state.index = 0;
        // A pause that the server requested is kept, even if other requests succeed meanwhile.
        let is_requested =
            error.kind() == ErrorKind::Permission || matches!(error.retry(), RetryAdvice::After(_));
        let code = error.code();
        // After an early retry for a listener that failed, the next pause is not cut short, so that
        // the pauses grow.
        let is_absent = code == codes::CONNECTION_ERROR;
        let reconnects = is_absent && !state.woken_early;
        state.woken_early = false;
        self.publisher.error(error);
        if is_requested {
            tokio::time::sleep(pause).await;
        } else if matches!(code, error::NO_LEADER | codes::SERVER_ERROR | "STALE") {
            // The agent answers, and one request for all services checks for a leader. Successful
            // requests such as heartbeats do not prove that there is one.
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
