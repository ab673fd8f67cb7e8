//! HTTPS servers whose certificates are for a name, and which are reached at an address.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;

/// Starts a server with a certificate for `name`, which answers every request with `number`, the name in
/// TLS and the `Host` header. It ends with the runtime.
///
/// # Panics
/// Panics if it cannot be started.
pub async fn named_server(number: u8, name: &str, authority: &Authority) -> SocketAddr {
    let signed = authority.server(&[name]);
    let certificate = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
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
