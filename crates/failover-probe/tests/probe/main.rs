//! The probes against well-behaved and misbehaving servers on this machine.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

mod faults;
mod grpc;
mod http;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Endpoint, EndpointBuilder, Error, FailoverManager, HealthCheck, HealthReport};
use failover_memory::MemoryProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A scripted server, which reads one request per connection.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering<F, Fut>(answer: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let request = read_request(&mut stream).await;
                seen.lock().expect("whole").push(request);
                answer(stream).await;
            }
        });
        Self { address, requests }
    }

    /// Starts a server that always replies with these bytes and closes the connection.
    async fn saying(answer: &'static str) -> Self {
        Self::answering(move |mut stream| async move {
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    }

    fn endpoint(&self) -> EndpointBuilder {
        endpoint(self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("whole").clone()
    }
}

fn endpoint(address: SocketAddr) -> EndpointBuilder {
    Endpoint::builder("a", "users", address.ip().to_string(), address.port()).protocol("http")
}

/// Reads a request, including its body.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let body = text.split_once("\r\n\r\n").map(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            body.len() >= length.unwrap_or(0)
        });
        let tls = read.first() == Some(&0x16);
        if count == 0 || body == Some(true) || tls {
            return text;
        }
    }
}

async fn probe(probe: &dyn Probe, endpoint: EndpointBuilder) -> Result<ProbeOutcome, Error> {
    let target = ProbeTarget::new(endpoint.build().expect("valid"));
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, probe.probe(&target)).await.expect("it does not hang")
}

/// Probes through a manager, which enforces the timeout.
async fn report(endpoint: EndpointBuilder, timeout: Duration) -> HealthReport {
    let check = HealthCheck::builder().timeout(timeout).build().expect("valid");
    let builder = FailoverManager::builder().provider(MemoryProvider::new());
    let manager = builder.probes(failover_probe::standard()).build().await.expect("builds");
    let endpoint = endpoint.health_check(check).build().expect("valid");
    manager.register_endpoint(endpoint).await.expect("registers");
    manager.health_check("a").await.expect("is there")
}
