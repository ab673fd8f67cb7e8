//! Compiles each library by itself, with each of its features alone.
//!
//! A build of the whole workspace unifies the features of every dependency, and so hides a crate
//! that uses a feature that only another crate enables.

use std::process::Command;

use serde_json::Value;

use crate::cargo::{self, cargo};

pub(crate) fn run() -> Result<(), String> {
    let packages = cargo::packages()?;
    for package in packages.iter().filter(|package| cargo::is_library(package)) {
        let features = cargo::features(package);
        check(package, &["--no-default-features"])?;
        for feature in &features {
            check(package, &["--no-default-features", "--features", feature])?;
        }
        if features.len() > 1 {
            check(package, &["--no-default-features", "--features", &features.join(",")])?;
        }
        for choice in choices(package) {
            let mut command = clippy(package, &["--no-default-features", "--features", choice]);
            // The feature selects the version, not the workspace.
            command.env("K8S_OPENAPI_ENABLED_VERSION", "");
            cargo::run(command)?;
        }
    }
    Ok(())
}

fn check(package: &Value, selection: &[&str]) -> Result<(), String> {
    cargo::run(clippy(package, selection))
}

/// Returns a clippy command: it compiles like `cargo check`, and fails on code that is unused
/// without some feature.
fn clippy(package: &Value, selection: &[&str]) -> Command {
    let mut command = cargo(["clippy", "--quiet", "--package", cargo::name(package)]);
    command.args(selection).args(["--", "-D", "warnings"]);
    command
}

/// Returns the features for the oldest and the newest version of Kubernetes, if the crate has them.
/// Each recompiles a large crate.
fn choices(package: &Value) -> Vec<&str> {
    // The facade forwards them.
    let features = package["features"].as_object().filter(|_| cargo::name(package) == "failover-k8s");
    let names = features.into_iter().flat_map(|features| features.keys().map(String::as_str));
    let all: Vec<_> = names.filter(|feature| cargo::is_choice(feature)).collect();
    all.first().into_iter().chain(all.get(1)).copied().collect()
}
