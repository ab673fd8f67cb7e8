//! Three real HTTP servers: this program started again as `quickstart serve`, one process each.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;

/// A server process, killed on drop, so that no exit of the program leaves one behind.
pub(crate) struct Server {
    name: String,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(name: &str, port: u16) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", name, &port.to_string()])
            // Its standard input ends when this process does, which tells it to exit.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().expect("the output is piped");
        let server = Self { name: name.to_owned(), port, child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other(format!("{name} ended before it listened on port {port}")));
        }
        Ok(server)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process (SIGKILL on Unix) and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Restarts the server on its port.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        *self = Self::start(&self.name, self.port)?;
        Ok(())
    }

    /// Freezes the process (SIGSTOP): it keeps its connections and does not answer.
    #[cfg(unix)]
    pub(crate) fn freeze(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Resumes a frozen process (SIGCONT).
    #[cfg(unix)]
    pub(crate) fn thaw(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `count` servers on free ports: `server-1`, `server-2`, …
pub(crate) fn start(count: usize) -> io::Result<Vec<Server>> {
    let mut servers = Vec::new();
    for (port, number) in free_ports().zip(1..=count) {
        servers.push(Server::start(&format!("server-{number}"), port)?);
    }
    Ok(servers)
}

/// Returns free ports below the range for outgoing connections: one of those could take a dead
/// server's port before the server restarts.
fn free_ports() -> impl Iterator<Item = u16> {
    let range = 20_000..30_000_u16;
    let offset = std::process::id() as usize * 7 % range.len();
    range.cycle().skip(offset).filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

/// Runs the server process, which answers until the process that started it is gone.
pub(crate) fn serve(name: String, port: u16) -> io::Result<()> {
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = tokio::net::TcpListener::bind(address).await?;
        writeln!(io::stdout(), "listening")?;
        axum::serve(listener, routes(name)).await
    })
}

/// Returns the routes: `/users/ID` knows every user, `/broken` fails, and anything else is not
/// found.
fn routes(name: String) -> Router {
    let user = move |Path(id): Path<u32>| async move { format!("user {id}, says {name}") };
    let broken = async || StatusCode::INTERNAL_SERVER_ERROR;
    Router::new().route("/users/{id}", get(user)).route("/broken", get(broken))
}

fn end_with_parent() {
    // A frozen process does not notice the end of its input; this signal kills it anyway.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
