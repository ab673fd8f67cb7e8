//! The commands that are one call of cargo.

use crate::cargo::{self, cargo};

pub(crate) fn fmt() -> Result<(), String> {
    cargo::run(cargo(["fmt", "--all", "--check"]))
        .map_err(|why| format!("{why}; `cargo fmt --all` formats everything"))
}

pub(crate) fn clippy() -> Result<(), String> {
    cargo::run(cargo(["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))
}

pub(crate) fn docs() -> Result<(), String> {
    let packages = cargo::packages()?;
    let mut command = cargo(["doc", "--no-deps", "--all-features", "--lib"]);
    for package in packages.iter().filter(|package| cargo::is_library(package)) {
        command.args(["--package", cargo::name(package)]);
    }
    command.env("RUSTDOCFLAGS", "-D warnings");
    cargo::run(command)
}

pub(crate) fn bench() -> Result<(), String> {
    cargo::run(cargo(["bench", "--package", "failover-core", "--bench", "hot_path"]))
}

pub(crate) fn quickstart() -> Result<(), String> {
    cargo::run(cargo(["run", "--package", "quickstart"]))
}
