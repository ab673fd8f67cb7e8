//! The published conformance suite, with exactly the permissions of the documented roles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_conformance::{Level, Subject};
use failover_core::provider::Provider;
use failover_core::{Endpoint, Error, async_trait};
use failover_k8s::KubernetesProvider;
use failover_testkit::kubernetes::ControlPlane;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{Space, directory, rough, shared};

/// Short, so that owners renew often, but longer than an outage of the suite.
const LEASE: Duration = Duration::from_secs(8);
/// The most endpoints that Kubernetes accepts in a slice.
const IN_ONE_SLICE: usize = 1_000;

struct Kubernetes<'a> {
    plane: Mutex<&'a mut ControlPlane>,
    template: failover_k8s::KubernetesProviderBuilder,
    token: String,
    namespace: String,
    version: String,
    /// The number of providers so far: each is a process of its own.
    processes: AtomicUsize,
}

impl<'a> Kubernetes<'a> {
    async fn new(plane: &'a mut ControlPlane) -> Self {
        let (template, token, namespace) = {
            let space = Space::new(&*plane).await;
            (space.builder(), space.token.clone(), space.namespace.clone())
        };
        let version = plane.request(plane.admin(), "GET", "/version", "").await.body;
        let version: Value = serde_json::from_str(&version).expect("JSON");
        let emulated = match version["emulationMajor"].as_str().zip(version["emulationMinor"].as_str()) {
            Some((major, minor)) => format!(", emulating {major}.{minor}"),
            None => String::new(),
        };
        let version =
            format!("kube-apiserver {}{emulated}", version["gitVersion"].as_str().expect("a version"));
        let (plane, processes) = (Mutex::new(plane), AtomicUsize::new(0));
        Self { plane, template, token, namespace, version, processes }
    }

    async fn make(&self) -> Result<KubernetesProvider, Error> {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        self.template.clone().registrant(format!("process-{number}")).lease_duration(LEASE).build().await
    }

    fn path(&self, rest: &str) -> String {
        format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices{rest}", self.namespace)
    }

    async fn apply(&self, name: &str, slice: &Value) {
        let plane = self.plane.lock().await;
        let path = self.path(&format!("/{name}?fieldManager=kubectl&force=true"));
        let answer = plane.request(plane.admin(), "PATCH", &path, &slice.to_string()).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// Deletes the slices of a writer and a service.
    async fn delete(&self, writer: &str, service: &str) {
        let plane = self.plane.lock().await;
        let path = self.path(&format!(
            "?labelSelector=endpointslice.kubernetes.io%2Fmanaged-by%3D{writer}%2Ckubernetes.io%2Fservice-name%3D{service}"
        ));
        let answer = plane.request(plane.admin(), "DELETE", &path, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[async_trait]
impl Subject for Kubernetes<'_> {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.make().await?;
        provider.connect().await?;
        Ok(shared(provider))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(shared(self.make().await?)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn renewal(&self) -> Duration {
        LEASE
    }

    fn backend(&self) -> String {
        self.version.clone()
    }

    /// Writes slices as Kubernetes' controller does.
    async fn write_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        for (number, part) in endpoints.chunks(IN_ONE_SLICE).enumerate() {
            let name = format!("crowd-{number}");
            let addresses = part.iter().map(|endpoint| json!({ "addresses": [endpoint.address()] }));
            let ports = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
            let slice = slice(&name, "crowd", endpoints[0].service().as_str(), &addresses.collect(), &ports);
            self.apply(&name, &slice).await;
        }
        Ok(true)
    }

    async fn remove_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.delete("crowd", endpoints[0].service().as_str()).await;
        let registry = provider.registry().expect("it has one");
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.address().starts_with("10.1.")) {
            registry.deregister(endpoint.service(), endpoint.id()).await?;
        }
        Ok(true)
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        if !begins {
            // No other case has such entries, and the API server may be about to start.
            if service.contains("-61-") {
                self.delete("failover.rs", service).await;
                self.delete("hostile", service).await;
            }
            return true;
        }
        let ports = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
        for (number, document) in documents().into_iter().enumerate() {
            let name = format!("broken-{number}");
            let endpoints = json!([{ "addresses": [format!("10.9.8.{number}")] }]);
            // Some have no port: the API server accepts that.
            let ports = if number % 2 == 0 { ports.clone() } else { json!([]) };
            let mut broken = slice(&name, "failover.rs", service, &endpoints, &ports);
            broken["metadata"]["annotations"] = json!({ "failover.rs/endpoint": document });
            self.apply(&name, &broken).await;
        }
        let endpoints = json!([{ "addresses": ["10.9.9.1"], "conditions": { "ready": false } }]);
        for (number, ports) in [
            json!([]),
            json!([{ "name": "dns", "port": 53, "protocol": "UDP" }]),
            json!([{ "name": "any", "protocol": "TCP" }]),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("portless-{number}");
            self.apply(&name, &slice(&name, "hostile", service, &endpoints, &ports)).await;
        }
        true
    }

    async fn outage(&self, begins: bool) -> bool {
        let mut plane = self.plane.lock().await;
        if begins {
            plane.kill_apiserver();
        } else if !plane.is_running() {
            plane.start_apiserver().await;
        }
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.token.clone()]
    }

    fn shown(&self) -> Vec<String> {
        vec![format!("{:?}", self.template)]
    }
}

async fn certified(plane: &mut ControlPlane) {
    let report = failover_conformance::run(&Kubernetes::new(plane).await).await;
    println!("{report}");
    for level in Level::ALL {
        report.assert_level(level);
    }
}

fn slice(name: &str, writer: &str, service: &str, endpoints: &Value, ports: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": writer,
        }},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

/// Returns what this crate's own annotation may say after somebody else has written it.
fn documents() -> Vec<String> {
    let with = |fields: Value| {
        let mut document = json!({ "v": 1, "id": "broken", "protocol": "http" });
        document.as_object_mut().expect("a table").extend(fields.as_object().cloned().expect("a table"));
        document.to_string()
    };
    vec![
        "{\"id\": ".to_owned(),
        String::new(),
        "null".to_owned(),
        "[[[[[[".to_owned(),
        with(json!({ "id": "x".repeat(5_000) })),
        with(json!({ "id": "\u{1b}[31m\n\0" })),
        with(json!({ "id": "" })),
        with(json!({ "weight": -1 })),
        with(json!({ "weight": 1e9 })),
        with(json!({ "weight": 0 })),
        with(json!({ "port": 70_000 })),
        with(json!({ "address": "no address" })),
        with(json!({ "health_check": "{\"path\": " })),
        with(json!({ "created_at": "yesterday" })),
        with(json!({ "v": 999 })),
        with(json!({ "metadata": { "note": "\u{1b}[31m" }, "tags": ["x".repeat(5_000)] })),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_provider_contract_on_a_real_api_server() {
    let Some(mut plane) = rough().await else { return };
    let plane = plane.as_mut().expect("it was started");
    certified(plane).await;
}

/// F34: the same server, speaking as a version of two years ago did, without later additions to
/// lists.
#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_provider_contract_on_an_older_version() {
    let flags = ["--emulated-version=kube=1.34", "--feature-gates=kube:WatchList=false"];
    let Some(mut plane) = ControlPlane::start_with(&directory("older"), &flags).await else { return };
    certified(&mut plane).await;
}
