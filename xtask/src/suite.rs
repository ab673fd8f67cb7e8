//! Runs all tests of the workspace and summarises their results.

use std::fs;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::cargo::{self, cargo};
use crate::results::Tally;

/// The variable with the file to which a test that returns early appends a line `skipped: NAME:
/// REASON`.
///
/// libtest captures the output of a passing test, so the line would not be visible there.
const SKIPS: &str = "FAILOVER_SKIPS";

/// The variable with the number of tests that run at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Runs `cargo xtask test [-- FILTER]`.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let filter = match args {
        [] => &[],
        [dashes, filter @ ..] if dashes == "--" => filter,
        _ => {
            return Err(format!(
                "arguments for the tests stand after `--`: cargo xtask test -- {}",
                args.join(" ")
            ));
        }
    };
    let tally = run(filter)?;
    println!("{tally}");
    // The summary is always the last line: failures have been listed before it.
    if tally.is_good() { Ok(()) } else { Err(String::new()) }
}

/// Modules of failover-consul's tests that need real agents, and `many`, which takes long.
const NOT_IN_CI: [&str; 9] = [
    "acl::",
    "aging::",
    "cluster::",
    "conformance::",
    "foreign::",
    "grpc::",
    "live::",
    "many::",
    "measure::",
];

/// Runs `cargo xtask consul-slim [all]`.
pub(crate) fn consul_slim(args: &[String]) -> Result<(), String> {
    match args {
        [] => scripted_without_consulrs(),
        [all] if all == "all" => without_consulrs(&[]),
        _ => Err("this command takes `all`, or nothing".to_owned()),
    }
}

/// Runs failover-consul's tests without consulrs on scripted agents: `test` runs all of them with
/// consulrs.
pub(crate) fn scripted_without_consulrs() -> Result<(), String> {
    without_consulrs(&NOT_IN_CI.map(|module| format!("--skip={module}")))
}

/// Runs all of failover-consul's tests without consulrs.
pub(crate) fn all_without_consulrs() -> Result<(), String> {
    without_consulrs(&[])
}

fn without_consulrs(filter: &[String]) -> Result<(), String> {
    let tally = tally(&["--package", "failover-consul", "--no-default-features"].map(str::to_owned), filter)?;
    println!("{tally}");
    if tally.is_good() { Ok(()) } else { Err("not every test passed without consulrs; see above".to_owned()) }
}

/// Tests on real servers, which wait more than they compute.
const ON_SERVERS: [&str; 2] = ["consul", "k8s"];

/// How many of these run at a time.
const SERVERS_AT_A_TIME: &str = "4";

/// Runs all tests of the workspace.
pub(crate) fn run(filter: &[String]) -> Result<Tally, String> {
    let packages = cargo::packages()?;
    let features = cargo::all_features_of_all(&packages);
    let workspace = [&["--workspace".to_owned()], &features[..]].concat();
    let (on_servers, others): (Vec<_>, Vec<_>) =
        cargo::tests(&packages).into_iter().partition(|test| ON_SERVERS.contains(&test.as_str()));
    let named = |tests: Vec<String>| tests.into_iter().flat_map(|test| ["--test".to_owned(), test]);
    let quick = ["--lib", "--bins", "--examples"].map(str::to_owned).into_iter().chain(named(others));
    let mut tally = Tally::default();
    run_part(&workspace, quick.collect(), filter, None, &mut tally)?;
    run_part(&workspace, named(on_servers).collect(), filter, Some(SERVERS_AT_A_TIME), &mut tally)?;
    run_part(&workspace, vec!["--doc".to_owned()], filter, None, &mut tally)?;
    tally.end();
    print!("\n{}", tally.details());
    Ok(tally)
}

/// Runs the selected tests of one package, and lists skips, failures and problems.
fn tally(selection: &[String], filter: &[String]) -> Result<Tally, String> {
    let mut tally = Tally::default();
    run_part(selection, Vec::new(), filter, None, &mut tally)?;
    tally.end();
    print!("\n{}", tally.details());
    Ok(tally)
}

/// Runs the selected tests, streams their output and adds it up.
fn run_part(
    selection: &[String],
    targets: Vec<String>,
    filter: &[String],
    at_a_time: Option<&str>,
    tally: &mut Tally,
) -> Result<(), String> {
    let skips = SkipFile::new()?;
    let mut command = cargo(["test", "--no-fail-fast", "--color", "never"]);
    command.args(selection).args(targets).arg("--");
    command.args(filter).env(SKIPS, &skips.path);
    if let Some(at_a_time) = at_a_time.filter(|_| std::env::var_os(THREADS).is_none()) {
        command.env(THREADS, at_a_time);
    }
    // The lines that announce a test program are parsed; these settings would change or drop them.
    command.env("CARGO_TERM_QUIET", "false").env("CARGO_TERM_VERBOSE", "false");
    println!("$ {}", cargo::line(&command));

    // Both streams share one pipe, so that their lines arrive in the order in which they were
    // written.
    let broken = |error: io::Error| format!("the tests could not be started: {error}");
    let (reader, writer) = io::pipe().map_err(broken)?;
    command.stdout(writer.try_clone().map_err(broken)?).stderr(writer);
    let mut child = command.spawn().map_err(broken)?;
    // The command holds the write ends; while it exists, the output does not end.
    drop(command);

    follow(&lines(reader), &mut child, tally);
    let status = child.wait().map_err(|error| format!("cargo test got lost: {error}"))?;
    tally.end_of_part();
    tally.early_returns(&skips.read()?);
    if !status.success() && tally.is_good() {
        tally.problem(format!("cargo test failed ({status}) although no test did; see its output above"));
    }
    Ok(())
}

/// Prints and processes each line until the output ends.
fn follow(lines: &Receiver<String>, child: &mut Child, tally: &mut Tally) {
    let patience = Duration::from_secs(5);
    loop {
        match lines.recv_timeout(patience) {
            Ok(line) => {
                print!("{line}");
                let _ = io::stdout().flush();
                tally.line(line.trim_end_matches(['\r', '\n']));
            }
            Err(RecvTimeoutError::Disconnected) => return,
            // A process left behind by a test keeps the pipe open as long as it lives.
            Err(RecvTimeoutError::Timeout) if matches!(child.try_wait(), Ok(Some(_))) => {
                return tally.problem("a test left a process behind that still holds the output");
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn lines(reader: PipeReader) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// The file for early returns, removed on drop.
struct SkipFile {
    path: PathBuf,
}

impl SkipFile {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("failover-skips-{}", std::process::id()));
        fs::write(&path, "").map_err(|error| format!("{} could not be written: {error}", path.display()))?;
        Ok(Self { path })
    }

    fn read(&self) -> Result<String, String> {
        let mut text = Vec::new();
        fs::File::open(&self.path)
            .and_then(|mut file| file.read_to_end(&mut text))
            .map_err(|error| format!("{} could not be read: {error}", self.path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for SkipFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
