//! Writes the crate of a new provider, outside of the workspace: one of the three shapes of the guide for
//! providers, with its tests. The code is that of the guide, with other names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo;

/// What a crate of each shape is made of.
struct Shape {
    name: &'static str,
    about: &'static str,
    /// The provider's type in the guide, and its kind.
    type_name: &'static str,
    kind: &'static str,
    /// The file of the backend that its tests use, and the statement that makes it.
    backend: &'static str,
    subject: &'static str,
    /// What it is certified for.
    levels: &'static str,
    left: &'static [&'static str],
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "polled",
        about: "it can only be asked",
        type_name: "Lists",
        kind: "lists",
        backend: "directory",
        subject: "Directory::of(|path| Arc::new(@TYPE@::new(path)))",
        levels: "[Level::Read, Level::Survive]",
        left: &[
            "`src/lib.rs`: let `list` ask your source instead of reading files, within a deadline of its own; \
             `failover-provider-kit` has an HTTP client, and `Source` with `Polled`, which add a watch and the state of the connection",
            "`src/lib.rs`: say when to ask again (`with_ttl`), and who can write the data (`with_trust`)",
        ],
    },
    Shape {
        name: "pushed",
        about: "its registry tells of changes",
        type_name: "Pushes",
        kind: "pushes",
        backend: "server",
        subject: "Registry::start().await",
        levels: "[Level::Read, Level::Watch, Level::Survive]",
        left: &[
            "`src/lib.rs`: let `subscribe` and `next` speak your registry's protocol; a connection that is silent for too long is lost, too",
            "`src/lib.rs`: where many watches of one service are to share a connection, use `SharedWatches` of `failover-provider-kit`",
            "`src/lib.rs`: say who can write the data (`with_trust`)",
        ],
    },
    Shape {
        name: "writable",
        about: "it accepts endpoints",
        type_name: "Shelf",
        kind: "shelf",
        backend: "directory",
        subject: "Directory::of(|path| Arc::new(@TYPE@::new(path)))",
        levels: "[Level::Read, Level::Write, Level::Survive]",
        left: &[
            "`src/lib.rs`: let the operations of `Registry` and `list` speak to your registry, within deadlines of their own; a write is whole or not at all",
            "`src/lib.rs`: if your registry knows owners, answer `registration`, and refuse to remove what another process has registered since",
            "`src/lib.rs`: if it tells of changes, implement `watch`; say who can write the data (`with_trust`)",
        ],
    },
];

/// What every new provider has left.
const LEFT: [&str; 4] = [
    "`tests/conformance/`: start your real registry, and give the subject its hooks: `outage` stops it, `hostile` breaks its data, `secrets` names your token",
    "`tests/conformance/main.rs`: the levels to be certified for, when `watch`, a configuration store and more are there",
    "`Cargo.toml`: description, licence, repository, and the oldest Rust that compiles it",
    "`README.md`: what it needs, its options, what it cannot do",
];

const USAGE: &str =
    "usage: cargo xtask new-provider NAME [--shape polled|pushed|writable] [--in DIRECTORY] [--published]";

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let (mut name, mut shape, mut parent, mut published) = (None, &SHAPES[0], None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--shape" => {
                let wanted = value()?;
                let found = SHAPES.iter().find(|shape| shape.name == wanted);
                shape = found.ok_or_else(|| format!("there is no shape {wanted}\n{USAGE}"))?;
            }
            "--in" => parent = Some(PathBuf::from(value()?)),
            "--published" => published = true,
            option if option.starts_with('-') => return Err(format!("there is no option {option}\n{USAGE}")),
            given if name.is_none() => name = Some(given),
            given => return Err(format!("what is {given}?\n{USAGE}")),
        }
    }
    let name = name.ok_or(USAGE)?;
    check(name)?;
    let root = cargo::root().canonicalize().map_err(|error| format!("the workspace: {error}"))?;
    let parent = parent.unwrap_or_else(|| root.parent().unwrap_or(&root).to_owned());
    if is_within(&parent, &root) {
        return Err(format!(
            "{} is within the workspace, which the crate is no part of; give --in another one",
            parent.display()
        ));
    }
    let directory = parent.join(format!("failover-{name}"));
    write(&Crate { name, shape, root: &root, published }, &directory)?;
    println!("{} is a provider of kind {name}: {}.", directory.display(), shape.about);
    println!(
        "It compiles and keeps the contract:\n\n    cd {} && cargo test\n\nWhat is left:",
        directory.display()
    );
    for (left, number) in shape.left.iter().chain(&LEFT).zip(1..) {
        println!("{number:>2}. {left}");
    }
    Ok(())
}

/// Returns whether a directory, which need not exist, lies in the workspace.
fn is_within(directory: &Path, root: &Path) -> bool {
    let existing = directory.ancestors().find(|part| part.exists()).unwrap_or(Path::new("."));
    existing.canonicalize().is_ok_and(|existing| existing.starts_with(root))
}

fn check(name: &str) -> Result<(), String> {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if letters && first && !name.ends_with('-') && !name.contains("--") && name.len() <= 40 {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot be a name: give lower-case letters, digits and single hyphens, such as etcd"
    ))
}

struct Crate<'a> {
    name: &'a str,
    shape: &'a Shape,
    root: &'a Path,
    /// Whether its dependencies are packages, and not directories of the workspace.
    published: bool,
}

fn write(new: &Crate<'_>, directory: &Path) -> Result<(), String> {
    let at = |error: std::io::Error| format!("{}: {error}", directory.display());
    if directory.exists() {
        return Err(format!(
            "{} exists already: give another name or --in another directory",
            directory.display()
        ));
    }
    fs::create_dir_all(directory.join("src")).map_err(at)?;
    fs::create_dir_all(directory.join("tests/conformance")).map_err(at)?;
    let backend = format!("tests/conformance/{}.rs", new.shape.backend);
    for (file, text) in [
        ("Cargo.toml", new.manifest()),
        ("README.md", new.readme()),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", new.library()?),
        ("tests/conformance/main.rs", new.tests()),
        (&backend, new.backend()?),
    ] {
        fs::write(directory.join(file), text).map_err(at)?;
    }
    // The versions that this checkout was tested with, and the form of its code.
    for file in ["Cargo.lock", "rustfmt.toml"] {
        fs::copy(new.root.join(file), directory.join(file)).map_err(at)?;
    }
    Ok(())
}

impl Crate<'_> {
    /// Returns the name of the type: `EtcdProvider` for `etcd`.
    fn type_name(&self) -> String {
        let word = |word: &str| word[..1].to_uppercase() + &word[1..];
        self.name.split('-').map(word).collect::<String>() + "Provider"
    }

    /// Returns the name of the crate in code.
    fn in_code(&self) -> String {
        format!("failover_{}", self.name.replace('-', "_"))
    }

    /// Reads a file of the guide, with the names of this crate.
    fn guide(&self, file: &str) -> Result<String, String> {
        let path = self.root.join("crates/failover-core/tests/guide").join(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // The first lines speak of the guide.
        let text = text
            .lines()
            .skip_while(|line| line.starts_with("//!") || line.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
            + "\n";
        let kind = format!("\"{}", self.shape.kind);
        Ok(text.replace(self.shape.type_name, &self.type_name()).replace(&kind, &format!("\"{}", self.name)))
    }

    fn library(&self) -> Result<String, String> {
        let text = self.guide(&format!("{}.rs", self.shape.name))?;
        let text = text
            .replace("    pub(super) fn new", "    /// Creates a provider.\n    pub fn new")
            .replace("pub(super) ", "pub ")
            .replace("\"1.0.0\"", "env!(\"CARGO_PKG_VERSION\")");
        Ok(format!("//! A `failover` provider of kind `{}`.\n\n{text}", self.name))
    }

    fn backend(&self) -> Result<String, String> {
        let text = self.guide(&format!("{}.rs", self.shape.backend))?;
        let own = format!("use super::{}::", self.shape.name);
        Ok(text.replace(&own, &format!("use {}::", self.in_code())))
    }

    fn tests(&self) -> String {
        let Shape { backend, levels, subject, .. } = self.shape;
        let type_name = self.type_name();
        let imports = match *backend {
            "server" => "use failover_conformance::Level;\nuse server::Registry;".to_owned(),
            _ => format!(
                "use std::sync::Arc;\n\nuse directory::Directory;\nuse failover_conformance::Level;\nuse {}::{type_name};",
                self.in_code()
            ),
        };
        let subject = subject.replace("@TYPE@", &type_name);
        format!(
            "//! The provider contract.

mod {backend};

{imports}

#[tokio::test(flavor = \"multi_thread\", worker_threads = 2)]
async fn the_provider_keeps_the_contract() {{
    let subject = {subject};
    let report = failover_conformance::run(&subject).await;
    println!(\"{{report}}\");
    for level in {levels} {{
        report.assert_level(level);
    }}
}}
"
        )
    }

    fn manifest(&self) -> String {
        let own = |package: &str| {
            if self.published {
                return format!("{package} = \"0.1\"\n");
            }
            let path = self.root.join("crates").join(package);
            format!("{package} = {{ version = \"0.1\", path = {:?} }}\n", path.display().to_string())
        };
        let (name, core, conformance) = (self.name, own("failover-core"), own("failover-conformance"));
        format!(
            "[package]
name = \"failover-{name}\"
version = \"0.1.0\"
description = \"Provider of failover for {name}\"
edition = \"2024\"
rust-version = \"1.85\"
publish = false

# The crate is one of its own, wherever it lies.
[workspace]

[dependencies]
{core}futures-util = {{ version = \"0.3.30\", default-features = false, features = [\"std\"] }}
serde_json = \"1.0.115\"
tokio = {{ version = \"1.44.2\", features = [\"fs\", \"io-util\", \"macros\", \"net\", \"sync\", \"time\"] }}

[dev-dependencies]
{conformance}tempfile = \"3\"
tokio = {{ version = \"1.44.2\", features = [\"macros\", \"rt-multi-thread\"] }}
"
        )
    }

    fn readme(&self) -> String {
        let left: String =
            self.shape.left.iter().chain(&LEFT).flat_map(|left| ["- [ ] ", left, "\n"]).collect();
        let (name, type_name, in_code) = (self.name, self.type_name(), self.in_code());
        format!(
            "# failover-{name}

A provider of `failover` for {name}: {about}.

```rust,ignore
let manager = FailoverManager::builder().provider({in_code}::{type_name}::new(..)).build().await?;
let users = manager.service(\"user-service\").await?;
```

`cargo test` runs the provider contract on it. How to write a provider: the documentation of
`failover_core::provider::writing_a_provider`.

## What is left

{left}",
            about = self.shape.about
        )
    }
}

/// Writes a crate of each shape into a directory, and returns where they are.
pub(crate) fn write_all(directory: &Path, published: bool) -> Result<Vec<PathBuf>, String> {
    let root = cargo::root().canonicalize().map_err(|error| error.to_string())?;
    let mut written = Vec::new();
    for shape in &SHAPES {
        let name = format!("a-{}", shape.name);
        let to = directory.join(format!("failover-{name}"));
        if to.exists() {
            fs::remove_dir_all(&to).map_err(|error| format!("{}: {error}", to.display()))?;
        }
        write(&Crate { name: &name, shape, root: &root, published }, &to)?;
        written.push(to);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_part_of_the_name_of_a_crate() {
        for name in ["etcd", "my-etcd", "a3"] {
            assert_eq!(check(name), Ok(()));
        }
        for name in ["", "Etcd", "3a", "-a", "a-", "a--b", "a_b", "../a", "\u{e4}", &"a".repeat(41)] {
            assert!(check(name).is_err_and(|error| error.contains("lower-case letters")), "{name}");
        }
    }

    #[test]
    fn nothing_is_written_into_the_workspace_or_over_what_is_there() {
        let run = |args: &[&str]| {
            run(&args.iter().map(ToString::to_string).collect::<Vec<_>>()).expect_err("refused")
        };
        let root = cargo::root();
        assert!(
            run(&["etcd", "--in", &root.join("crates").display().to_string()])
                .contains("within the workspace")
        );
        let canonical = root.canonicalize().expect("it exists");
        for (directory, expected) in [
            ("crates", true),
            ("crates/not-yet/there", true),
            ("..", false),
            ("../not-yet/there", false),
            ("crates/../../not-yet", false),
        ] {
            assert_eq!(is_within(&root.join(directory), &canonical), expected, "{directory}");
        }
        let taken = std::env::temp_dir().join(format!("new-provider-{}", std::process::id()));
        fs::create_dir_all(taken.join("failover-etcd")).expect("it is made");
        let error = run(&["etcd", "--in", &taken.display().to_string()]);
        fs::remove_dir_all(&taken).expect("it is removed");
        assert!(error.contains("exists already"), "{error}");
        assert!(run(&["etcd", "--shape", "round"]).contains("no shape round"));
        assert!(run(&["etcd", "--in"]).contains("needs a value"));
    }
}
