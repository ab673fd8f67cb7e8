//! The example says what is missing, and leaves no server and no directory behind, however it ends.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use failover_testkit::TempDir;
use failover_testkit::postgres::Installation;
use rustix::process::{Pid, Signal, kill_process};

/// Starts the example, with a directory for its servers, and waits until the programs write.
fn start() -> (Child, TempDir) {
    let directory = tempdir();
    let mut example = Command::new(env!("CARGO_BIN_EXE_example-postgres"))
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(example.stdout.as_mut().expect("piped")).lines();
    let written = lines.map_while(Result::ok).find(|line| line.contains("done:"));
    assert!(written.is_some(), "it writes");
    (example, directory)
}

/// A directory in which everybody can have one of their own, as in `/tmp`.
fn tempdir() -> TempDir {
    use std::os::unix::fs::PermissionsExt;

    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).expect("sets them");
    directory
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).expect("reads").map(|entry| entry.expect("reads").path()).collect()
}

/// Returns the ids of the processes that have this directory in their command line.
fn processes(directory: &Path) -> Vec<String> {
    let of = |path: &PathBuf| fs::read(path.join("cmdline")).unwrap_or_default();
    let directory = directory.to_str().expect("text");
    let all = entries(Path::new("/proc")).into_iter();
    let with = all.filter(|path| String::from_utf8_lossy(&of(path)).contains(directory));
    with.map(|path| path.display().to_string()).collect()
}

fn ends_after(signal: Signal) {
    if Installation::get().is_none() {
        return;
    }
    let (mut example, directory) = start();
    assert_eq!(entries(directory.path()).len(), 2, "two servers");
    assert!(processes(directory.path()).len() >= 2);
    kill_process(Pid::from_child(&example), signal).expect("runs");
    assert!(!example.wait().expect("ends").success());
    let begun = Instant::now();
    while !entries(directory.path()).is_empty() || !processes(directory.path()).is_empty() {
        let left = (entries(directory.path()), processes(directory.path()));
        assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    ends_after(Signal::INT);
}

#[test]
fn a_crash_leaves_nothing_behind() {
    ends_after(Signal::KILL);
}

#[test]
fn without_postgresql_it_says_what_to_install_and_exits_with_69() {
    let mut example = Command::new(env!("CARGO_BIN_EXE_example-postgres"));
    let output = example.env("FAILOVER_POSTGRES", "/nonexistent").output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("no PostgreSQL on this machine (/nonexistent)"), "{said}");
    assert!(said.contains("`apt-get install postgresql`"), "{said}");
}
