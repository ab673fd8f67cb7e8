//! Checks facts about the files: required, forbidden and duplicated ones.

mod facade;
pub(crate) mod files;
mod from_go;
mod packages;
mod providers;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{cargo, modules};
use files::{entries, read, shown, with_ending};

/// Files that each crate must have.
const FILES: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// The directories of the workspace's own Rust files.
const SOURCES: &[&str] = &["crates", "examples", "xtask"];

/// Traces of unfinished work. Each is split in two, or this file would match.
const LEFTOVERS: &[&str] = &[
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("dbg", "!"),
    concat!("FIX", "ME"),
    concat!("HA", "CK"),
];

/// A file above the first number of lines is listed, one above the second is an error.
const LONG: usize = 450;
const TOO_LONG: usize = 600;

pub(crate) fn run() -> Result<(), String> {
    let mut faults = Vec::new();
    crate_files(&mut faults)?;
    manifests(&mut faults)?;
    sources(&mut faults)?;
    invariants(&mut faults)?;
    documents(&mut faults)?;
    glossary(&mut faults)?;
    targets(&mut faults)?;
    from_go::check(&mut faults)?;
    facade::check(&mut faults)?;
    providers::check(&mut faults)?;
    packages::check(&mut faults)?;
    modules::collect(&mut faults)?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{} things are not tidy; see above", faults.len())) }
}

fn crate_files(faults: &mut Vec<String>) -> Result<(), String> {
    for directory in entries(&cargo::root().join("crates"))? {
        if !directory.is_dir() {
            continue;
        }
        for file in FILES.iter().filter(|file| !directory.join(file).is_file()) {
            faults.push(format!("{} has no {file}", shown(&directory)));
        }
        for licence in FILES.iter().filter(|file| file.starts_with("LICENSE")) {
            let here = fs::read(directory.join(licence)).ok();
            if here.is_some() && here != fs::read(cargo::root().join(licence)).ok() {
                faults
                    .push(format!("{}/{licence} differs from the workspace's {licence}", shown(&directory)));
            }
        }
    }
    Ok(())
}

fn manifests(faults: &mut Vec<String>) -> Result<(), String> {
    let packages = cargo::packages()?;
    for package in &packages {
        let name = cargo::name(package);
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        // `cargo metadata` does not report lints, and without this line unsafe code is not
        // forbidden.
        if !read(&manifest)?.contains("[lints]\nworkspace = true") {
            faults.push(format!("{name}: Cargo.toml lacks `[lints] workspace = true`"));
        }
        if cargo::is_library(package) {
            library(package, &manifest, faults);
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let of_ours = packages.iter().find(|other| cargo::name(other) == cargo::name(dependency));
            let ours = of_ours.is_some();
            let requirement = dependency["req"].as_str().unwrap_or_default();
            let version = of_ours.and_then(|other| other["version"].as_str()).unwrap_or_default();
            if ours && requirement != "*" && requirement.trim_start_matches('^') != version {
                let other = cargo::name(dependency);
                faults.push(format!("{name}: asks for {other} {requirement}, which is {version} here"));
            }
            if ours && requirement.contains('=') {
                let other = cargo::name(dependency);
                faults.push(format!(
                    "{name}: pins {other} with `{requirement}`; a caret requirement lets users choose"
                ));
            }
        }
    }
    Ok(())
}

/// Checks what users of a published library rely on, and facts repeated in its texts.
fn library(package: &Value, manifest: &Path, faults: &mut Vec<String>) {
    let name = cargo::name(package);
    if package["metadata"]["docs"]["rs"].is_null() {
        faults.push(format!("{name}: Cargo.toml lacks `[package.metadata.docs.rs]`"));
    }
    let beside = |file: &str| fs::read_to_string(manifest.with_file_name(file)).unwrap_or_default();
    match package["rust_version"].as_str() {
        None => faults.push(format!("{name}: Cargo.toml lacks `rust-version`")),
        Some(version) if !beside("README.md").contains(version) => {
            faults.push(format!("{name}: README.md does not say that it needs Rust {version}"));
        }
        Some(_) => {}
    }
    let version = package["version"].as_str().unwrap_or_default();
    if !beside("CHANGELOG.md").contains(&format!("## [{version}]")) {
        faults.push(format!("{name}: CHANGELOG.md has no section `## [{version}]`"));
    }
}

/// Checks that the tests named in docs/architecture.md exist: otherwise nothing verifies an
/// invariant.
fn invariants(faults: &mut Vec<String>) -> Result<(), String> {
    let document = cargo::root().join("docs/architecture.md");
    let text = read(&document)?;
    let mut files = Vec::new();
    files::rust(&cargo::root().join("crates"), &mut files)?;
    let code = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?.concat();
    // The odd parts between backquotes are code; test names are sentences with at least three
    // underscores.
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2) {
        if !code.contains(&format!("fn {name}(")) {
            faults.push(format!("{}: there is no test `{name}`", shown(&document)));
        }
    }
    Ok(())
}

/// Checks that the files named in docs/glossary.md exist below the `src` of a crate.
fn glossary(faults: &mut Vec<String>) -> Result<(), String> {
    let document = cargo::root().join("docs/glossary.md");
    let crates = entries(&cargo::root().join("crates"))?;
    for name in read(&document)?.split('`').skip(1).step_by(2).filter(|name| is_rust(Path::new(name))) {
        if !crates.iter().any(|directory| directory.join("src").join(name).is_file()) {
            faults.push(format!("{}: there is no file `{name}`", shown(&document)));
        }
    }
    Ok(())
}

/// Checks that docs/guide.md lists each target of events and spans.
fn targets(faults: &mut Vec<String>) -> Result<(), String> {
    let guide = cargo::root().join("docs/guide.md");
    let listed = read(&guide)?;
    let mut files = Vec::new();
    files::rust(&cargo::root().join("crates"), &mut files)?;
    for file in files {
        let text = read(&file)?;
        let targets = text.split("target: \"failover").skip(1).filter_map(|rest| rest.split('"').next());
        for target in targets.filter(|target| !listed.contains(&format!("`failover{target}`"))) {
            faults.push(format!("{}: `failover{target}` is not in {}", shown(&file), shown(&guide)));
        }
    }
    Ok(())
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// Checks the versions of this workspace's crates in documents, as in a line for a `Cargo.toml`.
fn documents(faults: &mut Vec<String>) -> Result<(), String> {
    let packages = cargo::packages()?;
    let mut files = vec![cargo::root().join("README.md")];
    for directory in ["docs", "crates"] {
        with_ending("md", &cargo::root().join(directory), &mut files)?;
    }
    for file in files.iter().filter(|file| file.is_file()) {
        let text = read(file)?;
        for (number, line) in text.lines().enumerate() {
            for package in packages.iter().filter(|package| cargo::is_library(package)) {
                let version = package["version"].as_str().unwrap_or_default();
                if named_version(line, cargo::name(package)).is_some_and(|named| !covers(named, version)) {
                    let name = cargo::name(package);
                    faults.push(format!("{}:{}: {name} is {version}", shown(file), number + 1));
                }
            }
        }
    }
    Ok(())
}

/// Returns the version in `NAME = "VERSION"` or `NAME = { version = "VERSION"`.
fn named_version<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(name)?.trim_start().strip_prefix('=')?.trim_start();
    let rest = match rest.strip_prefix('{') {
        Some(table) => table.split_once("version")?.1.trim_start().strip_prefix('=')?.trim_start(),
        None => rest,
    };
    rest.strip_prefix('"')?.split('"').next()
}

/// Returns whether a version requirement such as `0.1` covers `0.1.0`.
fn covers(named: &str, version: &str) -> bool {
    version == named || version.strip_prefix(named).is_some_and(|rest| rest.starts_with('.'))
}

fn sources(faults: &mut Vec<String>) -> Result<(), String> {
    let mut files = Vec::new();
    for directory in SOURCES {
        files::rust(&cargo::root().join(directory), &mut files)?;
    }
    let mut sizes = Vec::new();
    for file in files {
        let text = read(&file)?;
        sizes.push(text.lines().count());
        for (number, line) in text.lines().enumerate() {
            for word in LEFTOVERS.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: `{word}` is left in the code", shown(&file), number + 1));
            }
        }
        match text.lines().count() {
            lines if lines > TOO_LONG => {
                faults.push(format!("{} has {lines} lines, {TOO_LONG} is the most", shown(&file)));
            }
            lines if lines > LONG => println!("long: {} has {lines} lines; two ideas in one?", shown(&file)),
            _ => {}
        }
    }
    sizes.sort_unstable();
    if let (Some(middle), Some(longest)) = (sizes.get(sizes.len() / 2), sizes.last()) {
        println!(
            "{} files of Rust, half of them below {middle} lines, nine of ten below {}, the longest of {longest}",
            sizes.len(),
            sizes[sizes.len() * 9 / 10]
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_a_line_for_cargo_toml_is_found_and_compared() {
        assert_eq!(named_version("failover = \"0.1\"", "failover"), Some("0.1"));
        assert_eq!(named_version("  failover = { version = \"0.2.0\", x = 1 }", "failover"), Some("0.2.0"));
        assert_eq!(named_version("failover-core = \"0.1\"", "failover"), None);
        assert_eq!(named_version("failover is 0.1", "failover"), None);
        for (named, expected) in
            [("0.1", true), ("0.1.0", true), ("0.2", false), ("0.1.1", false), ("0", true)]
        {
            assert_eq!(covers(named, "0.1.0"), expected, "{named}");
        }
    }
}
