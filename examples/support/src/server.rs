//! Servers in processes of their own: the example's program again, with other arguments.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};

use tokio::net::TcpListener;

/// A server process, killed on drop, so that no exit of the program leaves one behind.
#[derive(Debug)]
pub struct Server {
    name: String,
    address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts the program again with these arguments, and waits until it [`listen`]s.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot start, or ends before it listens.
    pub fn start(name: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            // Its standard input ends when this process does, which tells it to exit.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?).read_line(&mut line)?;
        let address = line.trim().parse();
        let address = address.map_err(|_| io::Error::other(format!("{name} ended before it listened")))?;
        Ok(Self { name: name.to_owned(), address, child })
    }

    /// Starts this many servers, `server-1`, `server-2`, …, as `PROGRAM serve NAME`.
    ///
    /// # Errors
    ///
    /// See [`start`](Self::start).
    pub fn start_all(count: usize) -> io::Result<Vec<Self>> {
        let names = (1..=count).map(|number| format!("server-{number}"));
        names.map(|name| Self::start(&name, &["serve", &name])).collect()
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address that the server listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the port that the server listens at.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Kills the process (SIGKILL on Unix) and waits until it is gone.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Freezes the process (SIGSTOP): its connections stay open, and it never answers. Kills it where
    /// there is no such signal.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does.
    pub fn freeze(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        return self.signal(rustix::process::Signal::STOP);
        #[cfg(not(unix))]
        self.kill()
    }

    /// Asks the process to end (SIGTERM), as orchestrators do. Kills it where there is no such signal.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does.
    pub fn terminate(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        return self.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        self.kill()
    }

    /// Returns how the process ended, or `None` while it runs.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listens at a free port of loopback, in a process that [`Server::start`] has started, and tells that
/// process. From then on, this process ends when the other does.
///
/// # Errors
///
/// Returns an error if the system has no port, or nobody reads the output.
pub async fn listen() -> io::Result<TcpListener> {
    // A frozen process does not notice the end of its input; this signal kills it anyway.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_never_listens_is_an_error_that_names_it() {
        // The test program itself, which lists no tests and ends.
        let error = Server::start("server-1", &["--list", "--format", "terse", "no such test"]);
        let error = error.expect_err("it does not listen").to_string();
        assert_eq!(error, "server-1 ended before it listened");
    }
}
