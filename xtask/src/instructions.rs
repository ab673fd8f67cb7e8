//! Counts the instructions of the hot path under Valgrind and compares them with recorded counts.
//!
//! Times on a shared machine vary by more than the changes that matter; instruction counts do not.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::{self, cargo};

/// Instructions per operation, by name.
type Counts = BTreeMap<String, f64>;

/// The maximum growth of a count over the recorded one, in percent.
const LIMIT: f64 = 3.0;

/// The two numbers of operations whose difference in instructions is measured. Latencies, which
/// affect branches, vary between runs; with this many operations the counts repeat within 0.1 %.
const OPERATIONS: (u32, u32) = (1_000, 251_000);

/// The name of the operation, the case of the benchmark, and the counted function.
const OPERATION_CASES: &[(&str, &str, &str)] = &[
    ("select + finish, round_robin", "round_robin", "measured"),
    ("select + finish, random", "random", "measured"),
    ("select + finish, least_connections", "least_connections", "measured"),
    ("select + finish, peak_ewma", "peak_ewma", "measured"),
    ("select + finish, weighted", "weighted", "measured"),
    ("select, round_robin", "parts", "part_select"),
    ("finish, round_robin", "parts", "part_finish"),
    ("execute, round_robin", "execute", "measured"),
];

/// Runs `cargo xtask instructions [--record]`.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    match args {
        [] => run(),
        [record] if record == "--record" => record_counts(),
        _ => Err("this command takes `--record` or no argument".to_owned()),
    }
}

/// Measures and compares; passes with a message if no counts are recorded for the compiler.
pub(crate) fn run() -> Result<(), String> {
    let compiler = compiler()?;
    let measured = measure()?;
    let baselines = baselines()?;
    let Some(recorded) = baselines.get(&compiler) else {
        print!("{}", table(&measured, &Counts::new()));
        println!("no counts are recorded for the compiler {compiler}: nothing to compare with");
        return Ok(());
    };
    print!("{}", table(&measured, recorded));
    let faults = faults(&measured, recorded);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn record_counts() -> Result<(), String> {
    let measured = measure()?;
    let mut baselines = baselines()?;
    print!("{}", table(&measured, &Counts::new()));
    baselines.insert(compiler()?, measured);
    let file = file();
    fs::write(&file, document(&baselines))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

fn table(measured: &Counts, recorded: &Counts) -> String {
    let mut text = format!("{:<36} {:>9} {:>9} {:>11}\n", "operation", "measured", "recorded", "difference");
    for (name, count) in measured {
        let _ = match recorded.get(name) {
            Some(before) => {
                writeln!(text, "{name:<36} {count:>9.1} {before:>9.1} {:>+9.2} %", growth(*count, *before))
            }
            None => writeln!(text, "{name:<36} {count:>9.1} {:>9} {:>11}", "-", "-"),
        };
    }
    text
}

/// Returns the growth in percent.
fn growth(count: f64, before: f64) -> f64 {
    (count / before - 1.0) * 100.0
}

/// Returns operations that cost too much, and operations missing on one side.
fn faults(measured: &Counts, recorded: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, count) in measured {
        match recorded.get(name) {
            Some(before) if growth(*count, *before) <= LIMIT => {}
            Some(before) => faults.push(format!(
                "{name}: {count:.1} instructions are {:.1} % more than the recorded {before:.1}; the limit is {LIMIT} %",
                growth(*count, *before)
            )),
            None => faults.push(format!("{name}: no count is recorded; `cargo xtask instructions --record` does")),
        }
    }
    let missing = recorded.keys().filter(|name| !measured.contains_key(*name));
    faults.extend(
        missing.map(|name| format!("{name}: a count is recorded, but the benchmark has no such case")),
    );
    faults
}

fn measure() -> Result<Counts, String> {
    need_valgrind()?;
    let program = build()?;
    let (few, many) = OPERATIONS;
    let mut counts = Counts::new();
    for (name, case, function) in OPERATION_CASES {
        let (low, high) = (count(&program, case, function, few)?, count(&program, case, function, many)?);
        if high <= low {
            return Err(format!(
                "{name}: Valgrind counted {low} and {high} instructions; is {function} inlined?"
            ));
        }
        counts.insert((*name).to_owned(), (high - low) as f64 / f64::from(many - few));
    }
    Ok(counts)
}

/// Installs Valgrind if that is possible without a prompt.
fn need_valgrind() -> Result<(), String> {
    let there = || {
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    if there() {
        return Ok(());
    }
    println!("valgrind was not found; installing it with apt-get");
    let installed = ["update", "install"].iter().all(|verb| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y", verb]).env("DEBIAN_FRONTEND", "noninteractive");
        if *verb == "install" {
            command.args(["--no-install-recommends", "valgrind"]);
        }
        command.status().is_ok_and(|status| status.success())
    });
    if installed && there() {
        Ok(())
    } else {
        Err("valgrind is needed and cannot be installed here; as root: apt-get install valgrind".to_owned())
    }
}

/// Builds the benchmark with its profile and returns the path of the program.
fn build() -> Result<PathBuf, String> {
    let mut command = cargo(["bench", "--package", "failover-core", "--bench", "instructions", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics");
    let messages = cargo::output(command)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "instructions");
    programs
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo named no program for the benchmark `instructions`".to_owned())
}

/// Returns the instructions that the function and its callees execute in one run of the case.
fn count(program: &Path, case: &str, function: &str, operations: u32) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--toggle-collect=instructions::{function}*"));
    command.arg(program).args([case, &operations.to_string()]);
    let output = command.output().map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = output.status.success().then(|| collected(&text)).flatten();
    collected.ok_or_else(|| format!("valgrind failed on `{case} {operations}` ({}):\n{text}", output.status))
}

/// Returns the number in Callgrind's last lines: `==123== Collected : 4567`.
fn collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// Returns the compiler's version and platform, which both affect the machine code: `1.95.0
/// x86_64-unknown-linux-gnu`.
fn compiler() -> Result<String, String> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("-vV").current_dir(cargo::root());
    let text = cargo::output(command)?;
    let value = |key| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    match (value("release:"), value("host:")) {
        (Some(release), Some(host)) => Ok(format!("{release} {host}")),
        _ => Err(format!("rustc -vV printed no release and host:\n{text}")),
    }
}

fn file() -> PathBuf {
    cargo::root().join("crates/failover-core/benches/instructions.toml")
}

/// Returns the recorded counts by compiler, empty if nothing is recorded.
fn baselines() -> Result<BTreeMap<String, Counts>, String> {
    let file = file();
    if !file.exists() {
        return Ok(BTreeMap::new());
    }
    let unreadable = |why: String| format!("{} cannot be read: {why}", file.display());
    let text = fs::read_to_string(&file).map_err(|error| unreadable(error.to_string()))?;
    toml::from_str(&text).map_err(|error| unreadable(error.to_string()))
}

fn document(baselines: &BTreeMap<String, Counts>) -> String {
    let mut text = String::from(
        "# Instructions per operation, by compiler; written by `cargo xtask instructions --record`.\n",
    );
    for (compiler, counts) in baselines {
        let _ = writeln!(text, "\n[\"{compiler}\"]");
        for (name, count) in counts {
            let _ = writeln!(text, "\"{name}\" = {count:.1}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, f64)]) -> Counts {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn only_growth_above_the_limit_is_a_fault() {
        let recorded = counts(&[("select", 100.0), ("finish", 200.0), ("execute", 1_000.0)]);
        let measured = counts(&[("select", 102.9), ("finish", 150.0), ("execute", 1_031.0)]);
        let faults = faults(&measured, &recorded);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("execute: 1031.0 instructions are 3.1 % more"), "{faults:?}");
        assert!(table(&measured, &recorded).contains("-25.00 %"));
    }

    #[test]
    fn an_operation_on_one_side_only_is_a_fault() {
        let faults = faults(&counts(&[("new", 1.0)]), &counts(&[("old", 1.0)]));
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn the_document_reads_back_and_keeps_every_compiler() {
        let all = BTreeMap::from([
            ("1.90.0 x".to_owned(), counts(&[("select + finish, random", 12.5)])),
            ("1.95.0 x".to_owned(), counts(&[("execute", 1_528.0)])),
        ]);
        let read: BTreeMap<String, Counts> = toml::from_str(&document(&all)).expect("valid TOML");
        assert_eq!(read, all);
    }

    #[test]
    fn the_count_is_read_from_what_callgrind_prints() {
        let text = "==9== Events    : Ir\n==9== Collected : 557173\n==9==\n==9== I   refs:      557,173\n";
        assert_eq!(collected(text), Some(557_173));
        assert_eq!(collected("==9== nothing"), None);
    }
}
