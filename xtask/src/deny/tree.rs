//! The resolved dependencies that `cargo metadata` lists.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::texts;
use crate::cargo;

/// The dependents of each crate, by name.
pub(super) type Users<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// What the workspace depends on, without the crates that the rules exclude and what only they
/// depend on.
pub(super) struct Tree<'a> {
    pub(super) packages: Vec<&'a Value>,
    pub(super) users: Users<'a>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(metadata: &'a Value, rules: &Value) -> Self {
        let excluded: Vec<&str> = texts(&rules["graph"]["exclude"]).collect();
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let packages: BTreeMap<&str, &Value> =
            packages.filter_map(|package| Some((package["id"].as_str()?, package))).collect();
        let name = |id: &str| packages.get(id).map_or("", |package| cargo::name(package));
        let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
        let nodes: BTreeMap<&str, &Value> =
            nodes.filter_map(|node| Some((node["id"].as_str()?, &node["dependencies"]))).collect();

        let (mut reached, mut users) = (BTreeSet::new(), Users::new());
        let mut left: Vec<&str> = texts(&metadata["workspace_members"]).collect();
        while let Some(id) = left.pop() {
            if !reached.insert(id) {
                continue;
            }
            for used in nodes.get(id).into_iter().flat_map(|dependencies| texts(dependencies)) {
                if !excluded.contains(&name(used)) {
                    users.entry(name(used)).or_default().insert(name(id));
                    left.push(used);
                }
            }
        }
        Self { packages: reached.iter().filter_map(|id| packages.get(id).copied()).collect(), users }
    }

    /// Prints crates with several versions, which are compiled several times; this is not a fault.
    pub(super) fn print_duplicates(&self) {
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for package in &self.packages {
            let version = package["version"].as_str().unwrap_or_default();
            versions.entry(cargo::name(package)).or_default().push(version);
        }
        for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
            println!("twice: {name} {}", versions.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_excluded_crate_takes_along_what_only_it_depends_on() {
        let packages = ["us", "consulrs", "openssl", "serde"].map(|name| json!({"id": name, "name": name}));
        let metadata = json!({
            "workspace_members": ["us"],
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "us", "dependencies": ["consulrs", "serde"]},
                {"id": "consulrs", "dependencies": ["openssl", "serde"]},
                {"id": "openssl", "dependencies": []},
                {"id": "serde", "dependencies": []},
            ]},
        });
        let rules = json!({"graph": {"exclude": ["consulrs"]}});
        let tree = Tree::new(&metadata, &rules);
        assert_eq!(
            tree.packages.iter().map(|package| cargo::name(package)).collect::<Vec<_>>(),
            ["serde", "us"]
        );
        assert_eq!(tree.users, Users::from([("serde", BTreeSet::from(["us"]))]));
        let whole = Tree::new(&metadata, &json!({}));
        assert_eq!(whole.packages.len(), 4);
        assert_eq!(whole.users["serde"], BTreeSet::from(["consulrs", "us"]));
    }
}
