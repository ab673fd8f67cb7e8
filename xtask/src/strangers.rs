//! Builds and runs third-party programs: outside the workspace, with the dependency lines of the
//! READMEs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use failover_testkit::servers::Server;
use failover_testkit::{Process, TempDir, free_ports};

use crate::cargo::{self, cargo};
use crate::new_provider;

/// Has both of rustls's providers of cryptography in its tree, and no default: must not panic.
const KUBERNETES: &str = "crates/failover-k8s/tests/stranger/Cargo.toml";
/// Registers itself with an agent, is found by its name and deregisters; with consulrs and without.
const CONSUL: &str = "crates/failover-consul/tests/stranger/Cargo.toml";

pub(crate) fn run() -> Result<(), String> {
    cargo::run(stranger("run", KUBERNETES)?)?;
    // Without a server, prints the reason and only compiles the program.
    let program = Server::Consul.get();
    let agent = program.map(|program| Agent::start(&program.display().to_string())).transpose()?;
    for features in [&[][..], &["--no-default-features"]] {
        let mut command = stranger(if agent.is_some() { "run" } else { "build" }, CONSUL)?;
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSUL_"))
        {
            command.env_remove(name);
        }
        command.args(features);
        command.envs(agent.as_ref().map(|agent| ("CONSUL_HTTP_ADDR", format!("127.0.0.1:{}", agent.port))));
        cargo::run(command)?;
    }
    let root = cargo::root().canonicalize().map_err(|error| error.to_string())?;
    let target = root.join("target/strangers");
    for new in new_provider::write_all(&target.join("new-provider"), false)? {
        let mut command = cargo(["test", "--manifest-path"]);
        command.arg(new.join("Cargo.toml")).env("CARGO_TARGET_DIR", &target);
        cargo::run(command)?;
    }
    Ok(())
}

fn stranger(what: &str, manifest: &str) -> Result<Command, String> {
    let root = cargo::root().canonicalize().map_err(|error| error.to_string())?;
    let mut command = cargo([what, "--manifest-path"]);
    command.arg(root.join(manifest)).env("CARGO_TARGET_DIR", root.join("target/strangers"));
    // Run from another directory, so that the workspace's settings, which select a version of
    // Kubernetes, do not apply.
    command.current_dir(std::env::temp_dir()).env_remove("K8S_OPENAPI_ENABLED_VERSION");
    Ok(command)
}

/// An agent without data on disk, stopped on drop.
struct Agent {
    port: u16,
    _process: Process,
    _directory: TempDir,
}

impl Agent {
    fn start(program: &str) -> Result<Self, String> {
        let [http, server, lan, wan] = free_ports();
        let directory = TempDir::new().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args([
            "agent",
            "-dev",
            "-bind=127.0.0.1",
            "-log-level=warn",
            "-dns-port=-1",
            "-grpc-port=-1",
        ]);
        command.arg("-hcl=ports { grpc_tls = -1 } disable_update_check = true");
        for (flag, port) in
            [("http-port", http), ("server-port", server), ("serf-lan-port", lan), ("serf-wan-port", wan)]
        {
            command.arg(format!("-{flag}={port}"));
        }
        let mut process =
            Process::start(&command, &directory.path().join("log")).map_err(|error| error.to_string())?;
        let begun = Instant::now();
        while !has_leader(http).unwrap_or(false) {
            if begun.elapsed() > Duration::from_secs(60) || !process.is_running() {
                return Err(format!("the agent does not start: {}", process.log_tail()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { port: http, _process: process, _directory: directory })
    }
}

/// Returns whether the agent answers and has elected itself.
fn has_leader(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /v1/status/leader HTTP/1.0\r\nHost: agent\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains("\"127.0.0.1:"))
}
