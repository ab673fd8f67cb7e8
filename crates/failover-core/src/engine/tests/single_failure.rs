//! What one failure costs an endpoint under `health_based`.

use super::*;
use crate::config::StrategyKind;

/// Makes a call of 10 ms a hundred times a second, and returns the share of the endpoint's fair share.
async fn share(bench: &Bench, id: &str, seconds: u32) -> f64 {
    let mut own = 0;
    for _ in 0..seconds * 100 {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        own += u32::from(bench.id(&pick) == id);
        pass(Duration::from_millis(10)).await;
        bench.engine.report(pick, AttemptClass::Success);
    }
    f64::from(own) / f64::from(seconds * 10)
}

#[tokio::test(start_paused = true)]
async fn one_failure_costs_seconds_and_not_half_a_minute() {
    let config = FailoverConfig::builder().strategy(StrategyKind::HealthBased).build().expect("valid");
    let bench = Bench::new(config);
    bench.publish((0..10).map(|n| entry(&format!("e{n}"), 0)));
    share(&bench, "e3", 20).await;
    loop {
        let pick = bench.engine.pick(Tried::NONE, true).expect("available");
        if bench.id(&pick) == "e3" {
            bench.engine.report(pick, AttemptClass::Failure);
            break;
        }
        bench.engine.report(pick, AttemptClass::Local);
    }
    share(&bench, "e3", 3).await;
    let soon = share(&bench, "e3", 7).await;
    assert!(soon > 0.5, "{soon} of the fair share from the third second on");
    let later = share(&bench, "e3", 20).await;
    assert!(later > 0.9, "{later} of the fair share from the tenth second on");
}

#[tokio::test(start_paused = true)]
async fn a_retry_finds_the_only_endpoint_that_works_though_its_source_reports_it_unhealthy() {
    let bench = Bench::with(&["a", "b", "c"]);
    let unhealthy = entry("d", 0).with_health(Health::Unhealthy);
    bench.publish(["a", "b", "c"].map(|id| entry(id, 0)).into_iter().chain([unhealthy]));
    let dead = ["a", "b", "c"];
    bench.calls(200, &dead);
    assert_eq!(bench.engine.snapshot().closed(), 0);
    let mut firsts = BTreeMap::new();
    for _ in 0..40 {
        let first = bench.engine.pick(Tried::NONE, true).expect("available");
        let (id, state) = (bench.id(&first), first.state());
        *firsts.entry(id.clone()).or_insert(0) += 1;
        if id == "d" {
            bench.engine.report(first, AttemptClass::Success);
            continue;
        }
        bench.engine.report(first, AttemptClass::Failure);
        let retry = bench.engine.pick(Tried::of(&[state]), true).expect("available");
        assert_eq!(bench.id(&retry), "d");
        bench.engine.report(retry, AttemptClass::Success);
    }
    assert_eq!(
        firsts.values().copied().collect::<Vec<_>>(),
        [10; 4],
        "whichever returns is found: {firsts:?}"
    );
}
