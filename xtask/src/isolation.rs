//! Checks that each part pulls in no HTTP stack, TLS stack or registry client that it does not
//! need.

mod cold;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cargo::{self, cargo};

/// Crates that no part may pull in, because there is a single TLS stack, or that only a feature of
/// their own brings.
const NEVER: &[&str] =
    &["native-tls", "openssl", "openssl-sys", "aws-lc-rs", "aws-lc-sys", "consulrs", "rustify"];
/// Crates that only parts with network access may pull in.
const NETWORK: &[&str] = &["axum", "hyper", "reqwest", "ring", "rustls"];

/// consulrs, and crates below it that are compiled and never executed: see
/// docs/decisions/consulrs.md.
const CONSULRS: &[&str] = &["consulrs", "rustify", "native-tls", "openssl", "openssl-sys"];

/// A package with some of its features.
struct Set {
    package: &'static str,
    features: &'static [&'static str],
    network: bool,
    /// Banned crates that it pulls in nevertheless: explained in `deny-consulrs.toml`.
    except: &'static [&'static str],
    /// Maximum number of crates, itself included: a new dependency is a decision.
    most: usize,
}

const SETS: &[Set] = &[
    Set { package: "failover", features: &["--features", "memory"], network: false, except: &[], most: 41 },
    // One of them, `nix`, reads the coarse clock.
    Set { package: "failover-core", features: &[], network: false, except: &[], most: 39 },
    Set { package: "failover-core", features: &["--all-features"], network: false, except: &[], most: 60 },
    Set { package: "failover-memory", features: &[], network: false, except: &[], most: 40 },
    Set { package: "failover-provider-kit", features: &[], network: false, except: &[], most: 42 },
    Set {
        package: "failover-provider-kit",
        features: &["--all-features"],
        network: true,
        except: &[],
        most: 100,
    },
    Set { package: "failover-test", features: &[], network: false, except: &[], most: 40 },
    Set { package: "failover-sim", features: &[], network: false, except: &[], most: 56 },
    Set { package: "failover-file", features: &[], network: false, except: &[], most: 67 },
    Set { package: "failover-metrics", features: &[], network: false, except: &[], most: 42 },
    Set { package: "failover-probe", features: &["--all-features"], network: true, except: &[], most: 90 },
    Set { package: "failover-dns", features: &[], network: false, except: &[], most: 104 },
    Set { package: "failover-http", features: &[], network: false, except: &[], most: 43 },
    Set { package: "failover-tower", features: &[], network: false, except: &[], most: 49 },
    Set { package: "failover-tonic", features: &[], network: true, except: &[], most: 82 },
    Set { package: "failover-reqwest", features: &[], network: true, except: &[], most: 100 },
    Set { package: "failover-status", features: &[], network: true, except: &[], most: 60 },
    Set { package: "failover-consul", features: &[], network: true, except: &[], most: 92 },
    Set {
        package: "failover-consul",
        features: &["--features", "consulrs"],
        network: true,
        except: CONSULRS,
        most: 175,
    },
    Set { package: "failover", features: &["--features", "full"], network: true, except: &[], most: 160 },
    Set {
        package: "failover",
        features: &["--features", "consul-slim"],
        network: true,
        except: &[],
        most: 93,
    },
    Set {
        package: "failover",
        features: &["--features", "consul"],
        network: true,
        except: CONSULRS,
        most: 176,
    },
    Set { package: "failover-k8s", features: &[], network: true, except: &[], most: 140 },
];

pub(crate) fn command(args: &[String]) -> Result<(), String> {
    match args {
        [] => run(),
        [arg] if arg == "--cold" => cold::run(),
        _ => Err("`isolation` takes nothing, or `--cold`".to_owned()),
    }
}

pub(crate) fn run() -> Result<(), String> {
    let mut faults = SETS.iter().map(check).collect::<Result<Vec<_>, _>>()?.concat();
    for package in cargo::packages()?.iter().filter(|package| cargo::is_library(package)) {
        faults.extend(on_docs_rs(package)?);
    }
    faults.extend(costs_of_consul()?);
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} faults, see above; `cargo tree --invert CRATE` shows which crate needs one",
        faults.len()
    ))
}

fn check(set: &Set) -> Result<Vec<String>, String> {
    let Set { package, features, network, except, most } = set;
    let tree = tree(package, &[&["--no-default-features"], *features].concat())?;
    let crates = crates(&tree);
    let what = format!("{package} {}", features.join(" "));
    println!("{}: {} crates, itself included", what.trim_end(), crates.len());
    let banned = NEVER.iter().chain(NETWORK.iter().filter(|_| !network));
    // A provider may use the client of its own registry.
    let kube = (*package != "failover-k8s").then_some(&"kube");
    let banned = banned.chain(kube).filter(|banned| !except.contains(banned));
    let found = found(banned, &crates);
    let mut faults = Vec::new();
    if !found.is_empty() {
        faults.push(format!("{what} pulls {found:?}"));
    }
    if crates.len() > *most {
        faults.push(format!("{what} is {} crates, {most} is the most", crates.len()));
    }
    Ok(faults)
}

/// Documents that state how many crates failover-consul is with consulrs and without.
const COSTS: &[&str] = &["README.md", "crates/failover-consul/README.md", "docs/decisions/consulrs.md"];

fn costs_of_consul() -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for features in [&["--no-default-features"][..], &[]] {
        let cost = format!("{} crates", crates(&tree("failover-consul", features)?).len());
        for document in COSTS {
            let text = std::fs::read_to_string(cargo::root().join(document))
                .map_err(|error| format!("{document} cannot be read: {error}"))?;
            if !text.contains(&cost) {
                let features = features.join(" ");
                faults.push(format!("{document} does not say that failover-consul {features} is {cost}"));
            }
        }
    }
    Ok(faults)
}

/// Checks the crates with which docs.rs builds a library's documentation: it has no system library,
/// and should not compile one.
fn on_docs_rs(package: &Value) -> Result<Vec<String>, String> {
    let name = cargo::name(package);
    let tree = tree(name, &docs_rs_features(&package["metadata"]["docs"]["rs"]))?;
    let found = found(NEVER.iter(), &crates(&tree));
    if found.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!("{name} pulls {found:?} on docs.rs, by `[package.metadata.docs.rs]`")])
}

/// Returns the features that a `[package.metadata.docs.rs]` selects, as arguments.
fn docs_rs_features(metadata: &Value) -> Vec<&str> {
    let flag = |key: &str, flag| (metadata[key] == true).then_some(flag);
    let named = metadata["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let flags =
        [flag("all-features", "--all-features"), flag("no-default-features", "--no-default-features")];
    flags.into_iter().flatten().chain(named.flat_map(|name| ["--features", name])).collect()
}

fn tree(package: &str, features: &[&str]) -> Result<String, String> {
    let mut command = cargo(["tree", "--edges", "normal", "--prefix", "none", "--package", package]);
    command.args(features);
    cargo::output(command)
}

fn found<'a>(
    banned: impl Iterator<Item = &'a &'static str>,
    crates: &BTreeSet<(&str, &str)>,
) -> Vec<&'a &'static str> {
    banned.filter(|banned| crates.iter().any(|(name, _)| name == *banned)).collect()
}

/// Returns the name and version of every line; a crate that occurs several times counts once.
fn crates(tree: &str) -> BTreeSet<(&str, &str)> {
    tree.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{crates, docs_rs_features};

    #[test]
    fn a_repeated_crate_counts_once_and_two_versions_count_twice() {
        let tree =
            "failover v0.1.0 (/somewhere)\nserde v1.0.229\nserde v1.0.229 (*)\nsyn v2.0.1\nsyn v3.0.1\n\n";
        let crates = crates(tree);
        assert_eq!(crates.len(), 4);
        assert!(crates.contains(&("failover", "v0.1.0")));
    }

    #[test]
    fn docs_rs_builds_the_features_that_its_metadata_selects() {
        assert!(docs_rs_features(&json!({})).is_empty(), "the default ones");
        assert_eq!(docs_rs_features(&json!({"all-features": true})), ["--all-features"]);
        let metadata = json!({"no-default-features": true, "all-features": false, "features": ["a", "b"]});
        let expected = ["--no-default-features", "--features", "a", "--features", "b"];
        assert_eq!(docs_rs_features(&metadata), expected);
    }
}
