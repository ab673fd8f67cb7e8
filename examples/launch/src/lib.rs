//! Looks for the servers of an example before anything long is compiled.
//!
//! An example with real servers is two programs: this one, which builds in seconds, and the example
//! itself, behind the feature `program` of its package.

use std::process::{Command, ExitCode};

use failover_testkit::servers::Server;

/// Runs the program of a package by cargo, if its servers are on this machine.
///
/// With arguments, a user runs a part of the example against servers elsewhere, and none are looked
/// for.
pub fn launch(package: &str, servers: &[Server]) -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.is_empty() {
        let missing: Vec<_> = servers.iter().filter_map(|server| server.find().err()).collect();
        if !missing.is_empty() {
            eprintln!("error: {package} runs real servers: {}", missing.join("; "));
            eprintln!("Nothing was compiled yet. Getting them takes minutes, once; then run this again.");
            return ExitCode::FAILURE;
        }
        eprintln!("The servers are here. The first build of the example takes minutes.");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--package", package, "--features", "program", "--bin"]);
    command.arg(format!("{package}-program")).arg("--").args(args);
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: cargo cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
