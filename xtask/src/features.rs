//! Each library by itself, with each of its features alone.
//!
//! A build of the whole workspace unites the features of every dependency, and so hides a crate that uses
//! what only its neighbour asked for.

use serde_json::Value;

use crate::cargo::{self, cargo};

pub(crate) fn run() -> Result<(), String> {
    let packages = cargo::packages()?;
    for package in packages.iter().filter(|package| cargo::is_library(package)) {
        let features = features(package);
        check(package, &["--no-default-features"])?;
        for feature in &features {
            check(package, &["--no-default-features", "--features", feature])?;
        }
        if features.len() > 1 {
            check(package, &["--all-features"])?;
        }
    }
    Ok(())
}

/// Clippy compiles as `cargo check` does, and turns what is unused without some feature into an error.
fn check(package: &Value, selection: &[&str]) -> Result<(), String> {
    let mut command = cargo(["clippy", "--quiet", "--package", cargo::name(package)]);
    command.args(selection).args(["--", "-D", "warnings"]);
    cargo::run(command)
}

/// All but `default`, which is a choice among the others.
fn features(package: &Value) -> Vec<&str> {
    let Some(features) = package["features"].as_object() else {
        return Vec::new();
    };
    features.keys().map(String::as_str).filter(|feature| *feature != "default").collect()
}
