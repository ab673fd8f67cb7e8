//! Crates of third parties, built with the packages alone.

use std::fs;
use std::path::Path;

use super::{Packed, Place, pack, source, write};
use crate::{cargo, new_provider};

/// The free name under which the facade is published: see docs/releasing.md.
pub(crate) const FACADE: &str = "failover-client";

/// Adds the facade to the source under its name on the registry. Nothing else changes, its library's name included.
pub(crate) fn add_renamed_facade(place: &Place, packed: &[Packed]) -> Result<(), String> {
    let facade = packed.iter().find(|packed| packed.name == "failover").ok_or("the facade was not packed")?;
    let shelf = place.directory.join("renamed");
    pack::emptied(&shelf)?;
    let unpacked = pack::unpack(facade, &shelf)?;
    let manifest = unpacked.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| error.to_string())?;
    write(&manifest, &renamed(&text)?)?;
    source::confirm(&unpacked, &facade.checksum()?)?;
    let to = place.source().join(format!("{FACADE}-{}", facade.version));
    fs::rename(unpacked, to).map_err(|error| error.to_string())
}

/// Renames the package in a manifest that cargo has written, which states the library's name.
fn renamed(manifest: &str) -> Result<String, String> {
    let (name, library) = ("\nname = \"failover\"\n", "[lib]\nname = \"failover\"\n");
    let Some((before, after)) = manifest.split_once(name).filter(|(_, after)| after.contains(library)) else {
        return Err("the facade's packed manifest does not name its package and its library".to_owned());
    };
    Ok(format!("{before}\nname = \"{FACADE}\"\n{after}"))
}

/// Tests each crate of `examples/third-party`, and runs those that are programs.
pub(crate) fn third_parties(place: &Place) -> Result<(), String> {
    let from = cargo::root().join("examples/third-party");
    for entry in fs::read_dir(&from).map_err(|error| format!("{}: {error}", from.display()))? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = format!("programs/{}", entry.file_name().to_string_lossy());
        let to = place.directory.join(&name);
        pack::emptied(&to)?;
        copy(&entry.path(), &to)?;
        cargo::run(place.cargo(&name, &["test"]))?;
        if to.join("src/main.rs").is_file() {
            cargo::run(place.cargo(&name, &["run"]))?;
        }
    }
    Ok(())
}

/// Tests the crates that `cargo xtask new-provider` writes.
pub(crate) fn generated(place: &Place) -> Result<(), String> {
    for new in new_provider::write_all(&place.directory.join("programs"), true)? {
        let name = new.file_name().unwrap_or_default().to_string_lossy().into_owned();
        cargo::run(place.cargo(&format!("programs/{name}"), &["test"]))?;
    }
    Ok(())
}

/// Copies what is in a directory.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if entry.path().is_dir() {
            // What a build left behind there.
            if name == "target" {
                continue;
            }
            fs::create_dir_all(to.join(&name)).map_err(failed)?;
            copy(&entry.path(), &to.join(&name))?;
        } else {
            fs::copy(entry.path(), to.join(&name)).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_package_is_renamed() {
        let text = "[package]\nname = \"failover\"\n\n[lib]\nname = \"failover\"\n";
        let expected = "[package]\nname = \"failover-client\"\n\n[lib]\nname = \"failover\"\n";
        assert_eq!(renamed(text).expect("both names"), expected);
        assert!(renamed("[package]\nname = \"failover\"\n").is_err(), "the library would be renamed, too");
    }
}
