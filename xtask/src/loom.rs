//! Runs the loom models of decisions shared by several threads.

use crate::cargo::{self, cargo};

pub(crate) fn run() -> Result<(), String> {
    let mut command = cargo(["test", "--package", "failover-core", "--lib", "--", "models_"]);
    // A separate configuration and target directory: nothing else is recompiled because of it.
    command.env("RUSTFLAGS", "--cfg failover_loom").env("LOOM_MAX_PREEMPTIONS", "3");
    command.env("CARGO_TARGET_DIR", cargo::root().join("target/loom"));
    cargo::run(command)
}
