//! A directory source: what cargo reads instead of the registry.
//!
//! It holds the packed crates and, as links into cargo's own cache, every third-party crate of the
//! workspace's lock file. Builds with it are offline, and see no crate that was not packed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Packed, pack};
use crate::cargo::{self, cargo};

/// Fills the directory with the packed crates and those of the lock file.
pub(crate) fn fill(directory: &Path, packed: &[Packed]) -> Result<(), String> {
    pack::emptied(directory)?;
    for packed in packed {
        add(directory, packed)?;
    }
    // Downloads what is missing, for all platforms: each must have a manifest to be resolved.
    let text = cargo::output(cargo(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let checksums = checksums(&fs::read_to_string(cargo::root().join("Cargo.lock")).map_err(shown)?)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(manifest) = package["source"].as_str().and(package["manifest_path"].as_str()) else {
            continue;
        };
        let id =
            (cargo::name(package).to_owned(), package["version"].as_str().unwrap_or_default().to_owned());
        let checksum =
            checksums.get(&id).ok_or(format!("Cargo.lock has no checksum of {} {}", id.0, id.1))?;
        let from = Path::new(manifest).parent().unwrap_or(Path::new("/"));
        let to = directory.join(format!("{}-{}", id.0, id.1));
        fs::create_dir(&to).map_err(shown)?;
        for entry in fs::read_dir(from).map_err(shown)? {
            let entry = entry.map_err(shown)?;
            link(&entry.path(), &to.join(entry.file_name()))?;
        }
        confirm(&to, checksum)?;
    }
    Ok(())
}

/// Adds a package. Its name and version may be there under another file name.
pub(crate) fn add(directory: &Path, packed: &Packed) -> Result<(), String> {
    let unpacked = pack::unpack(packed, directory)?;
    confirm(&unpacked, &packed.checksum()?)
}

/// Writes the file by which cargo takes the directory for a whole package of that checksum.
pub(crate) fn confirm(package: &Path, checksum: &str) -> Result<(), String> {
    let text = json!({"files": {}, "package": checksum}).to_string();
    fs::write(package.join(".cargo-checksum.json"), text).map_err(shown)
}

/// Makes cargo read the source below this directory: `sources` are searched instead of the registry.
pub(crate) fn configure(directory: &Path, source: &Path) -> Result<(), String> {
    let text = format!(
        "[source.crates-io]\nreplace-with = \"packed\"\n\n[source.packed]\ndirectory = {:?}\n\n[net]\noffline = true\n",
        source.display().to_string()
    );
    fs::create_dir_all(directory.join(".cargo")).map_err(shown)?;
    fs::write(directory.join(".cargo/config.toml"), text).map_err(shown)
}

fn checksums(lock: &str) -> Result<HashMap<(String, String), String>, String> {
    let lock: toml::Table = lock.parse().map_err(|error| format!("Cargo.lock: {error}"))?;
    let text =
        |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let id =
        |package| Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?));
    Ok(packages.filter_map(id).collect())
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> Result<(), String> {
    std::os::unix::fs::symlink(from, to).map_err(shown)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> Result<(), String> {
    Err("the directory source is made of symbolic links, which this system does not have".to_owned())
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn shown(error: std::io::Error) -> String {
    error.to_string()
}
