//! Builds and tests the crates as their users get them: from their packages, outside the workspace,
//! offline.

pub(crate) mod pack;
mod programs;
pub(crate) mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;

pub(crate) use pack::is_published;
pub(crate) use programs::{FACADE, copy};

/// A crate that was packed.
#[derive(Clone)]
pub(crate) struct Packed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) file: PathBuf,
}

impl Packed {
    /// Returns the SHA-256 of the file, as a registry states it.
    fn checksum(&self) -> Result<String, String> {
        checksum(&self.file)
    }
}

/// Returns the SHA-256 of a file.
pub(crate) fn checksum(file: &Path) -> Result<String, String> {
    let mut command = Command::new("sha256sum");
    command.arg(file);
    let text = cargo::output(command)?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

pub(crate) fn command(args: &[String]) -> Result<(), String> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => whole(),
        ["--quick"] => quick(),
        _ => Err("`package` takes `--quick` or nothing".to_owned()),
    }
}

/// Builds and tests each crate from its package.
pub(crate) fn whole() -> Result<(), String> {
    let (place, _) = prepare()?;
    cargo::run(place.cargo("trial", &["test", "--workspace", "--no-fail-fast"]))?;
    programs::third_parties(&place)?;
    programs::generated(&place)
}

/// Compiles each crate from its package, with its tests, and runs the examples of two.
pub(crate) fn quick() -> Result<(), String> {
    let (place, _) = prepare()?;
    cargo::run(place.cargo("trial", &["check", "--workspace", "--all-targets"]))?;
    programs::third_parties(&place)
}

/// Where packages are tried.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
}

impl Place {
    /// Returns the directory source.
    pub(crate) fn source(&self) -> PathBuf {
        self.directory.join("source")
    }

    /// Removes what earlier builds made of the packages: for cargo, a version never changes.
    pub(crate) fn forget(&self) -> Result<(), String> {
        let kept = self.directory.join("build/debug/.fingerprint");
        for entry in fs::read_dir(kept).into_iter().flatten() {
            let entry = entry.map_err(|error| error.to_string())?;
            if entry.file_name().to_string_lossy().starts_with("failover") {
                fs::remove_dir_all(entry.path()).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Returns a cargo command in a directory of this place. All share the artefacts.
    pub(crate) fn cargo(&self, directory: &str, args: &[&str]) -> Command {
        let mut command = cargo::cargo(args.iter().copied());
        command.current_dir(self.directory.join(directory));
        command.env("CARGO_TARGET_DIR", self.directory.join("build")).env("CARGO_PROFILE_DEV_DEBUG", "false");
        command.env("K8S_OPENAPI_ENABLED_VERSION", "1.33");
        command
    }
}

/// Packs all crates, and lays out a source with them and a workspace of the unpacked ones, each of
/// which finds the others in the source alone.
pub(crate) fn prepare() -> Result<(Place, Vec<Packed>), String> {
    let packages = cargo::packages()?;
    let place = Place { directory: cargo::target_directory()?.join("packages") };
    let packed = pack::pack(&packages)?;
    source::fill(&place.source(), &packed)?;
    source::configure(&place.directory, &place.source())?;
    programs::add_renamed_facade(&place, &packed)?;
    workspace(&place.directory.join("trial"), &packed)?;
    place.forget()?;
    println!("{} packages are in {}", packed.len(), place.source().display());
    Ok((place, packed))
}

/// Unpacks the packages as members of a workspace, none of which knows where the others are.
pub(crate) fn workspace(directory: &Path, packed: &[Packed]) -> Result<(), String> {
    pack::emptied(directory)?;
    for packed in packed {
        pack::unpack(packed, directory)?;
    }
    write(&directory.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n")
}

pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
