//! Runs cargo, and reads the workspace's metadata.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Returns the directory of the workspace's `Cargo.toml`.
///
/// Determined at run time: two checkouts that share a target directory share this program, too, and
/// a path known at compile time would make it check the other one.
pub(crate) fn root() -> PathBuf {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(xtask) => Path::new(&xtask).parent().expect("xtask lies one level below the root").to_owned(),
        // Started without cargo: use the current directory.
        None => PathBuf::from("."),
    }
}

/// Returns a cargo command in the workspace's root, for the cargo that runs this program.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Formats the command as a command line.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy();
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs the command with its output shown; returns an error unless it succeeds.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let line = line(&command);
    println!("$ {line}");
    let status = command.status().map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed ({status})")) }
}

/// Runs the command and returns its standard output; standard error is shown.
pub(crate) fn output(mut command: Command) -> Result<String, String> {
    let line = line(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{line}` failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("`{line}` printed no UTF-8: {error}"))
}

/// Returns the workspace's packages, as `cargo metadata` describes them.
pub(crate) fn packages() -> Result<Vec<Value>, String> {
    let text = output(cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    let mut metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata was not understood: {error}"))?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => Err("cargo metadata names no packages".to_owned()),
    }
}

/// Returns the directory of cargo's artefacts.
pub(crate) fn target_directory() -> Result<PathBuf, String> {
    let text = output(cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata was not understood: {error}"))?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or("cargo metadata names no directory".to_owned())
}

/// Returns the name of a package.
pub(crate) fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// Returns whether a feature selects a version of Kubernetes. Such features exclude one another,
/// and the workspace's own builds set theirs in `.cargo/config.toml`, so `--all-features` cannot be
/// built.
pub(crate) fn is_choice(feature: &str) -> bool {
    feature.starts_with("k8s-")
}

/// Returns all features of a package that can be built together, except `default`, which is a
/// selection of them.
pub(crate) fn features(package: &Value) -> Vec<&str> {
    let features = package["features"].as_object();
    let names = features.into_iter().flat_map(|features| features.keys().map(String::as_str));
    names.filter(|feature| *feature != "default" && !is_choice(feature)).collect()
}

/// Returns `--features` with all features of the whole workspace.
pub(crate) fn all_features_of_all(packages: &[Value]) -> [String; 2] {
    let named = |package| features(package).into_iter().map(|feature| format!("{}/{feature}", name(package)));
    ["--features".to_owned(), packages.iter().flat_map(named).collect::<Vec<_>>().join(",")]
}

/// Returns the names of all integration tests, each once.
pub(crate) fn tests(packages: &[Value]) -> BTreeSet<String> {
    let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
    let is_test =
        |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "test"));
    targets.filter(is_test).map(|target| name(target).to_owned()).collect()
}

/// Returns whether other crates can depend on the package: a library outside the examples.
pub(crate) fn is_library(package: &Value) -> bool {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let directory = manifest.parent().and_then(Path::parent);
    if directory.is_some_and(|directory| directory.ends_with("examples")) {
        return false;
    }
    let kinds =
        |target: &Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "lib"));
    package["targets"].as_array().is_some_and(|targets| targets.iter().any(kinds))
}
