//! What becomes of connections over TLS.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use failover_consul::{ConsulBuilder, ConsulProvider};
use failover_core::provider::{Provider, Query, Registry};
use failover_core::{Error, ErrorKind};
use failover_testkit::TempDir;
use failover_testkit::certificates::{Authority, Signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::operations::TOKEN;
use super::{compare, describe};
use crate::support::{SECOND, builder, endpoint, name};

/// Returns the configuration of a server with this certificate, which asks for one of `clients`.
fn config(signed: &Signed, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
            roots.add(root).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().expect("roots"))
        }
    };
    let certificate = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("PEM");
    config.with_single_cert(vec![certificate], key).expect("a pair")
}

/// Starts a server that answers every request over TLS with an empty list.
async fn serve(signed: &Signed, clients: Option<&Authority>) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config(signed, clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

/// Starts a server that answers whatever it reads with an error, in the clear, and keeps what it read.
async fn serve_plain() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let kept = Arc::new(Mutex::new(Vec::new()));
    let read = Arc::clone(&kept);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            read.lock().expect("free").extend_from_slice(&buffer[..length]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    (address, kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_every_fault_of_tls_is_as_recorded() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (ca, other_ca) = (file("ca.pem", ours.pem()), file("other.pem", others.pem()));
    let pair = |name: &str, signed: &Signed| {
        (file(&format!("{name}.pem"), &signed.certificate), file(&format!("{name}.key"), &signed.key))
    };
    let known = pair("known", &ours.client("me", None));
    let foreign = pair("foreign", &others.client("me", None));
    let expired = pair("expired", &ours.expired_client());

    let good = serve(&ours.server(&["127.0.0.1"]), None).await;
    let named = serve(&ours.server(&["consul.example"]), None).await;
    let old = serve(&ours.expired_server(&["127.0.0.1"]), None).await;
    let mutual = serve(&ours.server(&["127.0.0.1"]), Some(&ours)).await;
    let (plain, read) = serve_plain().await;
    let https = |address: SocketAddr| builder(&format!("https://{address}"));
    let trusting = |address: SocketAddr, ca: &Path| https(address).ca_file(ca);

    let mut text = String::new();
    for (what, address, consul) in [
        ("trusted", good, trusting(good, &ca)),
        ("another authority", good, trusting(good, &other_ca)),
        ("the system's authorities", good, https(good)),
        ("another name", named, trusting(named, &ca)),
        ("its name", named, trusting(named, &ca).tls_server_name("consul.example")),
        ("expired", old, trusting(old, &ca)),
        ("a certificate of the client", mutual, trusting(mutual, &ca).client_certificate(&known.0, &known.1)),
        ("none of the client", mutual, trusting(mutual, &ca)),
        (
            "a foreign one of the client",
            mutual,
            trusting(mutual, &ca).client_certificate(&foreign.0, &foreign.1),
        ),
        (
            "an expired one of the client",
            mutual,
            trusting(mutual, &ca).client_certificate(&expired.0, &expired.1),
        ),
        ("https to a port for http", plain, trusting(plain, &ca)),
        ("http to a port for https", good, builder(&format!("http://{good}"))),
    ] {
        let outcomes = outcomes(consul).await.replace(&address.to_string(), "AGENT");
        assert!(!outcomes.contains(TOKEN), "{what}");
        let _ = writeln!(text, "== {what}\n{outcomes}");
    }
    let read = String::from_utf8_lossy(&read.lock().expect("free")).into_owned();
    assert!(!read.is_empty() && !read.contains("HTTP/1.1"), "no request in the clear");
    compare("tls.txt", &text);
}

async fn outcomes(consul: ConsulBuilder) -> String {
    let consul: ConsulProvider = consul.token(TOKEN).deadline(SECOND * 10).build().expect("valid");
    let users = name("users");
    let listed = consul.list(&Query::service(&users)).await.map(|set| set.entries().len().to_string());
    let registered = consul.register(&endpoint("a", "users", 1)).await.map(|()| "ok".to_owned());
    let connected = consul.connect().await.map(|()| "ok".to_owned());
    [listed, registered, connected].map(|outcome| outcome.unwrap_or_else(|error| show(&error))).join("\n")
}

/// Describes an error with its text. A server of TLS 1.3 refuses a client that has connected already,
/// and what of it is noticed first differs; every text names the certificate.
fn show(error: &Error) -> String {
    let text = error.to_string();
    if error.kind() == ErrorKind::Connection && text.contains("this client") && text.contains("certificate") {
        return "Connection: the server and this client's certificate".to_owned();
    }
    format!("{}: {}", describe(error), without_times(&text))
}

/// Returns the text without the seconds of the clock.
fn without_times(text: &str) -> String {
    let long = |word: &str| word.len() > 6 && word.bytes().all(|b| b.is_ascii_digit());
    let words = text.split(' ').map(|word| if long(word.trim_start_matches('(')) { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
