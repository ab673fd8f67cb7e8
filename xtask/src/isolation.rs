//! Checks that each part pulls in no HTTP stack, TLS stack or registry client that it does not
//! need.

use std::collections::BTreeSet;

use crate::cargo::{self, cargo};

/// Crates that no part may pull in: there is a single TLS stack.
const NEVER: &[&str] = &["native-tls", "openssl", "openssl-sys", "aws-lc-rs", "aws-lc-sys"];
/// Crates that only parts with network access may pull in.
const NETWORK: &[&str] = &["axum", "hyper", "reqwest", "ring", "rustls"];

/// Crates that consulrs compiles and that are never executed: see docs/decisions/consulrs.md.
const OPENSSL: &[&str] = &["native-tls", "openssl", "openssl-sys"];

/// A package with some of its features.
struct Set {
    package: &'static str,
    features: &'static [&'static str],
    network: bool,
    /// Banned crates that it pulls in nevertheless: not reached by its code, and explained in
    /// `deny.toml`.
    except: &'static [&'static str],
    /// Maximum number of crates, itself included: a new dependency is a decision.
    most: usize,
}

const SETS: &[Set] = &[
    Set { package: "failover", features: &["--features", "memory"], network: false, except: &[], most: 40 },
    Set { package: "failover-core", features: &[], network: false, except: &[], most: 38 },
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
    Set { package: "failover-sim", features: &[], network: false, except: &[], most: 55 },
    Set { package: "failover-probe", features: &["--all-features"], network: true, except: &[], most: 90 },
    Set { package: "failover-consul", features: &[], network: true, except: OPENSSL, most: 175 },
    Set {
        package: "failover",
        features: &["--features", "consul"],
        network: true,
        except: OPENSSL,
        most: 176,
    },
    Set { package: "failover-k8s", features: &[], network: true, except: &[], most: 140 },
];

pub(crate) fn run() -> Result<(), String> {
    let faults = SETS.iter().map(check).collect::<Result<Vec<_>, _>>()?.concat();
    for fault in &faults {
        println!("{fault}; `cargo tree --invert CRATE` shows which crate needs it");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{} parts pull too much; see above", faults.len())) }
}

fn check(set: &Set) -> Result<Vec<String>, String> {
    let Set { package, features, network, except, most } = set;
    let mut command = cargo(["tree", "--edges", "normal", "--prefix", "none", "--package", package]);
    command.arg("--no-default-features").args(*features);
    let tree = cargo::output(command)?;
    let crates = crates(&tree);
    let what = format!("{package} {}", features.join(" "));
    println!("{}: {} crates, itself included", what.trim_end(), crates.len());
    let banned = NEVER.iter().chain(NETWORK.iter().filter(|_| !network));
    // A provider may use the client of its own registry.
    let kube = (*package != "failover-k8s").then_some(&"kube");
    let banned = banned.chain(kube).filter(|banned| !except.contains(banned));
    let found: Vec<_> = banned.filter(|banned| crates.iter().any(|(name, _)| name == *banned)).collect();
    let mut faults = Vec::new();
    if !found.is_empty() {
        faults.push(format!("{what} pulls {found:?}"));
    }
    if crates.len() > *most {
        faults.push(format!("{what} is {} crates, {most} is the most", crates.len()));
    }
    Ok(faults)
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
    use super::crates;

    #[test]
    fn a_repeated_crate_counts_once_and_two_versions_count_twice() {
        let tree =
            "failover v0.1.0 (/somewhere)\nserde v1.0.229\nserde v1.0.229 (*)\nsyn v2.0.1\nsyn v3.0.1\n\n";
        let crates = crates(tree);
        assert_eq!(crates.len(), 4);
        assert!(crates.contains(&("failover", "v0.1.0")));
    }
}
