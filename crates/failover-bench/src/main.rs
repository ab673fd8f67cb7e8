//! Measures the cost of a pick and a call, beside other libraries, in one run.
//!
//! `failover-bench [--quick] [--json FILE] [--page FILE] [--only NAME]`; `--only` measures the rows
//! of a name (or `apply`, or `threads`) for a long time, beside the floor, for a profiler.

mod apply;
mod clock;
mod feed;
mod measure;
mod ours;
mod peers;
mod report;

use std::process::ExitCode;

use failover_core::Algorithm;

fn main() -> ExitCode {
    let mut quick = false;
    let (mut json, mut page, mut only) = (None, None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--quick" => quick = true,
            "--json" => json = args.next(),
            "--page" => page = args.next(),
            "--only" => only = args.next(),
            _ => {
                eprintln!("error: {arg} is not known; use --quick, --json FILE, --page FILE, --only NAME");
                return ExitCode::FAILURE;
            }
        }
    }
    let clock = clock::ClockCost::measure();
    let sizes: &[usize] =
        if quick || only.is_some() { &[10, 1_000, 10_000] } else { &[3, 10, 100, 1_000, 10_000, 100_000] };
    let rounds = if quick { 61 } else { 301 };
    let services: Vec<_> = sizes
        .iter()
        .flat_map(|n| ours::ALGORITHMS.map(|algorithm| (algorithm, *n, ours::service(algorithm, *n))))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let health = [ours::without_health(10), ours::with_health(10)];
    let subscribed = health[1].subscribe();
    let mut cases = ours::cases(&services);
    cases.extend(ours::health(&health));
    // At 100 000, only the floor and ours: a ring of pingora's takes minutes.
    cases.extend(peers::cases(sizes));
    cases.extend([10, 1_000].map(|n| peers::buffered(n, &runtime)));
    if only.as_deref() == Some("apply") {
        println!("{}", report::table(&clock, &apply::rows(15)));
        return ExitCode::SUCCESS;
    }
    let unlike = ours::weighted(Algorithm::Weighted, 10, |index| index as u32 + 1);
    let mut shared = ours::contended(&services);
    shared.push(measure::Shared {
        peer: "failover",
        name: "select weighted, 1 to 10".to_owned(),
        n: 10,
        work: Box::new(ours::select(&unlike)),
    });
    // Also with one entry: two threads can then only write the same cache line in turns.
    shared.extend([1, 10, 1_000].map(|n| measure::Shared {
        peer: "floor",
        name: "floor".to_owned(),
        n,
        work: Box::new(peers::floor(n)),
    }));
    if only.as_deref() == Some("threads") {
        println!("{}", report::table(&clock, &measure::threads(&shared, 101)));
        return ExitCode::SUCCESS;
    }
    if let Some(name) = only {
        cases.retain(|case| case.name == name || case.peer == "floor");
        let rows = measure::run(cases, 1_000);
        let clock = clock.among(&rows);
        println!("{clock}\n\n{}", report::table(&clock, &rows));
        return ExitCode::SUCCESS;
    }
    let mut rows = measure::run(cases, rounds);
    drop(subscribed);
    rows.extend(measure::threads(&shared, if quick { 11 } else { 101 }));
    rows.extend(apply::rows(if quick { 5 } else { 15 }));

    let clock = clock.among(&rows);
    let (table, promises) = (report::table(&clock, &rows), report::promises(&clock, &rows));
    println!("{clock}\n\n{table}\n{promises}");
    let write = |file: Option<String>, text: String| match file {
        Some(file) => std::fs::write(&file, text).map_err(|error| eprintln!("error: {file}: {error}")),
        None => Ok(()),
    };
    let list = serde_json::to_string_pretty(&report::json(&rows)).expect("plain values");
    let written = write(json, list).and(write(page, format!("{clock}\n\n{promises}\n{table}")));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
