//! The dashboard, the alert rules and the guide name metrics that there are.

mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use failover_metrics::render;
use support::{manager, promtool};

fn read(file: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("failover_") && !word.starts_with("failover_metrics")).collect()
}

/// The names of all series, as Prometheus stores them.
async fn rendered() -> (BTreeSet<String>, BTreeSet<String>) {
    let manager = manager(["users-1"]).await;
    let _users = manager.service("users").await.expect("a handle");
    let text = render(&manager);
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| line.split('{').next().unwrap_or_default().to_owned()).collect();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    (series, families.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn every_metric_in_the_dashboard_and_the_alert_rules_is_rendered() {
    let (series, families) = rendered().await;
    let (dashboard, alerts) = (read("metrics/dashboard.json"), read("metrics/alerts.yaml"));
    serde_json::from_str::<serde_json::Value>(&dashboard).expect("JSON");
    for name in named(&dashboard).iter().chain(&named(&alerts)) {
        assert!(series.contains(*name), "{name} is not rendered: {series:?}");
    }
    let shown = |family: &&String| !named(&dashboard).iter().any(|name| name.starts_with(family.as_str()));
    assert_eq!(families.iter().filter(shown).collect::<Vec<_>>(), Vec::<&String>::new(), "in no panel");
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics/alerts.yaml");
    promtool(&["check", "rules", rules], "");
}

#[tokio::test]
async fn the_table_of_the_guide_lists_every_metric_and_no_other() {
    let guide = read("metrics.md");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `failover_")?.split('`').next());
    let rows: BTreeSet<_> = rows.map(|name| format!("failover_{name}")).collect();
    assert_eq!(rows, rendered().await.1);
}
