//! Sends one request per connection: enough for tests.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A server's response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

pub(super) async fn secure(
    port: u16,
    authority: &str,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    exchange(stream, token, method, path, body).await
}

pub(super) async fn plain(port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    exchange(stream, "", method, path, body).await.ok()
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    token: &str,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let kind = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
    let authorization =
        if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    // With HTTP/1.0 the response is neither chunked nor followed by another.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n{authorization}accept: application/json\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        // A server may close without TLS's close notification after its response.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        other => drop(other?),
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no answer in HTTP: {head:?}")))?;
    Ok(Answer { status, body: body.to_owned() })
}
