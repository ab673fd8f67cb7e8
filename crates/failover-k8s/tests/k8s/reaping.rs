//! What it costs to remove the registrations of processes that are gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::provider::{Provider, Registry};
use failover_k8s::KubernetesProvider;
use failover_testkit::{FaultServer, Reply, Request, TempDir};
use serde_json::{Value, json};

use crate::harness::{calm, endpoint};
use crate::scripted::is_slices;

const LEASE: Duration = Duration::from_secs(3);

/// The objects of an API server, by kind and name.
type Objects = Arc<Mutex<BTreeMap<(bool, String), Value>>>;

/// Answers as the API server does: each write of an object gives it another version.
fn answer(objects: &Objects, request: &Request) -> Reply {
    let mut objects = objects.lock().expect("whole");
    let version = request.number.to_string();
    let is_slice = is_slices(request);
    let name = request.path().rsplit('/').next().unwrap_or_default().to_owned();
    match request.method.as_str() {
        "PATCH" | "POST" | "PUT" => {
            let mut object = serde_json::from_slice::<Value>(&request.body).expect("JSON");
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            object["metadata"]["resourceVersion"] = version.into();
            object["metadata"]["uid"] = name.as_str().into();
            objects.insert((is_slice, name), object.clone());
            Reply::json(200, object.to_string())
        }
        "GET" if name == "leases" || name == "endpointslices" => {
            let limit: usize = request.query("limit").and_then(|limit| limit.parse().ok()).expect("a limit");
            let selector = request.query("labelSelector").unwrap_or_default();
            let is_meant = |object: &&Value| {
                let registrant = object["metadata"]["labels"]["failover.rs/registrant"].as_str();
                !is_slice || registrant.is_some_and(|registrant| selector.contains(registrant))
            };
            let all =
                || objects.iter().filter(|((slice, _), _)| *slice == is_slice).map(|(_, object)| object);
            let items: Vec<_> = all().filter(is_meant).take(limit).collect();
            let more = if all().filter(is_meant).count() > limit { "more" } else { "" };
            let metadata = json!({"resourceVersion": version, "continue": more});
            Reply::json(200, json!({"metadata": metadata, "items": items}).to_string())
        }
        "GET" => match objects.get(&(is_slice, name)) {
            Some(object) => Reply::json(200, object.to_string()),
            None => Reply::json(404, "{}"),
        },
        _ => Reply::json(404, "{}"),
    }
}

/// Forty processes register and idle: two of them read all leases, and each of the others reads a
/// few, so that its cost is the same as among five.
#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_registrant_does_not_grow_with_their_number() {
    let mut costs = Vec::new();
    for count in [5_usize, 40] {
        let objects = Objects::default();
        let server = FaultServer::start(move |request: Request| {
            let reply = answer(&objects, &request);
            async move { reply }
        })
        .await;
        let directory = TempDir::new().expect("a directory");
        let mut providers = Vec::new();
        for number in 0..count {
            let token = directory.path().join(format!("token-{number}"));
            std::fs::write(&token, format!("process-{number}")).expect("writes");
            let builder = KubernetesProvider::builder().api_server(server.url(), "", &token);
            let builder = builder.namespace("shop").registrant(format!("p{number:02}")).lease_duration(LEASE);
            let provider = builder.build().await.expect("builds");
            provider.register(&endpoint(&format!("e{number}"), "10.0.0.1")).await.expect("registers");
            providers.push(provider);
        }
        tokio::time::sleep(LEASE).await;
        let before = server.request_count();
        tokio::time::sleep(LEASE * 2).await;
        let requests = server.requests().split_off(before);
        let lists: Vec<_> = requests
            .iter()
            .filter(|request| request.path().ends_with("/leases") && request.method == "GET")
            .collect();
        let whole = |request: &&&Request| request.query("limit") == Some("100");
        let mut reapers: Vec<_> =
            lists.iter().filter(whole).filter_map(|list| list.header("authorization")).collect();
        reapers.sort_unstable();
        reapers.dedup();
        assert_eq!(reapers, ["Bearer process-0", "Bearer process-1"], "of {count}");
        // Bytes of leases that one of the others reads, by the number of leases in each answer.
        let last = format!("Bearer process-{}", count - 1);
        let of_last: Vec<_> = requests.iter().filter(|r| r.header("authorization") == Some(&last)).collect();
        let read =
            lists.iter().filter(|list| list.header("authorization") == Some(&last)).count() * count.min(8);
        costs.push((of_last.len(), read));
        for provider in providers {
            provider.close().await.expect("closes");
        }
    }
    println!("measured: requests and leases read in two leases by one of 5 and of 40: {costs:?}");
    let [(few, _), (many, read)] = costs[..] else { panic!("two") };
    // A busy machine stretches the time in which they are counted. Were each to read what the
    // others registered, there would be eight times as many.
    assert!(many <= few * 2, "{costs:?}");
    assert!(read <= 12 * 8, "{costs:?}");
}

/// Reads a counter of the API server, summed over the series that contain these texts.
fn counter(metrics: &str, name: &str, parts: &[&str]) -> f64 {
    let lines =
        metrics.lines().filter(|line| line.starts_with(name) && parts.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Measures idle registrants in one namespace: as many processes as run here, among as many leases
/// as there are.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_idle_registrants() {
    for (leases, running) in [(10, 10), (150, 150), (1000, 150)] {
        let Some(space) = calm().await else { return };
        let mut providers = Vec::new();
        for number in 0..running {
            // Those that run do not all come first.
            let name = format!("p{:04}", number * leases / running);
            let provider = space.builder().registrant(name).build().await.expect("builds");
            let one = endpoint(&format!("e{number}"), "10.0.0.1").to_builder().build().expect("valid");
            provider.register(&one).await.expect("registers");
            providers.push(provider);
        }
        for number in running..leases {
            let name = format!("fo-q{number:04}-0000000000000000");
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "labels": {"failover.rs/registrant": name, "failover.rs/reaper": "true"}},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00.000000Z"}});
            assert_eq!(space.admin("POST", "leases", "", &lease.to_string()).await.status, 201);
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
        let metrics = async || space.plane.request(space.plane.admin(), "GET", "/metrics", "").await.body;
        let seconds = 60;
        let before = metrics().await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let after = metrics().await;
        let grown = |name: &str, parts: &[&str]| counter(&after, name, parts) - counter(&before, name, parts);
        let per = |value: f64| value / f64::from(running) * 60.0 / seconds as f64;
        let requests = |resource: &str, verb: &str| {
            per(grown(
                "apiserver_request_total",
                &[&format!("resource=\"{resource}\""), &format!("verb=\"{verb}\"")],
            ))
        };
        let bytes = |resource: &str| {
            let verb = if resource == "leases" { "verb=\"LIST\"" } else { "verb=\"GET\"" };
            grown("apiserver_response_sizes_sum", &[&format!("resource=\"{resource}\""), verb])
        };
        println!(
            "{running} registrants among {leases} leases, each per minute: {:.1} PUT of leases, {:.1} LIST of leases, {:.1} \
             GET of slices; together {:.2} MiB of leases and {:.2} MiB of slices read per minute",
            requests("leases", "PUT"),
            requests("leases", "LIST"),
            requests("endpointslices", "GET"),
            bytes("leases") / 1024.0 / 1024.0,
            bytes("endpointslices") / 1024.0 / 1024.0,
        );
        for provider in providers {
            provider.close().await.expect("closes");
        }
    }
}
