//! Calls that wait for an endpoint.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_goes_on_when_an_open_time_has_passed() {
    let service = service_with(without_floor(true), 1);
    break_all(&service);
    let began = tokio::time::Instant::now();
    let call = service.call().wait_ready(true).deadline(Duration::from_secs(20));
    call.execute(async |_| Ok::<_, Infallible>(())).await.expect("a probe call");
    assert!(began.elapsed().as_millis().abs_diff(5_000) <= 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_goes_on_when_a_permit_comes_back() {
    let service = service_with(without_floor(true), 1);
    break_all(&service);
    // A pick cannot be repeated: it serves as a probe call one open time after others would.
    tokio::time::advance(Duration::from_secs(10)).await;
    let pick = service.select().expect("the permit");
    service.select().expect_err("no permit is left");
    let began = tokio::time::Instant::now();
    let call = service.call().wait_ready(true).deadline(Duration::from_secs(20));
    let (done, ()) = tokio::join!(call.execute(async |_| Ok::<_, Infallible>(())), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(pick);
    });
    done.expect("a probe call");
    assert!(began.elapsed() < Duration::from_millis(1_060), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retry_at_the_same_endpoint_backs_off_though_another_one_is_broken() {
    let service = service(2);
    let dead = service.endpoints()[1].endpoint().id().clone();
    for _ in 0..12 {
        let pick = service.select().expect("available");
        let outcome = if *pick.endpoint().id() == dead { Outcome::Failure } else { Outcome::Success };
        pick.finish(outcome);
    }
    let began = tokio::time::Instant::now();
    let done = answers(&service, true, &[Err("busy"), Ok("yes")]).await.expect("the second attempt");
    assert!(done.attempts.iter().all(|record| *record.endpoint.id() != dead));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_time_makes_no_attempt_and_one_that_runs_out_of_it_counts_against_no_endpoint() {
    let service = service(3);
    let call = service.call().deadline(Duration::ZERO);
    let error = call.execute(async |_| pending::<Result<(), Infallible>>().await).await.expect_err("no time");
    assert!(matches!(error.reason(), StopReason::Deadline) && error.attempts().is_empty(), "{error}");
    // The first attempt takes nearly all of the time, and leaves a tenth of an attempt's timeout.
    for _ in 0..30 {
        let call =
            service.call().deadline(Duration::from_millis(110)).attempt_timeout(Duration::from_millis(100));
        let attempt = async |attempt: Attempt| {
            if attempt.number() == 1 {
                tokio::time::sleep(Duration::from_millis(99)).await;
                return Err("down");
            }
            pending::<()>().await;
            Ok(())
        };
        // The first failure is local, so that only the timeouts could count against the endpoint.
        let call =
            call.classify(|reply: Result<&(), &&str>| reply.map_or(Outcome::Local, |()| Outcome::Success));
        call.execute(attempt).await.expect_err("no time");
    }
    let stats = service.stats();
    assert!(
        stats.endpoints.iter().all(|endpoint| endpoint.breaker == crate::inspect::BreakerState::Closed),
        "{stats:?}"
    );
    assert_eq!(stats.in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_waits_is_polled_again_when_it_is_woken_and_not_before() {
    let polls = Cell::new(0);
    let operation = async |_| {
        let mut timer = pin!(tokio::time::sleep(Duration::from_millis(5)));
        std::future::poll_fn(|context| {
            polls.set(polls.get() + 1);
            timer.as_mut().poll(context).map(Ok::<_, Infallible>)
        })
        .await
    };
    service(1).execute(operation).await.expect("it answers");
    assert_eq!(polls.get(), 2, "once to begin, and once when its timer fires");
}

#[tokio::test]
async fn an_operation_that_uses_up_the_budget_of_its_task_runs_out_of_time() {
    let service = service(1);
    let call = service.call().attempt_timeout(Duration::from_millis(20)).max_retries(0);
    let busy = async |_| -> Result<(), Infallible> {
        loop {
            tokio::task::consume_budget().await;
        }
    };
    let error = call.execute(busy).await.expect_err("it never ends");
    assert_eq!(error.attempts().last().map(|last| last.class), Some(AttemptClass::Timeout), "{error}");
}
