//! The paths that a file refers to, outside its tests.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// A path from the crate's root: `["engine", "breaker", "Phase"]`.
pub(super) type ModulePath = Vec<String>;

/// The imports of a file.
#[derive(Default)]
pub(super) struct Imports {
    /// Paths used by its code.
    pub(super) used: Vec<ModulePath>,
    /// Names that it re-exports (`pub use`): a file that imports such a name imports from its
    /// origin.
    pub(super) handed_on: BTreeMap<String, ModulePath>,
    /// The modules it declares.
    children: Vec<String>,
    file: ModulePath,
}

impl Imports {
    pub(super) fn read(file: ModulePath, text: &str) -> Result<Self, String> {
        let parsed = syn::parse_file(text).map_err(|error| format!("{}: {error}", file.join("/")))?;
        let mut imports = Self { file, ..Self::default() };
        let declared = parsed.items.iter().filter_map(|item| match item {
            Item::Mod(module) if module.content.is_none() => Some(module.ident.to_string()),
            _ => None,
        });
        imports.children = declared.collect();
        imports.visit_file(&parsed);
        Ok(imports)
    }

    /// Returns the path from the crate's root, or `None` for other crates and for the file's own
    /// names.
    fn absolute(&self, path: &[String]) -> Option<ModulePath> {
        let depth = path.iter().take_while(|part| *part == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.file, &path[1..]].concat()),
            "super" => {
                let kept = self.file.len().checked_sub(depth)?;
                Some([&self.file[..kept], &path[depth..]].concat())
            }
            child if self.children.iter().any(|known| known == child) => Some([&self.file, path].concat()),
            _ => None,
        }
    }

    fn use_path(&mut self, path: &[String]) {
        self.used.extend(self.absolute(path));
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !attributes.iter().any(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        // In an inline module, `super` refers to the file.
        if let Some((_, items)) = &module.content {
            self.file.push(module.ident.to_string());
            for item in items {
                self.visit_item(item);
            }
            self.file.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for (path, name) in paths {
            if matches!(item.vis, Visibility::Inherited) {
                self.use_path(&path);
            } else if let Some(target) = self.absolute(&path) {
                self.handed_on.insert(name, target);
            }
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {
        // `pub(in crate::engine)` names a module but imports nothing.
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.use_path(&parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        // Macro arguments are tokens: `crate :: codec :: range`.
        let text = called.tokens.to_string().replace(" :: ", "::");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        for word in words.filter(|word| word.starts_with("crate::") || word.starts_with("super::")) {
            let parts: Vec<_> = word.split("::").map(str::to_owned).collect();
            self.use_path(&parts);
        }
    }
}

/// Returns whether an item is compiled only for tests.
fn is_for_tests(attribute: &Attribute) -> bool {
    let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
    let words = tokens.split(|c: char| !c.is_alphanumeric());
    attribute.path().is_ident("cfg")
        && !tokens.starts_with("not")
        && words.into_iter().any(|word| word == "test")
}

/// Collects each path of a `use`, with the name it introduces.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(ModulePath, String)>) {
    let with = |name: String, before: &[String]| match name.as_str() {
        "self" => before.to_vec(),
        _ => [before, &[name]].concat(),
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) => found.push((with(name.ident.to_string(), before), name.ident.to_string())),
        UseTree::Rename(name) => found.push((with(name.ident.to_string(), before), name.rename.to_string())),
        UseTree::Glob(_) => found.push((before.clone(), "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
    }
}
