//! Prints docs/effect.md: the simulator's table with pingora beside the others, in one run.
//!
//! `effect [--seeds N]`, from 5 seeds.

mod pingora;

use std::process::ExitCode;

use failover_sim::Peer;
use failover_sim::effect;

const PINGORA: Peer = Peer::new(
    "pingora",
    "pingora-load-balancing's own round robin and health: one attempt, and none where no endpoint is healthy. Its\n\
     checks begin each second, half a second after the times at which faults do. They go from endpoint to endpoint, and\n\
     wait 1 s for a silent one",
    pingora::balancer,
);

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let seeds = match args[..] {
        [] => Some(5),
        ["--seeds", number] => number.parse().ok().filter(|seeds| (1..=10_000).contains(seeds)),
        _ => None,
    };
    let Some(seeds) = seeds else {
        eprintln!("usage: effect [--seeds N], with N from 1 to 10000");
        return ExitCode::FAILURE;
    };
    let command = format!(
        "cargo run --release --manifest-path crates/failover-bench/Cargo.toml --bin effect -- --seeds {seeds} > docs/effect.md"
    );
    match effect::page(seeds, &[PINGORA], &command) {
        Ok(page) => {
            print!("{page}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
