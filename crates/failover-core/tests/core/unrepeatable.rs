//! Calls that cannot be repeated, and bare picks: an endpoint that is out and works again comes back.

use failover_core::{FailoverConfig, Outcome, ServiceHandle};
use tokio::time::advance;

use crate::bench::{exact, ms, out, service};

async fn unrepeatable(service: &ServiceHandle, dead: bool) {
    let call = service.call().idempotent(false);
    let done = call.execute(
        async |attempt| {
            if dead && attempt.id().as_str() == "e1" { Err("down") } else { Ok(()) }
        },
    );
    done.await.ok();
}

async fn bare(service: &ServiceHandle, dead: bool) {
    let pick = service.select().expect("available");
    let down = dead && pick.endpoint().id().as_str() == "e1";
    pick.finish(if down { Outcome::Failure } else { Outcome::Success });
}

/// Makes ten calls per second, all to a dead endpoint among others, until it is out. Returns the
/// number of failed calls in a minute, and then the seconds until it is back.
async fn outage(call: impl AsyncFn(&ServiceHandle, bool)) -> (u64, f64) {
    let config = FailoverConfig::builder().circuit_breaker(exact()).build().expect("valid");
    let service = service(config, &[3]);
    for _ in 0..600 {
        call(&service, true).await;
        advance(ms(100)).await;
    }
    assert_eq!(out(&service), ["e1"]);
    let failures = service.stats().endpoints[1].failures;
    let began = tokio::time::Instant::now();
    while !out(&service).is_empty() {
        call(&service, false).await;
        advance(ms(100)).await;
        assert!(began.elapsed().as_secs() < 200, "it never returns");
    }
    (failures, began.elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn calls_that_cannot_be_repeated_bring_an_endpoint_back() {
    let (failures, seconds) = outage(unrepeatable).await;
    assert!(failures <= 8 && seconds < 130.0, "{failures} failures, {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn bare_picks_bring_an_endpoint_back() {
    let (failures, seconds) = outage(bare).await;
    assert!(failures <= 9 && seconds < 65.0, "{failures} failures, {seconds} s");
}
