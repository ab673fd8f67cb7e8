//! Running cargo, and asking it about the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The directory that holds the workspace's `Cargo.toml`.
///
/// Asked when this program runs: two checkouts that share a target directory share this program, too, and what was
/// known when it was compiled would make it check the other one.
pub(crate) fn root() -> PathBuf {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(xtask) => Path::new(&xtask).parent().expect("xtask lies one level below the root").to_owned(),
        // Without cargo around it, it has been started by hand: where one stands is what one means.
        None => PathBuf::from("."),
    }
}

/// A cargo command in the root of the workspace: the same cargo that runs this program.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy();
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs it with its output shown; anything but success is an error.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let line = line(&command);
    println!("$ {line}");
    let status = command.status().map_err(|error| format!("`{line}` could not be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed ({status})")) }
}

/// Runs it and hands back what it printed; its complaints are shown.
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

/// The workspace's packages, as `cargo metadata` describes them.
pub(crate) fn packages() -> Result<Vec<Value>, String> {
    let text = output(cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    let mut metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata was not understood: {error}"))?;
    match metadata["packages"].take() {
        Value::Array(packages) => Ok(packages),
        _ => Err("cargo metadata names no packages".to_owned()),
    }
}

/// The name of a package.
pub(crate) fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

/// Whether a feature chooses a version of Kubernetes. One excludes the others, and the workspace's own builds have theirs
/// in `.cargo/config.toml`, so that `--all-features` cannot be built.
pub(crate) fn is_choice(feature: &str) -> bool {
    feature.starts_with("k8s-")
}

/// All features of a package that can be built together, but `default`, which is a choice among them.
pub(crate) fn features(package: &Value) -> Vec<&str> {
    let features = package["features"].as_object();
    let names = features.into_iter().flat_map(|features| features.keys().map(String::as_str));
    names.filter(|feature| *feature != "default" && !is_choice(feature)).collect()
}

/// `--features` with all of them, of the whole workspace.
pub(crate) fn all_features_of_all(packages: &[Value]) -> [String; 2] {
    let named = |package| features(package).into_iter().map(|feature| format!("{}/{feature}", name(package)));
    ["--features".to_owned(), packages.iter().flat_map(named).collect::<Vec<_>>().join(",")]
}

/// Whether others can depend on the package: a library outside of the examples.
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
