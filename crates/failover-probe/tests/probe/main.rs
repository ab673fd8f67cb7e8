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
use failover_testkit::certificates::{Authority, Signed};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

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

/// Returns the TLS of a server with this certificate, which offers these protocols, and asks for a
/// certificate of `clients`.
fn acceptor(signed: &Signed, protocols: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = clients.map(|authority| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        verifier.build().expect("roots")
    });
    let clients = clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
    let certificate = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("PEM");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
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
