//! Checks that the facade re-exports every name in the root of failover-core, and no other of it,
//! and that its feature `full` is full.

use std::collections::BTreeSet;

use serde_json::Value;
use syn::{Item, UseTree, Visibility};

use super::files::read;
use crate::cargo;

pub(super) fn check(faults: &mut Vec<String>) -> Result<(), String> {
    let core = read(&cargo::root().join("crates/failover-core/src/lib.rs"))?;
    let facade = read(&cargo::root().join("crates/failover/src/lib.rs"))?;
    compare(&core, &facade, faults)?;
    let packages = cargo::packages()?;
    let facade = packages.iter().find(|package| cargo::name(package) == "failover");
    full(&facade.ok_or("there is no package failover")?["features"], faults);
    Ok(())
}

/// Features that need a system library, a choice or a newer compiler than the facade, and are not in `full`
/// therefore.
const NOT_IN_FULL: &[&str] = &["consul", "dns", "file", "k8s"];

fn full(features: &Value, faults: &mut Vec<String>) {
    let in_full = features["full"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let in_full: BTreeSet<&str> = in_full.collect();
    let names = features.as_object().into_iter().flat_map(|features| features.keys().map(String::as_str));
    let names = names.filter(|name| !["default", "full"].contains(name) && !cargo::is_choice(name));
    let expected: BTreeSet<&str> = names.filter(|name| !NOT_IN_FULL.contains(name)).collect();
    let missing = expected.difference(&in_full);
    faults.extend(missing.map(|name| format!("crates/failover: the feature `full` lacks `{name}`")));
    let wrong = in_full.difference(&expected);
    faults.extend(wrong.map(|name| format!("crates/failover: the feature `full` must not have `{name}`")));
}

fn compare(core: &str, facade: &str, faults: &mut Vec<String>) -> Result<(), String> {
    let (theirs, ours) = (public(core, None)?, public(facade, Some("failover_core"))?);
    let missing = theirs.difference(&ours).map(|name| format!("crates/failover: does not re-export {name}"));
    faults.extend(missing);
    let unknown = ours.difference(&theirs);
    faults.extend(unknown.map(|name| format!("crates/failover: {name} is not in the root of failover-core")));
    Ok(())
}

/// Returns the names that a file makes public: by `pub use`, if from this crate, and by `pub mod`.
fn public(text: &str, from: Option<&str>) -> Result<BTreeSet<String>, String> {
    let file = syn::parse_file(text).map_err(|error| format!("a lib.rs cannot be parsed: {error}"))?;
    let mut names = BTreeSet::new();
    for item in file.items {
        match item {
            Item::Use(item) if matches!(item.vis, Visibility::Public(_)) => match (&item.tree, from) {
                (UseTree::Path(path), Some(from)) if path.ident != from => {}
                (tree, _) => leaves(tree, &mut names),
            },
            // The facade has its own modules for the other crates; `probe` contains both.
            Item::Mod(item)
                if matches!(item.vis, Visibility::Public(_)) && (from.is_none() || item.ident == "probe") =>
            {
                names.insert(item.ident.to_string());
            }
            _ => {}
        }
    }
    Ok(names)
}

fn leaves(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, names),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Rename(name) => drop(names.insert(name.rename.to_string())),
        UseTree::Glob(_) => drop(names.insert("*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_missing_or_unknown_is_named_and_a_glob_is_unknown() {
        let core = "pub mod events; pub use a::{B, c::D}; pub(crate) use e::F; mod g;";
        let mut faults = Vec::new();
        compare(core, "pub use failover_core::{B, D, events}; pub mod memory {}", &mut faults)
            .expect("parses");
        assert_eq!(faults, Vec::<String>::new());
        compare(core, "pub use failover_core::*; pub use other::X;", &mut faults).expect("parses");
        assert_eq!(faults.len(), 4, "{faults:?}");
        faults.clear();
        compare(core, "pub use failover_core::{B, D, E, events};", &mut faults).expect("parses");
        assert_eq!(faults, ["crates/failover: E is not in the root of failover-core"]);
    }

    #[test]
    fn full_has_every_feature_that_needs_neither_a_choice_nor_a_system_library() {
        let features = |full: &[&str]| {
            serde_json::json!({
                "default": [], "memory": [], "consul-slim": [], "consul": [], "k8s": [], "k8s-v1_33": [], "full": full,
            })
        };
        for (features, expected) in [
            (features(&["memory", "consul-slim"]), &[][..]),
            (features(&["memory"]), &["the feature `full` lacks `consul-slim`"]),
            (
                features(&["memory", "consul", "consul-slim", "k8s-v1_33"]),
                &["must not have `consul`", "must not have `k8s-v1_33`"],
            ),
        ] {
            let mut faults = Vec::new();
            full(&features, &mut faults);
            assert_eq!(faults.len(), expected.len(), "{faults:?}");
            assert!(faults.iter().zip(expected).all(|(fault, part)| fault.contains(part)), "{faults:?}");
        }
    }
}
