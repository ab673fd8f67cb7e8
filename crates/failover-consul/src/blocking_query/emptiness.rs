//! Answers without instances: they are verified, and held back where they may be due to a loss.

use std::time::Duration;

use failover_core::provider::{EndpointSet, Revision};
use failover_core::{Error, ErrorKind, Lifecycle};

use crate::blocking_query::{ServiceWatch, Step, WatchState, Why};
use crate::empty_check::{self, Emptiness};
use crate::wire::answer::Answer;

/// How long an empty answer is held back after the agent's return, at most: as long as owners take to
/// notice that it has lost their endpoints, and to register them again.
const RETURN_GRACE: Duration = Duration::from_secs(15);

/// How long an empty answer after instances in service is held back, at most. A node that keeps its ID
/// while its agent loses its data looks like that from elsewhere; the owners are back within about a
/// second. Endpoints that are really gone fail for this long, as a service without endpoints does.
const SUDDEN_GRACE: Duration = Duration::from_secs(3);

impl ServiceWatch {
    /// Judges an answer without instances: there are none, or the data are lost or hidden.
    pub(super) async fn take_empty(
        &self,
        answer: &Answer,
        set: EndpointSet,
        index: u64,
        state: &mut WatchState<'_>,
    ) -> Step {
        let before = state.last.as_ref();
        if before.is_some_and(|last| last.entries().is_empty())
            && !state.failing
            && state.hold.until.is_none()
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
                if had_some && self.holds_empty(state).await {
                    state.failing = true;
                    // What ends so soon is no news.
                    if state.hold.why != Why::Sudden && !std::mem::replace(&mut state.hold.is_told, true) {
                        self.publisher.error(self.held(state.hold.why));
                    }
                    return Step::Good { news: false };
                }
                let was_reset = state.hold.until.take().is_some() && state.hold.why == Why::Reset;
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

    /// Returns whether an empty answer after instances may be due to a loss, which is repaired soon.
    async fn holds_empty(&self, state: &mut WatchState<'_>) -> bool {
        if state.hold.until.is_none() {
            let (now, most) = (self.client.timing.now(), self.client.settings.empty_grace);
            let grace = RETURN_GRACE.min(most);
            let returned = self.client.outages.returned().map(|at| at + grace).filter(|until| now < *until);
            let nodes = std::mem::take(&mut state.nodes);
            (state.hold.why, state.hold.until) = match returned {
                Some(until) => (Why::Return, Some(until)),
                None if empty_check::has_lost_node(&self.client, &nodes).await => {
                    (Why::Return, Some(now + grace))
                }
                None if was_in_service(state) => (Why::Sudden, Some(now + SUDDEN_GRACE.min(most))),
                None => (Why::Sudden, None),
            };
        }
        state.hold.until.is_some_and(|until| self.client.timing.now() < until)
    }

    /// Returns the error for an empty answer that is held back.
    fn held(&self, why: Why) -> Error {
        let grace = self.client.settings.empty_grace;
        let (since, grace, code) = if why == Why::Reset {
            ("the servers went back to older data", grace, "EMPTY_AFTER_RESET")
        } else {
            ("an agent was away, has left or lost its data", RETURN_GRACE.min(grace), "EMPTY_AFTER_RETURN")
        };
        let message = format!(
            "service {} is empty since {since}; keeping the last endpoints for {grace:?}",
            self.service
        );
        Error::new(ErrorKind::NotFound, message).with_code(code)
    }
}

/// Returns whether any of the last instances was in service: what is drained before it is deregistered
/// is no loss.
fn was_in_service(state: &WatchState<'_>) -> bool {
    let mut last = state.last.iter().flat_map(EndpointSet::entries);
    last.any(|entry| entry.lifecycle() == Lifecycle::InService)
}
