//! The load: a fixed number of calls in each second, whether or not the earlier ones have been answered.

use std::time::{Duration, Instant};

use failover::ServiceHandle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{Answer, Client, HttpRules};
use crate::clock::Clock;
use crate::live::Live;
use crate::report::Ledger;

/// After a longer pause, in seconds, the calls that it swallowed are not made up for: a burst of
/// them would measure the pause.
const CATCH_UP: f64 = 0.1;

/// What one call has come to.
pub(crate) struct Finished {
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

/// Begins `rate` calls per second for as long as `goes_on`, and waits for the last answer.
pub(crate) async fn run(
    service: ServiceHandle<HttpRules>,
    client: Client,
    clock: Clock,
    rate: f64,
    goes_on: impl Fn() -> bool,
) -> Result<Ledger, JoinError> {
    let mut ledger = Ledger::new(clock);
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut begun = 0.0;
    let mut live = Live::new(clock);
    while goes_on() {
        ticks.tick().await;
        let due = clock.seconds() * rate;
        begun = f64::max(begun, due - CATCH_UP * rate);
        while begun < due {
            begun += 1.0;
            calls.spawn(call(service.clone(), client.clone()));
        }
        while let Some(finished) = calls.try_join_next() {
            ledger.record(&finished?);
        }
        match &mut live {
            Some(live) => live.tell(|| service.stats()),
            None => ledger.tell_each_second(),
        }
    }
    ledger.load_ended();
    while let Some(finished) = calls.join_next().await {
        ledger.record(&finished?);
    }
    Ok(ledger)
}

async fn call(service: ServiceHandle<HttpRules>, client: Client) -> Finished {
    let began = Instant::now();
    let answer = client.get(service.call(), "/users/7").await;
    Finished { answer, took: began.elapsed() }
}
