//! Builds the packages with other versions of core than the one beside them.
//!
//! | version of core | what it shows |
//! |---|---|
//! | the floor, kept in `xtask/compat` | the oldest core that the requirements admit is enough |
//! | the next patch release, made of the present core | the requirements admit it |
//! | 0.1 and 0.2 in one tree | the compiler says so, in words that a reader understands |
//! | 0.2, and a last 0.1 that re-exports its contract | providers of both work with one manager |

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo;
use crate::package::{self, Packed, Place, pack, source};

const CORE: &str = "failover-core";
/// What rustc says of a type that exists twice.
const TWICE: &str = "multiple different versions of crate `failover_core`";

pub(crate) fn command(args: &[String]) -> Result<(), String> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(),
        ["--floor"] => record_floor(),
        _ => {
            Err("`compat` takes `--floor`, which records the present core as the floor, or nothing"
                .to_owned())
        }
    }
}

pub(crate) fn run() -> Result<(), String> {
    let (place, packed) = package::prepare()?;
    let kit = Kit { place: &place, packed: &packed };
    kit.floor()?;
    kit.next_patch()?;
    kit.two_cores()?;
    kit.rehearsal()
}

/// Records the present core as the oldest one that the requirements admit: before its first release, and
/// whenever the requirements of all crates are raised.
fn record_floor() -> Result<(), String> {
    let (_, packed) = package::prepare()?;
    let core = core(&packed)?;
    for old in fs::read_dir(directory()).into_iter().flatten().flatten() {
        if old.path().extension().is_some_and(|extension| extension == "crate") {
            fs::remove_file(old.path()).map_err(|error| error.to_string())?;
        }
    }
    let to = directory().join(format!("{CORE}-{}.crate", core.version));
    fs::copy(&core.file, &to).map_err(|error| format!("{}: {error}", to.display()))?;
    println!("the floor is {}", to.display());
    Ok(())
}

struct Kit<'a> {
    place: &'a Place,
    packed: &'a [Packed],
}

impl Kit<'_> {
    fn floor(&self) -> Result<(), String> {
        let files =
            fs::read_dir(directory()).map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
        let floor =
            files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "crate"));
        let floor =
            floor.ok_or("xtask/compat holds no package of core; `cargo xtask compat --floor` makes it")?;
        println!("with the floor, {}:", floor.display());
        self.without_core()?;
        let unpacked = pack::unpack_as_it_is(&floor, &self.place.source())?;
        source::confirm(&unpacked, &package::checksum(&floor)?)?;
        self.check().map_err(|why| {
            format!(
                "{why}: a crate uses what the oldest core that it admits lacks. Raise the requirement of all crates with core's \
                 version, or, as long as core {} is not released, record the present one with `cargo xtask compat --floor`",
                core(self.packed).map(|core| core.version.clone()).unwrap_or_default()
            )
        })
    }

    fn next_patch(&self) -> Result<(), String> {
        let version = next_patch(&core(self.packed)?.version)?;
        println!("with core {version}:");
        self.without_core()?;
        self.add_core(&version, |_| Ok(()))?;
        self.check()?;
        let lock = fs::read_to_string(self.place.directory.join("trial/Cargo.lock"))
            .map_err(|error| error.to_string())?;
        let head = format!("name = \"{CORE}\"\nversion = \"");
        let used = lock.split(&head).skip(1);
        let used: Vec<_> = used.filter_map(|rest| rest.split('"').next()).collect();
        if used == [&*version] {
            Ok(())
        } else {
            Err(format!("core {version} is not what was used, but {used:?}"))
        }
    }

    fn two_cores(&self) -> Result<(), String> {
        self.without_core()?;
        source::add(&self.place.source(), core(self.packed)?)?;
        self.add_core("0.2.0", |_| Ok(()))?;
        copy_program(self.place, "two-cores")?;
        let mut command = self.place.cargo("programs/two-cores", &["check"]);
        let output = command.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains(TWICE) {
            return Err(format!("two versions of core are to be named by the compiler, which said:\n{said}"));
        }
        let about = said.lines().filter(|line| line.contains("failover_core")).map(str::trim);
        println!("two cores in one tree, says the compiler:\n  {}", about.collect::<Vec<_>>().join("\n  "));
        Ok(())
    }

    fn rehearsal(&self) -> Result<(), String> {
        println!("with core 0.2, and a last 0.1 that re-exports its contract:");
        self.without_core()?;
        // A breaking change outside the contract: a function has another name.
        let (old, new) = (
            "pub use codec::retry_after::parse_retry_after;",
            "retry_after::parse_retry_after as retry_after;",
        );
        self.add_core("0.2.0", |core| edit(&core.join("src/lib.rs"), old, &format!("pub use codec::{new}")))?;
        let last = self.place.source().join(format!("{CORE}-0.1.99"));
        for (file, text) in [
            ("Cargo.toml", include_str!("../compat/last-0.1.toml")),
            ("src/lib.rs", include_str!("../compat/last-0.1.rs")),
        ] {
            fs::create_dir_all(last.join("src")).map_err(|error| error.to_string())?;
            package::write(&last.join(file), text)?;
        }
        source::confirm(&last, &"0".repeat(64))?;
        copy_program(self.place, "rehearsal")?;
        cargo::run(self.place.cargo("programs/rehearsal", &["run", "--quiet"]))
    }

    /// Leaves everything but core in the source, and makes a workspace of it.
    ///
    /// The third-party crates stay where they are: cargo would build them again elsewhere.
    fn without_core(&self) -> Result<(), String> {
        for entry in fs::read_dir(self.place.source()).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            if entry.file_name().to_string_lossy().starts_with("failover") {
                fs::remove_dir_all(entry.path()).map_err(|error| error.to_string())?;
            }
        }
        let all: Vec<_> = self.packed.iter().filter(|packed| packed.name != CORE).cloned().collect();
        for packed in &all {
            source::add(&self.place.source(), packed)?;
        }
        package::workspace(&self.place.directory.join("trial"), &all)?;
        self.place.forget()
    }

    fn check(&self) -> Result<(), String> {
        cargo::run(self.place.cargo("trial", &["check", "--workspace", "--all-targets", "--quiet"]))
    }

    /// Adds the present core under another version, after a change.
    fn add_core(
        &self,
        version: &str,
        change: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<(), String> {
        let core = core(self.packed)?;
        let shelf = self.place.directory.join("shelf");
        pack::emptied(&shelf)?;
        let unpacked = pack::unpack(core, &shelf)?;
        let (old, new) =
            (format!("\nversion = \"{}\"\n", core.version), format!("\nversion = \"{version}\"\n"));
        edit(&unpacked.join("Cargo.toml"), &old, &new)?;
        change(&unpacked)?;
        source::confirm(&unpacked, &"1".repeat(64))?;
        let to = self.place.source().join(format!("{CORE}-{version}"));
        fs::rename(unpacked, to).map_err(|error| error.to_string())
    }
}

fn copy_program(place: &Place, name: &str) -> Result<(), String> {
    let to = place.directory.join("programs").join(name);
    pack::emptied(&to)?;
    package::copy(&directory().join(name), &to)
}

fn directory() -> PathBuf {
    cargo::root().join("xtask/compat")
}

fn core(packed: &[Packed]) -> Result<&Packed, String> {
    packed.iter().find(|packed| packed.name == CORE).ok_or("core was not packed".to_owned())
}

/// Replaces the first occurrence, which must exist.
fn edit(file: &Path, old: &str, new: &str) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if !text.contains(old) {
        return Err(format!("{}: has no {old:?}", file.display()));
    }
    package::write(file, &text.replacen(old, new, 1))
}

fn next_patch(version: &str) -> Result<String, String> {
    let (rest, patch) = version.rsplit_once('.').ok_or(format!("`{version}` is no version"))?;
    let patch: u64 = patch.parse().map_err(|_| format!("`{version}` is no version of a release"))?;
    Ok(format!("{rest}.{}", patch + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_release_follows_its_version() {
        assert_eq!(next_patch("0.1.9").expect("a version"), "0.1.10");
        assert!(next_patch("0.1.0-rc").is_err());
    }
}
