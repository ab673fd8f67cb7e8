//! Consul agents on loopback, of either version, alone or as a cluster.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::Signed;
use crate::servers::Server;
use crate::{Process, free_ports};

/// The configuration of an agent.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The version.
    pub server: Server,
    /// The node name.
    pub node: String,
    /// The ID of the node, a UUID; otherwise the agent creates one and keeps it with its data.
    pub node_id: Option<String>,
    /// The datacenter.
    pub datacenter: String,
    /// Whether the agent runs in dev mode, without data on disk.
    pub dev: bool,
    /// The number of servers in the cluster; 0 for a client agent.
    pub servers: usize,
    /// If set, ACLs deny by default, and this token has all permissions.
    pub token: Option<String>,
    /// If set, HTTPS with client certificates: the authority and the server's certificate.
    pub tls: Option<(String, Signed)>,
    /// Serf ports of agents of the same datacenter to join.
    pub join: Vec<u16>,
    /// Serf ports of servers of other datacenters to join.
    pub join_wan: Vec<u16>,
    /// Maximum number of connections per address.
    pub connections: u32,
}

impl AgentOptions {
    /// Returns the options of a single server that keeps its data.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            node: "test".to_owned(),
            node_id: None,
            datacenter: "dc1".to_owned(),
            dev: false,
            servers: 1,
            token: None,
            tls: None,
            join: Vec::new(),
            join_wan: Vec::new(),
            connections: 200,
        }
    }

    /// Starts the agent and waits until it answers. Prints a message and returns `None` if the
    /// server is not installed.
    ///
    /// # Panics
    /// Panics if the agent does not start, or is not installed although required.
    pub fn start(self) -> Option<Agent> {
        let agent = self.launch()?;
        agent.wait_ready();
        Some(agent)
    }

    /// Starts the agent without waiting, as needed for the first servers of a cluster.
    ///
    /// # Panics
    /// See [`start`](Self::start).
    pub fn launch(self) -> Option<Agent> {
        let program = self.server.get()?;
        let [http, https, server, lan, wan] = free_ports();
        let directory = TempDir::new().expect("a directory");
        let old = is_old(&program);
        let mut agent =
            Agent { options: self, program, old, http, https, server, lan, wan, directory, process: None };
        agent.configure();
        agent.run();
        Some(agent)
    }
}

fn is_old(program: &Path) -> bool {
    let said = Command::new(program).arg("version").output().expect("says its version");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v1.")).unwrap_or("99");
    version.split('.').next().and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor < 14)
}

/// A Consul agent, killed on drop.
#[derive(Debug)]
pub struct Agent {
    options: AgentOptions,
    program: PathBuf,
    old: bool,
    http: u16,
    https: u16,
    server: u16,
    lan: u16,
    wan: u16,
    directory: TempDir,
    process: Option<Process>,
}

impl Agent {
    /// Returns `127.0.0.1:PORT` of the plain HTTP listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// Returns `https://127.0.0.1:PORT`, for agents with a certificate.
    pub fn https(&self) -> String {
        format!("https://127.0.0.1:{}", self.https)
    }

    /// Returns the port where other agents of the datacenter join.
    pub fn lan(&self) -> u16 {
        self.lan
    }

    /// Returns the port where servers of other datacenters join.
    pub fn wan(&self) -> u16 {
        self.wan
    }

    /// Returns its address as a leader, `127.0.0.1:PORT`.
    pub fn rpc(&self) -> String {
        format!("127.0.0.1:{}", self.server)
    }

    /// Returns whether it is older than 1.14, whose configuration has other names.
    pub fn is_old(&self) -> bool {
        self.old
    }

    /// Returns the node name.
    pub fn node(&self) -> &str {
        &self.options.node
    }

    /// Kills the agent (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills the agent and deletes its data.
    ///
    /// # Panics
    /// Panics if the data cannot be deleted.
    pub fn lose_data(&mut self) {
        self.kill();
        let data = self.directory.path().join("data");
        if data.exists() {
            fs::remove_dir_all(data).expect("deleted");
        }
    }

    /// Gives the agent another node name and no fixed ID, from its next start.
    pub fn rename(&mut self, node: &str) {
        node.clone_into(&mut self.options.node);
        self.options.node_id = None;
    }

    /// Pauses the agent (SIGSTOP).
    ///
    /// # Panics
    /// Panics if it is not running.
    pub fn pause(&mut self) {
        self.process.as_mut().expect("it runs").pause();
    }

    /// Resumes the agent (SIGCONT).
    ///
    /// # Panics
    /// Panics if it is not running.
    pub fn resume(&mut self) {
        self.process.as_mut().expect("it runs").resume();
    }

    /// Restarts the agent on the same ports and waits until it answers.
    pub fn restart(&mut self) {
        self.relaunch();
        self.wait_ready();
    }

    /// Restarts the agent on the same ports without waiting.
    pub fn relaunch(&mut self) {
        self.process = None;
        self.run();
    }

    fn configure(&self) {
        let options = &self.options;
        let mut text = String::new();
        let https = if options.tls.is_some() { i32::from(self.https) } else { -1 };
        let grpc = if self.old { "" } else { ", \"grpc_tls\": -1" };
        let _ = write!(
            text,
            r#"{{"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "advertise_addr": "127.0.0.1",
            "ports": {{"http": {}, "https": {https}, "dns": -1, "grpc": -1{grpc}, "server": {}, "serf_lan": {}, "serf_wan": {}}},
            "connect": {{"enabled": false}}, "disable_update_check": true, "log_level": "WARN", "raft_protocol": 3,
            "leave_on_terminate": false, "skip_leave_on_interrupt": true, "performance": {{"raft_multiplier": 1}},
            "limits": {{"http_max_conns_per_client": {}}}, "translate_wan_addrs": false"#,
            self.http, self.server, self.lan, self.wan, options.connections
        );
        text.push_str(if self.old { r#", "ui": false"# } else { r#", "ui_config": {"enabled": false}"# });
        if let Some(token) = &options.token {
            let name = if self.old { "master" } else { "initial_management" };
            let _ = write!(
                text,
                r#", "acl": {{"enabled": true, "default_policy": "deny", "tokens": {{"{name}": "{token}", "agent": "{token}"}}}}"#
            );
        }
        if let Some((authority, signed)) = &options.tls {
            for (name, pem) in
                [("ca.pem", authority), ("cert.pem", &signed.certificate), ("key.pem", &signed.key)]
            {
                fs::write(self.directory.path().join(name), pem).expect("written");
            }
            let at = self.directory.path().display();
            if self.old {
                let _ = write!(
                    text,
                    r#", "ca_file": "{at}/ca.pem", "cert_file": "{at}/cert.pem", "key_file": "{at}/key.pem", "verify_incoming_https": true"#
                );
            } else {
                let _ = write!(
                    text,
                    r#", "tls": {{"https": {{"ca_file": "{at}/ca.pem", "cert_file": "{at}/cert.pem", "key_file": "{at}/key.pem", "verify_incoming": true}}}}"#
                );
            }
        }
        let join = |ports: &[u16]| {
            let all: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
            format!("[{}]", all.join(", "))
        };
        let _ = write!(text, r#", "retry_join": {}, "retry_interval": "1s""#, join(&options.join));
        if options.servers > 0 {
            let _ = write!(
                text,
                r#", "retry_join_wan": {}, "retry_interval_wan": "1s""#,
                join(&options.join_wan)
            );
        }
        text.push('}');
        fs::write(self.directory.path().join("agent.json"), text).expect("written");
    }

    fn run(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("agent").arg(format!("-node={}", self.options.node));
        command.arg(format!("-datacenter={}", self.options.datacenter));
        command.args(self.options.node_id.iter().map(|id| format!("-node-id={id}")));
        if self.options.dev {
            command.arg("-dev");
        } else {
            command.arg(format!("-data-dir={}", self.directory.path().join("data").display()));
            if self.options.servers > 0 {
                command.arg("-server").arg(format!("-bootstrap-expect={}", self.options.servers));
            }
        }
        command.arg(format!("-config-file={}", self.directory.path().join("agent.json").display()));
        let log = self.directory.path().join("log");
        self.process = Some(Process::start(&command, &log).expect("a shell"));
    }

    /// Waits until there is a leader and the agent's own node is in the catalog.
    ///
    /// # Panics
    /// Panics if that takes longer than 60 s, or if the process ends.
    pub fn wait_ready(&self) {
        let node = format!("\"{}\"", self.options.node);
        self.wait(
            "the agent is ready",
            Duration::from_secs(60),
            || matches!(self.call("GET", "/v1/catalog/nodes", ""), Ok((200, body)) if body.contains(&node)),
        );
    }

    /// Waits until the condition holds.
    ///
    /// # Panics
    /// Panics with the end of the agent's log if it does not hold within the limit.
    pub fn wait(&self, what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() > limit {
                let log = self.process.as_ref().map(Process::log_tail).unwrap_or_default();
                panic!("not within {limit:?}: {what}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a request with the token that has all permissions, and returns status and body.
    ///
    /// # Errors
    /// Returns an error if the agent does not answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        self.call_as(self.options.token.as_deref(), method, path, body)
    }

    /// Sends a request with this token, or with none, and returns status and body.
    ///
    /// # Errors
    /// Returns an error if the agent does not answer.
    pub fn call_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &str,
    ) -> io::Result<(u16, String)> {
        let (status, body) = self.exchange(token, method, path, body.as_bytes())?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sends a request with the token that has all permissions and a body of any bytes, such as a
    /// snapshot, and returns status and body.
    ///
    /// # Errors
    /// Returns an error if the agent does not answer.
    pub fn call_bytes(&self, method: &str, path: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.exchange(self.options.token.as_deref(), method, path, body)
    }

    fn exchange(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let token = token.map(|token| format!("X-Consul-Token: {token}\r\n")).unwrap_or_default();
        let length = body.len();
        // With HTTP/1.0 the body is not chunked and ends with the connection.
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: agent\r\nContent-Length: {length}\r\n{token}\r\n")?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, body))
    }

    /// Creates a token with these rules. Returns its accessor id and its secret.
    ///
    /// # Panics
    /// Panics if the agent refuses them.
    pub fn token(&self, name: &str, rules: &str) -> (String, String) {
        let rules = rules.replace('"', "\\\"").replace('\n', " ");
        let policy = format!(r#"{{"Name": "{name}", "Rules": "{rules}"}}"#);
        let (status, body) = self.call("PUT", "/v1/acl/policy", &policy).expect("answers");
        assert_eq!(status, 200, "{body}");
        let token = format!(r#"{{"Policies": [{{"Name": "{name}"}}]}}"#);
        let (status, body) = self.call("PUT", "/v1/acl/token", &token).expect("answers");
        assert_eq!(status, 200, "{body}");
        let field = |name: &str| {
            let start = body.find(&format!("\"{name}\":\"")).expect("it has that") + name.len() + 4;
            body[start..].split('"').next().unwrap_or_default().to_owned()
        };
        (field("AccessorID"), field("SecretID"))
    }
}

/// Three servers, a client agent, and a server of a second datacenter.
#[derive(Debug)]
pub struct Cluster {
    /// The servers of `dc1`.
    pub servers: Vec<Agent>,
    /// The client agent of `dc1`, which programs talk to.
    pub client: Agent,
    /// The server of `dc2`.
    pub far: Agent,
}

impl Cluster {
    /// Starts the cluster and waits until both datacenters know each other. Prints a message and
    /// returns `None` if the server is not installed.
    ///
    /// # Panics
    /// Panics if the cluster does not start.
    pub fn start(server: Server) -> Option<Self> {
        let options = |node: &str| AgentOptions { node: node.to_owned(), ..AgentOptions::new(server) };
        let mut servers: Vec<Agent> = Vec::new();
        for node in ["s1", "s2", "s3"] {
            let join = servers.iter().map(Agent::lan).collect();
            servers.push(AgentOptions { servers: 3, join, ..options(node) }.launch()?);
        }
        let join: Vec<_> = servers.iter().map(Agent::lan).collect();
        let client = AgentOptions { servers: 0, join, ..options("client") }.launch()?;
        let far = AgentOptions {
            datacenter: "dc2".to_owned(),
            join_wan: vec![servers[0].wan(), servers[1].wan()],
            ..options("far")
        }
        .launch()?;
        for agent in servers.iter().chain([&client, &far]) {
            agent.wait_ready();
        }
        client.wait("both datacenters know each other", Duration::from_secs(60), || {
            let nodes = client.call("GET", "/v1/catalog/nodes?dc=dc2", "");
            let peers = client.call("GET", "/v1/status/peers", "");
            matches!(nodes, Ok((200, _))) && peers.is_ok_and(|(_, peers)| peers.matches(':').count() == 3)
        });
        Some(Self { servers, client, far })
    }

    /// Returns the index of the leader among the servers, if there is one.
    pub fn leader(&self) -> Option<usize> {
        let (status, leader) = self.client.call("GET", "/v1/status/leader", "").ok()?;
        (status == 200).then(|| self.servers.iter().position(|server| leader.contains(&server.rpc())))?
    }
}
