//! A real server that can be killed, and frozen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use failover_core::{FailoverConfig, ServiceHandle};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) use axum::body::Bytes;

/// A server on a runtime of its own, which ends with it, connections included.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shown: Arc<Shown>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
pub(crate) struct Shown {
    frozen: AtomicBool,
    requests: AtomicUsize,
}

impl Server {
    pub(crate) fn start() -> Self {
        provide_tls();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let shown = Arc::new(Shown::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(any(answer)).with_state(Arc::clone(&shown));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("serves until it is killed");
        });
        Self { address, shown, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends the server with all of its connections.
    pub(crate) fn kill(&mut self) {
        let runtime = self.runtime.take().expect("it runs");
        // A runtime waits for its tasks when it is dropped, which no other runtime's thread may do.
        std::thread::spawn(move || drop(runtime)).join().expect("it ends");
    }

    /// From now on the server accepts and never answers.
    pub(crate) fn freeze(&self) {
        self.shown.frozen.store(true, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> usize {
        self.shown.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(State(shown): State<Arc<Shown>>, request: Request) -> Response {
    shown.requests.fetch_add(1, Ordering::Relaxed);
    if shown.frozen.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let (head, body) = request.into_parts();
    let status = match head.uri.path() {
        "/busy" => StatusCode::SERVICE_UNAVAILABLE,
        "/missing" => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let body = match head.uri.path() {
        // Sends this many chunks of 64 KiB.
        path if path.starts_with("/download/") => {
            let chunks: usize = path["/download/".len()..].parse().expect("a number");
            let chunk = Bytes::from(vec![b'd'; 64 * 1024]);
            let chunks = (0..chunks).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
            Body::from_stream(futures_util::stream::iter(chunks))
        }
        "/redirect" | "/loop" => {
            let to = head.uri.query().unwrap_or("/loop").to_owned();
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", to.parse().expect("a header"));
            return response;
        }
        "/count" => Body::from(count(body).await.to_string()),
        "/busy-after-reading" => {
            count(body).await;
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        _ => {
            let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
            Body::from(format!("{} {} {host}", head.method, head.uri))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

async fn count(mut body: Body) -> usize {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    bytes
}

/// Installs what reqwest needs where TLS is built into it.
pub(crate) fn provide_tls() {
    // The error is another test's, which installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn service(urls: impl IntoIterator<Item = String>) -> ServiceHandle {
    provide_tls();
    let config = FailoverConfig::builder().attempt_timeout(Duration::from_millis(400)).build();
    ServiceHandle::builder("users").endpoints(urls).config(config.expect("valid")).build().expect("valid")
}
