//! Certifies a provider: runs its conformance test and reports the levels.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cargo::{self, cargo};
use crate::tidy::files::{entries, read};

/// A provider of this workspace, and which tests run the suite.
struct Certified {
    name: &'static str,
    package: &'static str,
    test: &'static str,
    filter: &'static str,
}

const PROVIDERS: [Certified; 5] = [
    // The suite's own tests depend on the memory provider, and not the other way round.
    Certified {
        name: "memory",
        package: "failover-conformance",
        test: "suite",
        filter: "levels::the_memory_provider_keeps_the_contract",
    },
    Certified { name: "consul", package: "failover-consul", test: "consul", filter: "conformance::" },
    Certified { name: "k8s", package: "failover-k8s", test: "k8s", filter: "conformance::" },
    Certified { name: "dns", package: "failover-dns", test: "dns", filter: "conformance::" },
    Certified { name: "file", package: "failover-file", test: "file", filter: "conformance::" },
];

const LEVELS: [&str; 5] = ["Read", "Watch", "Write", "Configure", "Survive"];

const USAGE: &str = "cargo xtask certify memory|consul|k8s|dns|file [--record], or certify PATH [ARGUMENTS OF CARGO TEST]: \
                     the path is the directory of a crate whose tests call failover_conformance::run";

/// Runs `cargo xtask certify NAME [--record]` or `cargo xtask certify PATH [ARGUMENTS]`.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let [what, rest @ ..] = args else { return Err(format!("which provider? {USAGE}")) };
    let Some(provider) = PROVIDERS.iter().find(|provider| provider.name == what) else {
        return foreign(Path::new(what), rest);
    };
    let records = match rest {
        [] => false,
        [record] if record == "--record" => true,
        _ => return Err(format!("{rest:?} is not understood: {USAGE}")),
    };
    let directory = fresh(provider.name)?;
    let mut test = cargo(["test", "--package", provider.package, "--test", provider.test]);
    test.args(["--", provider.filter, "--test-threads=1"]).env(VARIABLE, &directory);
    let tested = cargo::run(test);
    let reports = reports(&directory)?;
    show(&reports);
    tested?;
    if records { record(provider.name, &directory) } else { Ok(()) }
}

const VARIABLE: &str = "FAILOVER_CONFORMANCE_REPORT";

/// Certifies a crate outside of this workspace, with its own lock file and settings.
fn foreign(path: &Path, args: &[String]) -> Result<(), String> {
    let path = path.canonicalize().map_err(|error| format!("{}: {error}; {USAGE}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.join("Cargo.toml").is_file() {
        return Err(format!("{} has no Cargo.toml; {USAGE}", path.display()));
    }
    let directory = fresh(&name)?;
    let mut test = cargo(["test"]);
    test.args(args).current_dir(&path).env(VARIABLE, &directory);
    let tested = cargo::run(test);
    show(&reports(&directory)?);
    tested
}

/// Returns an empty directory for the reports.
fn fresh(name: &str) -> Result<PathBuf, String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| cargo::root().join("target"), PathBuf::from);
    let directory = target.join("certify").join(name);
    let failed = |error| format!("{} cannot be made: {error}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(failed)?;
    }
    fs::create_dir_all(&directory).map_err(failed)?;
    directory.canonicalize().map_err(failed)
}

/// Returns the reports in a directory, ordered by their backends.
fn reports(directory: &Path) -> Result<Vec<(PathBuf, Value)>, String> {
    let mut reports = Vec::new();
    for path in entries(directory)? {
        if path.extension().is_some_and(|ending| ending == "json") {
            let report = serde_json::from_str(&read(&path)?);
            reports.push((path, report.map_err(|error| format!("a report was not understood: {error}"))?));
        }
    }
    if reports.is_empty() {
        return Err(
            "no report was written: no test that ran called failover_conformance::run, or a server is missing (see \
             above)"
                .to_owned(),
        );
    }
    reports.sort_by_key(|(_, report)| text(report, "backend").to_owned());
    Ok(reports)
}

fn text<'a>(report: &'a Value, key: &str) -> &'a str {
    report[key].as_str().unwrap_or_default()
}

fn show(reports: &[(PathBuf, Value)]) {
    for (path, report) in reports {
        let provider = &report["provider"];
        println!("\n{} {}: {}", text(provider, "kind"), text(provider, "version"), text(report, "backend"));
        println!("  report  {}", path.with_extension("txt").display());
        for level in LEVELS {
            let standing = &report["standings"][level];
            let why = standing["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            println!("  {level:<9} {}{why}", text(standing, "standing"));
        }
        println!("  badge   {}", badge(report));
    }
}

/// Returns a line of Markdown with the levels. Nothing is requested: a page that shows it does that.
fn badge(report: &Value) -> String {
    let levels: Vec<_> =
        report["levels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (levels, colour) =
        if levels.is_empty() { ("none".to_owned(), "red") } else { (levels.join(", "), "brightgreen") };
    let label = format!("failover {}", text(report, "core"));
    format!(
        "![certified with failover-conformance {}: {levels}](https://img.shields.io/badge/{}-{}-{colour})",
        text(report, "conformance"),
        in_path(&label),
        in_path(&levels)
    )
}

/// Encodes a text for a badge's path: a hyphen separates its parts, and is doubled within one.
fn in_path(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'-' => encoded.push_str("--"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => encoded.push(byte as char),
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
    }
    encoded
}

/// Writes the reports of a provider into docs/providers.
fn record(name: &str, directory: &Path) -> Result<(), String> {
    let mut all = Vec::new();
    for (path, _) in reports(directory)? {
        all.push(read(&path.with_extension("txt"))?);
    }
    let file = cargo::root().join("docs/providers").join(format!("{name}.txt"));
    fs::write(&file, all.join("\n"))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    println!("\nrecorded in {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_names_levels_and_versions() {
        let report =
            serde_json::json!({ "core": "0.1.0-rc1", "conformance": "0.1.0", "levels": ["Read", "Survive"] });
        assert_eq!(
            badge(&report),
            "![certified with failover-conformance 0.1.0: Read, Survive]\
             (https://img.shields.io/badge/failover%200.1.0--rc1-Read%2C%20Survive-brightgreen)"
        );
        assert!(badge(&serde_json::json!({ "levels": [] })).ends_with("-none-red)"));
    }
}
