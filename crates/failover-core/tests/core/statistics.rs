//! The statistics, in virtual time.

use std::convert::Infallible;
use std::time::Duration;

use failover_core::inspect::Latency;
use failover_core::{Clock, ServiceHandle};
use tokio::time::sleep;

fn close(latency: Option<Latency>, expected: [u64; 2]) {
    let Latency { p50, p999, .. } = latency.expect("attempts have ended");
    for (read, millis) in [p50, p999].into_iter().zip(expected) {
        let exact = Duration::from_millis(millis);
        assert!(read.abs_diff(exact) * 50 <= exact, "{read:?} for {exact:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_statistics_hold_percentiles_of_each_endpoint_and_of_them_together() {
    let service = ServiceHandle::builder("users")
        .endpoints(["10.0.0.1:80", "10.0.0.2:80"])
        .clock(Clock::tokio())
        .build()
        .expect("valid");
    assert!(service.stats().latency.is_none());
    for _ in 0..1_000 {
        let done = service
            .execute(async |attempt| {
                let slow = attempt.id().as_str() == "10.0.0.2:80";
                sleep(Duration::from_millis(if slow { 500 } else { 20 })).await;
                Ok::<_, Infallible>(())
            })
            .await;
        done.expect("succeeds");
    }
    let stats = service.stats();
    close(stats.endpoints[0].latency, [20, 20]);
    close(stats.endpoints[1].latency, [500, 500]);
    close(stats.latency, [20, 500]);
    let json = serde_json::to_value(&stats).expect("serialises");
    for percentile in ["p50", "p90", "p99", "p999"] {
        assert!(json["latency"][percentile].is_string(), "{json}");
        assert!(json["endpoints"][0]["latency"][percentile].is_string(), "{json}");
    }
}
