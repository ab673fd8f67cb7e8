//! The models of what several threads decide together, in every order of events.

use crate::cargo::{self, cargo};

pub(crate) fn run() -> Result<(), String> {
    let mut command = cargo(["test", "--package", "failover-core", "--lib", "--", "models_"]);
    // A configuration of its own, and so a directory of its own: nothing else is compiled anew because of it.
    command.env("RUSTFLAGS", "--cfg failover_loom").env("LOOM_MAX_PREEMPTIONS", "3");
    command.env("CARGO_TARGET_DIR", cargo::root().join("target/loom"));
    cargo::run(command)
}
