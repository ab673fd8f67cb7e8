//! One connection: TCP, and TLS where the URL is `https`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::dialer::{ConnectTarget, Dialer};
use super::early_answer::EarlyAnswer;
use super::error::{self, HttpError, HttpErrorKind, OptionNames};
use super::protocol::HttpProtocol;
use super::tls::{Tls, server_name};

/// Connects by the settings of one client.
#[derive(Clone, Debug)]
pub(super) struct Connector(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    dialer: Dialer,
    /// With the protocol for ALPN, and the server's name.
    tls: Option<(Arc<ClientConfig>, Option<String>)>,
    protocol: HttpProtocol,
    deadline: Duration,
    names: OptionNames,
}

impl Connector {
    pub(super) fn new(
        dialer: Dialer,
        tls: Option<Tls>,
        protocol: HttpProtocol,
        deadline: Duration,
        names: OptionNames,
    ) -> Self {
        let tls = tls.map(|Tls { mut config, server_name }| {
            if protocol == HttpProtocol::Http2 {
                Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
            }
            (config, server_name)
        });
        Self(Arc::new(Settings { dialer, tls, protocol, deadline, names }))
    }

    /// Opens a connection. The error has the address of the target, not the URL.
    pub(super) async fn open(&self, https: bool, target: &ConnectTarget<'_>) -> Result<Stream, HttpError> {
        let Settings { dialer, tls, protocol, deadline, names } = &*self.0;
        if !https {
            return Ok(Stream::new(dialer.connect(target).await?, *protocol));
        }
        let bad = |why: String| HttpError::new(HttpErrorKind::BadRequest, why);
        let Some((config, own_name)) = tls else {
            return Err(bad("the client has no TLS settings (HttpClientBuilder::tls)".to_owned()));
        };
        let name = target.server_name.or(own_name.as_deref()).unwrap_or(target.host);
        let server = server_name(name).map_err(|error| bad(error.to_string()))?;
        let tcp = dialer.connect(target).await?;
        let address = tcp.peer_addr().map_or_else(|_| target.host.to_owned(), |address| address.to_string());
        let handshake = TlsConnector::from(Arc::clone(config)).connect(server, tcp);
        let stream = timeout(*deadline, handshake).await.map_err(|_| HttpError::timed_out(*deadline))?;
        let stream = stream.map_err(|broken| {
            error::of_transport(&broken, true, *protocol, names, HttpErrorKind::NotConnected)
                .because(|cause| format!("TLS with {address} as {name}: {cause}"))
        })?;
        let negotiated = stream.get_ref().1.alpn_protocol();
        if *protocol == HttpProtocol::Http2 && negotiated != Some(b"h2") {
            let why = format!("TLS with {address} as {name}: the server does not offer HTTP/2");
            return Err(HttpError::new(HttpErrorKind::Tls, why));
        }
        Ok(Stream::new(stream, *protocol))
    }
}

/// For the pool, which asks for a connection by URL.
impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, HttpError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let https = url.scheme() == Some(&Scheme::HTTPS);
            let (host, port) = host_and_port(&url, https);
            connector.open(https, &ConnectTarget::new(host, port)).await.map(TokioIo::new)
        })
    }
}

/// Returns the host, without brackets, and the port of a URL.
pub(super) fn host_and_port(url: &Uri, https: bool) -> (&str, u16) {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    (host, url.port_u16().unwrap_or(if https { 443 } else { 80 }))
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, with or without TLS.
pub(super) struct Stream(Box<dyn Io>);

impl Stream {
    fn new(io: impl Io + 'static, protocol: HttpProtocol) -> Self {
        match protocol {
            HttpProtocol::Http1 => Self(Box::new(EarlyAnswer::new(io))),
            // Both sides speak first.
            HttpProtocol::Http2 => Self(Box::new(io)),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        // The client knows its protocol beforehand.
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
