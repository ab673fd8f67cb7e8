//! Servers that answer with their name, and a client for them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use failover::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A server, stopped on drop.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            // A connection that breaks does not affect the others.
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, name));
            }
        });
        Ok(Self { name, port, task })
    }

    /// Refuses connections from now on.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // The listener is closed once the task has ended.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let mut request = [0; 256];
    let _ = stream.read(&mut request).await?;
    let reply =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}", name.len());
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

/// Asks an endpoint for its name.
pub(crate) async fn ask(endpoint: &Endpoint) -> io::Result<String> {
    let address: SocketAddr = endpoint.authority().parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    match reply.split_once("\r\n\r\n") {
        Some((_, name)) => Ok(name.to_owned()),
        None => Err(io::Error::other("no answer")),
    }
}
