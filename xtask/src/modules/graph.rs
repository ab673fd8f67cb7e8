//! The graph of a crate's files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use super::imports::{Imports, ModulePath};

/// The maximum number of re-exports to follow.
const HOPS: usize = 8;

/// The files of a crate by module path, with their imports.
pub(super) struct Graph {
    files: BTreeMap<ModulePath, String>,
    edges: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
}

impl Graph {
    /// Parses a crate's files, given as path inside `src` and text. Test files are left out.
    pub(super) fn read(sources: Vec<(String, String)>) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        let mut imports = BTreeMap::new();
        for (path, text) in sources {
            let module = module(&path);
            if !module.iter().any(|part| part == "tests" || part.ends_with("_tests")) {
                imports.insert(module.clone(), Imports::read(module.clone(), &text)?);
                files.insert(module, path);
            }
        }
        let edges = imports.iter().map(|(file, of)| {
            let targets = of.used.iter().map(|path| resolve(path, &imports, HOPS));
            (file.clone(), targets.flatten().filter(|target| target != file).collect())
        });
        Ok(Self { edges: edges.collect(), files })
    }

    /// Returns the edges from a folder to a later one.
    pub(super) fn against(&self, order: &[String]) -> Vec<String> {
        let place = |module: &ModulePath| {
            let top = module.first()?;
            order.iter().position(|folder| folder == top)
        };
        let mut faults: Vec<_> = self
            .files
            .iter()
            .filter(|(module, _)| !module.is_empty() && place(module).is_none())
            .map(|(_, file)| format!("{file} is in no folder of the order in the document"))
            .collect();
        for (from, to) in self.pairs() {
            if let (Some(here), Some(there)) = (place(from), place(to))
                && there > here
            {
                faults.push(format!("{} imports from {}, a later folder", self.files[from], self.files[to]));
            }
        }
        faults
    }

    /// Returns the shortest cycle through each file that is in one, each cycle once.
    pub(super) fn cycles(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for start in self.files.keys() {
            if let Some(mut circle) = self.circle(start) {
                let first =
                    circle.iter().enumerate().min_by_key(|(_, module)| *module).map_or(0, |(at, _)| at);
                circle.rotate_left(first);
                found.insert(circle);
            }
        }
        let line = |circle: &Vec<&ModulePath>| {
            let names: Vec<_> =
                circle.iter().chain(circle.first()).map(|module| self.files[*module].as_str()).collect();
            names.join(" -> ")
        };
        found.iter().map(line).collect()
    }

    /// Returns the shortest path from a file back to itself.
    fn circle<'a>(&'a self, start: &'a ModulePath) -> Option<Vec<&'a ModulePath>> {
        let mut before: BTreeMap<&ModulePath, &ModulePath> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(file) = queue.pop_front() {
            for next in &self.edges[file] {
                if next == start {
                    let mut circle = vec![file];
                    while let Some(step) = before.get(circle[circle.len() - 1]) {
                        circle.push(step);
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if !before.contains_key(next) {
                    before.insert(next, file);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    pub(super) fn summary(&self) -> String {
        format!("{} files, {} imports between them", self.files.len(), self.pairs().count())
    }

    /// Returns a line per folder: its number of files, and the folders that it imports from.
    pub(super) fn folders(&self) -> String {
        let top = |module: &ModulePath| module.first().cloned().unwrap_or_else(|| "(root)".to_owned());
        let mut folders: BTreeMap<String, (usize, BTreeMap<String, usize>)> = BTreeMap::new();
        for file in self.files.keys() {
            folders.entry(top(file)).or_default().0 += 1;
        }
        for (from, to) in self.pairs().filter(|(from, to)| top(from) != top(to)) {
            *folders.entry(top(from)).or_default().1.entry(top(to)).or_default() += 1;
        }
        let mut text = String::new();
        for (name, (files, targets)) in folders {
            let targets: Vec<_> = targets.iter().map(|(to, count)| format!("{to} {count}")).collect();
            let _ = writeln!(text, "  {name} ({files}): {}", targets.join(", "));
        }
        text
    }

    fn pairs(&self) -> impl Iterator<Item = (&ModulePath, &ModulePath)> {
        self.edges.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)))
    }
}

/// Returns the module path of a file: `engine/breaker.rs` is `["engine", "breaker"]`; the crate's
/// root is empty.
fn module(path: &str) -> ModulePath {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

/// Resolves a path to a file: the longest prefix that is a file, or the file from which that one
/// re-exports the name.
fn resolve(path: &ModulePath, imports: &BTreeMap<ModulePath, Imports>, hops: usize) -> Option<ModulePath> {
    let at = (0..=path.len()).rev().find(|at| imports.contains_key(&path[..*at]))?;
    let (file, rest) = path.split_at(at);
    let target = rest.first().and_then(|name| imports[file].handed_on.get(name));
    match target {
        Some(target) if hops > 0 => resolve(&[target, &rest[1..]].concat(), imports, hops - 1),
        _ => Some(file.to_vec()),
    }
}
