//! Leases on an API server that misbehaves on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::ErrorKind;
use failover_core::provider::{Provider, Registry};
use failover_testkit::{FaultServer, Reply, Request, until};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::endpoint;
use crate::scripted::{SOON, builder, is_slices, list, slice, status};

/// A lease was deleted and creating the next one failed; a registration then creates it, and the
/// earlier registrations are restored nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_lease_bound_comes_back_however_the_next_is_made() {
    let leases = Arc::new(AtomicUsize::new(0));
    let busy = Arc::new(AtomicBool::new(false));
    let (is_busy, made) = (Arc::clone(&busy), Arc::clone(&leases));
    let server = FaultServer::start(move |request| {
        let (busy, leases) = (Arc::clone(&is_busy), Arc::clone(&made));
        async move {
            let lease = |number: usize| {
                json!({"metadata": {"name": "x", "uid": number.to_string(), "resourceVersion": "1"}, "spec": {"renewTime": "x"}})
            };
            match (request.method.as_str(), is_slices(&request)) {
                ("PATCH", true) => Reply::json(200, slice("x", 1, &[1]).to_string()),
                ("GET", true) => list(5, &[]),
                ("POST", false) if busy.load(Ordering::Relaxed) => Reply::json(503, status(503, "Busy").to_string()),
                ("POST", false) => {
                    Reply::json(201, lease(leases.fetch_add(1, Ordering::Relaxed) + 1).to_string())
                }
                ("PUT", false) if leases.load(Ordering::Relaxed) > 1 => Reply::json(200, lease(2).to_string()),
                ("PUT", false) => {
                    busy.store(true, Ordering::Relaxed);
                    Reply::json(404, status(404, "NotFound").to_string())
                }
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let posts = || server.requests().iter().filter(|request| request.method.as_str() == "POST").count();
    until(SOON, "a new lease is refused", async || posts() >= 2).await;
    busy.store(false, Ordering::Relaxed);
    provider.register(&endpoint("b", "10.0.0.2")).await.expect("registers");
    let writes = || {
        let requests = server.requests();
        let to_a =
            requests.iter().find(|request| request.method.as_str() == "PATCH").map(|r| r.path().to_owned());
        requests.iter().filter(|r| r.method.as_str() == "PATCH" && Some(r.path()) == to_a.as_deref()).count()
    };
    until(SOON, "a is registered again", async || writes() == 2).await;
}

fn lease(uid: &str) -> Value {
    json!({"metadata": {"name": "x", "uid": uid, "resourceVersion": "1"}, "spec": {"renewTime": "x"}})
}

/// The response to the creation of a lease is lost. The lease counts as held only once it is
/// written again: it may be old and about to expire.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_there_already_is_held_once_it_has_been_written() {
    let refused = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&refused);
    let server = FaultServer::start(move |request| {
        let refuses = refuses.load(Ordering::Relaxed);
        async move {
            let found = json!({"metadata": {"name": "x", "uid": "l", "resourceVersion": "7"}, "spec": {}});
            match (request.method.as_str(), is_slices(&request), request.path().contains("/leases")) {
                ("PATCH", true, _) => Reply::json(200, slice("x", 1, &[1]).to_string()),
                ("POST", false, true) => Reply::json(409, status(409, "AlreadyExists").to_string()),
                ("PUT", false, true) if refuses => Reply::json(503, status(503, "Busy").to_string()),
                ("GET" | "PUT", false, true) => Reply::json(200, found.to_string()),
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider = builder.reaper(false).build().await.expect("builds");
    let one = endpoint("a", "10.0.0.1");
    let error = provider.register(&one).await.expect_err("nothing holds it");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    let count = |method: &str| server.requests().iter().filter(|request| request.method == method).count();
    assert_eq!(count("PATCH"), 0, "nothing was registered");
    refused.store(false, Ordering::Relaxed);
    provider.register(&one).await.expect("registers");
    let requests = server.requests();
    let written = requests.iter().rfind(|request| request.method == "PUT").expect("it was written");
    let lease: Value = serde_json::from_slice(&written.body).expect("JSON");
    assert_eq!(lease["metadata"]["resourceVersion"], "7", "over what was there");
    assert!(lease["spec"]["renewTime"].is_string() && lease["spec"]["leaseDurationSeconds"] == 30, "{lease}");
    assert_eq!(count("PATCH"), 1);
}

/// A reaper marks slices a moment after it read the lease: the process may already have checked for
/// marks and found none.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_comes_after_the_lease_was_renewed_is_taken_off() {
    a_late_mark_is_taken_off(Duration::from_secs(4)).await;
}

/// A reaper whose clock is slightly faster than the process's.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_a_reaper_whose_clock_is_faster_is_taken_off() {
    a_late_mark_is_taken_off(Duration::from_millis(2710)).await;
}

/// Tests a lease of 3 s that is not renewed for this long.
async fn a_late_mark_is_taken_off(silent: Duration) {
    let stored = Arc::new(std::sync::Mutex::new((Value::Null, 0_u32)));
    // When the lease was created: after the process sent it.
    let begun = Arc::new(std::sync::OnceLock::new());
    let store = Arc::clone(&stored);
    let server = FaultServer::start(move |request| {
        let (store, begun) = (Arc::clone(&store), Arc::clone(&begun));
        async move {
            let mut store = store.lock().expect("no panic");
            match (request.method.as_str(), is_slices(&request)) {
                ("PATCH", true) => {
                    let mut object: Value = serde_json::from_slice(&request.body).expect("JSON");
                    object["metadata"]["uid"] = "1".into();
                    object["metadata"]["resourceVersion"] = "1".into();
                    store.0 = object;
                    Reply::json(200, store.0.to_string())
                }
                ("GET", true) => {
                    let answer = store.0.to_string();
                    store.1 += 1;
                    if store.1 == 1 {
                        let annotation = &mut store.0["metadata"]["annotations"]["failover.rs/endpoint"];
                        *annotation =
                            annotation.as_str().expect("text").replacen('{', "{\"expired\":true,", 1).into();
                    }
                    Reply::json(200, answer)
                }
                ("PUT", true) => {
                    store.0 = serde_json::from_slice(&request.body).expect("JSON");
                    Reply::json(200, store.0.to_string())
                }
                ("PUT", false) if begun.get_or_init(Instant::now).elapsed() < silent => {
                    Reply::json(503, status(503, "Busy").to_string())
                }
                ("PUT" | "POST", false) => {
                    begun.get_or_init(Instant::now);
                    Reply::json(200, lease("1").to_string())
                }
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let is_marked = || stored.lock().expect("no panic").0.to_string().contains("expired");
    until(Duration::from_secs(10), "it is marked, late", async || is_marked()).await;
    until(SOON, "the mark is taken off", async || !is_marked()).await;
}

/// Slow writes of slices, for example because of an admission webhook, do not delay the renewal of
/// the lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_what_it_lost_is_registered_again() {
    let (writes, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = FaultServer::start(move |request| {
        let (writes, made) = (Arc::clone(&writes), Arc::clone(&made));
        async move {
            match (request.method.as_str(), is_slices(&request)) {
                ("PATCH", true) if writes.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Reply::json(200, slice("x", 1, &[1]).to_string())
                }
                ("PATCH", true) => Reply::hang(),
                ("POST", false) => {
                    Reply::json(201, lease(&made.fetch_add(1, Ordering::Relaxed).to_string()).to_string())
                }
                ("PUT", false) if made.load(Ordering::Relaxed) > 1 => {
                    Reply::json(200, lease("1").to_string())
                }
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let count = |method: &str| server.requests().iter().filter(|request| request.method == method).count();
    until(SOON, "it is registered again", async || count("PATCH") == 2).await;
    let before = count("PUT");
    until(SOON, "the lease is renewed all the same", async || count("PUT") >= before + 3).await;
}

/// A deletion forbidden for one dead process does not hold up the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_may_not_be_reaped_holds_up_none_that_comes_later() {
    let begun = Instant::now();
    let server = FaultServer::start(move |request: Request| async move {
        let lease = |name: &str| {
            let labels = json!({"failover.rs/registrant": name});
            json!({"metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": labels},
                   "spec": {"leaseDurationSeconds": 3, "holderIdentity": name, "renewTime": "x"}})
        };
        let mut leases = vec![lease("forbidden")];
        if begun.elapsed() > Duration::from_secs(9) {
            leases.push(lease("late"));
        }
        let named = leases
            .iter()
            .find(|one| request.path().ends_with(one["metadata"]["name"].as_str().unwrap_or("?")));
        match (request.method.as_str(), is_slices(&request)) {
            ("GET", false) => named.map_or_else(|| list(5, &leases), |one| Reply::json(200, one.to_string())),
            ("GET", true) => {
                let selector = request.query("labelSelector").unwrap_or_default().to_owned();
                let of = if selector.contains("late") { "late" } else { "forbidden" };
                let mut object = slice(of, 1, &[]);
                let document = json!({"v": 1, "id": of, "name": "users", "address": "10.0.0.1", "port": 80});
                object["metadata"]["annotations"] = json!({"failover.rs/endpoint": document.to_string()});
                list(5, &[object])
            }
            ("PUT", true) if request.path().ends_with("late") => Reply::json(200, "{}"),
            _ => Reply::json(403, status(403, "Forbidden").to_string()),
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let _provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(true).build().await.expect("builds");
    let marked = |name: &str| {
        let writes = server.requests().into_iter().filter(|request| request.method == "PUT");
        writes.filter(|request| request.path().ends_with(name)).count()
    };
    until(Duration::from_secs(16), "the other one is marked", async || marked("late") > 0).await;
    assert!((2..=12).contains(&marked("forbidden")), "{} times", marked("forbidden"));
}

/// A registration created the lease and failed; by the next one, the lease has expired and been
/// deleted. The registration is bound to a new one, because its slice would be deleted with the old
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_comes_late_is_not_bound_to_a_lease_that_is_gone() {
    let (leases, writes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = FaultServer::start(move |request| {
        let (leases, writes) = (Arc::clone(&leases), Arc::clone(&writes));
        async move {
            match (request.method.as_str(), is_slices(&request)) {
                ("PATCH", true) if writes.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Reply::json(503, status(503, "Busy").to_string())
                }
                ("PATCH", true) => Reply::json(200, slice("x", 1, &[1]).to_string()),
                ("POST", false) => {
                    let number = leases.fetch_add(1, Ordering::Relaxed);
                    Reply::json(201, lease(&format!("uid-{number}")).to_string())
                }
                // The first lease is gone.
                ("PUT", false) if leases.load(Ordering::Relaxed) > 1 => {
                    Reply::json(200, lease("uid-1").to_string())
                }
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    let one = endpoint("a", "10.0.0.1");
    provider.register(&one).await.expect_err("the server is busy");
    tokio::time::sleep(Duration::from_secs(2)).await;
    provider.register(&one).await.expect("registers");
    let requests = server.requests();
    let written = requests.iter().rfind(|request| request.method == "PATCH").expect("it was written");
    let object: Value = serde_json::from_slice(&written.body).expect("JSON");
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "uid-1");
}

/// After a lost lease, one endpoint is refused permanently: the others are registered again once,
/// not with each attempt.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_does_not_make_the_others_be_written_again_and_again() {
    let (lost, leases) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_lost, made) = (Arc::clone(&lost), Arc::clone(&leases));
    let server = FaultServer::start(move |request| {
        let (lost, leases) = (is_lost.load(Ordering::Relaxed), Arc::clone(&made));
        async move {
            let is_refused = String::from_utf8_lossy(&request.body).contains("10.0.0.2");
            match (request.method.as_str(), is_slices(&request)) {
                ("PATCH", true) if lost && is_refused => {
                    Reply::json(403, status(403, "Forbidden").to_string())
                }
                ("PATCH", true) => Reply::json(200, slice("x", 1, &[1]).to_string()),
                ("POST", false) => {
                    let number = leases.fetch_add(1, Ordering::Relaxed);
                    Reply::json(201, lease(&number.to_string()).to_string())
                }
                ("PUT", false) if lost && leases.load(Ordering::Relaxed) == 1 => {
                    Reply::json(404, status(404, "NotFound").to_string())
                }
                ("PUT", false) => {
                    let number = leases.load(Ordering::Relaxed) - 1;
                    Reply::json(200, lease(&number.to_string()).to_string())
                }
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    for (name, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
        provider.register(&endpoint(name, address)).await.expect("registers");
    }
    lost.store(true, Ordering::Relaxed);
    let writes = |address: &str| {
        let requests = server.requests().into_iter().filter(|request| request.method == "PATCH");
        requests.filter(|request| String::from_utf8_lossy(&request.body).contains(address)).count()
    };
    until(SOON, "it is tried again", async || writes("10.0.0.2") >= 4).await;
    assert_eq!((writes("10.0.0.1"), writes("10.0.0.3")), (2, 2), "registered, and registered again");
}

/// A lease has whole seconds, rounded up: with fewer, the process would not check for marks that
/// others may have set.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_broken_seconds_is_written_as_the_next_whole_one() {
    let server = FaultServer::start(async |request| match (request.method.as_str(), is_slices(&request)) {
        ("PATCH", true) => Reply::json(200, slice("x", 1, &[1]).to_string()),
        ("POST", false) => Reply::json(201, lease("1").to_string()),
        _ => Reply::json(404, status(404, "NotFound").to_string()),
    })
    .await;
    for (millis, seconds) in [(3000, 3), (3900, 4)] {
        let (_directory, builder) = builder(&server.url());
        let duration = Duration::from_millis(millis);
        let provider = builder.lease_duration(duration).reaper(false).build().await.expect("builds");
        provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
        let requests = server.requests();
        let made = requests.iter().rfind(|request| request.method == "POST").expect("it was made");
        let lease: Value = serde_json::from_slice(&made.body).expect("JSON");
        assert_eq!(lease["spec"]["leaseDurationSeconds"], seconds);
    }
}

/// A provider that was closed for a while with registrations renews its lease as soon as it is open
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_at_once_when_a_provider_is_opened_again() {
    let server = FaultServer::start(async |request| match (request.method.as_str(), is_slices(&request)) {
        ("PATCH", true) => Reply::json(200, slice("x", 1, &[1]).to_string()),
        ("POST", false) if request.path().contains("reviews") => {
            Reply::json(201, json!({"status": {"allowed": true}}).to_string())
        }
        ("POST" | "PUT", false) => Reply::json(201, lease("1").to_string()),
        ("GET", false) if request.path() == "/version" => Reply::json(200, "{}"),
        _ => Reply::json(404, status(404, "NotFound").to_string()),
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(6)).reaper(false).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    provider.close().await.expect("closes");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let renewals = || server.requests().iter().filter(|request| request.method == "PUT").count();
    assert_eq!(renewals(), 0);
    provider.connect().await.expect("connects");
    until(Duration::from_millis(500), "it is renewed", async || renewals() == 1).await;
}

/// A process is suspended twice: until its lease has expired, and again before it has checked its
/// slices, so that lease and slices are deleted. The slices went with the lease; they were not
/// deregistered.
#[tokio::test(flavor = "multi_thread")]
async fn what_went_with_the_lease_is_not_taken_for_deregistered() {
    let begun = Instant::now();
    let (leases, renewals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = FaultServer::start(move |request| {
        let (leases, renewals) = (Arc::clone(&leases), Arc::clone(&renewals));
        async move {
            let again = leases.load(Ordering::Relaxed) > 1;
            match (request.method.as_str(), is_slices(&request)) {
                ("PATCH", true) => Reply::json(200, slice("x", 1, &[1]).to_string()),
                ("POST", false) => {
                    Reply::json(201, lease(&leases.fetch_add(1, Ordering::Relaxed).to_string()).to_string())
                }
                ("PUT", false) if again => Reply::json(200, lease("1").to_string()),
                ("PUT", false) if begun.elapsed() < Duration::from_secs(4) => {
                    Reply::json(503, status(503, "Busy").to_string())
                }
                ("PUT", false) if renewals.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Reply::json(200, lease("0").to_string())
                }
                // By now it is gone, and its slices with it.
                _ => Reply::json(404, status(404, "NotFound").to_string()),
            }
        }
    })
    .await;
    let (_directory, builder) = builder(&server.url());
    let provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(false).build().await.expect("builds");
    provider.register(&endpoint("a", "10.0.0.1")).await.expect("registers");
    let writes = || server.requests().iter().filter(|request| request.method == "PATCH").count();
    until(Duration::from_secs(12), "it is registered again", async || writes() == 2).await;
}

/// Starts a server with three slices of a dead process, the first of which may not be deleted, with
/// or without the lease.
async fn left_behind(has_lease: bool) -> FaultServer {
    FaultServer::start(move |request: Request| async move {
        let bound = |name: &str| {
            let mut object = slice(name, 1, &[]);
            object["metadata"]["labels"]["failover.rs/registrant"] = json!("dead");
            let document = json!({"v": 1, "id": name, "name": "users", "address": "10.0.0.1", "port": 80});
            object["metadata"]["annotations"] = json!({"failover.rs/endpoint": document.to_string()});
            object
        };
        let labels = json!({"failover.rs/registrant": "dead"});
        let dead = json!({"metadata": {"name": "dead", "uid": "d", "resourceVersion": "1", "labels": labels},
                          "spec": {"leaseDurationSeconds": 3, "holderIdentity": "dead", "renewTime": "x"}});
        match (request.method.as_str(), is_slices(&request)) {
            ("GET", true) => list(5, &["first", "second", "third"].map(bound)),
            ("GET", false) if request.path().ends_with("dead") => Reply::json(200, dead.to_string()),
            ("GET", false) if has_lease => list(5, &[dead]),
            ("GET", false) => list(5, &[]),
            ("DELETE", true) if request.path().ends_with("first") => {
                Reply::json(403, status(403, "Forbidden").to_string())
            }
            _ => Reply::json(200, "{}"),
        }
    })
    .await
}

fn deleted(server: &FaultServer, name: &str) -> bool {
    let requests = server.requests();
    requests.iter().any(|request| request.method == "DELETE" && request.path().ends_with(name))
}

/// One slice of a dead process may not be deleted; the others are.
#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_may_not_be_deleted_holds_up_no_other_of_its_lease() {
    let server = left_behind(true).await;
    let (_directory, builder) = builder(&server.url());
    let _provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(true).build().await.expect("builds");
    until(Duration::from_secs(14), "the last one is deleted", async || deleted(&server, "third")).await;
    assert!(["dead", "first", "second"].iter().all(|name| deleted(&server, name)));
}

/// The same without the lease: orphans are looked for every tenth round, and deleted if the next
/// look still finds them.
#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_may_not_be_deleted_holds_up_no_other_without_a_lease() {
    let server = left_behind(false).await;
    let (_directory, builder) = builder(&server.url());
    let begun = Instant::now();
    let _provider =
        builder.lease_duration(Duration::from_secs(3)).reaper(true).build().await.expect("builds");
    until(Duration::from_secs(30), "the last one is deleted", async || deleted(&server, "third")).await;
    assert!(["first", "second"].iter().all(|name| deleted(&server, name)));
    assert!(begun.elapsed() > Duration::from_secs(10), "a lease that is made just now may not be listed yet");
}
