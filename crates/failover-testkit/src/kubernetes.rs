//! The control plane of a cluster: a real etcd and a real kube-apiserver, without nodes or
//! controllers.
//!
//! Without controllers, no slices are written for Services, no garbage is collected, and a deleted
//! namespace stays. Authorisation is by RBAC; users authenticate by tokens.

mod client;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::KeyPair;

use crate::certificates::Authority;
use crate::servers::Server;
use crate::{Process, free_port};

pub use self::client::Answer;

/// Time limit for a server to start.
const START: Duration = Duration::from_secs(90);

/// The token of the administrator.
const ADMIN: &str = "admin-token-9f2c";

/// A control plane on loopback. Its servers end when this is dropped or the process ends.
#[derive(Debug)]
pub struct ControlPlane {
    directory: PathBuf,
    authority: Authority,
    etcd: Option<Process>,
    apiserver: Option<Process>,
    programs: [PathBuf; 2],
    ports: [u16; 3],
    flags: Vec<String>,
}

impl ControlPlane {
    /// Starts a control plane with its data, keys and logs in this directory, which is emptied
    /// first. Prints a message and returns `None` if the programs are not installed.
    ///
    /// # Panics
    /// Panics if the programs are required but not installed, or if they do not start; the message
    /// has the end of their logs.
    pub async fn start(directory: &Path) -> Option<Self> {
        Self::start_with(directory, &[]).await
    }

    /// Starts a control plane with more flags for the API server; see [`start`](Self::start).
    ///
    /// # Panics
    /// See [`start`](Self::start).
    pub async fn start_with(directory: &Path, flags: &[&str]) -> Option<Self> {
        let programs = [Server::Etcd.get()?, Server::KubeApiserver.get()?];
        let _ = fs::remove_dir_all(directory);
        let authority = Authority::new("failover-test-ca");
        write_keys(directory, &authority).expect("the directory can be written to");
        let mut plane = Self {
            directory: directory.to_owned(),
            authority,
            etcd: None,
            apiserver: None,
            programs,
            ports: std::array::from_fn(|_| free_port()),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        plane.start_etcd().await;
        plane.start_apiserver().await;
        Some(plane)
    }

    /// Returns the URL of the API server: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports[2])
    }

    /// Returns the certificate that clients trust, PEM.
    pub fn authority(&self) -> &str {
        self.authority.pem()
    }

    /// Returns the directory of its data, keys and logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the administrator's token.
    pub fn admin(&self) -> &'static str {
        ADMIN
    }

    /// Writes a token into a file, and returns the file's path. The file is replaced atomically,
    /// like a token that Kubernetes mounts.
    ///
    /// # Panics
    /// Panics if the directory cannot be written to.
    pub fn token_file(&self, name: &str, token: &str) -> PathBuf {
        let file = self.directory.join(format!("{name}.token"));
        let new = self.directory.join(format!("{name}.token.new"));
        fs::write(&new, token)
            .and_then(|()| fs::rename(&new, &file))
            .expect("the directory can be written to");
        file
    }

    /// Writes a kubeconfig for a token and a namespace, and returns its path.
    ///
    /// # Panics
    /// Panics if the directory cannot be written to.
    pub fn kubeconfig(&self, name: &str, token: &str, namespace: &str) -> PathBuf {
        let (url, directory) = (self.url(), self.directory.display());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"{url}\", certificate-authority: \"{directory}/ca.crt\"}}}}]\n\
             users: [{{name: test, user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test, namespace: \"{namespace}\"}}}}]\n"
        );
        let file = self.directory.join(format!("{name}.kubeconfig"));
        fs::write(&file, text).expect("the directory can be written to");
        file
    }

    /// Restarts etcd with its data.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub async fn start_etcd(&mut self) {
        let [client, peer, _] = self.ports;
        let url = format!("http://127.0.0.1:{client}");
        let mut command = Command::new(&self.programs[0]);
        command
            .args(["--name", "e0", "--unsafe-no-fsync=true", "--log-level=warn"])
            .arg("--data-dir")
            .arg(self.directory.join("etcd"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"));
        let process =
            Process::start(&command, &self.directory.join("etcd.log")).expect("etcd can be started");
        self.etcd = Some(process);
        let begun = Instant::now();
        while client::plain(client, "GET", "/health", "").await.is_none_or(|answer| answer.status != 200) {
            check(self.etcd.as_mut(), "etcd", begun);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the API server on the same port with the same data, and waits until it is ready.
    ///
    /// # Panics
    /// Panics if it does not become ready.
    pub async fn start_apiserver(&mut self) {
        self.begin_apiserver();
        self.until_ready().await;
    }

    /// Starts the API server without waiting for it.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn begin_apiserver(&mut self) {
        let [etcd, _, port] = self.ports;
        let mut command = Command::new(&self.programs[1]);
        let own = |name: &str| self.directory.join(name).display().to_string();
        command
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={port}"))
            .arg("--endpoint-reconciler-type=none")
            .arg(format!("--cert-dir={}", self.directory.display()))
            .arg(format!("--tls-cert-file={}", own("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", own("apiserver.key")))
            .arg(format!("--client-ca-file={}", own("ca.crt")))
            .arg(format!("--token-auth-file={}", own("tokens.csv")))
            .arg("--authorization-mode=RBAC")
            .arg(format!("--service-account-issuer=https://127.0.0.1:{port}/"))
            .arg(format!("--service-account-key-file={}", own("sa.pub")))
            .arg(format!("--service-account-signing-key-file={}", own("sa.key")))
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount"])
            .args(["--allow-privileged=true", "--profiling=false"])
            .args(&self.flags);
        let process = Process::start(&command, &self.directory.join("apiserver.log"));
        self.apiserver = Some(process.expect("the API server can be started"));
    }

    /// Waits until the API server is ready.
    ///
    /// # Panics
    /// Panics if it does not become ready.
    pub async fn until_ready(&mut self) {
        let begun = Instant::now();
        while !self.try_request(ADMIN, "GET", "/readyz", "").await.is_ok_and(|answer| answer.status == 200) {
            check(self.apiserver.as_mut(), "kube-apiserver", begun);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns whether the API server is running.
    pub fn is_running(&mut self) -> bool {
        self.apiserver.as_mut().is_some_and(Process::is_running)
    }

    /// Kills the API server (SIGKILL); its data stay.
    pub fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Kills etcd (SIGKILL); its data stay.
    pub fn kill_etcd(&mut self) {
        self.etcd = None;
    }

    /// Pauses the API server: it keeps its connections and does not answer.
    pub fn pause_apiserver(&mut self) {
        if let Some(process) = &mut self.apiserver {
            process.pause();
        }
    }

    /// Resumes the API server.
    pub fn resume_apiserver(&mut self) {
        if let Some(process) = &mut self.apiserver {
            process.resume();
        }
    }

    /// Sends a request with this token. A body is JSON, and YAML for `PATCH`, which is a server-side apply.
    ///
    /// # Panics
    /// Panics if the API server does not answer.
    pub async fn request(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        self.try_request(token, method, path, body).await.expect("the API server answers")
    }

    /// Sends a request like [`request`](Self::request).
    ///
    /// # Errors
    /// Returns an error if the API server cannot be reached or closes the connection.
    pub async fn try_request(&self, token: &str, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let asked = client::secure(self.ports[2], self.authority.pem(), token, method, path, body);
        tokio::time::timeout(Duration::from_secs(30), asked).await?
    }

    /// Creates a namespace.
    ///
    /// # Panics
    /// Panics if the API server refuses it.
    pub async fn namespace(&self, name: &str) {
        let body = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#);
        let answer = self.request(ADMIN, "POST", "/api/v1/namespaces", &body).await;
        assert!(matches!(answer.status, 201 | 409), "{answer:?}");
    }

    /// Applies every document of a YAML file of namespaced objects to this namespace, even where
    /// the file names `namespace: default`.
    ///
    /// # Panics
    /// Panics if the API server refuses one, or if its kind is not supported here.
    pub async fn apply(&self, yaml: &str, namespace: &str) {
        let yaml = yaml.replace("namespace: default", &format!("namespace: {namespace}"));
        for document in yaml.split("\n---") {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
            let Some(kind) = kind.map(str::trim) else { continue };
            let group = match kind {
                "ServiceAccount" | "Service" | "ConfigMap" => "/api/v1",
                "Role" | "RoleBinding" => "/apis/rbac.authorization.k8s.io/v1",
                "EndpointSlice" => "/apis/discovery.k8s.io/v1",
                "Deployment" => "/apis/apps/v1",
                "Job" => "/apis/batch/v1",
                other => panic!("{other} is of no kind that is applied here"),
            };
            let after = document.split_once("name: ").map_or("", |(_, after)| after);
            let name = after.split([',', '}', '\n', ' ']).next().unwrap_or_default();
            let resource = format!("{}s", kind.to_ascii_lowercase());
            let path = format!(
                "{group}/namespaces/{namespace}/{resource}/{name}?fieldManager=tests&force=true&fieldValidation=Strict"
            );
            let answer = self.request(ADMIN, "PATCH", &path, document).await;
            assert!(matches!(answer.status, 200 | 201), "{kind} {name}: {answer:?}");
        }
    }

    /// Creates a token of an existing service account.
    ///
    /// # Panics
    /// Panics if the API server refuses it.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":7200}}"#;
        let answer = self.request(ADMIN, "POST", &path, body).await;
        let token = answer.body.split_once(r#""token":""#).and_then(|(_, rest)| rest.split('"').next());
        token.unwrap_or_else(|| panic!("no token: {answer:?}")).to_owned()
    }

    /// Compacts etcd's history to the newest version.
    ///
    /// # Panics
    /// Panics if etcd does not answer.
    pub async fn compact(&self) {
        let status = client::plain(self.ports[0], "POST", "/v3/maintenance/status", "{}").await;
        let body = status.expect("etcd answers").body;
        let revision = body.split_once(r#""revision":""#).and_then(|(_, rest)| rest.split('"').next());
        let revision = revision.unwrap_or_else(|| panic!("no revision: {body}"));
        let ask = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        let answer = client::plain(self.ports[0], "POST", "/v3/kv/compaction", &ask).await;
        assert!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{answer:?}");
    }
}

fn check(process: Option<&mut Process>, name: &str, begun: Instant) {
    let Some(process) = process else { panic!("{name} is not started") };
    let runs = process.is_running();
    assert!(runs && begun.elapsed() < START, "{name} does not start:\n{}", process.log_tail());
}

fn write_keys(directory: &Path, authority: &Authority) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let server = authority.server(&["127.0.0.1", "localhost"]);
    let signer = KeyPair::generate().expect("a key");
    let users =
        format!("{ADMIN},admin,u-admin,\"system:masters\"\nnobody-token,nobody,u-nobody,\"nobody\"\n");
    for (name, text) in [
        ("ca.crt", authority.pem()),
        ("apiserver.crt", &server.certificate),
        ("apiserver.key", &server.key),
        ("sa.key", &signer.serialize_pem()),
        ("sa.pub", &signer.public_key_pem()),
        ("tokens.csv", &users),
    ] {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // etcd's files are many times as large as their content.
        (self.apiserver, self.etcd) = (None, None);
        let _ = fs::remove_dir_all(&self.directory);
    }
}
