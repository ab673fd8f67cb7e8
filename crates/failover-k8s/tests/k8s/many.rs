//! Many services of one namespace.

use std::time::Duration;

use failover_core::provider::{Provider, Query};
use failover_core::{FailoverManager, ManagerConfig, ServiceHandle};
use failover_k8s::KubernetesProvider;
use failover_testkit::{FaultServer, Reply, Request, until};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::discovery::controllers;
use crate::harness::{Way, calm, ids, next, sees, service};
use crate::scripted::{builder, event, is_slices, is_watch, list, quiet, watches};

const SOON: Duration = Duration::from_secs(10);
const SERVICES: usize = 40;

fn slice(service: usize, version: u64, pods: &[u8]) -> Value {
    let mut slice = crate::scripted::slice(&format!("s{service}"), version, pods);
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!(format!("users-{service}"));
    slice
}

/// A server whose watch of the whole namespace says what the test sends.
async fn server() -> (FaultServer, broadcast::Sender<Vec<u8>>) {
    let (tell, _) = broadcast::channel::<Vec<u8>>(64);
    let sender = tell.clone();
    let server = FaultServer::start(move |request: Request| {
        let mut told = sender.subscribe();
        async move {
            let selector = request.query("labelSelector").unwrap_or_default().to_owned();
            let is_whole = selector == "kubernetes.io%2Fservice-name";
            match (is_watch(&request), is_slices(&request)) {
                (true, true) if is_whole => {
                    let (sender, reply) = Reply::stream(200);
                    tokio::spawn(async move {
                        let passes_on = async {
                            while let Ok(said) = told.recv().await {
                                let _ = sender.send(said).await;
                            }
                        };
                        tokio::select! {
                            () = passes_on => {}
                            () = sender.closed() => {}
                        }
                    });
                    reply
                }
                (true, _) => quiet(),
                (false, true) => {
                    let all = (0..SERVICES).map(|number| slice(number, 1, &[number as u8]));
                    let is_meant = |slice: &Value| {
                        let service = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
                        is_whole || selector.ends_with(&format!("%3D{}", service.expect("a label")))
                    };
                    list(5, &all.filter(is_meant).collect::<Vec<_>>())
                }
                (false, false) => list(5, &[]),
            }
        }
    })
    .await;
    (server, tell)
}

fn addresses(service: &ServiceHandle) -> Vec<String> {
    service.endpoints().iter().map(|entry| entry.endpoint().address().to_owned()).collect()
}

async fn has(service: &ServiceHandle, expected: &[&str]) {
    until(SOON, &format!("{}: {expected:?}", service.name()), async || addresses(service) == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_beyond_the_first_share_a_watch_and_each_has_what_is_its_own() {
    let (server, tell) = server().await;
    let provider = builder(&server.url()).1.build().await.expect("builds");
    let config = ManagerConfig::builder().keep_idle(Duration::from_millis(100)).build().expect("valid");
    let manager =
        FailoverManager::builder().provider(provider).config(&config).build().await.expect("builds");
    let mut handles = Vec::new();
    for number in 0..SERVICES {
        handles.push(manager.service(&format!("users-{number}")).await.expect("a handle"));
    }
    for (number, handle) in handles.iter().enumerate() {
        has(handle, &[&format!("10.0.0.{number}")]).await;
    }
    let of_slices = || watches(&server).iter().filter(|request| is_slices(request)).count();
    until(SOON, "the watches", async || of_slices() == 17).await;

    // A change reaches its service, and no other.
    let say = |said: Vec<u8>| tell.send(said).expect("it is watched");
    say(event("MODIFIED", &slice(30, 9, &[30, 130])));
    has(&handles[30], &["10.0.0.130", "10.0.0.30"]).await;
    say(event("ADDED", &json!({"metadata": {"name": "odd"}})));
    // A slice whose label changes leaves the service before.
    let mut moved = slice(31, 10, &[31]);
    moved["metadata"]["labels"]["kubernetes.io/service-name"] = json!("users-32");
    say(event("MODIFIED", &moved));
    has(&handles[32], &["10.0.0.31", "10.0.0.32"]).await;
    has(&handles[31], &[]).await;
    say(event("DELETED", &slice(33, 11, &[33])));
    has(&handles[33], &[]).await;
    has(&handles[34], &["10.0.0.34"]).await;
    has(&handles[3], &["10.0.0.3"]).await;

    // A service that joins later has the slices as they are.
    let again = failover_core::source("kubernetes").service("users-30").port(80);
    let late = manager.service_from("again", [again]).await.expect("a handle");
    has(&late, &["10.0.0.130", "10.0.0.30"]).await;
    assert_eq!(of_slices(), 17);

    // An outage is that of all, and so is its end.
    say(event("ERROR", &crate::scripted::status(500, "InternalError")));
    until(SOON, "a new list", async || of_slices() == 18).await;
    has(&handles[31], &["10.0.0.31"]).await;
    has(&handles[33], &["10.0.0.33"]).await;

    // The watch ends with the last of its services.
    handles.truncate(16);
    drop(late);
    until(SOON, "it ends", async || tell.receiver_count() == 0).await;
    assert_eq!(addresses(&handles[3]), ["10.0.0.3"]);
    // With room for it, a service has a watch of its own, again and once the old ones have ended.
    handles.clear();
    until(SOON, "users-39 has a watch of its own", async || {
        until(SOON, "all are gone", async || manager.stats().is_empty()).await;
        let handle = manager.service("users-39").await.expect("a handle");
        has(&handle, &["10.0.0.39"]).await;
        let is_its_own = |selector: &str| selector.ends_with("%3Dusers-39");
        let watches = watches(&server);
        watches.iter().filter_map(|watch| watch.query("labelSelector")).any(is_its_own)
    })
    .await;
}

/// The same on a real API server.
#[tokio::test(flavor = "multi_thread")]
async fn forty_services_of_a_real_namespace_each_have_what_is_their_own() {
    let Some(space) = calm().await else { return };
    let put = async |service: usize, pods: &[u16]| {
        let name = format!("users-{service}");
        space.apply("endpointslices", &name, &controllers(&name, &name, pods).to_string()).await;
    };
    for number in 0..SERVICES {
        put(number, &[number as u16]).await;
    }
    let manager = FailoverManager::builder().provider(space.provider().await).build().await.expect("builds");
    let mut handles = Vec::new();
    for number in 0..SERVICES {
        handles.push(manager.service(&format!("users-{number}")).await.expect("a handle"));
    }
    for (number, handle) in handles.iter().enumerate() {
        has(handle, &[&format!("10.1.0.{number}")]).await;
    }
    put(35, &[99]).await;
    has(&handles[35], &["10.1.0.99"]).await;
    space.admin("DELETE", "endpointslices", "users-36", "").await;
    has(&handles[36], &[]).await;
    put(36, &[36, 37]).await;
    has(&handles[36], &["10.1.0.36", "10.1.0.37"]).await;
    has(&handles[37], &["10.1.0.37"]).await;
}

/// Watches that share no list share connections: up to 80 a connection, of the 100 that the server allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_and_fifty_watches_take_two_connections() {
    let Some(space) = calm().await else { return };
    let way = Way::to(&space.plane.url(), None).await;
    // The rights of an administrator: each watch is in another namespace.
    let token = space.plane.token_file(&format!("{}-admin", space.namespace), space.plane.admin());
    let provider = KubernetesProvider::builder()
        .api_server(format!("https://127.0.0.1:{}", way.port), space.plane.authority(), &token)
        .namespace(&space.namespace)
        .build()
        .await
        .expect("builds");
    let mut watches: Vec<_> = (0..150)
        .map(|number| {
            let query = Query::service(&service("users")).namespace(format!("{}-{number}", space.namespace));
            provider.watch(&query).expect("it watches")
        })
        .collect();
    for watch in &mut watches {
        assert!(next(watch).await.expect("an answer").entries().is_empty());
    }
    until(SOON, "all share two connections", async || way.open() == 2).await;
    // There is room for other requests, and for a watch instead of one that ends.
    provider.list(&Query::all()).await.expect("an answer");
    watches.truncate(80);
    let query = Query::service(&service("users")).namespace(&space.namespace);
    let mut one_more = provider.watch(&query).expect("it watches");
    assert!(next(&mut one_more).await.expect("an answer").entries().is_empty());
    let body = controllers("users", "users", &[7]).to_string();
    space.apply("endpointslices", "users", &body).await;
    sees(&mut one_more, SOON, "its endpoint", |set| ids(set).len() == 1).await;
    assert_eq!(way.open(), 2);
}

/// Returns how many connections this machine has to a port of loopback.
fn connections(port: u16) -> usize {
    let remote = format!(":{port:04X}");
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(std::fs::read_to_string);
    let is_ours = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        columns.next().is_some_and(|to| to.ends_with(&remote)) && columns.next() == Some("01")
    };
    tables.iter().flatten().map(|table| table.lines().filter(is_ours).count()).sum()
}

/// Measures what idle services cost: requests by the API server's own metrics, and connections.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_idle_services() {
    const TIME: Duration = Duration::from_secs(300);
    for services in [1, 200] {
        let Some(space) = calm().await else { return };
        for number in 0..services {
            let name = format!("users-{number}");
            let body = controllers(&name, &name, &[number as u16]).to_string();
            space.apply("endpointslices", &name, &body).await;
        }
        let port = space.plane.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let before = connections(port);
        let manager =
            FailoverManager::builder().provider(space.provider().await).build().await.expect("builds");
        let mut handles = Vec::new();
        for number in 0..services {
            handles.push(manager.service(&format!("users-{number}")).await.expect("a handle"));
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        let metrics = async || space.plane.request(space.plane.admin(), "GET", "/metrics", "").await.body;
        let requests = |text: &str| {
            let counted = text.lines().filter(|line| {
                line.starts_with("apiserver_request_total{")
                    && line.contains(r#"scope="namespace""#)
                    && (line.contains(r#"verb="LIST""#) || line.contains(r#"verb="WATCH""#))
                    && (line.contains(r#"resource="endpointslices""#)
                        || line.contains(r#"resource="configmaps""#))
            });
            counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        let first = requests(&metrics().await);
        tokio::time::sleep(TIME).await;
        let per_hour = (requests(&metrics().await) - first) * 3600.0 / TIME.as_secs_f64();
        let now = connections(port) - before;
        println!("{services} idle services: {per_hour:.0} requests an hour, {now} connections");
    }
}
