//! Writes to a real `PostgreSQL` while its primary is killed, its standby promoted, and the old primary
//! started again: no write is lost, none is done twice, and none reaches the old primary.
//!
//! `client.rs` is what a program copies. `failover_testkit::postgres` creates, starts, kills and promotes
//! the servers, by `initdb`, `pg_basebackup` and `pg_ctl`.
//! The last line is `writes=N failed=N gap_ms=N on_old_primary=N`.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod client;
mod multi_host;
mod say;
mod story;
#[cfg(test)]
mod tests;
mod verdict;
mod writers;

use std::process::ExitCode;

use failover_testkit::postgres::Installation;

/// The exit code if there is no `PostgreSQL`: `EX_UNAVAILABLE` of sysexits.
const NOT_INSTALLED: u8 = 69;

fn main() -> ExitCode {
    let installation = match Installation::find() {
        Ok(installation) => installation,
        Err(why) => {
            eprintln!("error: example-postgres runs real servers: {why}");
            return ExitCode::from(NOT_INSTALLED);
        }
    };
    match run(&installation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(installation: &Installation) -> Result<(), Box<dyn std::error::Error>> {
    tokio::select! {
        result = story::story(installation) => result,
        // Dropping the story stops the servers and removes their directories.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}
