//! TLS: whom the client trusts, who it is, and what the errors say.

use std::net::SocketAddr;
use std::sync::Arc;

use failover_testkit::certificates::{Authority, Signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Returns the configuration of a server with this certificate, which asks for one of `clients`.
pub(super) fn server_config(signed: &Signed, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM"))
                .expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("roots"))
        }
    };
    let certificate = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("PEM");
    builder.with_single_cert(vec![certificate], key).expect("a pair")
}

/// Starts a server that answers 200 to everybody it trusts.
async fn serve(signed: &Signed, clients: Option<&Authority>) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(signed, clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

async fn ask(tls: TlsBuilder, address: SocketAddr) -> Result<Vec<u8>, HttpError> {
    let client = client()
        .tls(tls.build().expect("valid"))
        .option_name(HttpOption::Authority, "my_ca")
        .option_name(HttpOption::ClientCertificate, "my_certificate");
    let url = format!("https://{address}/");
    client.build().expect("valid").send(get(&url)).await?.read().await
}

#[tokio::test]
async fn trust_and_names_are_checked_and_errors_name_the_option() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let address = serve(&ours.server(&["127.0.0.1"]), None).await;
    let trusting = |authority: &Authority| Tls::builder().ca_pem(authority.pem());
    assert_eq!(ask(trusting(&ours), address).await.expect("trusted"), b"hi");
    ask(trusting(&ours).platform_authorities(true), address).await.expect("trusted beside the platform's");
    let named = serve(&ours.server(&["registry.example"]), None).await;
    ask(trusting(&ours).server_name("registry.example"), named).await.expect("a name of its own");
    let expired = serve(&ours.expired_server(&["127.0.0.1"]), None).await;
    for (tls, address, parts) in [
        (trusting(&others), address, "of no authority that is trusted|my_ca adds an authority|UnknownIssuer"),
        (Tls::builder(), address, "of no authority that is trusted|my_ca adds an authority"),
        (trusting(&ours), named, "for another name|as 127.0.0.1|registry.example"),
        (trusting(&ours).server_name("other.example"), named, "for another name|as other.example"),
        (trusting(&ours), expired, "has expired|it needs a new one, if the clock here is right"),
    ] {
        let error = ask(tls, address).await.expect_err(parts);
        assert_eq!(error.kind(), HttpErrorKind::Tls, "{error}");
        let begin = format!("connecting to https://{address}: TLS with {address} as ");
        assert!(error.to_string().starts_with(&begin), "{error}");
        for part in parts.split('|') {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert_eq!(error.into_error("list").code(), codes::TLS_ERROR);
    }
}

#[tokio::test]
async fn a_client_has_a_certificate_or_learns_that_it_needs_one() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let address = serve(&ours.server(&["127.0.0.1"]), Some(&ours)).await;
    let trusting = || Tls::builder().ca_pem(ours.pem());
    let with = |client: Signed| trusting().client_certificate_pem(client.certificate, client.key);
    assert_eq!(ask(with(ours.client("me", None)), address).await.expect("known"), b"hi");
    for (tls, part) in [
        (trusting(), "certificate"),
        (with(others.client("me", None)), "certificate"),
        (with(ours.expired_client()), "certificate"),
    ] {
        let error = ask(tls, address).await.expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains("BEGIN"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_request_counts_over_tls_too() {
    let ours = Authority::new("ours");
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&ours.server(&["registry.example"]), None)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.expect("accepts");
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
            let _ = stream.shutdown().await;
            if number % 2 == 0 {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    let client =
        client().tls(Tls::builder().ca_pem(ours.pem()).build().expect("valid")).build().expect("valid");
    let host = address.ip().to_string();
    // The name is that of this target alone.
    let target = ConnectTarget::new(&host, address.port()).server_name("registry.example");
    for number in 0..50 {
        let response = client.send_once(get("https://registry.example/"), &target).await;
        assert_eq!(response.unwrap_or_else(|error| panic!("{number}: {error}")).status().as_u16(), 200);
    }
}

#[tokio::test]
async fn https_without_tls_on_either_side_is_never_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let answers = async {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut said = vec![0; 4096];
        let length = stream.read(&mut said).await.expect("a greeting");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("answers");
        said.truncate(length);
        said
    };
    let (error, said) = tokio::join!(ask(Tls::builder(), address), answers);
    let error = error.expect_err("no TLS there");
    assert!(error.to_string().contains("does not speak TLS; is this a port for http?"), "{error}");
    assert!(!String::from_utf8_lossy(&said).contains("HTTP/1.1"), "nothing in the clear");
    let client = client().build().expect("valid");
    let error = client.send(get(&format!("https://{address}/"))).await.expect_err("no TLS here");
    assert_eq!(error.kind(), HttpErrorKind::BadRequest, "{error}");
    assert!(error.to_string().contains("HttpClientBuilder::tls"), "{error}");
}
