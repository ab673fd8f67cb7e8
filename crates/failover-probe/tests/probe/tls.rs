//! TLS with a private authority, and with certificates that must not be trusted.

use std::net::SocketAddr;
use std::sync::Arc;

use failover_core::probe::ProbeOutcome;
use failover_core::{EndpointBuilder, Error};
use failover_probe::HttpProbe;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{Server, endpoint, probe};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("valid");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("signs").pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

/// Starts a server whose certificate is for `name` and which answers 200.
async fn server(authority: &Authority, name: &str) -> SocketAddr {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("valid");
    let certificate = params.signed_by(&key, &authority.issuer).expect("signs");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

fn trusting(authority: &Authority) -> HttpProbe {
    let builder = HttpProbe::builder().authority_pem(authority.pem.as_str());
    builder.only_own_authorities().build().expect("valid")
}

async fn ask(of: &HttpProbe, endpoint: EndpointBuilder) -> Result<ProbeOutcome, Error> {
    probe(of, endpoint.protocol("https")).await
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_for_the_name_and_no_other_is() {
    let (ours, others) = (authority(), authority());
    let address = server(&ours, "users.example").await;
    let named = || endpoint(address).server_name("users.example");
    let found = ask(&trusting(&ours), named()).await.expect("healthy");
    assert_eq!(found.evidence(), "200 OK");
    for (what, of, endpoint) in [
        ("another name", trusting(&ours), endpoint(address).server_name("orders.example")),
        ("the address, which the certificate does not name", trusting(&ours), endpoint(address)),
        ("another authority", trusting(&others), named()),
        ("the public ones", HttpProbe::new(), named()),
    ] {
        let error = ask(&of, endpoint).await.expect_err(what);
        assert!(error.to_string().starts_with(&format!("TLS with {address} as ")), "{what}: {error}");
    }
    // A certificate may name an address.
    let address = server(&ours, "127.0.0.1").await;
    ask(&trusting(&ours), endpoint(address)).await.expect("healthy");
}

/// A program in an image without certificates probes over plain HTTP, and learns what it needs for
/// TLS.
#[tokio::test]
async fn plain_http_needs_no_authorities_of_the_platform() {
    let me = std::env::current_exe().expect("this program");
    let out = tokio::process::Command::new(me)
        .args(["--exact", "tls::probes_for_another_test", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", "/does/not/exist")
        .env("SSL_CERT_DIR", "/does/not/exist")
        .output();
    let out = out.await.expect("it runs");
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

#[tokio::test]
#[ignore = "the other half of plain_http_needs_no_authorities_of_the_platform"]
async fn probes_for_another_test() {
    if std::env::var("SSL_CERT_FILE").as_deref() != Ok("/does/not/exist") {
        return;
    }
    let plain = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    probe(&HttpProbe::new(), plain.endpoint()).await.expect("healthy");
    let error = ask(&HttpProbe::new(), plain.endpoint()).await.expect_err("no authorities");
    for part in ["authority_pem", "the authorities of the platform", "No CA certificates were loaded"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let ours = authority();
    let address = server(&ours, "users.example").await;
    ask(&trusting(&ours), endpoint(address).server_name("users.example")).await.expect("its own authority");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_not_spoken_to_without_it() {
    let plain = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let error = ask(&HttpProbe::new(), plain.endpoint()).await.expect_err("no TLS");
    assert!(error.to_string().starts_with("TLS with "), "{error}");
    assert!(plain.requests().iter().all(|request| !request.contains("GET")), "nothing in the clear");
}
