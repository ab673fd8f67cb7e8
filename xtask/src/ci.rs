//! All checks, the cheapest first.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::{
    api, build, compat, deny, features, instructions, isolation, loom, msrv, package, servers, strangers,
    suite, tidy,
};

type Step = (&'static str, fn() -> Result<(), String>);

pub(crate) fn run() -> Result<(), String> {
    let before: &[Step] = &[
        ("fmt", build::fmt),
        ("tidy", tidy::run),
        ("deny", deny::run),
        ("clippy", build::clippy),
        ("docs", build::docs),
        ("api", api::run),
        ("features", features::run),
        ("isolation", isolation::run),
        ("msrv", msrv::run),
        ("loom", loom::run),
        ("servers", servers::run),
    ];
    let after: &[Step] = &[
        ("consul-slim", suite::scripted_without_consulrs),
        ("sim", build::sim),
        ("bench", build::bench),
        ("instructions", instructions::run),
        ("scale", build::scale),
        ("quickstart", build::quickstart),
        ("examples", build::examples),
        ("strangers", strangers::run),
        ("package", package::quick),
        ("compat", compat::run),
        ("kills", || build::kill(5)),
    ];

    let mut times = Vec::new();
    for (name, step) in before {
        timed(name, &mut times, step)?;
    }
    let tally = timed("test", &mut times, || {
        let tally = suite::run(&[])?;
        println!("{tally}");
        if tally.is_good() { Ok(tally) } else { Err("not every test passed; see above".to_owned()) }
    })?;
    for (name, step) in after {
        timed(name, &mut times, step)?;
    }
    println!("\n{}", table(&times));
    // Repeated at the very end, where a reader of a long log looks first.
    println!("{tally}");
    Ok(())
}

/// Runs all checks, and those that take too long for each change.
pub(crate) fn full() -> Result<(), String> {
    run()?;
    let mut times = Vec::new();
    let more: &[Step] = &[
        ("package", package::whole),
        ("consul-slim", suite::all_without_consulrs),
        ("matrix", build::matrix),
        ("kills", || build::kill(100)),
        ("compare", || build::compare(&["--quick".to_owned()])),
    ];
    for (name, step) in more {
        timed(name, &mut times, step)?;
    }
    println!("\n{}", table(&times));
    Ok(())
}

fn timed<T>(
    name: &'static str,
    times: &mut Vec<(&'static str, Duration)>,
    step: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    println!("\n=== {name}");
    let started = Instant::now();
    let result = step();
    times.push((name, started.elapsed()));
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(_) => println!("=== {name}: good, {seconds:.1} s"),
        Err(_) => println!("=== {name}: FAILED after {seconds:.1} s\n\n{}", table(times)),
    }
    result.map_err(|why| format!("step `{name}` failed: {why}"))
}

fn table(times: &[(&'static str, Duration)]) -> String {
    let mut text = String::from("step          seconds\n");
    for (name, took) in times {
        let _ = writeln!(text, "{name:12} {:8.1}", took.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, took)| *took).sum();
    let _ = write!(text, "{:12} {:8.1}", "total", total.as_secs_f64());
    text
}
