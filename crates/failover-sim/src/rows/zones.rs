//! A zone fails, wholly or in part: the callers' own one, or the first tier.

use failover_core::config::{LoadBalancerConfig, Locality};
use failover_core::{Algorithm, StrategyKind};

use crate::fault::FaultKind;
use crate::policy::Policy;
use crate::record::SECOND;
use crate::rows::row::{BEGINS, Row, none_visible, quick};
use crate::rows::target::Target;
use crate::scenario::{Load, Scenario};

/// How long the fault lasts, in seconds.
const OUTAGE: u64 = 30;
/// When it ends, in seconds.
const ENDS: usize = (BEGINS + OUTAGE) as usize;
/// How long a run takes, in seconds.
const LENGTH: usize = ENDS + 60;
/// The seconds in which the fault is known, and those in which its end is.
const DURING: (usize, usize) = (BEGINS as usize + 10, ENDS);
const AFTER: (usize, usize) = (ENDS + 40, LENGTH);

pub(super) fn rows() -> Vec<Row> {
    let kinds = [
        (FaultKind::Refuse, "refused"),
        (FaultKind::BlackHole, "silent"),
        (FaultKind::Overload(None), "503"),
    ];
    let mut rows: Vec<_> = kinds.into_iter().map(|(kind, word)| down(kind, word)).collect();
    rows.push(small());
    for broken in 1..4 {
        rows.extend([levels("zone", broken, 4), levels("tier", broken, 4)]);
    }
    rows.push(levels("tier", 1, 2));
    rows
}

/// The callers' own zone is gone: the two others serve in equal parts, and the own one alone after its return.
fn down(kind: FaultKind, word: &str) -> Row {
    let scenario = zones(&format!("zone_down_{word}"), &[3, 3, 3]);
    let scenario = scenario.fault(kind, 0..3, (BEGINS * SECOND, ENDS as u64 * SECOND));
    let own = |span, bounds| Target::Share { endpoints: vec![0, 1, 2], span, bounds };
    let mut targets = vec![
        none_visible(),
        own((0, BEGINS as usize), (1.0, 1.0)),
        own(DURING, (0.0, 0.05)),
        Target::Share { endpoints: vec![3, 4, 5], span: DURING, bounds: (0.45, 0.55) },
        own(AFTER, (0.95, 1.0)),
    ];
    targets.extend((0..3).map(|endpoint| no_burst(endpoint, 1.0 / 3.0)));
    Row::new(scenario, Policy::Random, targets)
}

/// The callers' own zone is one of ten endpoints, and is gone for a while. It takes 24 % of the calls: a tenth of the
/// capacity, of two zones, and a fifth more.
fn small() -> Row {
    let scenario = zones("zone_down_1_of_10", &[1, 9]);
    let scenario = scenario.fault(FaultKind::Refuse, [0], (BEGINS * SECOND, ENDS as u64 * SECOND));
    let own = |span, bounds| Target::Share { endpoints: vec![0], span, bounds };
    let targets = vec![
        none_visible(),
        // Each call is drawn, of 1 500 before the fault.
        own((0, BEGINS as usize), (0.19, 0.29)),
        own(DURING, (0.0, 0.05)),
        own(AFTER, (0.21, 0.27)),
        no_burst(0, 0.24),
    ];
    Row::new(scenario, Policy::Random, targets)
}

/// Some of a zone or tier are gone. It gets 1.4 times the share of it that is left, by Envoy's table, and the next one
/// the rest.
fn levels(of: &str, broken: usize, all: usize) -> Row {
    let name = format!("{of}_down_{broken}_of_{all}");
    let scenario = if of == "zone" {
        zones(&name, &[all, all])
    } else {
        let mut models = quick(2 * all);
        models.iter_mut().skip(all).for_each(|model| model.priority = 1);
        Scenario::new(&name, LENGTH as u64 * SECOND, models, Load::Open(300.0))
    };
    let scenario = scenario.fault(FaultKind::Refuse, 0..broken, (BEGINS * SECOND, ENDS as u64 * SECOND));
    let next = (1.0 - 1.4 * (all - broken) as f64 / all as f64).max(0.0);
    let share = |span, least: f64, most: f64| Target::Share {
        endpoints: (all..2 * all).collect(),
        span,
        bounds: (least.max(0.0), most),
    };
    let mut targets = vec![none_visible(), share(DURING, next - 0.03, next + 0.03), share(AFTER, 0.0, 0.01)];
    targets.extend((0..broken).map(|endpoint| no_burst(endpoint, 1.0 / all as f64)));
    Row::new(scenario, Policy::Random, targets)
}

/// An endpoint that returns gets at most twice its share.
fn no_burst(endpoint: usize, fair: f64) -> Target {
    Target::NoBurst { endpoint, fair, span: (ENDS, LENGTH) }
}

/// Zones of these sizes, each nearest to its own callers; the callers are in the first one.
fn zones(name: &str, sizes: &[usize]) -> Scenario {
    let mut models = quick(sizes.iter().sum());
    let names = sizes.iter().zip("abc".chars()).flat_map(|(size, zone)| vec![zone.to_string(); *size]);
    for (model, zone) in models.iter_mut().zip(names) {
        model.zone = Some(zone);
    }
    let mut scenario = Scenario::new(name, LENGTH as u64 * SECOND, models, Load::Open(300.0));
    let in_turn = LoadBalancerConfig::builder().algorithm(Algorithm::RoundRobin).build();
    let here = Locality::zone_of("a");
    let config = scenario.config.to_builder().strategy(StrategyKind::Geographic);
    let config = config.locality(here.expect("a valid zone")).load_balancer(in_turn.expect("valid"));
    scenario.config = config.build().expect("geographic has its locality");
    scenario
}
