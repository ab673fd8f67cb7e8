//! Answers without instances: they are verified, and held back where they may be due to a loss.

use std::time::Duration;

use failover_core::provider::{EndpointSet, Revision};
use failover_core::{Error, ErrorKind};

use crate::blocking_query::{ServiceWatch, Step, WatchState};
use crate::empty_check::{self, Emptiness};
use crate::wire::answer::Answer;

/// How long an empty answer is held back after the agent's return, at most: as long as owners take to
/// notice that it has lost their endpoints, and to register them again.
const RETURN_GRACE: Duration = Duration::from_secs(15);

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
                    if !std::mem::replace(&mut state.hold.is_told, true) {
                        self.publisher.error(self.held(state.hold.was_reset));
                    }
                    return Step::Good { news: false };
                }
                let was_reset = state.hold.until.take().is_some() && state.hold.was_reset;
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

    /// Returns whether an empty answer after instances may be due to a loss, which is repaired soon: the
    /// servers went back to older data, or an agent has returned, perhaps without its data, or has left.
    async fn holds_empty(&self, state: &mut WatchState<'_>) -> bool {
        let grace = RETURN_GRACE.min(self.client.settings.empty_grace);
        if state.hold.until.is_none() {
            let now = self.client.timing.now();
            let until = self.client.outages.returned().map(|at| at + grace).filter(|until| now < *until);
            let nodes = std::mem::take(&mut state.nodes);
            state.hold.was_reset = false;
            state.hold.until = match until {
                None if empty_check::has_lost_node(&self.client, &nodes).await => Some(now + grace),
                until => until,
            };
        }
        state.hold.until.is_some_and(|until| self.client.timing.now() < until)
    }

    /// Returns the error for an empty answer that is held back.
    fn held(&self, was_reset: bool) -> Error {
        let grace = self.client.settings.empty_grace;
        let (since, grace, code) = if was_reset {
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
