//! Real servers: each listens on its own port until dropped, and can be restarted on the same one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A server, stopped on drop together with its connections.
pub(crate) struct Server {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server of `/health` and `/users/ID` on a free port.
    pub(crate) async fn http(name: &str) -> io::Result<Self> {
        let name = name.to_owned();
        let user = move |Path(id): Path<u32>| {
            let name = name.clone();
            async move { format!("user {id} by {name}") }
        };
        let routes = Router::new().route("/health", get(|| async { "ok" })).route("/users/{id}", get(user));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            // It ends only with the task.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { port, task })
    }

    /// Starts a database server, which answers each line with a row; `port` 0 selects a free port.
    pub(crate) async fn database(name: &'static str, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            // Its connections end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, name));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream, name: &str) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(query)) = lines.next_line().await {
        let row = if query == "SELECT 1" { "1".to_owned() } else { format!("row of {name}") };
        if write.write_all(format!("{row}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Sends one query on a new connection.
pub(crate) async fn query(address: &str, sql: &str) -> io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let (read, mut write) = stream.into_split();
    write.write_all(format!("{sql}\n").as_bytes()).await?;
    let mut row = String::new();
    BufReader::new(read).read_line(&mut row).await?;
    if row.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the database hung up"));
    }
    Ok(row.trim_end().to_owned())
}
