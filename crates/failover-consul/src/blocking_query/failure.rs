//! The pause after a failure.

use std::time::Duration;

use failover_core::{Error, RetryAdvice, codes};

use crate::blocking_query::{ServiceWatch, WatchState};
use crate::error;
use crate::outage::Outage;

/// A pause after a server error that is longer than this ends early once the servers have a leader.
const NO_LEADER: Duration = Duration::from_secs(2);

impl ServiceWatch {
    pub(super) async fn failed(&self, error: Error, state: &mut WatchState<'_>) {
        let client = &self.client;
        let was_accepted = state.last.is_some();
        let (outage, pause) = client.pause_after(&error, was_accepted, &mut state.backoff, &mut state.permit);
        // A listener that has no set yet gets, on every other attempt, the set of a server without
        // a leader.
        state.in_doubt = state.last.is_some() || !state.in_doubt;
        state.failing = true;
        state.index = 0;
        // A pause that the server requested is kept, even if other requests succeed meanwhile.
        let is_requested = matches!(error.retry(), RetryAdvice::After(_));
        let code = error.code();
        // After an early retry that failed, the next pause is not cut short, so that the pauses grow.
        let wakes = !std::mem::take(&mut state.woken_early);
        self.publisher.error(error);
        if matches!(code, error::NO_LEADER | codes::SERVER_ERROR | "STALE") && !is_requested {
            // The agent answers, and one request for all services checks for a leader. Successful
            // requests such as heartbeats do not prove that there is one.
            let asks_leader = code != codes::SERVER_ERROR || (wakes && pause > NO_LEADER);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.leader.returned(client), if asks_leader => {
                    state.woken_early = code == codes::SERVER_ERROR;
                }
            }
            return;
        }
        let is_absent = code == codes::CONNECTION_ERROR;
        let wakes_on_answer = outage == Outage::Unreachable && !is_requested && (wakes || is_absent);
        tokio::select! {
            woken = client.pause_together(outage, pause, &mut state.backoff, wakes_on_answer) => {
                state.woken_early = woken && !is_absent;
            }
            () = client.reconnect.wait(true), if is_absent && wakes => state.woken_early = true,
        }
    }
}
