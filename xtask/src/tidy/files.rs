//! Finds and reads the workspace's files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo;

pub(crate) fn rust(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    with_ending("rs", directory, found)
}

pub(crate) fn with_ending(ending: &str, directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    for path in entries(directory)? {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                with_ending(ending, &path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns the entries of a directory, sorted, so that the output is deterministic.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", shown(directory));
    let entries = fs::read_dir(directory).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

pub(crate) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", shown(path)))
}

pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(cargo::root()).unwrap_or(path).display().to_string()
}
