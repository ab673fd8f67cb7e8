//! The load of the scenario: calls at a fixed rate, counted as they end.

use std::time::{Duration, Instant};

use example_support::Load;
use failover::ServiceHandle;
use tokio::task::JoinError;

use crate::client::{Answer, Client, HttpRules};
use crate::clock::Clock;
use crate::live::Live;
use crate::report::Ledger;

/// The result of one call.
pub(crate) struct Finished {
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

/// Starts `rate` calls per second while `goes_on` returns true, then waits for the last reply.
pub(crate) async fn run(
    service: ServiceHandle<HttpRules>,
    client: Client,
    clock: Clock,
    rate: f64,
    goes_on: impl Fn() -> bool,
) -> Result<Ledger, JoinError> {
    let mut ledger = Ledger::new(clock);
    let mut load = Load::new(rate);
    let mut live = Live::new(clock);
    while goes_on() {
        let ended = load.tick(|| call(service.clone(), client.clone())).await?;
        for finished in &ended {
            ledger.record(finished);
        }
        match &mut live {
            Some(live) => live.show(|| service.stats()),
            None => ledger.print_each_second(),
        }
    }
    ledger.load_ended();
    for finished in &load.rest().await? {
        ledger.record(finished);
    }
    Ok(ledger)
}

async fn call(service: ServiceHandle<HttpRules>, client: Client) -> Finished {
    let began = Instant::now();
    let answer = client.get(service.call(), "/users/7").await;
    Finished { answer, took: began.elapsed() }
}
