//! Checks what readers of a package see: links that lead somewhere, and dependency lines that work.

use std::path::{Component, Path};

use serde_json::Value;

use super::files::{read, rust, shown};
use crate::{cargo, package};

pub(crate) fn check(faults: &mut Vec<String>) -> Result<(), String> {
    let packages = cargo::packages()?;
    for package in packages.iter().filter(|package| package::is_published(package)) {
        of_package(package, faults)?;
    }
    Ok(())
}

fn of_package(package: &Value, faults: &mut Vec<String>) -> Result<(), String> {
    let name = cargo::name(package);
    let root =
        Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent().unwrap_or(Path::new(""));
    for file in ["README.md", "CHANGELOG.md"] {
        let file = root.join(file);
        let text = read(&file)?;
        for link in links(&text).filter(|link| !leads_somewhere(link, root)) {
            faults.push(format!("{}: `{link}` is not in the package", shown(&file)));
        }
        // The crate of that name on the public registry is somebody else's.
        if text.contains("crates.io/crates/failover") {
            faults.push(format!("{}: a link to the public registry leads to another crate", shown(&file)));
        }
    }
    let readme = root.join("README.md");
    let text = read(&readme)?;
    let (line, warning) =
        (format!("\n{name} = {{ path = \"../failover/crates/{name}\""), "is the crate of somebody else");
    let is_right = text.split("```toml").any(|block| {
        let block = block.split("```").next().unwrap_or_default();
        block.contains(&line) && block.contains(warning)
    });
    if !is_right {
        faults.push(format!("{}: lacks a dependency line by path, or the warning beside it", shown(&readme)));
    }
    let mut files = Vec::new();
    rust(&root.join("src"), &mut files)?;
    for file in files {
        let text = read(&file)?;
        let docs = text
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with("//!") || line.starts_with("///"));
        for line in docs {
            for link in links(line).filter(|link| link.starts_with("..") || link.contains(".md")) {
                faults.push(format!("{}: rustdoc has no `{link}`", shown(&file)));
            }
        }
    }
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        // Those among our own crates are checked with their versions.
        let is_foreign = dependency["path"].is_null();
        if is_foreign && dependency["req"].as_str().unwrap_or_default().contains('=') {
            faults.push(format!("{name}: pins {} with `=`", cargo::name(dependency)));
        }
    }
    Ok(())
}

/// Returns the targets of the links and images of a text in Markdown.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|link| link.split('#').next().unwrap_or(""))
}

/// Returns whether a link is to a site, into the same page, or to a file of the package.
fn leads_somewhere(link: &str, root: &Path) -> bool {
    let stays = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    link.is_empty() || link.contains("://") || (stays(Path::new(link)) && root.join(link).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_package_leads_nowhere() {
        let root = cargo::root().join("crates/failover-core");
        for (link, expected) in [
            ("LICENSE-MIT", true),
            ("https://docs.rs/http", true),
            ("", true),
            ("../../docs/guide.md", false),
            ("docs/../../failover/README.md", false),
            ("docs/none.md", false),
            ("/docs/guide.md", false),
        ] {
            assert_eq!(leads_somewhere(link, &root), expected, "{link}");
        }
    }

    #[test]
    fn links_and_images_are_found_without_their_fragments() {
        let text = "[a](b.md#c) ![d](e.svg), [f]: [g](#h)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "e.svg", ""]);
    }
}
