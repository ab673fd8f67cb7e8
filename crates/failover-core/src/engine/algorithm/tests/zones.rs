//! The strategy geographic.

use std::time::Duration;

use super::strategies::{Bench, endpoint, entry};
use super::*;
use crate::LoadReport;
use crate::config::Locality;
use crate::model::endpoint::EndpointEntry;

fn zoned(id: &str, region: &str, zone: &str) -> EndpointEntry {
    EndpointEntry::new(endpoint(id).region(region).zone(zone).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn geographic_stays_near_and_spills_by_availability() {
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::Geographic)
        .locality(Locality::new("eu", "eu-1").unwrap())
        .build()
        .unwrap();
    let bench = Bench::new(config).with(vec![
        zoned("a1", "eu", "eu-1"),
        zoned("a2", "eu", "eu-1"),
        zoned("b1", "eu", "eu-2"),
        zoned("b2", "eu", "eu-2"),
        zoned("c1", "us", "eu-1"),
        entry("nowhere"),
    ]);
    assert_eq!(bench.shares(200).keys().filter(|id| id.starts_with('a')).count(), 2);
    assert_eq!(bench.engine.snapshot().share_percent(), [100, 0, 0]);
    bench.break_down("a1");
    assert_eq!(bench.engine.snapshot().share_percent(), [70, 30, 0], "half of the zone is out");
    bench.break_down("a2");
    // Four zones, and a third of the endpoints in the region's other zone: 160 % of a zone's calls, of
    // which its own callers leave 60 %.
    assert_eq!(bench.engine.snapshot().share_percent(), [0, 60, 40]);
    bench.break_down("b1");
    bench.break_down("b2");
    let shares = bench.shares(200);
    assert!(
        shares.contains_key("c1") && shares.contains_key("nowhere"),
        "no zone is the last tier: {shares:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_zone_gets_no_more_than_its_part_and_reported_load_counts() {
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::Geographic)
        .locality(Locality::new("eu", "eu-1").unwrap())
        .build()
        .unwrap();
    let others = (0..9).map(|n| zoned(&format!("b{n}"), "eu", if n < 5 { "eu-2" } else { "eu-3" }));
    let entries: Vec<_> = std::iter::once(zoned("a", "eu", "eu-1")).chain(others).collect();
    let bench = Bench::new(config).with(entries);
    let share = || *bench.shares(10_000).get("a").unwrap_or(&0);
    // Three zones, one tenth of the endpoints, and a fifth more: 36 %.
    assert!((3_400..3_800).contains(&share()), "{}", share());

    // The others report that they can do twice as much for the same load.
    for _ in 0..12 {
        let report = |id: &str, rate| {
            let report = LoadReport::new(rate, 0.5);
            bench.engine.report_load(id, &report).expect("known");
        };
        report("a", 50.0);
        (0..9).for_each(|n| report(&format!("b{n}"), 100.0));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // 3 * 1.2 * 0.5 / 9.5 = 18 %.
    assert!((1_700..2_000).contains(&share()), "{}", share());

    // Without the others, it takes all.
    (0..9).for_each(|n| bench.break_down(&format!("b{n}")));
    assert_eq!(share(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn geographic_spreads_over_zones_by_weight_as_long_as_they_can_take_it() {
    let here = Locality::zone_of("one").unwrap().with_zone_weights([("one", 1), ("two", 2)]).unwrap();
    let config = FailoverConfig::builder().strategy(StrategyKind::Geographic).locality(here).build().unwrap();
    let of = |zone: &'static str| (0..5).map(move |n| zoned(&format!("{zone}{n}"), "eu", zone));
    let bench = Bench::new(config).with(of("one").chain(of("two")).chain([entry("nowhere")]).collect());
    let expected = [[33, 67, 0], [29, 71, 0], [22, 78, 0], [12, 88, 0], [0, 100, 0]];
    for (broken, expected) in expected.into_iter().enumerate() {
        bench.break_down(&format!("one{broken}"));
        assert_eq!(bench.engine.snapshot().share_percent(), expected, "{} are out", broken + 1);
    }
    let shares = bench.shares(200);
    assert!(shares.keys().all(|id| id.starts_with("two")), "{shares:?}");
    (0..5).for_each(|n| bench.break_down(&format!("two{n}")));
    assert_eq!(bench.shares(50).keys().collect::<Vec<_>>(), ["nowhere"], "the last one that is left");
}
