//! An HTTP server that can be killed and frozen.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// An HTTP server on a runtime of its own, which ends with it, connections included.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    shown: Arc<Shown>,
    runtime: Option<Runtime>,
}

#[derive(Debug, Default)]
struct Shown {
    frozen: AtomicBool,
    requests: AtomicUsize,
}

impl HttpServer {
    /// Starts a server with these answers, 200 where nothing else is said. A body is the method, the
    /// target and the `Host` of the request where nothing else is said, and empty after reading:
    ///
    /// | path | answer |
    /// |---|---|
    /// | `/busy`, `/busy-after-reading` | 503, at once or once the body has been read |
    /// | `/missing` | 404 |
    /// | `/download/N` | N chunks of 64 KiB |
    /// | `/count` | the number of bytes of the request's body |
    /// | `/redirect?URL`, `/loop` | 302 to the URL or to `/loop` |
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn start() -> Self {
        Self::of(Router::new().fallback(answer))
    }

    /// Starts a server with other answers.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    pub fn of(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let shown = Arc::new(Shown::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let router = router.layer(from_fn_with_state(Arc::clone(&shown), observe));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("serves until it is killed");
        });
        Self { address, shown, runtime: Some(runtime) }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends the server with all of its connections.
    ///
    /// # Panics
    /// Panics if it was killed before.
    pub fn kill(&mut self) {
        let runtime = self.runtime.take().expect("it runs");
        // A runtime waits for its tasks when it is dropped, which no other runtime's thread may do.
        std::thread::spawn(move || drop(runtime)).join().expect("it ends");
    }

    /// From now on the server accepts and never answers.
    pub fn freeze(&self) {
        self.shown.frozen.store(true, Ordering::Relaxed);
    }

    /// Returns the number of requests that have arrived.
    pub fn requests(&self) -> usize {
        self.shown.requests.load(Ordering::Relaxed)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn observe(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    shown.requests.fetch_add(1, Ordering::Relaxed);
    if shown.frozen.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    next.run(request).await
}

async fn answer(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let asked = format!("{} {} {host}", head.method, head.uri);
    match head.uri.path() {
        "/busy" => (StatusCode::SERVICE_UNAVAILABLE, asked).into_response(),
        "/busy-after-reading" => {
            count(body).await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        "/missing" => (StatusCode::NOT_FOUND, asked).into_response(),
        "/redirect" | "/loop" => {
            let to = head.uri.query().unwrap_or("/loop").to_owned();
            (StatusCode::FOUND, [(LOCATION, to)]).into_response()
        }
        "/count" => count(body).await.to_string().into_response(),
        path if path.starts_with("/download/") => {
            let chunks: usize = path["/download/".len()..].parse().expect("a number");
            let chunk = Bytes::from(vec![b'd'; 64 * 1024]);
            let chunks = (0..chunks).map(move |_| Ok::<_, Infallible>(chunk.clone()));
            Body::from_stream(futures_util::stream::iter(chunks)).into_response()
        }
        _ => asked.into_response(),
    }
}

async fn count(mut body: Body) -> usize {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}
