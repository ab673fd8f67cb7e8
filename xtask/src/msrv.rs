//! Compiles each library with the oldest compiler that it supports.

use std::process::{Command, Stdio};

use crate::cargo::{self, cargo};

/// Uses that toolchain if it is installed; otherwise a lint, which knows the versions of the
/// standard library's items but not of language features.
pub(crate) fn run() -> Result<(), String> {
    for package in cargo::packages()?.iter().filter(|package| cargo::is_library(package)) {
        let name = cargo::name(package);
        // What brings kube, hickory or notify needs a newer compiler, as those crates and the facade document.
        let newer = |name: &&str| matches!(*name, "dns" | "file" | "k8s");
        let features: Vec<_> = cargo::features(package).into_iter().filter(|name| !newer(name)).collect();
        let version =
            package["rust_version"].as_str().ok_or(format!("{name}: Cargo.toml lacks `rust-version`"))?;
        check(name, version, &["--features", &features.join(",")])?;
        // A default feature can replace code, as `consulrs` does.
        if package["features"]["default"].as_array().is_some_and(|features| !features.is_empty()) {
            check(name, version, &["--no-default-features"])?;
        }
    }
    Ok(())
}

fn check(name: &str, version: &str, features: &[&str]) -> Result<(), String> {
    if is_installed(version) {
        let mut command = Command::new("rustup");
        command.args(["run", version, "cargo", "check", "-p", name]).args(features);
        // The older compiler cannot use the newer one's artefacts.
        command.env("CARGO_TARGET_DIR", cargo::root().join("target/msrv")).current_dir(cargo::root());
        return cargo::run(command);
    }
    println!("{name}: Rust {version} is not installed here, so this is checked by lint only");
    let mut command = cargo(["clippy", "-p", name]);
    command.args(features).args(["--", "-D", "clippy::incompatible_msrv"]);
    cargo::run(command)
}

fn is_installed(version: &str) -> bool {
    let mut command = Command::new("rustup");
    command.args(["run", version, "rustc", "--version"]).env("RUSTUP_AUTO_INSTALL", "0");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
