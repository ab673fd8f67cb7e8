//! A cluster for the tests, and helpers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::provider::{EndpointSet, Provider, WatchStream};
use failover_core::{Endpoint, EndpointId, Error, ServiceName};
use failover_k8s::{KubernetesProvider, KubernetesProviderBuilder};
use failover_testkit::kubernetes::{Answer, ControlPlane};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// The documented permissions of the provider: the tests have exactly these.
pub(crate) const RBAC: &str = include_str!("../../../../examples/k8s/rbac.yaml");

static CALM: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
static ROUGH: Mutex<Option<ControlPlane>> = Mutex::const_new(None);
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Returns a directory of this process, because another run of the tests may be in progress.
/// Removes those of processes that have ended.
pub(crate) fn directory(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let of = entry
            .file_name()
            .to_string_lossy()
            .rsplit_once("-of-")
            .and_then(|(_, id)| id.parse::<u32>().ok());
        if Path::new("/proc/self").exists()
            && of.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    all.join(format!("{name}-of-{}", std::process::id()))
}

/// Returns a new namespace on the API server shared by all tests that do not disturb it.
pub(crate) async fn calm() -> Option<Space<&'static ControlPlane>> {
    let plane = CALM.get_or_init(|| ControlPlane::start(directory_of("calm"))).await.as_ref()?;
    Some(Space::new(plane).await)
}

fn directory_of(name: &'static str) -> &'static Path {
    Box::leak(directory(name).into_boxed_path())
}

/// Returns a control plane that a test may kill, pause and compact; one test at a time uses it.
pub(crate) async fn rough() -> Option<MutexGuard<'static, Option<ControlPlane>>> {
    let mut plane = ROUGH.lock().await;
    match plane.as_mut() {
        None => *plane = Some(ControlPlane::start(&directory("rough")).await?),
        Some(plane) => {
            plane.resume_apiserver();
            if !plane.is_running() {
                plane.start_apiserver().await;
            }
            plane.until_ready().await;
        }
    }
    Some(plane)
}

/// A namespace with the documented roles, and the token of a service account that has them.
pub(crate) struct Space<P> {
    pub(crate) plane: P,
    pub(crate) namespace: String,
    pub(crate) token: String,
    pub(crate) token_file: PathBuf,
}

impl<P: std::ops::Deref<Target = ControlPlane>> Space<P> {
    pub(crate) async fn new(plane: P) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{number}-{}", std::process::id());
        plane.namespace(&namespace).await;
        plane.apply(RBAC, &namespace).await;
        let token = plane.service_account_token(&namespace, "failover").await;
        let token_file = plane.token_file(&namespace, &token);
        let space = Self { plane, namespace, token, token_file };
        // A role takes effect a moment after it is bound: one allows reading slices, the other
        // leases.
        for path in ["endpointslices", "leases"].map(|resource| space.path(resource, "")) {
            failover_testkit::until(Duration::from_secs(20), "the role is bound", || async {
                space.plane.request(&space.token, "GET", &path, "").await.status == 200
            })
            .await;
        }
        space
    }

    pub(crate) fn builder(&self) -> KubernetesProviderBuilder {
        KubernetesProvider::builder()
            .api_server(self.plane.url(), self.plane.authority(), &self.token_file)
            .namespace(&self.namespace)
            .registrant("test")
    }

    pub(crate) async fn provider(&self) -> KubernetesProvider {
        self.builder().build().await.expect("builds")
    }

    /// Returns the path of an object of this namespace, or of all objects of a kind.
    pub(crate) fn path(&self, resource: &str, name: &str) -> String {
        let group = match resource {
            "endpointslices" => "/apis/discovery.k8s.io/v1",
            "leases" => "/apis/coordination.k8s.io/v1",
            "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
            _ => "/api/v1",
        };
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{group}/namespaces/{}/{resource}{slash}{name}", self.namespace)
    }

    /// Sends a request as the administrator.
    pub(crate) async fn admin(&self, method: &str, resource: &str, name: &str, body: &str) -> Answer {
        self.plane.request(self.plane.admin(), method, &self.path(resource, name), body).await
    }

    /// Returns all objects of a kind, as the administrator.
    pub(crate) async fn objects(&self, resource: &str) -> Vec<Value> {
        let answer = self.admin("GET", resource, "", "").await;
        let mut list: Value = serde_json::from_str(&answer.body).expect("a list");
        match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    }

    /// Applies a YAML document.
    pub(crate) async fn apply(&self, resource: &str, name: &str, body: &str) -> Answer {
        let path = format!("{}?fieldManager=kubectl&force=true", self.path(resource, name));
        self.plane.request(self.plane.admin(), "PATCH", &path, body).await
    }
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("valid")
}

pub(crate) fn id(text: &str) -> EndpointId {
    EndpointId::new(text).expect("valid")
}

pub(crate) fn endpoint(id: &str, address: &str) -> Endpoint {
    Endpoint::builder(id, "users", address, 8080).protocol("http").build().expect("valid")
}

pub(crate) fn ids(set: &EndpointSet) -> Vec<&str> {
    let mut ids: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Returns the next item, within 10 s.
pub(crate) async fn next(stream: &mut WatchStream<'_>) -> Result<EndpointSet, Error> {
    let item = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
    item.expect("an item within ten seconds").expect("the watch goes on")
}

/// Reads the watch until a set satisfies the predicate; ignores errors before that.
pub(crate) async fn sees(
    stream: &mut WatchStream<'_>,
    limit: Duration,
    what: &str,
    mut right: impl FnMut(&EndpointSet) -> bool,
) -> EndpointSet {
    let mut last = String::new();
    let looking = async {
        loop {
            match stream.next().await.expect("the watch goes on") {
                Ok(set) if right(&set) => return set,
                other => last = format!("{other:?}"),
            }
        }
    };
    let seen = tokio::time::timeout(limit, looking).await;
    seen.unwrap_or_else(|_| panic!("not within {limit:?}: {what}; last {last}"))
}

pub(crate) fn shared(provider: KubernetesProvider) -> Arc<dyn Provider> {
    Arc::new(provider)
}

/// Forwards connections to another port of this machine while it lives; afterwards they are
/// refused.
pub(crate) struct Way {
    pub(crate) port: u16,
    open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    /// Forwards from this port, or from a free one.
    pub(crate) async fn to(url: &str, from: Option<u16>) -> Self {
        let to: u16 = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let port = from.unwrap_or_else(failover_testkit::free_port);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("it is free");
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                connections.spawn(async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut there) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await {
                        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                    }
                    counted.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, open, task }
    }

    /// Returns how many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}
