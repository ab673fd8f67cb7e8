//! The scenario on this machine: a control plane, three servers, a caller, and faults.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use example_support::say;
use failover_testkit::kubernetes::ControlPlane;
use failover_testkit::{Process, TempDir, free_port};

/// The permissions of the servers and the caller.
const RBAC: &str = include_str!("../rbac.yaml");
const NAMESPACE: &str = "shop";
/// Duration of the calls, in seconds.
const LOAD: u64 = 16;

pub(crate) async fn story() -> Result<(), Box<dyn Error>> {
    let directory = TempDir::new()?;
    println!("starts etcd and kube-apiserver, which takes some seconds …");
    let begun = Instant::now();
    let Some(mut plane) = ControlPlane::start(&directory.path().join("control-plane")).await else {
        return Err("there is no etcd or kube-apiserver; `cargo xtask servers` gets them".into());
    };
    println!("etcd and kube-apiserver run at {}, after {:.1} s", plane.url(), begun.elapsed().as_secs_f64());
    plane.namespace(NAMESPACE).await;
    plane.apply(RBAC, NAMESPACE).await;
    let token = plane.service_account_token(NAMESPACE, "failover").await;
    let kubeconfig = plane.kubeconfig("failover", &token, NAMESPACE);

    let mut servers = Vec::new();
    for number in 1..=3 {
        servers.push(
            Server::start(&format!("server-{number}"), free_port(), &kubeconfig, directory.path()).await?,
        );
    }
    let mut caller = Caller::start(&kubeconfig)?;
    let begun = Instant::now();
    let until = async |seconds: f64| {
        tokio::time::sleep(Duration::from_secs_f64(seconds).saturating_sub(begun.elapsed())).await;
    };
    let say = |what: &str| say(begun.elapsed().as_secs_f64(), "31", what);

    until(3.0).await;
    say("kills server-2 (SIGKILL)");
    servers[1].process.kill();
    until(5.0).await;
    say("kills the API server (SIGKILL)");
    plane.kill_apiserver();
    until(7.0).await;
    say("starts the API server again");
    plane.start_apiserver().await;
    say("the API server is ready");
    until(12.0).await;
    say("starts server-2 again");
    let port = servers[1].port;
    servers[1] = Server::start("server-2", port, &kubeconfig, directory.path()).await?;
    while caller.is_running()? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    caller.result()
}

/// A server process, killed on drop.
struct Server {
    process: Process,
    port: u16,
}

impl Server {
    /// Starts the server and waits until it is registered.
    async fn start(
        name: &str,
        port: u16,
        kubeconfig: &Path,
        directory: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let log: PathBuf = directory.join(format!("{name}.log"));
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", name, "127.0.0.1", &port.to_string()]).env("KUBECONFIG", kubeconfig);
        let mut process = Process::start(&command, &log)?;
        let begun = Instant::now();
        while !process.log_tail().contains("is registered") {
            if !process.is_running() || begun.elapsed() > Duration::from_secs(20) {
                return Err(format!("{name} does not start: {}", process.log_tail()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        print!("{}", process.log_tail());
        Ok(Self { process, port })
    }
}

/// The calling process; its output is printed here.
struct Caller(Child);

impl Caller {
    fn start(kubeconfig: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.args(["call", &LOAD.to_string()]).env("KUBECONFIG", kubeconfig).spawn()?))
    }

    fn is_running(&mut self) -> Result<bool, Box<dyn Error>> {
        Ok(self.0.try_wait()?.is_none())
    }

    fn result(&mut self) -> Result<(), Box<dyn Error>> {
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the caller ended with {status}").into()) }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
