//! The simulator against real processes on loopback: the same engine, the same load and the same fault in real time give
//! each endpoint the same share, and callers the same failures.

#![allow(clippy::disallowed_methods, reason = "a test in real time")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use failover_core::{Classified, Classify, FailoverConfig, Outcome, ServiceHandle, StrategyKind};
use failover_sim::{Policy, ScenarioFile, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ENDPOINTS: usize = 10;
const RATE: u32 = 400;
const LENGTH: Duration = Duration::from_secs(12);
const FAULT: Duration = Duration::from_secs(4);
/// A request is one byte: the milliseconds that it takes.
const SERVICE: u8 = 10;
/// Set for a process of this test that is a server.
const SERVER: &str = "FAILOVER_SIM_SERVER";

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Crash,
    BlackHole,
    Slow,
}

/// The server, when this process is one: it runs until it is killed, or its parent goes.
#[test]
fn server() {
    if env::var_os(SERVER).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("\nport {}", listener.local_addr().expect("bound").port());
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(0);
    });
    for connection in listener.incoming() {
        thread::spawn(move || serve(connection));
    }
}

fn serve(connection: io::Result<TcpStream>) -> io::Result<()> {
    let mut connection = connection?;
    let mut time = [0];
    connection.read_exact(&mut time)?;
    thread::sleep(Duration::from_millis(u64::from(time[0])));
    connection.write_all(&time)
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env::current_exe().expect("this test"));
        command.args(["server", "--exact", "--nocapture"]).env(SERVER, "1");
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this test runs again");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port = lines.find_map(|line| line.ok()?.strip_prefix("port ")?.parse().ok());
        Self { process, port: port.expect("the server says where it listens") }
    }

    /// Stops it, so that connections are accepted by the kernel and never answered.
    fn freeze(&self) {
        let status = Command::new("kill").args(["-STOP", &self.process.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Clone, Copy)]
struct Replies;

impl Classify<(), io::Error> for Replies {
    fn classify(&self, reply: Result<&(), &io::Error>) -> Classified {
        match reply {
            Ok(()) => Outcome::Success.into(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Classified::new(Outcome::NotSent, error)
            }
            Err(error) => Classified::new(Outcome::Failure, error),
        }
    }
}

/// What was seen: the share of the attempts of each endpoint, and the share of the calls that failed.
struct Seen {
    shares: Vec<f64>,
    visible: f64,
}

async fn in_reality(fault: Fault, strategy: StrategyKind) -> Seen {
    let mut servers: Vec<_> = (0..ENDPOINTS).map(|_| Server::start()).collect();
    let config = FailoverConfig::builder()
        .timeout(Duration::from_secs(3))
        .attempt_timeout(Duration::from_secs(1))
        .strategy(strategy);
    let handle = ServiceHandle::builder("real")
        .endpoints(servers.iter().map(|server| format!("http://127.0.0.1:{}", server.port)))
        .config(config.build().expect("valid"))
        .build()
        .expect("the endpoints are valid")
        .with_classifier(Replies);
    let failed = Arc::new(AtomicU64::new(0));
    let faulty = servers[0].port;
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    let mut broken = false;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    while start.elapsed() < LENGTH {
        ticks.tick().await;
        if !broken && start.elapsed() >= FAULT {
            broken = true;
            match fault {
                Fault::Crash => servers[0].process.kill().expect("it ran"),
                Fault::BlackHole => servers[0].freeze(),
                Fault::Slow => {}
            }
        }
        let slow = broken && fault == Fault::Slow;
        let (handle, failed) = (handle.clone(), Arc::clone(&failed));
        calls.spawn(async move {
            let operation = |attempt: failover_core::Attempt| {
                let port = attempt.endpoint().port();
                let time = if slow && port == faulty { SERVICE * 10 } else { SERVICE };
                async move {
                    let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
                    connection.write_all(&[time]).await?;
                    connection.read_exact(&mut [0]).await.map(|_| ())
                }
            };
            if handle.call().idempotent(true).execute(operation).await.is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut count = 0;
    while calls.join_next().await.is_some() {
        count += 1;
    }
    let stats = handle.stats().endpoints;
    let attempts = |server: &Server| {
        let address = format!("127.0.0.1:{}", server.port);
        stats.iter().find(|endpoint| endpoint.address == address).expect("it is listed").attempts as f64
    };
    let attempts: Vec<_> = servers.iter().map(attempts).collect();
    let all: f64 = attempts.iter().sum();
    Seen {
        shares: attempts.into_iter().map(|one| one / all).collect(),
        visible: failed.load(Ordering::Relaxed) as f64 / f64::from(count),
    }
}

fn in_simulation(fault: Fault, policy: Policy) -> Seen {
    const SEEDS: u64 = 10;
    let kind = match fault {
        Fault::Crash => "kind = \"refuse\"",
        Fault::BlackHole => "kind = \"black_hole\"",
        Fault::Slow => "kind = \"slow\"\nfactor = 10.0",
    };
    let text = format!(
        "name = \"real\"\nduration = \"{}s\"\n[load]\nrate = {RATE}\n[[endpoints]]\ncount = {ENDPOINTS}\n\
         service = {{ constant = \"{SERVICE}ms\" }}\n[[faults]]\n{kind}\nendpoints = [0]\nfrom = \"{}s\"\n",
        LENGTH.as_secs(),
        FAULT.as_secs(),
    );
    let file = ScenarioFile::parse(&text, &|_| unreachable!("it names no file")).expect("it is valid");
    let (mut attempts, mut calls, mut failed) = (vec![0.0; ENDPOINTS], 0, 0);
    for seed in 1..=SEEDS {
        let report = run(&file.scenario, policy, seed).expect("it runs");
        for (index, sum) in attempts.iter_mut().enumerate() {
            *sum += report.attempts_at(index, 0, report.seconds.len()) as f64;
        }
        (calls, failed) = (calls + report.calls, failed + report.failed);
    }
    let all: f64 = attempts.iter().sum();
    Seen {
        shares: attempts.into_iter().map(|one| one / all).collect(),
        visible: failed as f64 / calls as f64,
    }
}

/// Shares agree within 2 percentage points, or 20 % where that is less, though half a point at least: some twenty calls.
/// Failures agree where there are none, and else within 0.1 %.
fn compare(fault: Fault, strategy: StrategyKind, policy: Policy) {
    let model = thread::spawn(move || in_simulation(fault, policy)).join().expect("it runs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let real = runtime.block_on(in_reality(fault, strategy));
    println!("model {:.4?}, visible {:.5}", model.shares, model.visible);
    println!("real  {:.4?}, visible {:.5}", real.shares, real.visible);
    for (index, (model, real)) in model.shares.iter().zip(&real.shares).enumerate() {
        let tolerance = (model * 0.2).clamp(0.005, 0.02);
        assert!(
            (model - real).abs() <= tolerance,
            "endpoint {index}: {model:.4} by the model, {real:.4} in reality"
        );
    }
    let equal = if model.visible == 0.0 {
        real.visible == 0.0
    } else {
        (model.visible - real.visible).abs() <= 0.001
    };
    assert!(equal, "{} failed by the model, {} in reality", model.visible, real.visible);
}

#[test]
fn a_killed_process() {
    compare(Fault::Crash, StrategyKind::RoundRobin, Policy::Default);
}

#[test]
fn a_stopped_process() {
    compare(Fault::BlackHole, StrategyKind::RoundRobin, Policy::Default);
}

#[test]
fn a_slow_process() {
    // By calls in flight: latencies of real processes differ by more than constant ones, and so would shares by them.
    compare(Fault::Slow, StrategyKind::LeastConnections, Policy::LeastConnections);
}
