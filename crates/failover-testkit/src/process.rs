//! Server processes that end with the test, however the test ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Waits for the server, and kills it when its own input ends, which happens when the process that
/// started it is gone. (Linux's parent-death signal would arrive when the thread ends, and tests
/// are threads.)
const KEEPER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
echo "$server" >&4
exec 4>&-
(read -r _ <&3; kill -9 "$server") 2>/dev/null &
keeper=$!
wait "$server"
code=$?
kill "$keeper" 2>/dev/null
exit "$code"
"#;

/// A server process, killed when this is dropped and when the process that started it ends.
#[derive(Debug)]
pub struct Process {
    keeper: Child,
    /// Closing it kills the server.
    lifeline: Option<ChildStdin>,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts the program with its arguments and environment variables; appends its output to the
    /// file `log`.
    ///
    /// # Errors
    /// Returns an error if the log cannot be written or the supervising shell cannot be started. A
    /// program that ends immediately shows in [`is_running`](Self::is_running).
    pub fn start(command: &Command, log: &Path) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut shell = Command::new("sh");
        // Descriptor 4 is the pipe back to here; 1 and 2 are the log.
        shell.args(["-c", &format!("exec 4>&1 1>&2\n{KEEPER}"), "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            shell.current_dir(directory);
        }
        let mut keeper =
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(output)).spawn()?;
        let lifeline = keeper.stdin.take();
        let mut line = String::new();
        if let Some(pipe) = keeper.stdout.take() {
            BufReader::new(pipe).read_line(&mut line)?;
        }
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the shell did not start the server"))?;
        Ok(Self { keeper, lifeline, pid, log: log.to_owned() })
    }

    /// Returns the server's process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.keeper.try_wait(), Ok(None))
    }

    /// Kills the server (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.lifeline.take());
        let _ = self.keeper.wait();
    }

    /// Terminates the server (SIGTERM) and waits until it has exited, however long that takes.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.keeper.wait();
    }

    /// Pauses the server (SIGSTOP): it keeps its connections and does not answer.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Resumes the server (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        // After it has ended, the process id may belong to another process.
        if self.is_running() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Returns the last 4 KiB of its output, for a message about a failed start.
    pub fn log_tail(&self) -> String {
        let mut tail = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
            file.read_to_end(&mut tail)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&tail).into_owned(),
            Err(error) => format!("{}: {error}", self.log.display()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::Process;

    #[test]
    fn what_it_prints_is_in_the_log_and_its_end_shows() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo out $NAME; echo err >&2; exit 3"]).env("NAME", "of it");
        let mut process = Process::start(&command, &log).expect("starts");
        while process.is_running() {
            std::thread::yield_now();
        }
        assert_eq!(process.log_tail(), "out of it\nerr\n");
    }

    #[test]
    fn killed_or_dropped_it_is_gone_and_a_paused_one_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let mut command = Command::new("sleep");
        command.arg("1000");
        let mut killed = Process::start(&command, &log).expect("starts");
        let mut paused = Process::start(&command, &log).expect("starts");
        let mut ended = Process::start(&command, &log).expect("starts");
        assert!(killed.is_running() && paused.is_running() && ended.is_running());
        paused.pause();
        ended.terminate();
        killed.kill();
        let ids = [killed.id(), paused.id(), ended.id()];
        assert!(!killed.is_running() && !ended.is_running());
        drop(paused);
        for id in ids {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        }
    }
}
