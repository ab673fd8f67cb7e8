//! The measurements of docs/consul.md: `cargo test -p failover-consul --test consul -- --ignored
//! --nocapture measure::of_`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use failover_consul::ConsulProvider;
use failover_core::provider::{Provider, Query, Registry};
use failover_core::{Endpoint, FailoverManager, Health, HealthCheck};
use failover_testkit::consul::{Agent, AgentOptions};
use failover_testkit::servers::Server;
use failover_testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{SECOND, builder, endpoint, name, next, provider};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes of figures for docs/consul.md"]
async fn of_the_newest() {
    figures(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes of figures for docs/consul.md"]
async fn of_debian() {
    figures(Server::ConsulDebian).await;
}

async fn figures(server: Server) {
    let Some(agent) = AgentOptions::new(server).start() else { return };
    println!("{server:?}");
    // `MEASURE_ONLY=idle,busy` selects some of them.
    let only = std::env::var("MEASURE_ONLY").unwrap_or_default();
    let wants = |part: &str| only.is_empty() || only.split(',').any(|name| name == part);
    if wants("registration") {
        registration(&agent).await;
    }
    if wants("death") {
        death(&agent).await;
    }
    if wants("idle") {
        idle(&agent).await;
    }
    if wants("busy") {
        busy(&agent).await;
    }
    if wants("sixty") {
        sixty(&agent).await;
    }
    if wants("large") {
        ten_thousand(&agent);
    }
}

fn micros() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_micros()
}

fn print_times(what: &str, mut all: Vec<f64>) {
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    println!(
        "  {what}: n {}, median {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        all.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// This program in another process, running one of the tests below.
struct Other {
    child: Child,
    lines: Receiver<String>,
}

impl Other {
    fn start(test: &str, address: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", &format!("measure::{test}"), "--ignored", "--nocapture"])
            .env("MEASURE", address)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .expect("starts");
        let (sender, lines) = sync_channel(10_000);
        let out = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("MEASURE ") {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(SECOND * 60).expect("a line")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints when it first sees each endpoint of `users` in a state.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a part of the figures"]
async fn reader() {
    let Ok(address) = std::env::var("MEASURE") else { return };
    let manager = FailoverManager::builder().provider(provider(&address)).build().await.expect("builds");
    let users = manager.service("users").await.expect("a service");
    let mut seen = BTreeMap::new();
    println!("MEASURE ready");
    loop {
        for entry in users.endpoints() {
            let id = entry.endpoint().id().to_string();
            if seen.insert(id.clone(), entry.health()) != Some(entry.health()) {
                println!("MEASURE {id} {} {}", entry.health(), micros());
                let _ = std::io::stdout().flush();
            }
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Measures Consul's own share with a bare blocking query.
fn raw(address: String) -> Receiver<String> {
    let (sender, lines) = sync_channel(10_000);
    std::thread::spawn(move || {
        let (mut index, mut seen) = (0_u64, std::collections::BTreeSet::new());
        loop {
            let Ok(mut stream) = std::net::TcpStream::connect(&address) else { return };
            let path = format!("/v1/health/service/users?stale&index={index}&wait=60s");
            let _ = write!(stream, "GET {path} HTTP/1.0\r\nHost: a\r\n\r\n");
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut stream, &mut text);
            let at = micros();
            for line in text.lines() {
                if let Some(found) = line.strip_prefix("X-Consul-Index: ") {
                    index = found.trim().parse().unwrap_or(0);
                }
            }
            for piece in text.split("\"ID\":\"m-").skip(1).chain(text.split("\"ID\": \"m-").skip(1)) {
                let id = format!("m-{}", piece.split('"').next().unwrap_or_default());
                if seen.insert(id.clone()) && sender.send(format!("{id} - {at}")).is_err() {
                    return;
                }
            }
        }
    });
    lines
}

fn at(lines: &Receiver<String>, id: &str, state: &str) -> u128 {
    loop {
        let line = lines.recv_timeout(SECOND * 60).expect("it is seen");
        let parts: Vec<_> = line.split(' ').collect();
        if parts[0] == id && parts[1] == state {
            return parts[2].parse().expect("a time");
        }
    }
}

async fn registration(agent: &Agent) {
    let other = Other::start("reader", &agent.address());
    assert_eq!(other.line(), "ready");
    let consul = raw(agent.address());
    let writer = provider(&agent.address());
    let (mut whole, mut own, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..100_u8 {
        tokio::time::sleep(Duration::from_millis(700 + u64::from(n) * 3)).await;
        let id = format!("m-{n}");
        let begun = micros();
        writer.register(&endpoint(&id, "users", n)).await.expect("registers");
        let (ours, its) =
            tokio::task::block_in_place(|| (at(&other.lines, &id, "healthy"), at(&consul, &id, "-")));
        let since = |at: u128| at.saturating_sub(begun) as f64 / 1000.0;
        whole.push(since(ours));
        own.push(since(its));
        more.push(since(ours) - since(its));
    }
    print_times("from register() in one process to the selection of another", whole);
    print_times("of that Consul itself, seen by a bare blocking query", own);
    print_times("what is above it", more);
    let _ = writer.close().await;
}

/// A process to kill, which answers 200 to every request.
#[tokio::test]
#[ignore = "a part of the figures"]
async fn mortal() {
    if std::env::var("MEASURE").is_err() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("MEASURE {}", listener.local_addr().expect("bound").port());
    let _ = std::io::stdout().flush();
    while let Ok((mut stream, _)) = listener.accept().await {
        // A connection closed with the request unread would be reset.
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        let _ = stream.shutdown().await;
    }
}

async fn death(agent: &Agent) {
    let other = Other::start("reader", &agent.address());
    assert_eq!(other.line(), "ready");
    let writer = provider(&agent.address());
    let check = HealthCheck::builder().path("/").interval(SECOND).timeout(SECOND / 2);
    let check = check.healthy_threshold(1).unhealthy_threshold(1).build().expect("valid");
    let mut times = Vec::new();
    for n in 0..30_u64 {
        let mut mortal = Other::start("mortal", "-");
        let port = mortal.line().parse().expect("a port");
        let id = format!("d-{n}");
        let endpoint = Endpoint::builder(&id, "users", "127.0.0.1", port).protocol("http");
        writer
            .register(&endpoint.health_check(check.clone()).build().expect("valid"))
            .await
            .expect("registers");
        tokio::task::block_in_place(|| at(&other.lines, &id, "healthy"));
        tokio::time::sleep(Duration::from_millis(1500 + n * 37)).await;
        let _ = mortal.child.kill();
        let killed = micros();
        let seen = tokio::task::block_in_place(|| at(&other.lines, &id, "unhealthy"));
        times.push((seen - killed) as f64 / 1000.0);
        writer
            .deregister(&name("users"), &id.as_str().try_into().expect("valid"))
            .await
            .expect("deregisters");
    }
    print_times("from the death of a process with a check each second to the selection of another", times);
}

async fn idle(agent: &Agent) {
    let watcher = provider(&agent.address());
    // With one instance: an empty service takes another path.
    let writer = provider(&agent.address());
    writer.register(&endpoint("i", "idle", 1)).await.expect("registers");
    let users = name("idle");
    let mut stream = watcher.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND * 5).await.expect("an answer");
    tokio::time::sleep(SECOND * 2).await;
    let before = watcher.metrics().requests;
    tokio::time::sleep(SECOND * 120).await;
    let idle = watcher.metrics().requests - before;
    println!("  an idle watch, wait 30 s: {:.1} requests a minute", idle as f64 / 2.0);
}

async fn busy(agent: &Agent) {
    let watcher = provider(&agent.address());
    let users = name("busy");
    let mut stream = watcher.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND * 5).await.expect("an answer");
    tokio::time::sleep(SECOND * 2).await;
    let (begun, before) = (Instant::now(), watcher.metrics());
    let writers: Vec<_> = (0..CHANGERS).map(|n| tokio::spawn(change(agent.address(), n, begun))).collect();
    let mut changes = 0;
    for writer in writers {
        changes += writer.await.expect("changes");
    }
    let (after, seconds) = (watcher.metrics(), begun.elapsed().as_secs_f64());
    println!(
        "  a watch under {:.0} changes a second: {:.2} requests a second, {:.0} bytes a second",
        f64::from(changes) / seconds,
        (after.requests - before.requests) as f64 / seconds,
        (after.bytes - before.bytes) as f64 / seconds
    );
    let begun = Instant::now();
    until(SECOND * 10, "the newest", || async {
        let set = watcher.list(&Query::service(&users)).await.expect("lists");
        set.entries().len() == CHANGERS as usize
            && set.entries().iter().all(|entry| entry.endpoint().metadata().contains_key("last"))
    })
    .await;
    println!("  the newest is listed {:.0} ms after the last change", begun.elapsed().as_secs_f64() * 1000.0);
}

/// The instances that change concurrently, each as fast as this agent accepts, but at most 20 times
/// a second.
const CHANGERS: u32 = 8;

/// Changes one instance for 20 s and returns the number of changes.
async fn change(address: String, n: u32, begun: Instant) -> u32 {
    let writer = provider(&address);
    let id = format!("b-{n}");
    let instance =
        |changes: u32| endpoint(&id, "busy", n as u8).to_builder().metadata("n", changes.to_string());
    let mut changes = 0;
    while begun.elapsed() < SECOND * 20 {
        changes += 1;
        writer.register(&instance(changes).build().expect("valid")).await.expect("registers");
        let due = begun + Duration::from_millis(50) * changes;
        tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
    }
    let last = instance(changes + 1).metadata("last", "").build().expect("valid");
    writer.register(&last).await.expect("registers");
    changes + 1
}

async fn sixty(agent: &Agent) {
    let watcher = builder(&agent.address()).connections(20).build().expect("valid");
    let writer = provider(&agent.address());
    let names: Vec<_> = (0..60).map(|n| name(&format!("s-{n}"))).collect();
    let begun = Instant::now();
    let mut streams: Vec<_> =
        names.iter().map(|name| watcher.watch(&Query::service(name)).expect("it watches")).collect();
    for stream in &mut streams {
        next(stream, SECOND * 30).await.expect("an answer");
    }
    let first = begun.elapsed();
    let before = watcher.metrics();
    let mut times = Vec::new();
    for (name, stream) in names.iter().zip(&mut streams).step_by(3) {
        writer.register(&endpoint(&format!("in-{name}"), name.as_str(), 1)).await.expect("registers");
        let begun = Instant::now();
        next(stream, SECOND * 30).await.expect("its change");
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    println!(
        "  60 services on 20 connections: {} watched, {} polled each 10 s; all known after {:.2} s",
        60 - before.polled,
        before.polled,
        first.as_secs_f64()
    );
    print_times("until a change of one of them is seen", times);
    let _ = writer.close().await;
}

/// Returns resident memory and its peak, in KiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// Reads the ten thousand in a separate process and measures its memory.
#[tokio::test]
#[ignore = "a part of the figures"]
async fn large() {
    let Ok(address) = std::env::var("MEASURE") else { return };
    let consul: ConsulProvider = provider(&address);
    consul.connect().await.expect("connects");
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (before, _) = memory();
    let begun = Instant::now();
    let set = consul.list(&Query::service(&name("large"))).await.expect("lists");
    let took = begun.elapsed();
    let (_, peak) = memory();
    assert_eq!(set.entries().len(), 10_000);
    assert!(set.entries().iter().all(|entry| entry.health() == Health::Healthy));
    let (after, _) = memory();
    let bytes = consul.metrics().bytes;
    // Measured again after dropping it: memory that the allocator retains does not belong to the
    // set.
    drop(set);
    println!("MEASURE {} {before} {after} {peak} {bytes}", took.as_millis());
}

fn ten_thousand(agent: &Agent) {
    let address = agent.address();
    let threads: Vec<_> = (0..8_u32)
        .map(|part| {
            let address = address.clone();
            std::thread::spawn(move || {
                for n in (part..10_000).step_by(8) {
                    let body = format!(
                        r#"{{"Node":"ext-{}","Address":"10.{}.{}.1","SkipNodeUpdate":false,"Service":{{"ID":"large-{n}","Service":"large","Address":"10.9.{}.{}","Port":{},"Meta":{{"fo-v":"1","fo-proto":"http","version":"1.2.3"}}}}}}"#,
                        n % 100, n % 100, n % 7, n / 250, n % 250, 1024 + n % 60_000
                    );
                    put(&address, "/v1/catalog/register", &body);
                }
            })
        })
        .collect();
    for thread in threads {
        tokio::task::block_in_place(|| thread.join()).expect("registers");
    }
    let mut stream = std::net::TcpStream::connect(&address).expect("answers");
    let _ =
        write!(stream, "GET /v1/health/service/large HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut packed = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut packed);
    let other = Other::start("large", &address);
    let line = other.line();
    let parts: Vec<f64> = line.split(' ').map(|part| part.parse().expect("a number")).collect();
    let [took, before, after, peak, bytes] = parts[..] else { panic!("{line}") };
    println!(
        "  10 000 instances: {:.2} MB, {:.2} MB packed, listed in {took:.0} ms; the set takes {:.1} MiB, the peak is {:.1} MiB, {:.1} times that",
        bytes / 1e6,
        packed.len() as f64 / 1e6,
        (after - before) / 1024.0,
        (peak - before) / 1024.0,
        (peak - before) / (after - before)
    );
}

fn put(address: &str, path: &str, body: &str) {
    let mut stream = std::net::TcpStream::connect(address).expect("answers");
    let length = body.len();
    let _ = write!(stream, "PUT {path} HTTP/1.0\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut text = String::new();
    let _ = std::io::Read::read_to_string(&mut stream, &mut text);
    assert!(text.contains(" 200 "), "{text}");
}
