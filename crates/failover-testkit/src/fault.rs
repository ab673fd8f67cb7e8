//! An HTTP server that does what a real one won't do on command.

mod reply;
mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use self::reply::Reply;
pub use self::request::Request;

/// A server on 127.0.0.1 whose every answer the test decides. It ends when this is dropped.
///
/// HTTP/1.1 with connections that stay open; the requests of one connection are answered in turn.
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
    /// Starts it on a free port: `answer` is asked for each request, and may wait.
    ///
    /// # Panics
    /// No port can be had.
    pub async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        Self::start_at(0, answer).await
    }

    /// Starts it on that port, which an earlier one may have had.
    ///
    /// # Panics
    /// Somebody else has the port.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests until now, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests have come.
    pub fn request_count(&self) -> usize {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many connections have been made.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many connections are open.
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
    // They end with this task.
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
        // A client that leaves while the answer is awaited ends the connection, as a real server sees it.
        let reply = tokio::select! {
            reply = answer(request) => reply,
            () = request::closed(&stream) => return,
        };
        if !reply.send(&mut stream).await {
            return;
        }
    }
}

/// Counts an open connection for as long as it lives, however its task ends.
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
