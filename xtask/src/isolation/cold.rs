//! Times cold builds of the facade by feature set, for docs/dependencies.md.

use std::fs;
use std::time::Instant;

use super::{crates, tree};
use crate::cargo::{self, cargo};

/// Each feature alone, none of them, and what belongs together.
const SETS: &[&str] = &[
    "",
    "memory",
    "toml",
    "yaml",
    "probe",
    "http",
    "metrics",
    "file",
    "tower",
    "status",
    "tonic",
    "consul-slim",
    "reqwest",
    "dns",
    "k8s-v1_37",
    "consul",
    "full",
    "full,consul,dns,file,k8s-v1_37",
];

/// Prints a table: for each set, the crates and the seconds that `cargo build` takes in an empty target
/// directory, with all sources downloaded.
pub(super) fn run() -> Result<(), String> {
    cargo::run(cargo(["fetch"]))?;
    let target = cargo::target_directory()?.join("cold");
    println!("| features | crates | cold build, s |\n|---|---|---|");
    for set in SETS {
        let features = ["--no-default-features", "--features", set];
        let count = crates(&tree("failover", &features)?).len();
        if target.exists() {
            fs::remove_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
        }
        let mut command = cargo(["build", "--quiet", "--offline", "--package", "failover"]);
        command.args(features).env("CARGO_TARGET_DIR", &target);
        // The feature selects the version, not the workspace.
        command.env("K8S_OPENAPI_ENABLED_VERSION", "");
        let began = Instant::now();
        cargo::run(command)?;
        let seconds = began.elapsed().as_secs_f64();
        let name = if set.is_empty() { "none".to_owned() } else { format!("`{}`", set.replace(',', "`, `")) };
        println!("| {name} | {count} | {seconds:.0} |");
    }
    fs::remove_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))
}
