//! Who takes the smallest facade takes no HTTP stack, TLS stack or registry client with it.

use std::collections::BTreeSet;

use crate::cargo::{self, cargo};

const BANNED: &[&str] =
    &["axum", "hyper", "kube", "native-tls", "openssl", "openssl-sys", "reqwest", "ring", "rustls"];

pub(crate) fn run() -> Result<(), String> {
    let command = cargo([
        "tree",
        "--package",
        "failover",
        "--no-default-features",
        "--features",
        "memory",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    println!("$ {}", cargo::line(&command));
    let tree = cargo::output(command)?;
    let crates = crates(&tree);
    let found: Vec<_> =
        BANNED.iter().filter(|banned| crates.iter().any(|(name, _)| name == *banned)).collect();
    println!("failover with `memory` alone: {} crates, itself included", crates.len());
    if found.is_empty() {
        Ok(())
    } else {
        Err(format!("failover with `memory` alone pulls {found:?}; `cargo tree --invert CRATE` says by whom"))
    }
}

/// Name and version of every line; a crate that stands in the tree several times counts once.
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
