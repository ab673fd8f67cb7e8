//! Finds the real servers that tests start.
//!
//! In this order: `KUBEBUILDER_ASSETS` (etcd and kube-apiserver only), `PATH`, the directory that `FAILOVER_SERVERS`
//! names (plain, or compressed as `NAME.zst`), and what `cargo xtask servers` has built into [`cache`].

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

/// Directory with servers, plain or compressed.
const SERVERS: &str = "FAILOVER_SERVERS";
/// Set to 1, a server that is not found is a failure.
const REQUIRE: &str = "FAILOVER_REQUIRE_SERVERS";
/// The file that takes the lines about skipped tests.
const SKIPS: &str = "FAILOVER_SKIPS";

/// A program that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The newest Consul at hand.
    Consul,
    /// Consul 1.8.7, as Debian 11 ships it.
    ConsulDebian,
    /// The store under a kube-apiserver.
    Etcd,
    /// The Kubernetes API.
    KubeApiserver,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Consul, Self::ConsulDebian, Self::Etcd, Self::KubeApiserver];

    /// Its path below a directory of servers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::ConsulDebian => "debian/consul",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
        }
    }

    /// The argument with which `cargo xtask servers` gets it.
    pub fn target(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::ConsulDebian => "consul-debian",
            Self::Etcd | Self::KubeApiserver => "k8s",
        }
    }

    /// Where it is, or `None` after saying on standard error, and in the sum of `cargo xtask test`, that the test
    /// which asks is skipped.
    ///
    /// # Panics
    /// It is not found although `FAILOVER_REQUIRE_SERVERS` is 1.
    pub fn get(self) -> Option<PathBuf> {
        match self.find() {
            Ok(path) => Some(path),
            Err(why) => {
                assert!(std::env::var(REQUIRE).as_deref() != Ok("1"), "{why}");
                skip(&why);
                None
            }
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// It is nowhere, or what is there cannot be unpacked; the text says what to do.
    pub fn find(self) -> Result<PathBuf, String> {
        let name = self.name();
        if matches!(self, Self::Etcd | Self::KubeApiserver)
            && let Some(found) =
                variable("KUBEBUILDER_ASSETS").map(|assets| assets.join(name)).filter(|path| path.is_file())
        {
            return Ok(found);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        // On the path the name alone says nothing of the version that is asked for.
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

/// Where built and unpacked servers are kept: `failover-servers` in the user's cache directory.
pub fn cache() -> PathBuf {
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("failover-servers")
}

/// Reports that the test that runs on this thread is skipped.
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

/// Unpacks it unless that has been done; another version has another length and so another place.
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
    // It appears whole or not at all, whoever else unpacks it now. Its own handle is closed first: a program that
    // is open for writing cannot be started.
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
