//! Commands that run a single cargo command.

use failover_testkit::postgres::Installation;
use failover_testkit::servers;

use crate::cargo::{self, cargo};

pub(crate) fn fmt() -> Result<(), String> {
    cargo::run(cargo(["fmt", "--all", "--check"]))
        .map_err(|why| format!("{why}; `cargo fmt --all` formats everything"))
}

pub(crate) fn clippy() -> Result<(), String> {
    let mut command = cargo(["clippy", "--workspace", "--all-targets"]);
    command.args(cargo::all_features_of_all(&cargo::packages()?)).args(["--", "-D", "warnings"]);
    cargo::run(command)
}

pub(crate) fn docs() -> Result<(), String> {
    let packages = cargo::packages()?;
    let libraries: Vec<_> = packages.into_iter().filter(cargo::is_library).collect();
    let mut command = cargo(["doc", "--no-deps", "--lib"]);
    command.args(cargo::all_features_of_all(&libraries));
    for package in &libraries {
        command.args(["--package", cargo::name(package)]);
    }
    command.env("RUSTDOCFLAGS", "-D warnings");
    cargo::run(command)
}

/// Compares what callers see of each fault with the recorded results.
pub(crate) fn sim() -> Result<(), String> {
    cargo::run(cargo(["run", "--release", "--quiet", "--package", "failover-sim", "--", "check"]))
}

/// The hard cells of the family of overloads that stay, and every row.
pub(crate) fn matrix() -> Result<(), String> {
    cargo::run(cargo(["run", "--release", "--quiet", "--package", "failover-sim", "--", "matrix"]))
}

pub(crate) fn bench() -> Result<(), String> {
    cargo::run(cargo(["bench", "--package", "failover-core", "--bench", "hot_path"]))
}

/// Uses the profile of the benches, whose artefacts already exist.
pub(crate) fn scale() -> Result<(), String> {
    let mut command = cargo(["test", "--profile", "bench", "--package", "failover-core", "--test", "scale"]);
    command.args(["--", "--nocapture", "--test-threads", "1"]);
    cargo::run(command)
}

/// Runs `cargo xtask kills [NUMBER]`.
pub(crate) fn kills(args: &[String]) -> Result<(), String> {
    match args {
        [] => kill(100),
        [number] => kill(number.parse().map_err(|_| format!("`{number}` is no number of kills"))?),
        _ => Err("one number of kills is all that this command takes".to_owned()),
    }
}

pub(crate) fn kill(times: u32) -> Result<(), String> {
    cargo::run(cargo(["run", "--package", "quickstart", "--", "kills", &times.to_string()]))
}

/// Compares with other libraries: a separate workspace, which ci does not build.
pub(crate) fn compare(args: &[String]) -> Result<(), String> {
    let manifest = cargo::root().join("crates/failover-bench/Cargo.toml");
    let mut command = cargo(["run", "--release", "--manifest-path"]);
    command.arg(manifest).arg("--").args(args);
    cargo::run(command)
}

pub(crate) fn quickstart() -> Result<(), String> {
    cargo::run(cargo(["run", "--package", "quickstart"]))
}

/// Runs the other examples, each of which checks its own results.
pub(crate) fn examples() -> Result<(), String> {
    for (package, example) in [("failover-http", "gateway"), ("failover-reqwest", "by_name")] {
        cargo::run(cargo(["run", "--package", package, "--example", example]))?;
    }
    [
        "from-go",
        "strategies",
        "example-tower",
        "example-axum",
        "example-tonic",
        "example-consul",
        "example-k8s",
    ]
    .into_iter()
    .try_for_each(|name| cargo::run(cargo(["run", "--package", name])))?;
    match Installation::find() {
        Err(why) if !servers::are_required() => println!("skipped: example-postgres: {why}"),
        _ => cargo::run(cargo(["run", "--package", "example-postgres"]))?,
    }
    Ok(())
}
