//! The loop that watches one service with blocking queries and judges their answers.

mod emptiness;
mod failure;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::{EndpointSet, PortChoice, Revision};
use failover_core::{Error, ErrorKind, ServiceName, Time};
use failover_provider_kit::{Backoff, Publisher, RequestPacer};
use tokio::sync::SemaphorePermit;

use crate::backoff::backoff;
use crate::client::{Client, Limit};
use crate::connections::Waited;
use crate::convert;
use crate::empty_check;
use crate::error;
use crate::leader::Leader;
use crate::metrics::{Counts, Watching};
use crate::settings::{Consistency, Order};
use crate::wire::answer::Answer;
use crate::wire::{Mode, Read};

/// Time during which the leader answers after the index went back.
const LEADER: Duration = Duration::from_secs(60);
/// The minimum interval between repetitions of an unchanged set.
const CONFIRM: Duration = Duration::from_secs(10);

/// Follows a service until it is aborted.
pub(crate) struct ServiceWatch {
    pub(crate) client: Arc<Client>,
    pub(crate) leader: Arc<Leader>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) service: ServiceName,
    pub(crate) port: Option<PortChoice>,
    pub(crate) publisher: Publisher<EndpointSet>,
}

/// State kept between answers.
struct WatchState<'a> {
    /// When the last set was published.
    published: Option<Time>,
    /// The index to block on; 0 returns immediately.
    index: u64,
    /// The highest accepted index.
    highest: u64,
    /// Whether the next answer must come from the leader.
    in_doubt: bool,
    /// Until then the leader answers: a stale read could reach the lagging server again.
    leader_until: Option<Time>,
    hold: Hold,
    last: Option<EndpointSet>,
    /// The nodes of the last instances, with their ids.
    nodes: BTreeMap<String, String>,
    failing: bool,
    /// Whether the last pause ended early.
    woken_early: bool,
    backoff: Backoff,
    pacer: RequestPacer,
    permit: Option<SemaphorePermit<'a>>,
    watching: Watching,
}

/// Why an empty answer may be due to a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Why {
    /// All instances were in service and went together.
    #[default]
    Sudden,
    /// An agent was away, or has left.
    Return,
    /// The servers went back to older data.
    Reset,
}

/// Whether an empty answer is held back.
#[derive(Default)]
struct Hold {
    until: Option<Time>,
    why: Why,
    /// Whether listeners know of it.
    is_told: bool,
}

/// The verdict on an answer.
enum Step {
    /// Accepted; `news` says whether it changed anything.
    Good { news: bool },
    /// Ignored; ask again, within the rate limit.
    Again,
    /// The service becomes stale and is asked for after a pause.
    Failed(Error),
    /// The agent has no connection for a watch: the service is polled, at once or after the interval.
    Polled { at_once: bool },
}

/// What became of a request.
enum Asked {
    Answer(Answer),
    Failed(Error),
    Refused,
    GivenUp,
}

impl ServiceWatch {
    pub(crate) async fn run(self) {
        let client = Arc::clone(&self.client);
        let mut state = WatchState {
            published: None,
            index: 0,
            highest: 0,
            in_doubt: false,
            leader_until: None,
            hold: Hold::default(),
            last: None,
            nodes: BTreeMap::new(),
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
                Asked::Answer(answer) => {
                    let bytes = answer.body.len();
                    (self.take(answer, mode, after, began, &mut state).await, bytes)
                }
                Asked::Failed(error) => (Step::Failed(error), 0),
                Asked::Refused => (Step::Polled { at_once: true }, 0),
                Asked::GivenUp => (Step::Polled { at_once: false }, 0),
            };
            match step {
                Step::Polled { at_once } => {
                    client.connections.refuse(state.permit.take(), self.client.timing.now());
                    if at_once {
                        state.index = 0;
                    }
                }
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
            state.permit = client.connections.acquire(client.timing.now());
        }
        let polling = state.permit.is_none();
        if polling != state.watching.is_polling() {
            state.watching.set_polling(polling);
            let service = self.service.as_str();
            if polling {
                let (most, every) = (client.settings.connections, client.settings.poll);
                let option = if client.connections.is_short() {
                    "limits.http_max_conns_per_client of the agent, which refuses more"
                } else {
                    "connections"
                };
                tracing::warn!(target: "failover::consul",
                    service,
                    connections = most,
                    "no connection is left for a watch: the service is polled every {every:?} ({option})"
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
        let held = state.hold.until.map(|until| until.since(self.client.timing.now()));
        // Whole seconds that end after the grace, at once.
        let held = held.map(|left| left.as_secs() + 1);
        let most = settings.wait.as_secs().max(1);
        let wait = held.map_or(most, |left| left.min(most));
        (mode, Some((state.index, Duration::from_secs(wait))))
    }

    async fn ask(&self, mode: Mode, after: Option<(u64, Duration)>, is_failing: bool) -> Asked {
        let call = match self.client.settings.health(self.service.as_str(), None, Read { mode, after }) {
            Ok(call) => call,
            Err(error) => return Asked::Failed(error),
        };
        let what = call.what.clone();
        // Servers without a leader delay a leader read by 7 s. Listeners that have the last state
        // receive the error earlier.
        let asks_leader = after.is_none() && mode != Mode::Stale && !is_failing;
        let asking = async {
            match after {
                Some((_, wait)) => self.client.ask_and_wait(call, wait).await,
                None => Waited::Answered(self.client.ask(call, Limit::Short).await),
            }
        };
        let waited = tokio::select! {
            waited = asking => waited,
            error = self.leader.lost(&self.client), if asks_leader => return Asked::Failed(error),
        };
        match waited {
            Waited::Answered(Ok(answer)) if answer.status == 200 => Asked::Answer(answer),
            Waited::Answered(Ok(answer)) => Asked::Failed(error::of_status(&what, &answer)),
            Waited::Answered(Err(error)) => Asked::Failed(error),
            Waited::Refused => Asked::Refused,
            Waited::GivenUp => Asked::GivenUp,
        }
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
        let nodes = convert::nodes(&answer.body);
        let set = match convert::read_set(
            &self.client.settings,
            &self.service,
            self.port.as_ref(),
            std::mem::take(&mut answer.body),
            Order::ById,
        )
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
            state.hold.until = Some(self.client.timing.now() + self.client.settings.empty_grace);
            state.hold.why = Why::Reset;
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
        state.hold.until = None;
        state.nodes = nodes;
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
        let set = if self.client.settings.passing_only { convert::only_passing(set) } else { set };
        let same = state.last.as_ref().is_some_and(|last| is_same(last, &set));
        let now = self.client.timing.now();
        if same && !state.failing {
            // The same again shows that the agent answers. That is news once in a while.
            if state.published.is_none_or(|at| now.since(at) >= CONFIRM) {
                state.published = Some(now);
                self.publisher.publish(set);
            }
            return false;
        }
        state.published = Some(now);
        state.failing = false;
        state.hold.is_told = false;
        state.last = Some(set.clone());
        self.publisher.publish(set);
        !same
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
