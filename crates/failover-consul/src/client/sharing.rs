//! How the requests of a provider share what the agent gives them: connections, and time.

use std::time::Duration;

use failover_core::{Error, RetryAdvice, Time, codes};
use failover_provider_kit::Backoff;
use http::Method;
use tokio::sync::SemaphorePermit;
use tokio::time::sleep;

use crate::client::{Client, Limit};
use crate::connections::Waited;
use crate::outage::{Outage, is_about_connections, is_limited};
use crate::wire::Call;
use crate::wire::answer::Answer;

/// A connection that is lost so soon was never served.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The pause after a refusal of a token that was never accepted.
const REFUSED: Duration = Duration::from_secs(30);
/// Time in which the agent notices a closed connection, and other watches notice a dead agent.
const SETTLES: Duration = Duration::from_millis(100);

impl Client {
    /// Sends a blocking query.
    ///
    /// A dropped future leaves nothing behind: the connection is closed.
    pub(crate) async fn ask_and_wait(&self, call: Call, wait: Duration) -> Waited {
        let began = self.timing.now();
        let waiting = self.connections.waiting();
        let answer = tokio::select! {
            biased;
            answer = self.ask(call, Limit::Wait(wait)) => answer,
            () = self.connections.wanted() => return Waited::GivenUp,
        };
        drop(waiting);
        let is_refused = match &answer {
            // Where the server says when to ask again, it limits requests rather than connections.
            Ok(answer) => is_limited(answer, false) && answer.retry_after.is_none(),
            Err(error) => self.is_turned_away(error, began).await,
        };
        if is_refused { Waited::Refused } else { Waited::Answered(answer) }
    }

    /// Sends a request like [`try_twice`](Self::try_twice). If the agent has no connection left for
    /// it, a watch of this process gives up its own: a heartbeat is worth more.
    pub(crate) async fn try_with_room(&self, call: &Call, limit: Limit) -> Result<Answer, Error> {
        let began = self.timing.now();
        let answer = self.try_twice(call, limit).await;
        let (is_refused, is_certain) = match (&answer, limit) {
            (_, Limit::Wait(_)) => (false, false),
            (Ok(answer), Limit::Short) => {
                let is_refused = is_limited(answer, call.is_state) && is_about_connections(answer);
                (is_refused, is_refused)
            }
            (Err(error), Limit::Short) => {
                let is_refused = self.is_turned_away(error, began).await;
                // Once, it can have been a connection that was idle for too long.
                (is_refused, is_refused && self.connections.turns_away())
            }
        };
        // A heartbeat or a write is worth another attempt also where no watch has a connection to give
        // up, such as while the provider closes.
        let is_worth_it = call.is_beat || call.method != Method::GET;
        let gives_up = || self.connections.take_one(self.timing.now(), self.settings.wait / 4);
        if !is_refused || (is_certain && !gives_up() && !is_worth_it) {
            return answer;
        }
        sleep(SETTLES).await;
        // What was refused was not carried out; a write whose connection was lost may have been.
        if answer.is_ok() || call.method == Method::GET { self.try_twice(call, limit).await } else { answer }
    }

    /// Returns whether the agent closed the connection of a request that began at this time because it
    /// has too many. An agent that dies closes those of all watches.
    async fn is_turned_away(&self, error: &Error, began: Time) -> bool {
        if error.code() != codes::CONNECTION_LOST || self.timing.now().since(began) >= AT_ONCE {
            return false;
        }
        sleep(SETTLES).await;
        self.connections.has_waiting()
    }

    /// Records a failure of a watch, and returns its kind and the pause before the next request. If the
    /// agent has no connection for the watch, takes its permit.
    pub(crate) fn pause_after(
        &self,
        error: &Error,
        was_accepted: bool,
        backoff: &mut Backoff,
        permit: &mut Option<SemaphorePermit<'_>>,
    ) -> (Outage, Duration) {
        let outage = Outage::of(error);
        let now = self.timing.now();
        self.outages.note(outage, now);
        let own = backoff.after_failure(now, self.timing.unit());
        let pause = match (error.retry(), outage) {
            (RetryAdvice::After(pause), _) => pause.max(own),
            // Servers that restart refuse a token for seconds that they accepted before.
            (_, Outage::Denied) if !was_accepted => self.timing.jittered(REFUSED, 0.1),
            _ => own,
        };
        if outage == Outage::Limited {
            self.connections.refuse(permit.take(), now);
        }
        (outage, pause)
    }

    /// Waits for `pause` after a failure. While others fail in the same way, the pause is extended, so
    /// that many services together ask about as often as one. With `wakes`, the agent's answer to any
    /// other request ends it. Returns whether it did.
    pub(crate) async fn pause_together(
        &self,
        outage: Outage,
        mut pause: Duration,
        backoff: &mut Backoff,
        wakes: bool,
    ) -> bool {
        loop {
            let since = self.timing.now();
            if !wakes {
                sleep(pause).await;
            } else if self.pause(pause).await {
                return true;
            }
            if self.outages.last(outage).is_none_or(|at| at <= since) {
                return false;
            }
            pause = backoff.after_failure(self.timing.now(), self.timing.unit());
        }
    }
}
