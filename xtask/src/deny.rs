//! Checks licences, bans, sources and advisories of all dependencies against `deny.toml`, which
//! leaves consulrs out of the tree, and of the tree with it against `deny-consulrs.toml`, too.

mod advisories;
mod licence;
mod tree;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::{self, cargo};
use advisories::{ADVISORIES, AS_OF, Advisory};
use tree::{Tree, Users};

/// The rules for the tree without consulrs.
const RULES: &str = "deny.toml";
/// What differs in the rules for the tree with consulrs.
const WITH_CONSULRS: &str = "deny-consulrs.toml";

/// Uses cargo-deny if it is installed; otherwise `cargo metadata`, with the advisories recorded
/// here.
pub(crate) fn run() -> Result<(), String> {
    let (without, differences) = (rules(RULES)?, rules(WITH_CONSULRS)?);
    let mut with = without.clone();
    merge(&mut with, &differences);
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if installed {
        cargo::run(cargo(["deny", "--all-features", "check"]))?;
        let merged = write_merged(&with)?;
        return cargo::run(cargo(["deny", "--all-features", "check", "--config", &merged]));
    }
    println!(
        "cargo-deny is not installed here; licences, bans and sources are checked from `cargo metadata`,"
    );
    println!("advisories against the table of {AS_OF} in xtask/src/deny/advisories.rs");
    let text = cargo::output(cargo(["metadata", "--format-version", "1", "--all-features", "--locked"]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata was not understood: {error}"))?;
    let mut faults = Vec::new();
    for (file, rules) in [(RULES, &without), (WITH_CONSULRS, &with)] {
        let tree = Tree::new(&metadata, rules);
        faults.extend(of_tree(rules, &tree).into_iter().map(|fault| format!("{file}: {fault}")));
        let ours = tree.packages.iter().filter(|package| is_ours(package)).count();
        println!("{file}: {} packages, {ours} of them ours", tree.packages.len());
    }
    let whole = Tree::new(&metadata, &with);
    faults.extend(unneeded(&differences, &of_tree(&without, &whole)));
    for fault in &faults {
        println!("{fault}");
    }
    whole.print_duplicates();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("{} things are not allowed; see above", faults.len()))
    }
}

fn rules(file: &str) -> Result<Value, String> {
    let text = fs::read_to_string(cargo::root().join(file))
        .map_err(|error| format!("{file} cannot be read: {error}"))?;
    toml::from_str(&text).map_err(|error| format!("{file}: {error}"))
}

/// Merges `other` into the rules: its values replace theirs, and its bans replace those of the same
/// crate.
fn merge(rules: &mut Value, other: &Value) {
    match (rules, other) {
        (Value::Object(rules), Value::Object(other)) => {
            for (key, value) in other {
                merge(rules.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(rules), Value::Array(other))
            if other.iter().any(|entry| entry["crate"].is_string()) =>
        {
            rules.retain(|rule| !other.iter().any(|entry| entry["crate"] == rule["crate"]));
            rules.extend(other.iter().cloned());
        }
        (rules, other) => rules.clone_from(other),
    }
}

/// Writes the merged rules for cargo-deny, and returns the path.
fn write_merged(rules: &Value) -> Result<String, String> {
    let path = cargo::root().join("target").join(WITH_CONSULRS);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = toml::to_string(rules).map_err(|error| failed(&error))?;
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(|error| failed(&error))?;
    fs::write(&path, text).map_err(|error| failed(&error))?;
    Ok(path.display().to_string())
}

/// Returns the faults of all packages of a tree.
fn of_tree(rules: &Value, tree: &Tree<'_>) -> Vec<String> {
    let of_package = |package: &&Value| of_package(rules, package, &tree.users);
    let mut faults: Vec<String> = tree.packages.iter().flat_map(of_package).collect();
    faults.sort();
    faults
}

/// Returns a fault for each ignored advisory that is in none of the faults without it.
fn unneeded(differences: &Value, faults: &[String]) -> Vec<String> {
    let ignored = differences["advisories"]["ignore"].as_array().into_iter().flatten();
    let ids = ignored.filter_map(|entry| entry["id"].as_str());
    ids.filter(|id| !faults.iter().any(|fault| fault.contains(*id)))
        .map(|id| format!("{WITH_CONSULRS}: nothing has {id} any more; it need not be ignored"))
        .collect()
}

fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

/// Returns the faults of a package.
fn of_package(rules: &Value, package: &Value, users: &Users<'_>) -> Vec<String> {
    let name = cargo::name(package);
    let version = package["version"].as_str().unwrap_or_default();
    let mut faults = Vec::new();
    let exceptions = rules["licenses"]["exceptions"].as_array().into_iter().flatten();
    let excepted = exceptions.filter(|exception| exception["crate"] == *name);
    let excepted = excepted.flat_map(|exception| texts(&exception["allow"]));
    let allowed: Vec<&str> = texts(&rules["licenses"]["allow"]).chain(excepted).collect();
    let licence = package["license"].as_str().unwrap_or_default();
    if !licence::is_allowed(licence, &allowed) {
        faults.push(format!("{name} {version}: its licence `{licence}` is not among those that are allowed"));
    }
    for ban in rules["bans"]["deny"].as_array().into_iter().flatten().filter(|ban| ban["crate"] == *name) {
        // The crates that may depend on it anyway.
        let wrappers: Vec<&str> = texts(&ban["wrappers"]).collect();
        let others: Vec<_> =
            users.get(name).into_iter().flatten().filter(|user| !wrappers.contains(user)).collect();
        if wrappers.is_empty() || !others.is_empty() {
            faults.push(format!(
                "{name} {version} is banned: {}",
                ban["reason"].as_str().unwrap_or("no reason given")
            ));
        }
    }
    if let Some(source) = package["source"].as_str() {
        let mut registries = texts(&rules["sources"]["allow-registry"]);
        if !registries.any(|registry| source.strip_prefix("registry+") == Some(registry)) {
            faults.push(format!("{name} {version} comes from {source}, which is not allowed"));
        }
    }
    let any = package["dependencies"].as_array().into_iter().flatten();
    for dependency in any.filter(|of| is_ours(package) && of["req"] == "*" && of["path"].is_null()) {
        faults.push(format!("{name}: takes any version of {}", cargo::name(dependency)));
    }
    let ignored = |id: &str| {
        let all = rules["advisories"]["ignore"].as_array();
        all.into_iter().flatten().any(|entry| entry["id"] == id && entry["reason"].is_string())
    };
    for Advisory { id, mended, .. } in ADVISORIES.iter().filter(|advisory| advisory.name == name) {
        if !is_mended(version, mended) && !ignored(id) {
            faults.push(format!("{name} {version} has {id}; mended in {}", mended.join(", ")));
        }
    }
    faults
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

type Version = (u64, u64, u64);

fn version(text: &str) -> Version {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = numbers.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Returns whether two versions are compatible by semantic versioning.
fn same_line(a: Version, b: Version) -> bool {
    a.0 == b.0 && (a.0 > 0 || a.1 == b.1)
}

/// Returns whether a version is fixed: in its own compatible line, or newer than all fixed
/// versions.
fn is_mended(of: &str, mended: &[&str]) -> bool {
    let of = version(of);
    let mended = || mended.iter().map(|text| version(text));
    mended().any(|mended| same_line(of, mended) && of >= mended)
        || mended().max().is_some_and(|last| of > last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_mended_in_its_own_line_or_after_all_of_them() {
        let rand = ["0.8.6", "0.9.3", "0.10.1"];
        for (version, mended) in [
            ("0.8.5", false),
            ("0.8.6", true),
            ("0.9.2", false),
            ("0.9.5", true),
            ("0.10.0", false),
            ("0.10.4", true),
            ("0.11.0", true),
            ("0.7.3", false),
            ("1.2.1+spec-1.1.0", true),
        ] {
            assert_eq!(is_mended(version, &rand), mended, "{version}");
        }
        assert!(!is_mended("99.0.0", &[]));
    }

    #[test]
    fn each_kind_of_fault_is_found() {
        let rules = json!({
            "licenses": {"allow": ["MIT"]},
            "bans": {"deny": [{"crate": "openssl", "reason": "rustls"}]},
            "sources": {"allow-registry": ["https://example.org/index"]},
        });
        let source = "registry+https://example.org/index";
        let good = json!({"name": "a", "version": "1.0.0", "license": "MIT", "source": source});
        assert!(of_package(&rules, &good, &Users::new()).is_empty());
        for (package, message) in [
            (
                json!({"name": "a", "version": "1.0.0", "license": "GPL-3.0-only", "source": source}),
                "licence",
            ),
            (json!({"name": "a", "version": "1.0.0", "source": source}), "licence"),
            (
                json!({"name": "openssl", "version": "1.0.0", "license": "MIT", "source": source}),
                "banned: rustls",
            ),
            (
                json!({"name": "a", "version": "1.0.0", "license": "MIT", "source": "git+https://x"}),
                "comes from",
            ),
            (
                json!({"name": "bytes", "version": "1.11.0", "license": "MIT", "source": source}),
                "RUSTSEC-2026-0007",
            ),
            (
                json!({"name": "a", "version": "1.0.0", "license": "MIT", "source": null,
                    "dependencies": [{"name": "b", "req": "*", "path": null}]}),
                "any version of b",
            ),
        ] {
            let faults = of_package(&rules, &package, &Users::new());
            assert!(faults.len() == 1 && faults[0].contains(message), "{faults:?}");
        }
    }

    #[test]
    fn an_exception_by_name_is_no_fault_and_the_same_elsewhere_is() {
        let rules = json!({
            "advisories": {"ignore": [{"id": "RUSTSEC-2026-0007", "reason": "on no path"}]},
            "licenses": {"allow": ["MIT"], "exceptions": [{"crate": "roots", "allow": ["MPL-2.0"]}]},
            "bans": {"deny": [{"crate": "openssl", "wrappers": ["native-tls"], "reason": "rustls"}]},
        });
        let package =
            |name: &str, licence: &str| json!({"name": name, "version": "1.0.0", "license": licence});
        let metadata = |user: &str| {
            json!({
                "workspace_members": ["1"],
                "packages": [{"id": "1", "name": user}, {"id": "2", "name": "openssl"}],
                "resolve": {"nodes": [{"id": "1", "dependencies": ["2"]}, {"id": "2", "dependencies": []}]},
            })
        };
        for (package, user, faults) in [
            (package("roots", "MPL-2.0"), "a", 0),
            (package("other", "MPL-2.0"), "a", 1),
            (package("bytes", "MIT"), "a", 0),
            (package("openssl", "MIT"), "native-tls", 0),
            (package("openssl", "MIT"), "a", 1),
        ] {
            let metadata = metadata(user);
            let tree = Tree::new(&metadata, &rules);
            assert_eq!(of_package(&rules, &package, &tree.users).len(), faults, "{package} {user}");
        }
        let without_reason =
            json!({"advisories": {"ignore": [{"id": "RUSTSEC-2026-0007"}]}, "licenses": {"allow": ["MIT"]}});
        assert_eq!(of_package(&without_reason, &package("bytes", "MIT"), &Users::new()).len(), 1);
    }

    #[test]
    fn values_replace_and_bans_replace_those_of_the_same_crate() {
        let mut rules = json!({
            "graph": {"exclude": ["a"]},
            "licenses": {"allow": ["MIT"]},
            "bans": {"deny": [{"crate": "a", "reason": "no"}, {"crate": "b", "reason": "no"}]},
        });
        let differences = json!({
            "graph": {"exclude": []},
            "advisories": {"ignore": [{"id": "1", "reason": "why"}]},
            "bans": {"deny": [{"crate": "a", "wrappers": ["c"], "reason": "no"}]},
        });
        merge(&mut rules, &differences);
        let expected = json!({
            "graph": {"exclude": []},
            "advisories": {"ignore": [{"id": "1", "reason": "why"}]},
            "licenses": {"allow": ["MIT"]},
            "bans": {"deny": [{"crate": "b", "reason": "no"}, {"crate": "a", "wrappers": ["c"], "reason": "no"}]},
        });
        assert_eq!(rules, expected);
        let text = toml::to_string(&rules).expect("cargo-deny reads TOML");
        assert_eq!(toml::from_str::<Value>(&text).expect("TOML"), expected);
    }

    #[test]
    fn an_ignored_advisory_that_nothing_has_is_a_fault() {
        let differences = json!({"advisories": {"ignore": [{"id": "RUSTSEC-1"}, {"id": "RUSTSEC-2"}]}});
        let faults = unneeded(&differences, &["h2 0.3.1 has RUSTSEC-1; mended in 0.4".to_owned()]);
        assert!(faults.len() == 1 && faults[0].contains("RUSTSEC-2"), "{faults:?}");
    }

    /// The tree without consulrs needs no exception; the other file holds all five.
    #[test]
    fn the_exceptions_are_in_the_file_for_consulrs_alone() {
        let (without, differences) = (rules(RULES).expect("TOML"), rules(WITH_CONSULRS).expect("TOML"));
        assert!(without["advisories"]["ignore"].is_null() && without["licenses"]["exceptions"].is_null());
        assert!(
            without["bans"]["deny"]
                .as_array()
                .is_some_and(|bans| bans.iter().all(|ban| ban["wrappers"].is_null()))
        );
        assert_eq!(differences["advisories"]["ignore"].as_array().map(Vec::len), Some(5));
        assert!(texts(&without["graph"]["exclude"]).eq(["consulrs", "rustify"]));
        assert_eq!(texts(&differences["graph"]["exclude"]).count(), 0);
    }
}
