//! The first answer after all endpoints have failed.

use super::classes::timeout;
use super::*;

/// Three endpoints that have timed out after a second, and the first of which is out.
fn all_failed() -> Bench {
    let config = breaker(|b| b).to_builder().timeout(3 * SECOND).attempt_timeout(SECOND).build();
    let bench = Bench::of(config.expect("valid"), 3);
    bench.together(15, timeout);
    assert_eq!(bench.out(), ["a"]);
    bench
}

/// The second endpoint answers a call after this time.
async fn answer_after(bench: &Bench, time: Duration) {
    let picks = (0..3).map(|_| bench.engine.pick(Tried::NONE, true).expect("available"));
    let (answered, lost): (Vec<_>, Vec<_>) = picks.partition(|pick| bench.id(pick) == "b");
    assert_eq!(answered.len(), 1);
    pass(time).await;
    for pick in answered {
        bench.engine.report(pick, AttemptClass::Success);
    }
    for pick in lost {
        bench.engine.cancel(pick);
    }
}

fn frozen_for(bench: &Bench) -> Duration {
    bench.engine.strain.frozen_for(bench.engine.clock().now())
}

const LATE: Duration = Duration::from_millis(210);
const PROMPT: Duration = Duration::from_millis(190);

#[tokio::test(start_paused = true)]
async fn a_late_one_shows_an_overload() {
    let bench = all_failed();
    answer_after(&bench, LATE).await;
    assert_eq!(bench.out(), [] as [&str; 0]);
    assert_eq!(bench.emitted(EventKind::CommonCause).len(), 1);
    assert_eq!(frozen_for(&bench), 30 * SECOND);

    let bench = all_failed();
    answer_after(&bench, PROMPT).await;
    assert_eq!(bench.out(), ["a"]);
    assert_eq!(bench.emitted(EventKind::CommonCause), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_one_ends_a_freeze_and_the_rest_of_silence() {
    let bench = all_failed();
    answer_after(&bench, LATE).await;
    bench.together(9, timeout);
    answer_after(&bench, LATE).await;
    assert!(frozen_for(&bench) > Duration::ZERO, "another late one changes nothing");
    bench.together(9, timeout);
    answer_after(&bench, PROMPT).await;
    assert_eq!(frozen_for(&bench), Duration::ZERO);
}
