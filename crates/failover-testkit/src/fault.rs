//! An HTTP server that misbehaves on command.

mod reply;
mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use self::reply::Reply;
pub use self::request::Request;

/// A server on 127.0.0.1 whose every reply a test decides. It stops on drop.
///
/// It speaks HTTP/1.1 with persistent connections; the requests of a connection are answered in
/// order.
#[derive(Debug)]
pub struct FaultServer {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    open: AtomicUsize,
}

impl FaultServer {
    /// Starts the server on a free port. `answer` is called for each request, and may wait.
    ///
    /// # Panics
    /// Panics if no port is free.
    pub async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at(0, answer).await
    }

    /// Starts the server on this port, which an earlier server may have used.
    ///
    /// # Panics
    /// Panics if the port is in use.
    pub async fn start_at<F, Fut>(port: u16, answer: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port of this machine");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Seen::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&seen), Arc::new(answer)));
        Self { address, seen, accepting }
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of requests so far.
    pub fn request_count(&self) -> usize {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of open connections.
    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F, Fut>(listener: TcpListener, seen: Arc<Seen>, answer: Arc<F>)
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    // The connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let number = seen.connections.fetch_add(1, Ordering::Relaxed);
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        connections.spawn(async move {
            let _open = Open::new(&seen.open);
            serve(stream, number, &seen, &*answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<F, Fut>(mut stream: TcpStream, connection: usize, seen: &Seen, answer: &F)
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Reply>,
{
    let mut buffer = Vec::new();
    while let Some(mut request) = request::read(&mut stream, &mut buffer).await {
        request.connection = connection;
        {
            let mut requests = seen.requests.lock().unwrap_or_else(PoisonError::into_inner);
            request.number = requests.len();
            requests.push(request.clone());
        }
        // If the client disconnects while the reply is pending, the connection ends, as on a real
        // server.
        let reply = tokio::select! {
            reply = answer(request) => reply,
            () = request::closed(&stream) => return,
        };
        if !reply.send(&mut stream).await {
            return;
        }
    }
}

/// Counts an open connection until dropped, however its task ends.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
