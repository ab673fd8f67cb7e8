//! Three real servers, a process each: this program again, as `example-tower serve NAME`.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::routing::{get, post};

/// A server process, killed on drop, so that no exit of the program leaves one behind.
pub(crate) struct Server {
    name: String,
    port: u16,
    child: Child,
}

impl Server {
    fn start(name: String) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &name])
            // Its standard input ends when this process does, which tells it to exit.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the output is piped")?).read_line(&mut line)?;
        let port = line.trim().parse().map_err(|_| format!("{name} ended before it listened"))?;
        Ok(Self { name, port, child })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Kills the process (SIGKILL on Unix) and waits until it is gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Freezes the process (SIGSTOP): its connections stay open, and it never answers.
    pub(crate) fn freeze(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        {
            let id = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(id, rustix::process::Signal::STOP)?;
            Ok(())
        }
        #[cfg(not(unix))]
        self.kill()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this many servers: `server-1`, `server-2`, …
pub(crate) fn start(count: usize) -> Result<Vec<Server>, Box<dyn Error>> {
    (1..=count).map(|number| Server::start(format!("server-{number}"))).collect()
}

/// Runs the server process, which answers until the process that started it is gone.
pub(crate) fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    end_with_parent();
    let name = name.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
        let user = move || async move { format!("user 7, says {name}") };
        let create = async |body: String| format!("created {body}");
        let routes = Router::new().route("/users/{id}", get(user)).route("/users", post(create));
        Ok(axum::serve(listener, routes).await?)
    })
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
