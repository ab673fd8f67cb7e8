//! Finds the real servers for tests.
//!
//! Searches, in this order: `KUBEBUILDER_ASSETS` (only etcd and kube-apiserver), `PATH`, the
//! directory in `FAILOVER_SERVERS` (plain, or compressed as `NAME.zst`), and [`cache`], where
//! `cargo xtask servers` stores what it has built.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// The directory with servers, plain or compressed.
const SERVERS: &str = "FAILOVER_SERVERS";
/// If 1, a missing server is a failure.
const REQUIRE: &str = "FAILOVER_REQUIRE_SERVERS";
/// The file that collects the lines about skipped tests.
const SKIPS: &str = "FAILOVER_SKIPS";

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The newest available Consul.
    Consul,
    /// Consul 1.8.7, as Debian 11 ships it.
    ConsulDebian,
    /// The store of a kube-apiserver.
    Etcd,
    /// The Kubernetes API.
    KubeApiserver,
}

impl Server {
    /// All servers.
    pub const ALL: [Self; 4] = [Self::Consul, Self::ConsulDebian, Self::Etcd, Self::KubeApiserver];

    /// Returns its path below a directory of servers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::ConsulDebian => "debian/consul",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
        }
    }

    /// Returns the argument that makes `cargo xtask servers` get it.
    pub fn target(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::ConsulDebian => "consul-debian",
            Self::Etcd | Self::KubeApiserver => "k8s",
        }
    }

    /// Returns its path. If it is not found, reports on standard error, and in the summary of
    /// `cargo xtask test`, that the current test is skipped, and returns `None`.
    ///
    /// # Panics
    /// Panics if it is not found and `FAILOVER_REQUIRE_SERVERS` is 1.
    pub fn get(self) -> Option<PathBuf> {
        or_skip(self.find())
    }

    /// Returns its path.
    ///
    /// # Errors
    /// Returns a message with the remedy if it is not found or cannot be decompressed.
    pub fn find(self) -> Result<PathBuf, String> {
        let name = self.name();
        if matches!(self, Self::Etcd | Self::KubeApiserver)
            && let Some(found) =
                variable("KUBEBUILDER_ASSETS").map(|assets| assets.join(name)).filter(|path| path.is_file())
        {
            return Ok(found);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        // A name on `PATH` does not determine the version.
        if self != Self::ConsulDebian
            && let Some(found) =
                std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
        {
            return Ok(found);
        }
        if let Some(directory) = variable(SERVERS) {
            let plain = directory.join(name);
            if plain.is_file() {
                return Ok(plain);
            }
            let packed = directory.join(format!("{name}.zst"));
            if packed.is_file() {
                return unpacked(&packed, &cache())
                    .map_err(|error| format!("{} cannot be unpacked: {error}", packed.display()));
            }
        }
        Some(cache().join(name)).filter(|path| path.is_file()).ok_or_else(|| {
            format!("no {name} on this machine; `cargo xtask servers {}` gets it", self.target())
        })
    }
}

/// Returns the directory of built and decompressed servers: `failover-servers` in the user's cache
/// directory.
pub fn cache() -> PathBuf {
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("failover-servers")
}

/// Returns the path of a program on `PATH`.
///
/// # Errors
/// Returns a message with this remedy if there is none.
pub fn program(name: &str, remedy: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("no {name} on this machine; {remedy}"))
}

/// Returns what was found. If nothing was, reports that the test on this thread is skipped.
///
/// # Panics
/// Panics if nothing was found and `FAILOVER_REQUIRE_SERVERS` is 1.
pub fn or_skip<T>(found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) => {
            assert!(!are_required(), "{why}");
            skip(&why);
            None
        }
    }
}

/// Returns whether a missing server is a failure: whether `FAILOVER_REQUIRE_SERVERS` is 1.
pub fn are_required() -> bool {
    std::env::var(REQUIRE).as_deref() == Ok("1")
}

/// Reports that the test on this thread is skipped.
pub fn skip(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {name}: {why}");
    if let Some(file) = variable(SKIPS) {
        let line = format!("skipped: {name}: {why}\n");
        let written =
            File::options().append(true).open(&file).and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: {error}", file.display());
        }
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Decompresses a server unless that has been done; another version has another length and so
/// another path.
fn unpacked(packed: &Path, into: &Path) -> io::Result<PathBuf> {
    let name = packed.file_stem().unwrap_or_default().to_string_lossy();
    let directory = into.join("unpacked").join(fs::metadata(packed)?.len().to_string());
    let program = directory.join(name.as_ref());
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&directory)?;
    let mut part = tempfile::Builder::new().tempfile_in(&directory)?;
    let mut stream =
        ruzstd::decoding::StreamingDecoder::new(File::open(packed)?).map_err(io::Error::other)?;
    io::copy(&mut stream, &mut part)?;
    executable(part.path())?;
    // Moved into place atomically, because other processes may decompress it, too. The handle is
    // closed first: a file open for writing cannot be executed.
    part.into_temp_path().persist(&program).map_err(|error| error.error)?;
    Ok(program)
}

#[cfg(unix)]
fn executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> io::Result<()> {
    Ok(())
}
