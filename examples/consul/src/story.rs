//! The scenario: an agent, three servers, a caller, and faults.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use example_support::say;
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::free_port;
use failover_testkit::servers::Server;

use crate::SERVICE;

/// Duration of the calls, in seconds.
const LOAD: u64 = 16;

pub(crate) async fn story() -> Result<(), Box<dyn Error>> {
    println!("starts consul …");
    let begun = Instant::now();
    let Some(mut consul) = AgentOptions::new(Server::Consul).start() else {
        return Err("there is no consul; `cargo xtask servers` gets it".into());
    };
    println!("consul runs at {}, after {:.1} s", consul.address(), begun.elapsed().as_secs_f64());
    let ports = [free_port(), free_port(), free_port()];
    let mut servers = Vec::new();
    for (number, port) in (1..).zip(ports) {
        servers.push(Part::serve(number, port, &consul)?);
    }
    let mut caller = Part::start(&["call", &LOAD.to_string()], &consul)?;
    let begun = Instant::now();
    let until = async |seconds: f64| {
        tokio::time::sleep(Duration::from_secs_f64(seconds).saturating_sub(begun.elapsed())).await;
    };
    let say = |what: &str| say(begun.elapsed().as_secs_f64(), "31", what);

    until(3.0).await;
    say("kills server-2 (SIGKILL)");
    servers[1].kill()?;
    until(5.0).await;
    say("kills consul (SIGKILL)");
    consul.kill();
    until(7.0).await;
    say("starts consul again");
    tokio::task::block_in_place(|| consul.restart());
    say("consul is ready");
    until(11.0).await;
    say("starts server-2 again");
    servers[1] = Part::serve(2, ports[1], &consul)?;

    let ended = tokio::task::block_in_place(|| caller.wait())?;
    if !ended.success() {
        return Err("the caller found something not good; see above".into());
    }
    for server in &mut servers {
        let ended = tokio::task::block_in_place(|| server.leave())?;
        if !ended.success() {
            return Err("a server could not leave".into());
        }
    }
    let (_, left) = consul.call("GET", "/v1/catalog/services", "")?;
    if left.contains(SERVICE) {
        return Err(format!("still in the catalog: {left}").into());
    }
    println!("{SERVICE} is gone from the catalog");
    Ok(())
}

/// Another process of this program, killed on drop.
struct Part(Child);

impl Part {
    fn serve(number: u32, port: u16, consul: &Agent) -> std::io::Result<Self> {
        let mut part =
            Self::spawn(&["serve", &format!("server-{number}"), &port.to_string()], consul, Stdio::piped())?;
        // Its first line reports that it is registered.
        let mut lines = BufReader::new(part.0.stdout.take().expect("piped")).lines();
        match lines.next() {
            Some(line) => println!("{}", line?),
            None => return Err(std::io::Error::other(format!("server-{number} did not start"))),
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        Ok(part)
    }

    fn start(args: &[&str], consul: &Agent) -> std::io::Result<Self> {
        Self::spawn(args, consul, Stdio::inherit())
    }

    fn spawn(args: &[&str], consul: &Agent, output: Stdio) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(args).env("CONSUL_HTTP_ADDR", consul.address());
        command.stdin(Stdio::piped()).stdout(output).spawn().map(Self)
    }

    fn kill(&mut self) -> std::io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// Asks the process to leave, by closing its input.
    fn leave(&mut self) -> std::io::Result<ExitStatus> {
        drop(self.0.stdin.take());
        self.0.wait()
    }

    /// Waits until the process ends.
    fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
