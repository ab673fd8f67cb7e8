//! The measurements of docs/kubernetes.md: `cargo test --release -p failover-k8s --test k8s --
//! --ignored measure --nocapture --test-threads 1`.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use failover_core::provider::{Provider, Query, Registry};
use failover_core::{FailoverManager, Health};
use failover_k8s::KubernetesProvider;
use failover_testkit::{FaultServer, Process, Reply, Request, until};
use http_body_util::BodyExt;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::discovery::controllers;
use crate::harness::{calm, endpoint, next, sees, service};
use crate::scripted::{builder, is_watch, list, slice};

const ROUNDS: usize = 200;

fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
}

fn shown(mut all: Vec<u128>) -> String {
    all.sort_unstable();
    let at = |share: usize| all[(all.len() * share / 100).min(all.len() - 1)] as f64 / 1000.0;
    format!("median {:.1} ms, p99 {:.1} ms, of {}", at(50), at(99), all.len())
}

/// The writing process: registers a numbered endpoint, deregisters it, and so on; its log states
/// when it started each.
#[tokio::test]
#[ignore = "the program of another process, which a measurement starts"]
async fn a_process_that_writes() {
    let Ok(url) = std::env::var("CHILD_URL") else { return };
    let variable = |name: &str| std::env::var(name).expect("it is set");
    let authority = std::fs::read(variable("CHILD_AUTHORITY")).expect("reads");
    let builder = KubernetesProvider::builder().api_server(url, authority, variable("CHILD_TOKEN"));
    let provider = builder.namespace(variable("CHILD_NAMESPACE")).build().await.expect("builds");
    for number in 1..=ROUNDS {
        let one = endpoint("m", "10.0.0.1").to_builder().weight(number as u32).build().expect("valid");
        tokio::time::sleep(Duration::from_millis(30)).await;
        println!("WRITE {}", micros());
        provider.register(&one).await.expect("registers");
        tokio::time::sleep(Duration::from_millis(30)).await;
        println!("WRITE {}", micros());
        provider.set_health(one.service(), one.id(), Health::Unhealthy).await.expect("claims");
    }
    println!("DONE");
    std::future::pending::<()>().await;
}

/// Measures from a write in one process to a changed selection in another, beside a bare watch of
/// the API server.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_from_a_write_to_a_selection() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    provider.register(&endpoint("m", "10.0.0.1")).await.expect("registers");
    // A bare watch, to measure the server's own share.
    let raw = Arc::new(Mutex::new(Vec::new()));
    let watching = {
        let raw = Arc::clone(&raw);
        let kubeconfig = space.plane.kubeconfig("raw", &space.token, &space.namespace);
        let path =
            format!("{}?watch=true&resourceVersion=0&timeoutSeconds=300", space.path("endpointslices", ""));
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("reads");
        let options = kube::config::KubeConfigOptions::default();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
        let client = kube::Client::try_from(config).expect("a client");
        tokio::spawn(async move {
            let request = http::Request::get(path).body(kube::client::Body::empty()).expect("valid");
            let mut body = client.send(request).await.expect("an answer").into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let now = micros();
                let lines =
                    frame.data_ref().map_or(0, |data| String::from_utf8_lossy(data).matches('\n').count());
                raw.lock().await.extend(std::iter::repeat_n(now, lines));
            }
        })
    };
    let manager = FailoverManager::builder().provider(space.provider().await).build().await.expect("builds");
    let users = manager.service("users").await.expect("a handle");
    users.ready().await.expect("it is found");
    let directory = space.plane.directory();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "measure::a_process_that_writes", "--ignored", "--nocapture"])
        .env("CHILD_URL", space.plane.url())
        .env("CHILD_AUTHORITY", directory.join("ca.crt"))
        .env("CHILD_TOKEN", &space.token_file)
        .env("CHILD_NAMESPACE", &space.namespace);
    let log = directory.join("writer.log");
    let _ = std::fs::remove_file(&log);
    let before = raw.lock().await.len();
    let writer = Process::start(&command, &log).expect("starts");
    let mut selected = Vec::new();
    let state = || users.endpoints().first().map(|entry| (entry.endpoint().weight(), entry.health()));
    for number in 1..=ROUNDS as u32 {
        for health in [Health::Unknown, Health::Unhealthy] {
            let begun = Instant::now();
            while state() != Some((number, health)) {
                assert!(begun.elapsed() < Duration::from_secs(20), "round {number}: {}", writer.log_tail());
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            selected.push(micros());
        }
    }
    let text = std::fs::read_to_string(&log).expect("its log");
    let written: Vec<u128> =
        text.lines().filter_map(|line| line.strip_prefix("WRITE ")?.parse().ok()).collect();
    let raw: Vec<u128> = raw.lock().await[before..].to_vec();
    assert_eq!((written.len(), raw.len()), (selected.len(), selected.len()));
    for (name, offset) in [("register", 0), ("ready=false", 1)] {
        let of = |all: &[u128]| all.iter().skip(offset).step_by(2).copied().collect::<Vec<_>>();
        let (written, raw, selected) = (of(&written), of(&raw), of(&selected));
        let between = |from: &[u128], to: &[u128]| {
            to.iter().zip(from).map(|(to, from)| to.saturating_sub(*from)).collect()
        };
        println!("{name} to the bare watch: {}", shown(between(&written, &raw)));
        println!("{name} to the selection: {}", shown(between(&written, &selected)));
        println!("the selection after the bare watch: {}", shown(between(&raw, &selected)));
    }
    watching.abort();
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or_default()
}

/// Measures a Service of 5 000 endpoints in 50 slices.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_a_service_of_five_thousand_endpoints() {
    let Some(space) = calm().await else { return };
    let pods = |number: u16| (number * 100..number * 100 + 100).collect::<Vec<_>>();
    for number in 0..50 {
        let name = format!("users-{number}");
        let answer = space
            .apply("endpointslices", &name, &controllers(&name, "users", &pods(number)).to_string())
            .await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
    let provider = space.provider().await;
    provider.ping().await.expect("answers");
    let (users, before) = (service("users"), resident());
    let begun = Instant::now();
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    let set = next(&mut watch).await.expect("a set");
    println!(
        "first set of {} endpoints: {:?}, {} KiB more",
        set.entries().len(),
        begun.elapsed(),
        resident() - before
    );
    drop(set);
    let manager = FailoverManager::builder().provider(space.provider().await).build().await.expect("builds");
    let before = resident();
    let begun = Instant::now();
    let handle = manager.service("users").await.expect("a handle");
    until(Duration::from_secs(10), "all are known", async || handle.endpoints().len() == 5000).await;
    println!("to the selection of a manager: {:?}, {} KiB more", begun.elapsed(), resident() - before);
    drop((handle, manager));
    let mut times = Vec::new();
    let processor = processor_time();
    for round in 0..50_u16 {
        let name = format!("users-{round}");
        let mut slice = controllers(&name, "users", &pods(round));
        slice["endpoints"][7]["conditions"]["ready"] = false.into();
        let begun = Instant::now();
        space.apply("endpointslices", &name, &slice.to_string()).await;
        let answered = begun.elapsed();
        let unhealthy = usize::from(round) + 1;
        sees(&mut watch, Duration::from_secs(5), "the change", |set| {
            set.entries().iter().filter(|entry| entry.health() == Health::Unhealthy).count() == unhealthy
        })
        .await;
        times.push(begun.elapsed().saturating_sub(answered).as_micros());
    }
    println!("a change of one slice, from the writer's answer to the set: {}", shown(times));
    let with_watch = processor_time().saturating_sub(processor) / 50;
    // The same writes without a reader, to tell their share.
    drop(watch);
    let processor = processor_time();
    for round in 0..50_u16 {
        let name = format!("users-{round}");
        let slice = controllers(&name, "users", &pods(round));
        space.apply("endpointslices", &name, &slice.to_string()).await;
    }
    let without = processor_time().saturating_sub(processor) / 50;
    println!("processor time of this process for each: {:?}", with_watch.saturating_sub(without));
}

/// Returns the processor time that this process has used, in steps of 10 ms.
fn processor_time() -> Duration {
    processor_time_of(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// Returns `utime` and `stime` of a line of `/proc/PID/stat`, in hundredths of a second.
fn processor_time_of(stat: &str) -> Duration {
    // The 2nd field, the name, may contain anything; the 3rd follows its last parenthesis. Others
    // may be negative.
    let (_, fields) = stat.rsplit_once(") ").expect("a line of stat");
    let ticks = |number: usize| {
        let field = fields.split_whitespace().nth(number - 3).expect("it has the field");
        field.parse::<u64>().expect("a number")
    };
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}

#[test]
fn the_processor_time_is_that_of_the_kernel() {
    // Without a terminal, the 8th field is -1.
    let line = "7 (a) b c) S 1 7 7 0 -1 4194560 100 200 3 4 57 43 900 800 20 0 3 0 1000 2000 300 18446744073709551615";
    assert_eq!(processor_time_of(line), Duration::from_secs(1));
    let before = processor_time();
    let begun = Instant::now();
    let mut sum = 0_u64;
    while begun.elapsed() < Duration::from_secs(1) {
        sum = std::hint::black_box(sum.wrapping_add(1));
    }
    let used = processor_time().saturating_sub(before);
    // The processor is shared, and other tests run meanwhile.
    assert!(used >= Duration::from_millis(200), "{used:?}");
}

/// Measures the cost of an idle watch, for ten minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_an_idle_watch() {
    let server = FaultServer::start(async |request: Request| {
        if !is_watch(&request) {
            return list(5, &[slice("a", 1, &[1])]);
        }
        // Like the real server, it ends after the requested time.
        let seconds = request
            .query("timeoutSeconds")
            .and_then(|seconds| seconds.parse().ok())
            .expect("it is asked for");
        let (sender, reply) = Reply::stream(200);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            drop(sender);
        });
        reply
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = builder.build().await.expect("builds");
    let users = service("users");
    let mut watch = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut watch).await.expect("a set");
    let minutes = 10;
    let _ = tokio::time::timeout(Duration::from_secs(60 * minutes), next_ignoring(&mut watch)).await;
    let requests = server.request_count() as u64;
    println!("an idle watch: {requests} requests in {minutes} min, {} in an hour", requests * 60 / minutes);
}

async fn next_ignoring(watch: &mut failover_core::provider::WatchStream<'_>) {
    use futures_util::StreamExt;
    while let Some(item) = watch.next().await {
        println!("published: {item:?}");
    }
}
