//! Checks licences, bans, sources and advisories of all dependencies against `deny.toml`.

mod advisories;
mod licence;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cargo::{self, cargo};
use advisories::{ADVISORIES, AS_OF, Advisory};

/// Uses cargo-deny if it is installed; otherwise `cargo metadata`, with the advisories recorded
/// here.
pub(crate) fn run() -> Result<(), String> {
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if installed {
        return cargo::run(cargo(["deny", "--all-features", "check"]));
    }
    println!(
        "cargo-deny is not installed here; licences, bans and sources are checked from `cargo metadata`,"
    );
    println!("advisories against the table of {AS_OF} in xtask/src/deny/advisories.rs");
    let path = cargo::root().join("deny.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("deny.toml cannot be read: {error}"))?;
    let rules: Value = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    let text = cargo::output(cargo(["metadata", "--format-version", "1", "--all-features", "--locked"]))?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata was not understood: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let users = users(&metadata);
    let of_package = |package| of_package(&rules, package, &users);
    let mut faults: Vec<String> = packages.iter().flat_map(of_package).collect();
    faults.sort();
    for fault in &faults {
        println!("{fault}");
    }
    duplicates(packages);
    println!("{} packages, {} of them ours", packages.len(), packages.iter().filter(|p| is_ours(p)).count());
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("{} packages are not allowed; see above", faults.len()))
    }
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

/// The dependents of each crate, by name.
type Users<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn users(metadata: &Value) -> Users<'_> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names: BTreeMap<&str, &str> =
        packages.filter_map(|package| Some((package["id"].as_str()?, cargo::name(package)))).collect();
    let mut users = Users::new();
    for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let user = node["id"].as_str().and_then(|id| names.get(id)).copied().unwrap_or_default();
        for used in texts(&node["dependencies"]).filter_map(|id| names.get(id)) {
            users.entry(used).or_default().insert(user);
        }
    }
    users
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Prints crates with several versions, which are compiled several times; this is not a fault.
fn duplicates(packages: &[Value]) {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions
            .entry(cargo::name(package))
            .or_default()
            .push(package["version"].as_str().unwrap_or_default());
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("twice: {name} {}", versions.join(", "));
    }
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
            assert_eq!(of_package(&rules, &package, &users(&metadata)).len(), faults, "{package} {user}");
        }
        let without_reason =
            json!({"advisories": {"ignore": [{"id": "RUSTSEC-2026-0007"}]}, "licenses": {"allow": ["MIT"]}});
        assert_eq!(of_package(&without_reason, &package("bytes", "MIT"), &Users::new()).len(), 1);
    }
}
