//! Three servers register themselves in a real Consul, and a process calls them by the service's
//! name while one of them and Consul itself are killed. No call fails.
//!
//! `cargo run -p example-consul` starts a Consul agent on this machine and four more processes of
//! this program, which find the agent through `CONSUL_HTTP_ADDR`, like any program that uses
//! Consul. Consul checks the servers over HTTP. The last line is `calls=N failed=N retried=N
//! failovers=N p99_ms=N`.
//!
//! To use another Consul, run the parts yourself: any number of `cargo run -p example-consul -- serve
//! NAME PORT`, and `cargo run -p example-consul -- call SECONDS`.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod caller;
mod server;
mod story;

use std::error::Error;
use std::process::ExitCode;

/// The service of the three servers.
const SERVICE: &str = "user-service";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(story::story()),
        ["serve", name, port] => run(server::serve(name, port)),
        ["call", seconds] => run(caller::call(seconds)),
        _ => Err("usage: example-consul [serve NAME PORT | call SECONDS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(part: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::select! {
        result = part => result,
        // Dropping the story ends the processes that it started.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}
