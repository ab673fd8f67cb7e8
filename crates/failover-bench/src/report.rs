//! The table, the page and the JSON list.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::clock::ClockCost;
use crate::measure::Row;

pub(crate) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "peer": row.peer, "name": row.name, "n": row.n, "threads": row.threads,
            "ns": row.nanos, "allocs": if row.allocations.is_nan() { Value::Null } else { json!(row.allocations) },
        })
    };
    rows.iter().map(row).collect()
}

pub(crate) fn table(clock: &ClockCost, rows: &[Row]) -> String {
    let mut text = String::from(
        "| peer | what | n | threads | ns | computed for 12 ns a reading | x floor | x one thread | allocations |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        // A change of endpoints is not comparable to a pick.
        let floor = find(rows, "floor", "floor", row.n, row.threads).filter(|_| !row.allocations.is_nan());
        let ratio = floor.map(|floor| format!("{:.2}", row.nanos / floor)).unwrap_or_default();
        let gain = row.gain.map(|gain| format!("{gain:.2}")).unwrap_or_default();
        let computed = clock.computed(row).map(|nanos| format!("{nanos:.1}")).unwrap_or_default();
        let allocations =
            if row.allocations.is_nan() { String::new() } else { format!("{:.1}", row.allocations) };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.1} | {computed} | {ratio} | {gain} | {allocations} |",
            row.peer, row.name, row.n, row.threads, row.nanos
        );
    }
    text
}

pub(crate) fn find(rows: &[Row], peer: &str, name: &str, n: usize, threads: usize) -> Option<f64> {
    let found =
        rows.iter().find(|row| row.peer == peer && row.name == name && row.n == n && row.threads == threads);
    found.map(|row| row.nanos)
}

/// Returns the promised limits and the results.
pub(crate) fn promises(clock: &ClockCost, rows: &[Row]) -> String {
    let get = |peer: &str, name: &str, n, threads| find(rows, peer, name, n, threads).unwrap_or(f64::NAN);
    let ours = |name: &str, n| get("failover", name, n, 1);
    let floor = get("floor", "floor", 10, 1);
    let mut text = String::from("| measure | found | promised | |\n|---|---|---|---|\n");
    let mut line = |what: String, found: f64, most: f64, at_most: bool| {
        let good = if at_most { found <= most } else { found >= most };
        let word = if at_most { "at most" } else { "at least" };
        let verdict = if good { "held" } else { "MISSED" };
        let _ = writeln!(text, "| {what} | {found:.2} | {word} {most} | {verdict} |");
    };
    for (name, slow, fast) in [
        ("round_robin", 0.85, 1.5),
        ("weighted", 0.85, 1.5),
        ("least_connections", 0.75, 1.6),
        ("random", 0.75, 1.6),
        ("peak_ewma", 1.0, 2.2),
    ] {
        let at = |n| ours(&format!("select {name}"), n);
        line(format!("select {name}, n = 10, to the floor"), at(10) / floor, clock.limit(slow, fast), true);
        line(format!("select {name}, n = 10 000 to n = 10"), at(10_000) / at(10), 1.8, true);
        let large = at(100_000);
        if large.is_finite() {
            line(format!("select {name}, n = 100 000 to n = 10"), large / at(10), 2.5, true);
        }
    }
    let ewma = ours("select peak_ewma", 10);
    let tower = get("tower", "p2c peak_ewma", 10, 1) / ewma;
    line("tower p2c PeakEwma to select peak_ewma, n = 10".into(), tower, clock.limit(8.0, 9.0), false);
    let buffer = get("tower", "p2c peak_ewma, Buffer", 10, 1);
    line("the same through Buffer".into(), buffer / ewma, 12.0, false);
    for n in [10, 1_000] {
        let round_robin = get("pingora", "round_robin", n, 1) / ours("select round_robin", n);
        let least = clock.limit(2.8, 4.0);
        line(format!("pingora RoundRobin to select round_robin, n = {n}"), round_robin, least, false);
        let consistent = get("pingora", "consistent", n, 1) / ours("select ip_hash", n);
        line(format!("pingora Consistent to select ip_hash, n = {n}"), consistent, 3.0, false);
    }
    let execute = ours("execute", 10);
    if clock.is_slow() {
        line("execute over a future that is ready, to the floor".into(), execute / floor, 2.2, true);
    } else {
        line("execute, ns over a future that is ready".into(), execute, 130.0, true);
    }
    for name in ["round_robin", "least_connections", "peak_ewma", "weighted, 1 to 10", "weighted", "random"] {
        let name = format!("select {name}");
        let two = rows.iter().find(|row| row.name == name && row.n == 10 && row.threads == 2);
        let two = two.and_then(|row| row.gain).unwrap_or(f64::NAN);
        // Skewed weights have both threads write the same cache line.
        let least = if name == "select weighted" { 1.0 } else { 1.5 };
        line(format!("{name}, n = 10: throughput of 2 threads to that of one"), two, least, false);
    }
    let apply = |name: &str| ours(&format!("apply {name}"), 10_000) / 1e6;
    for (name, slow, fast) in
        [("all_new", 9.0, 6.0), ("one_replaced", 1.2, 0.8), ("nothing_changed", 0.1, 0.05)]
    {
        line(format!("apply {name}, 10 000, ms"), apply(name), clock.limit(slow, fast), true);
    }
    line("apply all_new, ip_hash, 10 000, ms".into(), apply("all_new, ip_hash"), 40.0, true);
    for what in ["select round_robin", "execute"] {
        let of = |which| ours(&format!("{what}, health {which}"), 10);
        line(format!("{what}: all of health to none of it"), of("on") / of("off"), 1.1, true);
    }
    let allocations = rows.iter().filter(|row| row.peer == "failover" && !row.allocations.is_nan());
    let most = allocations.map(|row| row.allocations).fold(0.0, f64::max);
    line("allocations in select, finish, execute".into(), most, 0.0, true);
    text
}
