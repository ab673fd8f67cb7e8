//! Failures of an endpoint in a row are one stray, however many calls it had in flight.

use super::*;

/// Three endpoints whose answers have taken 3 of the 10 s that an attempt may take since a failure.
async fn slow() -> Bench {
    let bench = Bench::of(breaker(|b| b.failure_threshold(1_000)), 3);
    bench.end(true, |_| AttemptClass::Timeout);
    for _ in 0..15 {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        pass(3 * SECOND).await;
        bench.engine.report(pick, AttemptClass::Success);
    }
    bench
}

/// Makes calls that begin together. Those to these endpoints time out, after the others have answered them,
/// and a later call.
async fn together(bench: &Bench, calls: u32, late: &[&str]) {
    let pick = || bench.engine.pick(Tried::NONE, true).expect("available");
    let end = |picks: Vec<RawPick>, class| {
        for pick in picks {
            bench.engine.report(pick, class);
        }
    };
    let is_late = |of: &RawPick| late.contains(&bench.id(of).as_str());
    let (timeouts, answers): (Vec<_>, Vec<_>) = (0..calls).map(|_| pick()).partition(is_late);
    pass(6 * SECOND).await;
    end(answers, Some(AttemptClass::Success));
    let (lost, later): (Vec<_>, Vec<_>) = (0..3).map(|_| pick()).partition(is_late);
    end(lost, None);
    pass(3 * SECOND).await;
    end(later, Some(AttemptClass::Success));
    pass(SECOND).await;
    end(timeouts, Some(AttemptClass::Timeout));
}

#[tokio::test(start_paused = true)]
async fn the_calls_that_an_endpoint_takes_with_it_are_one_stray() {
    let bench = slow().await;
    together(&bench, 90, &["a"]).await;
    assert!(bench.engine.gate_is_open(), "thirty failures of one endpoint");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_answers_between_its_failures_strays_each_time() {
    let bench = slow().await;
    for _ in 0..30 {
        together(&bench, 3, &["a"]).await;
        together(&bench, 3, &[]).await;
    }
    assert!(!bench.engine.gate_is_open());
}
