//! Packs the crates that are published, and unpacks them as cargo unpacks a download.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Packed;
use crate::cargo::{self, cargo};

/// What each package must hold: what its users read before and after they download it.
const FILES: &[&str] =
    &["Cargo.toml", "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"];

/// Packs each crate that is published, in the order in which they can be published.
pub(crate) fn pack(packages: &[Value]) -> Result<Vec<Packed>, String> {
    let mut command = cargo(["package", "--quiet", "--no-verify", "--allow-dirty", "--offline"]);
    let order = order(packages)?;
    for name in &order {
        command.args(["--package", name]);
    }
    cargo::run(command)?;
    let directory = cargo::target_directory()?.join("package");
    let version = |name: &str| {
        let package = packages.iter().find(|package| cargo::name(package) == name);
        package.and_then(|package| package["version"].as_str()).unwrap_or_default().to_owned()
    };
    let packed = |name: String| {
        let version = version(&name);
        let file = directory.join(format!("{name}-{version}.crate"));
        Packed { name, version, file }
    };
    Ok(order.into_iter().map(packed).collect())
}

/// Returns the names of the crates that are published, each after those it depends on.
pub(crate) fn order(packages: &[Value]) -> Result<Vec<String>, String> {
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages.iter().filter(|package| is_published(package)) {
        let all = package["dependencies"].as_array().into_iter().flatten();
        // A dependency by path alone is not part of the package.
        let ours = all.filter(|dependency| dependency["path"].is_string() && dependency["req"] != "*");
        waiting.insert(cargo::name(package), ours.map(cargo::name).collect());
    }
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting.iter().find(|(_, needs)| needs.iter().all(|need| !waiting.contains_key(need)));
        let Some(name) = ready.map(|(name, _)| *name) else {
            let names = waiting.keys().copied().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "these crates depend on one another, so none can be published first: {names}"
            ));
        };
        waiting.remove(name);
        order.push(name.to_owned());
    }
    Ok(order)
}

/// Returns whether the crate is meant for a registry.
pub(crate) fn is_published(package: &Value) -> bool {
    package["publish"].is_null()
}

/// Unpacks the package into a new directory below `parent`, and checks what it holds.
pub(crate) fn unpack(packed: &Packed, parent: &Path) -> Result<PathBuf, String> {
    let directory = unpack_as_it_is(&packed.file, parent)?;
    match FILES.iter().find(|file| !directory.join(file).is_file()) {
        Some(file) => Err(format!("{}: the package has no {file}", packed.name)),
        None => Ok(directory),
    }
}

/// Unpacks a file of cargo's format, and returns the directory that was in it.
pub(crate) fn unpack_as_it_is(file: &Path, parent: &Path) -> Result<PathBuf, String> {
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(file).arg("-C").arg(parent);
    let status = command.status().map_err(|error| format!("tar could not be started: {error}"))?;
    let stem = file.file_stem().unwrap_or_default();
    if status.success() {
        Ok(parent.join(stem))
    } else {
        Err(format!("{} cannot be unpacked", file.display()))
    }
}

/// Empties the directory, or makes it.
pub(crate) fn emptied(directory: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, needs: &[(&str, &str)]) -> Value {
        let dependency = |(name, req): &(&str, &str)| json!({"name": name, "req": req, "path": "/x"});
        json!({"name": name, "publish": null, "dependencies": needs.iter().map(dependency).collect::<Vec<_>>()})
    }

    #[test]
    fn a_crate_follows_what_it_depends_on() {
        let by_path = [("c", "*")];
        let packages =
            [package("a", &[("b", "^0.1.0")]), package("b", &[("c", "^0.1.0")]), package("c", &by_path)];
        assert_eq!(order(&packages).expect("no cycle"), ["c", "b", "a"]);
    }

    #[test]
    fn a_cycle_is_an_error_that_names_its_crates() {
        let packages =
            [package("a", &[("b", "^0.1.0")]), package("b", &[("a", "^0.1.0")]), package("c", &[])];
        let error = order(&packages).expect_err("a cycle");
        assert!(error.ends_with(": a, b"), "{error}");
    }

    #[test]
    fn what_is_not_published_is_left_out() {
        let mut mine = package("a", &[]);
        mine["publish"] = json!([]);
        assert_eq!(order(&[mine, package("b", &[])]).expect("no cycle"), ["b"]);
    }
}
