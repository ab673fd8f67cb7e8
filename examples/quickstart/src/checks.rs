//! Attribution of failures: 4xx replies do not count against a server, 5xx replies do.

use std::error::Error;

use failover::inspect::BreakerState;
use failover::{AttemptClass, Endpoint, FailoverManager, ServiceHandle};

use crate::client::{Client, HttpRules};
use crate::servers::Server;

/// Sends five 404s and then five 500s in a row to a separate service, so that the load is not
/// affected.
pub(crate) async fn run(
    manager: &FailoverManager,
    client: &Client,
    servers: &[Server],
) -> Result<(), Box<dyn Error>> {
    // All calls go to the first server; the second is the standby.
    for (priority, server) in (0..).zip(&servers[..2]) {
        let endpoint = Endpoint::builder(server.name(), "check-service", "127.0.0.1", server.port());
        manager.register_endpoint(endpoint.protocol("http").priority(priority).build()?).await?;
    }
    let service = manager.service("check-service").await?.with_classifier(HttpRules);
    let first = servers[0].name();

    for _ in 0..5 {
        let done = client.get(service.call(), "/missing").await?;
        expect(done.value.status == 404, || format!("/missing answered {}, not 404", done.value.status))?;
    }
    let breaker = breaker(&service, first)?;
    expect(breaker == BreakerState::Closed, || format!("five 404s made the breaker of {first} {breaker:?}"))?;
    println!("five 404s in a row are the caller's own mistakes: the breaker of {first} stays closed");

    for _ in 0..5 {
        let answer = client.get(service.call().max_retries(0), "/broken").await;
        let blamed = answer.as_ref().is_err_and(|error| {
            error.attempts().iter().all(|attempt| {
                attempt.endpoint.id().as_str() == first && attempt.class == AttemptClass::Failure
            })
        });
        expect(blamed, || format!("a 500 was not a failure of {first}: {answer:?}"))?;
    }
    let breaker = self::breaker(&service, first)?;
    expect(breaker == BreakerState::Open, || {
        format!("after five 500s the breaker of {first} is {breaker:?}")
    })?;
    let done = client.get(service.call(), "/users/7").await?;
    let next = done.endpoint.id().as_str();
    expect(next != first && done.attempts.len() == 1, || {
        format!("{first} was called although its breaker is open")
    })?;
    println!(
        "five 500s in a row are the server's: the breaker of {first} opens, and the next call goes to {next}"
    );
    Ok(())
}

fn breaker(service: &ServiceHandle<HttpRules>, id: &str) -> Result<BreakerState, String> {
    let stats = service.stats();
    let endpoint = stats.endpoints.iter().find(|endpoint| endpoint.id.as_str() == id);
    endpoint.map(|endpoint| endpoint.breaker).ok_or_else(|| format!("the statistics do not name {id}"))
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
