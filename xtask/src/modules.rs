//! Analyses the imports between the files of a crate, parsed with `syn`: the folders' order, and
//! cycles between files.

mod graph;
mod imports;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use crate::cargo;
use crate::tidy::files;
use graph::Graph;

/// The document that states the order of failover-core's folders.
const ARCHITECTURE: &str = "docs/architecture.md";

/// Runs `cargo xtask modules [PACKAGE]`: prints the folders of a crate, their imports, and faults.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let wanted = match args {
        [] => None,
        [name] => Some(name.as_str()),
        _ => return Err(format!("this command takes the name of a package at most, got {args:?}")),
    };
    let mut shown = 0;
    for (name, graph) in graphs()? {
        if wanted.is_none_or(|wanted| wanted == name) {
            println!("{name}: {}", graph.summary());
            print!("{}", graph.folders());
            shown += 1;
        }
    }
    match wanted {
        Some(wanted) if shown == 0 => Err(format!("there is no package `{wanted}`")),
        _ => check(),
    }
}

/// Fails if a file imports from a later folder, or if files import each other in a cycle.
pub(crate) fn check() -> Result<(), String> {
    let mut faults = Vec::new();
    collect(&mut faults)?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{} imports go the wrong way", faults.len())) }
}

/// Collects the faults of [`check`] as lines for `tidy`.
pub(crate) fn collect(faults: &mut Vec<String>) -> Result<(), String> {
    let order = order()?;
    for (name, graph) in graphs()? {
        if name == "failover-core" {
            faults.extend(graph.against(&order).into_iter().map(|fault| format!("{name}: {fault}")));
        }
        faults.extend(graph.cycles().into_iter().map(|cycle| format!("{name}: import cycle: {cycle}")));
    }
    Ok(())
}

/// Returns the order of failover-core's folders, from the document's line `error -> … -> manager`.
fn order() -> Result<Vec<String>, String> {
    let text = files::read(&cargo::root().join(ARCHITECTURE))?;
    let line = text.lines().find(|line| line.starts_with("error -> "));
    let line = line.ok_or_else(|| format!("{ARCHITECTURE} has no line `error -> … -> manager`"))?;
    Ok(line.split("->").map(|folder| folder.trim().to_owned()).collect())
}

fn graphs() -> Result<Vec<(String, Graph)>, String> {
    let mut graphs = Vec::new();
    for package in cargo::packages()?.into_iter().filter(cargo::is_library) {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let source = Path::new(manifest).with_file_name("src");
        let mut paths = Vec::new();
        files::rust(&source, &mut paths)?;
        let mut sources = Vec::new();
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let inside = path.strip_prefix(&source).unwrap_or(&path);
            sources.push((inside.to_string_lossy().into_owned(), text));
        }
        let name = cargo::name(&package).to_owned();
        let graph = Graph::read(sources).map_err(|error| format!("{name}: {error}"))?;
        graphs.push((name, graph));
    }
    Ok(graphs)
}
