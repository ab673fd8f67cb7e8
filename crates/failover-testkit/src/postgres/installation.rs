//! Finds `PostgreSQL` on this machine, and the user to run it as.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::servers::or_skip;

/// The variable with the directory of the programs, where they are elsewhere.
const VARIABLE: &str = "FAILOVER_POSTGRES";

/// Where Debian and its relatives put the programs of each major version: `15/bin`, ….
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user as whom a process of root runs the servers.
const ACCOUNT: &str = "postgres";

/// The programs of `PostgreSQL` on this machine.
#[derive(Clone, Debug)]
pub struct Installation {
    programs: PathBuf,
    /// The ids of user and group, if this process is root's.
    account: Option<(u32, u32)>,
}

impl Installation {
    /// Finds the programs: in the directory in `FAILOVER_POSTGRES`, on `PATH`, or the newest where Debian
    /// installs them.
    ///
    /// # Errors
    /// Returns a message that says what to install.
    pub fn find() -> Result<Self, String> {
        let given = std::env::var_os(VARIABLE).filter(|given| !given.is_empty());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = match given {
            Some(given) => programs(&given, Path::new("")).ok_or_else(|| missing(&given.to_string_lossy())),
            None => {
                programs(&path, Path::new(DEBIAN)).ok_or_else(|| missing(&format!("PATH, {DEBIAN}/*/bin")))
            }
        }?;
        let is_root = rustix::process::geteuid().is_root();
        let account = if is_root { Some(account()?) } else { None };
        Ok(Self { programs, account })
    }

    /// Finds the programs like [`find`](Self::find). If there are none, reports that the current test is
    /// skipped, and returns `None`.
    ///
    /// # Panics
    /// Panics if there are none and `FAILOVER_REQUIRE_SERVERS` is 1.
    pub fn get() -> Option<Self> {
        or_skip(Self::find())
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Gives a directory to the user who runs the servers.
    pub(super) fn own(&self, directory: &Path) -> io::Result<()> {
        match self.account {
            Some((user, group)) => std::os::unix::fs::chown(directory, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// Returns a command that runs as that user in this directory.
    pub(super) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory);
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

fn missing(searched: &str) -> String {
    format!(
        "no PostgreSQL on this machine ({searched}): install initdb, postgres, pg_ctl and pg_basebackup by \
         `apt-get install postgresql` on Debian and Ubuntu, `dnf install postgresql-server` on Fedora or \
         `brew install postgresql` on macOS, or name their directory in {VARIABLE}"
    )
}

/// Returns the directory of the programs: the first on the path that has all of them, links resolved,
/// or the one of the newest version below `debian`.
fn programs(path: &OsStr, debian: &Path) -> Option<PathBuf> {
    let has = |directory: &Path, name: &str| directory.join(name).is_file();
    let is_complete = |directory: &PathBuf| {
        ["initdb", "postgres", "pg_ctl", "pg_basebackup"].iter().all(|name| has(directory, name))
    };
    if let Some(found) = std::env::split_paths(path).find(is_complete) {
        return Some(found);
    }
    let versions = fs::read_dir(debian).ok()?.filter_map(Result::ok).filter_map(|entry| {
        let version: f64 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let newest =
        versions.filter(|(_, programs)| is_complete(programs)).max_by(|(a, _), (b, _)| a.total_cmp(b));
    newest.map(|(_, programs)| programs)
}

fn account() -> Result<(u32, u32), String> {
    let id = |option: &str| -> Option<u32> {
        let output = Command::new("id").args([option, ACCOUNT]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    id("-u").zip(id("-g")).ok_or_else(|| {
        format!("PostgreSQL refuses to run as root, and there is no user `{ACCOUNT}` to run it as: run this as another user")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(directory: &Path, names: &[&str]) {
        fs::create_dir_all(directory).expect("creates");
        for name in names {
            fs::write(directory.join(name), "").expect("writes");
        }
    }

    #[test]
    fn a_complete_directory_of_the_path_comes_first_then_debians_newest() {
        const ALL: [&str; 4] = ["initdb", "postgres", "pg_ctl", "pg_basebackup"];
        let root = tempfile::tempdir().expect("a directory");
        let (debian, path) = (root.path().join("lib"), root.path().join("bin"));
        assert_eq!(programs(path.as_os_str(), &debian), None);
        for version in ["9.6", "15", "common"] {
            install(&debian.join(version).join("bin"), &ALL);
        }
        install(&debian.join("16/bin"), &ALL[..2]);
        install(&path, &ALL[..3]);
        assert_eq!(programs(path.as_os_str(), &debian), Some(debian.join("15/bin")));
        install(&path, &ALL);
        assert_eq!(programs(path.as_os_str(), &debian), Some(path));
    }
}
