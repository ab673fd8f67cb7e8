//! Compares the public API of each published crate with the one recorded in `xtask/api`.
//!
//! rustdoc describes an API as JSON behind an unstable option, whose format differs from compiler to
//! compiler: the records name the one that made them, and any other skips the comparison.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cargo::{self, cargo};
use crate::package;

/// Names the real rustdoc, when this program is started in its place.
const RUSTDOC: &str = "FAILOVER_XTASK_RUSTDOC";
/// Auto traits that say nothing to a user, in every other line.
const HIDDEN: &[&str] =
    &["core::marker::Freeze", "core::marker::Unpin", "core::marker::UnsafeUnpin", "UnwindSafe for "];

pub(crate) fn command(args: &[String]) -> Result<(), String> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(),
        ["--bless"] => bless(),
        _ => Err("`api` takes `--bless` or nothing".to_owned()),
    }
}

/// Compares, and fails on any difference.
pub(crate) fn run() -> Result<(), String> {
    let compiler = compiler()?;
    let recorded = recorded()?;
    if let Some(other) = recorded.iter().find(|record| record.compiler != compiler) {
        println!(
            "skipped: the records were made by {}, and this is {compiler}; `cargo xtask api --bless` makes them again",
            other.compiler
        );
        return Ok(());
    }
    let mut differ = Vec::new();
    for now in current(&compiler)? {
        let before = recorded.iter().find(|record| record.name == now.name);
        let lines = before.map(|record| &record.lines[..]).unwrap_or_default();
        let changes = changes(lines, &now.lines);
        for change in &changes {
            println!("{}: {change}", now.name);
        }
        if !changes.is_empty() {
            differ.push(now.name);
        }
    }
    if differ.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the public API of {} differs from the one in xtask/api; say so in its CHANGELOG.md, then run `cargo xtask api --bless`",
        differ.join(", ")
    ))
}

/// Records the API of every crate. One that has changed must have a changelog that has changed, too.
fn bless() -> Result<(), String> {
    let compiler = compiler()?;
    let recorded = recorded()?;
    let silent: Vec<_> = current(&compiler)?
        .into_iter()
        .filter_map(|now| {
            let before = recorded.iter().find(|record| record.name == now.name);
            let before = before.filter(|before| before.compiler == compiler);
            match before {
                Some(before) if before.lines == now.lines => None,
                Some(before) if before.changelog == now.changelog => Some(Ok(now.name)),
                _ => now.write().err().map(Err),
            }
        })
        .collect::<Result<_, _>>()?;
    if silent.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the public API of {} has changed, and the newest section of its CHANGELOG.md has not",
        silent.join(", ")
    ))
}

/// The API of a crate.
struct Record {
    name: String,
    /// What `rustc --version` says, without the commit.
    compiler: String,
    /// A digest of the newest section of the changelog.
    changelog: String,
    lines: Vec<String>,
}

impl Record {
    fn write(&self) -> Result<(), String> {
        let file = directory().join(format!("{}.txt", self.name));
        let text =
            format!("# {}\n# changelog {}\n{}\n", self.compiler, self.changelog, self.lines.join("\n"));
        println!("{} lines in {}", self.lines.len(), file.display());
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let (compiler, rest) = text.strip_prefix("# ")?.split_once("\n# changelog ")?;
        let (changelog, lines) = rest.split_once('\n')?;
        Some(Self {
            name: name.to_owned(),
            compiler: compiler.to_owned(),
            changelog: changelog.to_owned(),
            lines: lines.lines().map(str::to_owned).collect(),
        })
    }
}

fn directory() -> PathBuf {
    cargo::root().join("xtask/api")
}

fn recorded() -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    for entry in fs::read_dir(directory()).into_iter().flatten() {
        let path = entry.map_err(|error| error.to_string())?.path();
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        records.push(Record::parse(&name, &text).ok_or(format!("{}: has no head", path.display()))?);
    }
    Ok(records)
}

/// Has rustdoc describe all published crates, with all features, from the artefacts of `docs`.
fn current(compiler: &str) -> Result<Vec<Record>, String> {
    let packages = cargo::packages()?;
    // The same selection as `docs`: with other features, most dependencies would be built again.
    let libraries: Vec<_> = packages.into_iter().filter(cargo::is_library).collect();
    let mut command = cargo(["doc", "--quiet", "--no-deps", "--lib"]);
    command.args(cargo::all_features_of_all(&libraries));
    for package in &libraries {
        command.args(["--package", cargo::name(package)]);
    }
    // Unstable options are allowed for rustdoc alone: a build script that sees them allowed for the
    // compiler builds something else, and most crates would be built again.
    command.env("RUSTDOC", env::current_exe().map_err(|error| error.to_string())?);
    command.env(RUSTDOC, env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into()));
    command.env("RUSTDOCFLAGS", "-Z unstable-options --output-format json --cap-lints allow");
    cargo::run(command)?;
    let json = cargo::target_directory()?.join("doc");
    // The testkit promises nothing.
    let promises =
        |package: &&Value| package::is_published(package) && cargo::name(package) != "failover-testkit";
    libraries
        .iter()
        .filter(promises)
        .map(|package| {
            let name = cargo::name(package);
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let changelog = fs::read_to_string(manifest.with_file_name("CHANGELOG.md")).unwrap_or_default();
            Ok(Record {
                name: name.to_owned(),
                compiler: compiler.to_owned(),
                changelog: digest(newest_section(&changelog)),
                lines: lines(&json.join(format!("{}.json", name.replace('-', "_"))))?,
            })
        })
        .collect()
}

fn lines(json: &Path) -> Result<Vec<String>, String> {
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build();
    let api = api.map_err(|error| {
        format!("{}: {error}; another version of `public-api` may read it", json.display())
    })?;
    let name = json.file_stem().unwrap_or_default().to_string_lossy();
    let lines = api.items().map(|item| shortened(&item.to_string(), &name));
    Ok(lines
        .filter(|line| !HIDDEN.iter().any(|hidden| line.starts_with("impl") && line.contains(hidden)))
        .collect())
}

/// Leaves out the private modules in paths to other crates of this workspace: where these keep a type is
/// no part of an API.
fn shortened(line: &str, own: &str) -> String {
    let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut text = String::new();
    for word in line.split_inclusive(|c| !in_path(c)) {
        let path = word.trim_end_matches(|c| !in_path(c));
        let parts: Vec<_> = path.split("::").collect();
        let public = parts.iter().position(|part| part.starts_with(char::is_uppercase));
        match public.filter(|_| parts[0].starts_with("failover_") && parts[0] != own) {
            Some(public) => {
                text.extend([parts[0], "::", &parts[public..].join("::"), &word[path.len()..]]);
            }
            None => text.push_str(word),
        }
    }
    text
}

fn compiler() -> Result<String, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.arg("--version").current_dir(cargo::root());
    let text = cargo::output(command)?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// Returns what was removed and what was added.
fn changes(before: &[String], now: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}"));
    let new = now.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

fn newest_section(changelog: &str) -> &str {
    changelog.split("\n## ").nth(1).unwrap_or_default()
}

/// Returns FNV-1a in hexadecimal: it tells texts apart, and depends on no version of anything.
fn digest(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Runs rustdoc with unstable options, if this program was started in its place.
pub(crate) fn stand_in() -> Option<Result<(), String>> {
    let mut command = Command::new(env::var_os(RUSTDOC)?);
    command.args(env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1");
    let status = command.status().map_err(|error| format!("rustdoc could not be started: {error}"));
    // rustdoc has reported what is wrong.
    Some(status.and_then(|status| if status.success() { Ok(()) } else { Err(String::new()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_removed_and_added_is_listed() {
        let (before, now) = (texts(&["pub fn a()", "pub fn b()"]), texts(&["pub fn b()", "pub fn c()"]));
        assert_eq!(changes(&before, &now), ["- pub fn a()", "+ pub fn c()"]);
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record =
            Record::parse("a", "# rustc 1.95.0\n# changelog 00ff\npub fn a()\npub fn b()\n").expect("a head");
        assert_eq!((&*record.compiler, &*record.changelog), ("rustc 1.95.0", "00ff"));
        assert_eq!(record.lines, ["pub fn a()", "pub fn b()"]);
        assert!(Record::parse("a", "pub fn a()\n").is_none());
    }

    #[test]
    fn a_private_module_of_another_crate_is_not_shown() {
        let line = "pub fn a_b::f(&failover_core::error::Error, a_b::c::D) -> failover_core::x::y::Z::W";
        let expected = "pub fn a_b::f(&failover_core::Error, a_b::c::D) -> failover_core::Z::W";
        assert_eq!(shortened(line, "a_b"), expected);
        for same in [line, "pub use a_b::<<failover_core::provider::*>>"] {
            assert_eq!(shortened(same, "failover_core"), same);
        }
        assert_eq!(shortened("pub use <<failover_core::x::*>>", "a_b"), "pub use <<failover_core::x::*>>");
    }

    #[test]
    fn only_the_newest_section_of_a_changelog_counts() {
        let changelog = "# Changelog\n\n## [0.2.0]\n\n- new\n\n## [0.1.0]\n\n- old\n";
        assert_eq!(newest_section(changelog), "[0.2.0]\n\n- new\n");
        assert_ne!(digest("a"), digest("b"));
    }
}
