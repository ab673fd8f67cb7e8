//! Endpoints that are listed by address, and whose certificates are for a name.

use std::net::SocketAddr;
use std::sync::Arc;

use failover_core::{Endpoint, ServiceHandle};
use failover_reqwest::{Client, Error};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::provide_tls;

const NAME: &str = "users.internal";

/// Starts a server with a certificate for [`NAME`], which answers with its own number, the name in TLS
/// and the `Host` header.
async fn server(number: u8, issuer: &Issuer<'static, KeyPair>) -> SocketAddr {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("valid");
    let certificate = params.signed_by(&key, issuer).expect("signs");
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
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
            let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            let asked = stream.get_ref().1.server_name().unwrap_or("no name");
            let body = format!("{number} {asked} {host}");
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_is_called_at_its_address_by_the_name_of_its_certificate() {
    provide_tls();
    let mut authority = CertificateParams::new(Vec::new()).expect("valid");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = reqwest::Certificate::from_pem(authority.self_signed(&key).expect("signs").pem().as_bytes());
    let (root, issuer) = (root.expect("a certificate"), Issuer::new(authority, key));
    let mut endpoints = Vec::new();
    for number in 0..2_u8 {
        let address = server(number, &issuer).await;
        let builder =
            Endpoint::builder(number.to_string(), "users", address.ip().to_string(), address.port());
        endpoints.push(builder.protocol("https").server_name(NAME).build().expect("valid"));
    }
    let users = ServiceHandle::fixed("users", endpoints.clone()).expect("valid");
    let trusting = move || reqwest::Client::builder().tls_certs_only([root.clone()]);
    let client = Client::builder(users.clone()).with_reqwest(trusting).build().expect("a client");
    let mut answers = Vec::new();
    for _ in 0..2 {
        // Either scheme: the endpoint's protocol is what counts, and it encrypts.
        for url in ["https://users/x", "http://users/x"] {
            answers.push(client.get(url).send().await.expect("an answer").text().await.expect("a body"));
        }
    }
    for endpoint in &endpoints {
        let expected = format!("{} {NAME} {NAME}:{}", endpoint.id(), endpoint.port());
        assert_eq!(answers.iter().filter(|answer| **answer == expected).count(), 2, "{answers:?}");
    }
    let strange = Client::builder(users).with_reqwest(|| reqwest::Client::builder().tls_certs_only([]));
    let error = strange.build().expect("a client").post("https://users/x").send().await;
    let error = error.expect_err("nobody trusts the certificate");
    assert!(matches!(&error, Error::Call(call) if call.attempts().len() > 1), "not sent, so tried: {error}");
}
