use std::future::pending;
use std::io;

use failover_core::inspect::Forced;
use failover_core::{Clock, FailoverConfig, Outcome, ServiceHandle};
use http::HeaderMap;

use super::*;
use crate::HttpRules;

type Reply = Result<Response<()>, io::Error>;

fn service(count: usize) -> ServiceHandle<HttpRules> {
    let config = FailoverConfig::builder().max_retries(1).timeout(Duration::from_secs(4)).build();
    ServiceHandle::builder("users")
        .endpoints((0..count).map(|n| format!("http://10.0.0.{n}:80")))
        .config(config.expect("valid"))
        .clock(Clock::tokio())
        .build()
        .expect("valid")
        .with_classifier(HttpRules::new())
}

fn reply(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).expect("a response")
}

async fn failed<F: Future<Output = Reply>>(
    service: &ServiceHandle<HttpRules>,
    operation: impl Fn() -> F,
) -> CallError<io::Error, Response<()>> {
    service.execute(|_| operation()).await.expect_err("the call fails")
}

#[tokio::test(start_paused = true)]
async fn a_gateway_says_whether_endpoints_failed_or_are_busy_or_late() {
    let refused = || async { Err(io::ErrorKind::ConnectionRefused.into()) };
    assert_eq!(status(&failed(&service(2), refused).await), 502);
    assert_eq!(status(&failed(&service(2), || async { Ok(reply(500)) }).await), 502);
    assert_eq!(status(&failed(&service(2), || async { Ok(reply(503)) }).await), 503);
    assert_eq!(status(&failed(&service(2), || async { Ok(reply(429)) }).await), 503);
    let no_descriptors = || async { Err(io::ErrorKind::AddrNotAvailable.into()) };
    assert_eq!(status(&failed(&service(2), no_descriptors).await), 503);
    let late = || async { Err(io::ErrorKind::TimedOut.into()) };
    assert_eq!(status(&failed(&service(2), late).await), 504);
    assert_eq!(status(&failed(&service(2), pending::<Reply>).await), 504);
    let rejected = service(2)
        .call()
        .with_classifier(|_: Result<&Response<()>, &io::Error>| Outcome::Rejected)
        .execute(async |_| Err::<Response<()>, _>(io::Error::other("no")))
        .await;
    assert_eq!(status(&rejected.expect_err("an error")), 502);
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_the_caller_learns_when_one_may_return() {
    let empty = failed(&service(0), || async { Ok(reply(200)) }).await;
    assert_eq!((status(&empty), retry_after(&empty)), (StatusCode::SERVICE_UNAVAILABLE, Some(USUAL_PAUSE)));
    let users = service(2);
    for (id, millis) in [("10.0.0.0:80", 90_000), ("10.0.0.1:80", 6_500)] {
        users.force(id, Forced::Out, Duration::from_millis(millis)).expect("it exists");
    }
    let error = failed(&users, || async { Ok(reply(200)) }).await;
    assert_eq!(retry_after(&error), Some(Duration::from_secs(7)), "the shortest time, rounded up");
    let response: Response<Vec<u8>> = response(&error);
    let headers: &HeaderMap = response.headers();
    assert_eq!((response.status().as_u16(), headers["retry-after"].as_bytes()), (503, b"7".as_slice()));
    assert!(response.body().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_503_asks_the_caller_to_wait() {
    let error = failed(&service(2), || async { Ok(reply(500)) }).await;
    let response: Response<String> = response(&error);
    assert_eq!((response.status().as_u16(), response.headers().len()), (502, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_retried_to_spare_the_endpoints_is_one_for_later() {
    let users = service(2);
    let mut codes = Vec::new();
    // Without a success, the budget ends.
    for _ in 0..300 {
        let error = failed(&users, || async { Ok(reply(500)) }).await;
        if error.code() == "RETRY_BUDGET_EMPTY" {
            assert_eq!((status(&error).as_u16(), retry_after(&error)), (503, Some(USUAL_PAUSE)));
            return;
        }
        codes.push(error.code());
    }
    panic!("the budget never ended: {codes:?}");
}
