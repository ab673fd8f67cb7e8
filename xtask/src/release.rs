//! Walks docs/releasing.md, and publishes nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::package::{self, pack};
use crate::{api, cargo, compat};

/// What the walk knows.
struct Release {
    published: Vec<Value>,
    repository: Option<String>,
}

type Step = (&'static str, fn(&Release) -> Result<(), String>);

/// The steps, under their headings in docs/releasing.md.
const STEPS: &[Step] = &[
    ("Versions", versions),
    ("Changelogs", changelogs),
    ("Public API", |_| api::run()),
    ("Packages", |_| package::whole()),
    ("Compatibility", |_| compat::run()),
    ("Names", names),
    ("The repository's address", address),
    ("Order", order),
];

pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let repository = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--dry-run"] => None,
        ["--dry-run", "--repository", url] if url.starts_with("https://") => Some(url.to_owned()),
        _ => {
            return Err(
                "`release` takes `--dry-run`, and after it `--repository https://…`. It publishes nothing: \
                        docs/releasing.md says which commands do"
                    .to_owned(),
            );
        }
    };
    headings(
        &fs::read_to_string(cargo::root().join("docs/releasing.md")).map_err(|error| error.to_string())?,
    )?;
    let published = cargo::packages()?.into_iter().filter(package::is_published).collect();
    let release = Release { published, repository };
    let mut open = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        if let Err(why) = step(&release) {
            println!("open: {why}");
            open.push(*name);
        }
    }
    if open.is_empty() {
        println!("\neverything is ready");
        return Ok(());
    }
    Err(format!("before a release: {}; see above", open.join(", ")))
}

/// Checks that the document has the steps of this program, in their order.
fn headings(document: &str) -> Result<(), String> {
    let found =
        document.lines().filter_map(|line| line.strip_prefix("## ")?.split_once(". ")).map(|(_, name)| name);
    let (found, expected) =
        (found.collect::<Vec<_>>(), STEPS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    if found == expected {
        Ok(())
    } else {
        Err(format!("docs/releasing.md has the steps {found:?}, not {expected:?}"))
    }
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

fn versions(release: &Release) -> Result<(), String> {
    for package in &release.published {
        println!("{} {}", cargo::name(package), text(package, "version"));
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let requirement = text(dependency, "req");
            if dependency["path"].is_string() && !requirement.starts_with('^') && requirement != "*" {
                let (name, other) = (cargo::name(package), cargo::name(dependency));
                return Err(format!("{name} asks for {other} {requirement}, which is no caret requirement"));
            }
        }
    }
    Ok(())
}

fn changelogs(release: &Release) -> Result<(), String> {
    let open: Vec<_> = release.published.iter().filter_map(|package| undated(package).err()).collect();
    if open.is_empty() { Ok(()) } else { Err(open.join("\n      ")) }
}

fn undated(package: &Value) -> Result<(), String> {
    let (name, version) = (cargo::name(package), text(package, "version"));
    let file = Path::new(text(package, "manifest_path")).with_file_name("CHANGELOG.md");
    let changelog = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    is_dated(&changelog, version).map_err(|why| format!("{name}: {why}"))
}

/// Checks that the newest section is that of the version, has a date, and says something.
fn is_dated(changelog: &str, version: &str) -> Result<(), String> {
    let newest = changelog.split("\n## ").nth(1).unwrap_or_default();
    let (head, rest) = newest.split_once('\n').unwrap_or((newest, ""));
    let Some(date) = head.strip_prefix(&format!("[{version}]")) else {
        return Err(format!("the newest section of its changelog is not [{version}]"));
    };
    if !rest.contains("\n- ") {
        return Err(format!("section [{version}] of its changelog is empty"));
    }
    match date.strip_prefix(" - ") {
        Some(date) if date.len() == 10 && date.chars().all(|c| c.is_ascii_digit() || c == '-') => Ok(()),
        _ => Err(format!("section [{version}] of its changelog has no date")),
    }
}

fn names(release: &Release) -> Result<(), String> {
    for package in &release.published {
        let name = cargo::name(package);
        println!(
            "cargo info --registry crates-io {}",
            if name == "failover" { package::FACADE } else { name }
        );
    }
    println!("each of these must be ours, or say that there is no such crate");
    if release.published.iter().any(|package| cargo::name(package) == "failover") {
        return Err(format!(
            "the facade's package is still called `failover`, which is somebody else's crate: on the branch of the release, \
             it becomes `{}`, and its library keeps the name",
            package::FACADE
        ));
    }
    Ok(())
}

fn address(release: &Release) -> Result<(), String> {
    match &release.repository {
        Some(url) => {
            println!(
                "[workspace.package]\nrepository = \"{url}\"\n\nand in each crate: repository.workspace = true"
            );
            Ok(())
        }
        None if release.published.iter().all(|package| package["repository"].is_string()) => Ok(()),
        None => Err("no manifest has a `repository`, since no public address is known; give it as \
                     `--repository https://…`, and enter what is then printed"
            .to_owned()),
    }
}

fn order(release: &Release) -> Result<(), String> {
    for name in pack::order(&release.published)? {
        println!("cargo publish --package {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_its_version_a_date_and_a_change() {
        let log = |head: &str, rest: &str| format!("# Changelog\n\n## {head}\n{rest}");
        let added = "\n### Added\n\n- a thing\n";
        assert_eq!(is_dated(&log("[0.1.0] - 2027-01-31", added), "0.1.0"), Ok(()));
        for (text, why) in [
            (log("[0.1.0] - unreleased", added), "no date"),
            (log("[0.1.0]", added), "no date"),
            (log("[0.0.9] - 2027-01-31", added), "is not [0.1.0]"),
            (log("[0.1.0] - 2027-01-31", "\n## [0.0.9]\n\n- old\n"), "is empty"),
            (String::new(), "is not [0.1.0]"),
        ] {
            let error = is_dated(&text, "0.1.0").expect_err(why);
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn the_document_has_these_steps() {
        let document = fs::read_to_string(cargo::root().join("docs/releasing.md")).expect("there");
        assert_eq!(headings(&document), Ok(()));
        assert!(headings("## 1. Versions\n").is_err());
    }
}
