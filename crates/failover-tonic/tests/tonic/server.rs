//! A tonic server that can be killed, frozen and told what to answer.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use failover_core::{FailoverConfig, ServiceHandle};
use futures_util::StreamExt;
use http::HeaderMap;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Server as Tonic, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tower::service_fn;

use crate::greeter::Text;

/// A server on a runtime of its own, which ends with it, connections included.
pub(crate) struct Server {
    address: SocketAddr,
    greeter: Greeter,
    runtime: Option<Runtime>,
}

type Answer = dyn Fn() -> http::Response<Body> + Send + Sync;

#[derive(Clone, Default)]
pub(crate) struct Greeter(Arc<Shown>);

#[derive(Default)]
struct Shown {
    frozen: Mutex<bool>,
    answer: Mutex<Option<Box<Answer>>>,
    heads: Mutex<Vec<HeaderMap>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with_tls(None)
    }

    pub(crate) fn with_tls(tls: Option<ServerTlsConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let greeter = Greeter::default();
        let service = greeter.clone();
        runtime.spawn(serve(listener, service, tls));
        Self { address, greeter, runtime: Some(runtime) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
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
        *lock(&self.greeter.0.frozen) = true;
    }

    /// From now on the server answers this, whatever it is asked.
    pub(crate) fn answer(&self, answer: impl Fn() -> http::Response<Body> + Send + Sync + 'static) {
        *lock(&self.greeter.0.answer) = Some(Box::new(answer));
    }

    /// From now on the server answers with this status in the head.
    pub(crate) fn fail(&self, status: Status) {
        self.answer(move || status.clone().into_http());
    }

    /// Returns the heads of the requests that have arrived.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        lock(&self.greeter.0.heads).clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.heads().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A service of these servers, whose attempts last at most 400 ms.
pub(crate) fn service(urls: impl IntoIterator<Item = String>) -> ServiceHandle {
    let config = FailoverConfig::builder().attempt_timeout(Duration::from_millis(400)).build();
    ServiceHandle::builder("users").endpoints(urls).config(config.expect("valid")).build().expect("valid")
}

pub(crate) async fn serve(listener: std::net::TcpListener, greeter: Greeter, tls: Option<ServerTlsConfig>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    let mut builder = Tonic::builder();
    if let Some(tls) = tls {
        builder = builder.tls_config(tls).expect("a certificate");
    }
    let serving = builder.add_service(greeter).serve_with_incoming(TcpListenerStream::new(listener));
    serving.await.expect("serves until it is killed");
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NamedService for Greeter {
    const NAME: &'static str = "test.Greeter";
}

impl tower::Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shown = Arc::clone(&self.0);
        Box::pin(async move {
            lock(&shown.heads).push(request.headers().clone());
            let frozen = *lock(&shown.frozen);
            if frozen {
                std::future::pending::<()>().await;
            }
            if let Some(answer) = &*lock(&shown.answer) {
                return Ok(answer());
            }
            Ok(dispatch(request).await)
        })
    }
}

async fn dispatch(request: http::Request<Body>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let mut grpc = Grpc::new(Text);
    match path.as_str() {
        "/test.Greeter/Hello" => {
            let hello = async |request: Request<String>| {
                Ok::<_, Status>(Response::new(format!("hello {}", request.into_inner())))
            };
            grpc.unary(service_fn(hello), request).await
        }
        "/test.Greeter/Count" => {
            let count = async |request: Request<String>| {
                Ok::<_, Status>(Response::new(counted(&request.into_inner())))
            };
            grpc.server_streaming(service_fn(count), request).await
        }
        "/test.Greeter/Upload" => {
            let upload = async |request: Request<Streaming<String>>| {
                let (mut parts, mut bytes) = (request.into_inner(), 0);
                while let Some(part) = parts.message().await? {
                    bytes += part.len();
                }
                Ok::<_, Status>(Response::new(bytes.to_string()))
            };
            grpc.client_streaming(service_fn(upload), request).await
        }
        _ => {
            let echo = async |request: Request<Streaming<String>>| {
                Ok::<_, Status>(Response::new(request.into_inner().boxed()))
            };
            grpc.streaming(service_fn(echo), request).await
        }
    }
}

type Numbers = futures_util::stream::BoxStream<'static, Result<String, Status>>;

/// `3` are the numbers up to 3, `3 INTERNAL` ends with that status in trailers, and `3 …` never ends.
fn counted(asked: &str) -> Numbers {
    let (to, end) = asked.split_once(' ').unwrap_or((asked, ""));
    let to: u32 = to.parse().unwrap_or(0);
    let numbers = futures_util::stream::iter((1..=to).map(|number| Ok(number.to_string())));
    match end {
        "" => numbers.boxed(),
        "…" => numbers.chain(futures_util::stream::pending()).boxed(),
        message => {
            let status = Status::internal(message);
            numbers.chain(futures_util::stream::once(async { Err(status) })).boxed()
        }
    }
}
