//! Real `PostgreSQL` servers: a primary and its streaming standbys.

mod installation;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::ports::free_port;

pub use installation::Installation;

/// The database user of all servers, who needs no password.
pub const USER: &str = "app";

/// Starts the server once for each line of its input. At the end of the input, which comes when the
/// process that started it is gone, stops the server at once, even a frozen one, and removes its
/// directory. What creates the directory may still be running then, and ends with an error.
const KEEPER: &str = r#"
directory=$1; shift
server=
while read -r options; do
  "$@" $options </dev/null >>"$directory/log" 2>&1 &
  server=$!
done
if [ -n "$server" ]; then kill -QUIT "$server" 2>/dev/null; kill -CONT "$server" 2>/dev/null; wait "$server"; fi
cd /
for attempt in 1 2 3 4 5 6 7 8 9; do
  rm -rf "$directory" 2>/dev/null && sleep 0.1 && [ ! -e "$directory" ] && exit
done
"#;

/// How long a server may take to write its file `postmaster.pid`, which one that refuses its settings
/// never does, and then to accept connections: recovery after a crash includes writing all its data.
const BEGIN: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(60);

/// A server on 127.0.0.1 with a directory of its own.
///
/// When this is dropped, and when the process ends in any way, the server is stopped and the directory
/// removed. A process of root runs it as the user `postgres`, because `PostgreSQL` refuses to run as root.
#[derive(Debug)]
pub struct Postgres {
    installation: Installation,
    port: u16,
    directory: PathBuf,
    keeper: Child,
    /// Closing it ends the server.
    lifeline: Option<ChildStdin>,
}

impl Postgres {
    /// Creates an empty database and starts its server.
    ///
    /// # Errors
    /// Returns what the programs of `PostgreSQL` print if one of them fails.
    pub fn primary(installation: &Installation) -> io::Result<Self> {
        let mut server = Self::new(installation)?;
        let auth = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale"];
        server.run("initdb", &[&["--no-sync", "--no-instructions"], &auth[..]].concat())?;
        server.start("")?;
        Ok(server)
    }

    /// Copies this server while it runs, and starts the copy as its streaming standby.
    ///
    /// # Errors
    /// Returns what the programs of `PostgreSQL` print if one of them fails.
    pub fn standby(&self) -> io::Result<Self> {
        let mut standby = Self::new(&self.installation)?;
        let port = self.port.to_string();
        let from = ["--host", "127.0.0.1", "--port", &port, "--username", USER];
        let how = ["--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync"];
        standby.run("pg_basebackup", &[&how[..], &from[..]].concat())?;
        standby.start("")?;
        Ok(standby)
    }

    fn new(installation: &Installation) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("failover-postgres-").tempdir()?;
        installation.own(directory.path())?;
        let port = free_port();
        let mut command = installation.command(Path::new("/bin/sh"), directory.path());
        command.args(["-c", KEEPER, "sh"]).arg(directory.path()).arg(installation.program("postgres"));
        command.arg("-D").arg(directory.path().join("data")).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        // A group of its own, because Ctrl-C on a terminal is for the program that uses the server.
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn()?;
        let lifeline = keeper.stdin.take();
        // From here on, the directory is the keeper's to remove.
        let directory = directory.keep();
        Ok(Self { installation: installation.clone(), port, directory, keeper, lifeline })
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns `host=127.0.0.1 port=PORT user=USER dbname=postgres`, for a client of `PostgreSQL`.
    pub fn parameters(&self) -> String {
        format!("host=127.0.0.1 port={} user={USER} dbname=postgres", self.port)
    }

    /// Starts the server, with further options such as `-c work_mem=8MB`, and waits until it accepts
    /// connections, at most a minute.
    ///
    /// # Errors
    /// Returns the end of its log if it does not start.
    pub fn start(&mut self, options: &str) -> io::Result<()> {
        let lifeline = self.lifeline.as_mut().ok_or_else(|| io::Error::other("its keeper is gone"))?;
        writeln!(lifeline, "{options}")?;
        let begun = Instant::now();
        let pid = self.directory.join("data/postmaster.pid");
        while !is_ready(&pid) {
            let limit = if pid.exists() { START } else { BEGIN };
            if begun.elapsed() > limit || matches!(self.keeper.try_wait(), Ok(Some(_))) {
                return Err(io::Error::other(format!("postgres did not start: {}", self.log_tail())));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the server: `pg_ctl stop -m immediate`, after which it recovers like after a crash.
    ///
    /// # Errors
    /// Returns what `pg_ctl` prints if it fails.
    pub fn kill(&self) -> io::Result<()> {
        self.run("pg_ctl", &["stop", "--mode", "immediate", "--silent"])
    }

    /// Makes a standby a primary: `pg_ctl promote`. Returns when it accepts writes.
    ///
    /// # Errors
    /// Returns what `pg_ctl` prints if it fails.
    pub fn promote(&self) -> io::Result<()> {
        self.run("pg_ctl", &["promote", "--silent"])
    }

    fn run(&self, program: &str, args: &[&str]) -> io::Result<()> {
        let mut command = self.installation.command(&self.installation.program(program), &self.directory);
        command.args(args).arg("-D").arg(self.directory.join("data"));
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program} failed ({}): {}", output.status, said.trim())))
    }

    /// Returns the last 2 KiB of its log.
    fn log_tail(&self) -> String {
        let mut log = Vec::new();
        let _ = File::open(self.directory.join("log")).and_then(|mut file| file.read_to_end(&mut log));
        String::from_utf8_lossy(&log[log.len().saturating_sub(2048)..]).into_owned()
    }
}

/// Whether a server accepts connections, by the 8th line of its file `postmaster.pid`, as `pg_ctl` does.
fn is_ready(pid: &Path) -> bool {
    let text = fs::read_to_string(pid).unwrap_or_default();
    text.lines().nth(7).is_some_and(|status| ["ready", "standby"].contains(&status.trim()))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.keeper.wait();
        // Empty by now, and left behind where its user may not remove it.
        let _ = fs::remove_dir(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    fn pid_of(server: &Postgres) -> u32 {
        let text = fs::read_to_string(server.directory.join("data/postmaster.pid")).expect("it runs");
        text.lines().next().and_then(|line| line.parse().ok()).expect("a process id")
    }

    fn runs(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn dropped_servers_are_gone_with_their_directories_in_every_state() {
        let Some(installation) = Installation::get() else { return };
        let mut primary = Postgres::primary(&installation).expect("starts");
        let standby = primary.standby().expect("starts");
        let stopped = Postgres::primary(&installation).expect("starts");
        stopped.kill().expect("stops");
        primary.kill().expect("stops");
        standby.promote().expect("promotes");
        primary.start("-c synchronous_standby_names=").expect("starts again");
        let (pids, directories) = (
            [pid_of(&primary), pid_of(&standby)],
            [&primary, &standby, &stopped].map(|server| server.directory().to_owned()),
        );
        assert!(pids.iter().all(|pid| runs(*pid)) && directories.iter().all(|path| path.is_dir()));
        let frozen = Pid::from_raw(pids[1].cast_signed()).expect("a process id");
        kill_process(frozen, Signal::STOP).expect("runs");
        drop((primary, standby, stopped));
        assert!(!pids.iter().any(|pid| runs(*pid)), "{pids:?}");
        assert!(!directories.iter().any(|path| path.exists()), "{directories:?}");
    }

    #[test]
    fn a_server_that_does_not_start_tells_why() {
        let Some(installation) = Installation::get() else { return };
        let mut server = Postgres::primary(&installation).expect("starts");
        server.kill().expect("stops");
        let error = server.start("-c no_such_setting=1").expect_err("it cannot start");
        assert!(error.to_string().contains("no_such_setting"), "{error}");
    }
}
