//! Calls on a thread that makes many of them.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn durations(service: &ServiceHandle) -> u64 {
    service.stats().endpoints.iter().map(|of| of.durations.count()).sum()
}

/// Makes calls that end at once, at the beginning of a tick, until not all of them are timed. Returns how
/// many.
async fn rush(service: &ServiceHandle) -> u64 {
    // A clock starts at 1 ns, and a tick takes 4 ms.
    tokio::time::sleep(4 * MILLISECOND).await;
    for _ in 0..500 {
        service.execute(async |_| Ok::<_, Infallible>(())).await.expect("a success");
    }
    500
}

#[tokio::test(start_paused = true)]
async fn of_calls_that_do_not_wait_one_of_eight_is_timed_and_all_count() {
    let users = service(3);
    let calls = rush(&users).await;
    let stats = users.stats();
    assert_eq!(stats.total_requests, calls);
    let counted = durations(&users);
    assert!(counted.abs_diff(calls) < 8, "{counted} of {calls}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_timed_from_then_on() {
    let users = service(3);
    rush(&users).await;
    let before = durations(&users);
    // Still the same tick, whose last reading is some milliseconds old.
    tokio::time::advance(3 * MILLISECOND).await;
    for _ in 0..40 {
        let call = users.execute(async |_| {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(())
        });
        assert_eq!(call.await.expect("a success").attempts.duration(), Duration::ZERO);
    }
    assert_eq!(durations(&users), before + 40);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_has_all_of_its_time() {
    let users = service(3);
    for _ in 0..20 {
        rush(&users).await;
        tokio::time::advance(3 * MILLISECOND).await;
        let call = users.call().deadline(1500 * MILLISECOND).attempt_timeout(SECOND);
        let start = tokio::time::Instant::now();
        let silence = call.execute(async |_| pending::<Result<(), Infallible>>().await).await;
        let took = silence.expect_err("silence").attempts().iter().map(|of| of.duration).collect::<Vec<_>>();
        assert_eq!(took, [SECOND, 500 * MILLISECOND]);
        assert_eq!(start.elapsed(), 1500 * MILLISECOND);
        // The failure has all calls timed for a minute.
        tokio::time::sleep(70 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_short_call_is_exact() {
    let users = service(3);
    rush(&users).await;
    tokio::time::advance(3 * MILLISECOND).await;
    for _ in 0..40 {
        let call = users.call().attempt_timeout(20 * MILLISECOND).execute(async |attempt: Attempt| {
            assert_eq!(attempt.time_left(), 20 * MILLISECOND);
            Ok::<_, Infallible>(())
        });
        call.await.expect("a success");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_without_a_wait_counts_once() {
    for _ in 0..20 {
        let users = service(3);
        let calls = rush(&users).await;
        let before = durations(&users);
        tokio::time::advance(3 * MILLISECOND).await;
        let failed = answers(&users, false, &[Err("failure")]).await.expect_err("it failed");
        assert_eq!(failed.attempts().len(), 1);
        assert_eq!((users.stats().total_requests, durations(&users)), (calls + 1, before + 1));
        assert_eq!(users.stats().call_durations.count(), before + 1);
    }
}
