//! TLS with a private authority, and with certificates that must not be trusted.

use std::net::SocketAddr;

use failover_core::probe::ProbeOutcome;
use failover_core::{EndpointBuilder, Error};
use failover_probe::HttpProbe;
use failover_testkit::certificates::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{Server, acceptor, endpoint, probe};

/// Starts a server whose certificate is for `name` and which answers 200.
async fn server(authority: &Authority, name: &str) -> SocketAddr {
    serving(acceptor(&authority.server(&[name]), &[], None)).await
}

async fn serving(acceptor: TlsAcceptor) -> SocketAddr {
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
    let builder = HttpProbe::builder().authority_pem(authority.pem());
    builder.only_own_authorities().build().expect("valid")
}

async fn ask(of: &HttpProbe, endpoint: EndpointBuilder) -> Result<ProbeOutcome, Error> {
    probe(of, endpoint.protocol("https")).await
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_for_the_name_and_no_other_is() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
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
    let ours = Authority::new("ours");
    let address = server(&ours, "users.example").await;
    ask(&trusting(&ours), endpoint(address).server_name("users.example")).await.expect("its own authority");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_that_of_the_probe() {
    let ours = Authority::new("ours");
    let address = serving(acceptor(&ours.server(&["127.0.0.1"]), &[], Some(&ours))).await;
    let client = ours.client("probe", None);
    let builder = || HttpProbe::builder().authority_pem(ours.pem()).only_own_authorities();
    let with = builder().client_certificate_pem(client.certificate.as_str(), client.key.as_str());
    assert!(!format!("{with:?}").contains("BEGIN"), "{with:?}");
    ask(&with.build().expect("valid"), endpoint(address)).await.expect("healthy");
    let error = ask(&trusting(&ours), endpoint(address)).await.expect_err("no certificate");
    assert!(error.to_string().contains("certificate"), "{error}");
    let swapped =
        builder().client_certificate_pem(client.key, client.certificate).build().expect_err("swapped");
    assert!(swapped.to_string().starts_with("client_certificate_pem: "), "{swapped}");
    assert!(!format!("{swapped:?}").contains("BEGIN"), "{swapped:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_not_spoken_to_without_it() {
    let plain = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let error = ask(&HttpProbe::new(), plain.endpoint()).await.expect_err("no TLS");
    assert!(error.to_string().starts_with("TLS with "), "{error}");
    assert!(plain.requests().iter().all(|request| !request.contains("GET")), "nothing in the clear");
}
