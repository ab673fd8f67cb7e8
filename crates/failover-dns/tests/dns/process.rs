//! A server in a process of its own, which is stopped, continued and killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use failover_core::{ErrorKind, codes};

use super::*;

const TEST: &str = "process::a_server_that_hangs_and_dies_costs_no_endpoint";
const ROLE: &str = "FAILOVER_DNS_TEST_SERVES";

/// The process: this test in another one.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start() -> Self {
        let own = std::env::current_exe().expect("a path");
        let mut child = Command::new(own)
            .args(["--exact", TEST, "--nocapture"])
            .env(ROLE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("serves at ")?;
            Some(address.to_owned())
        });
        Self { child, address: address.expect("it says where") }
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.expect("kill runs").success());
    }

    /// Whether it has stopped. Under load, it can answer for a moment after the signal was sent.
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serve() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    println!("serves at {}", server.address);
    // Ends by itself if nobody ends it.
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_hangs_and_dies_costs_no_endpoint() {
    if std::env::var_os(ROLE).is_some() {
        return serve().await;
    }
    let process = Process::start();
    let asks = || {
        let server = process.address.parse().expect("an address");
        let asks = DnsProvider::builder().nameserver(server).port(80).family(Family::V4);
        asks.timeout(Duration::from_millis(500))
    };
    let (_manager, users) = watching(asks(), "users.test").await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
    process.signal("-STOP");
    until("it has stopped", || process.is_stopped()).await;
    let begin = Instant::now();
    let error = list(asks(), "users.test").await.expect_err("silence");
    let took = begin.elapsed();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, codes::TIMEOUT), "{error}");
    assert!((Duration::from_millis(450)..Duration::from_millis(1_900)).contains(&took), "{took:?}");
    until("it is stale", || users.is_stale()).await;
    assert!(users.select().is_ok());
    process.signal("-CONT");
    until("it is fresh", || !users.is_stale()).await;
    process.signal("-KILL");
    until("it is stale", || users.is_stale()).await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
    let error = list(asks(), "users.test").await.expect_err("nobody is there");
    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout), "{error}");
}
