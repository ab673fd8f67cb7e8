//! Calls per second through the channel and through tonic's own, in turns, on one endpoint.
//!
//! `cargo run --release -p failover-tonic --example throughput`

#![allow(clippy::disallowed_methods, reason = "a program that measures")]

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use failover_core::ServiceHandle;
use failover_tonic::FailoverChannel;
use http::uri::PathAndQuery;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::StdError;
use tonic::server::NamedService;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

const TURNS: usize = 20;
const TURN: Duration = Duration::from_millis(500);
const CONCURRENT: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    serving.spawn(async move {
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).expect("a socket"));
        Server::builder().add_service(Hello).serve_with_incoming(incoming).await
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bare = Channel::from_shared(url.clone())?.connect_lazy();
        let channel = FailoverChannel::new(ServiceHandle::fixed("users", [url.clone()])?);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for turn in 0..=TURNS {
            let (one, other) = (turn_of(&bare).await, turn_of(&channel).await);
            // The first turn makes the connections.
            if turn > 0 {
                without.push(one);
                with.push(other);
            }
        }
        let (without, with) = (median(without), median(with));
        println!("bare={without:.0}/s channel={with:.0}/s share={:.1}%", 100.0 * with / without);
        Ok(())
    })
}

/// Returns the calls per second of a turn.
async fn turn_of<T>(channel: &T) -> f64
where
    T: GrpcService<Body, Error: Into<StdError>> + Clone,
    T::ResponseBody: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let start = Instant::now();
    let caller = || async {
        let (mut client, mut calls) = (Grpc::new(channel.clone()), 0_u32);
        while start.elapsed() < TURN {
            client.ready().await.map_err(Into::into).expect("ready");
            let path = PathAndQuery::from_static("/test.Hello/Hello");
            client.unary(Request::new(Bytes::from_static(b"ada")), path, Raw).await.expect("an answer");
            calls += 1;
        }
        calls
    };
    let calls: u32 =
        futures_util::future::join_all((0..CONCURRENT).map(|_| caller())).await.into_iter().sum();
    f64::from(calls) / start.elapsed().as_secs_f64()
}

fn median(mut turns: Vec<f64>) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

/// Answers each message with itself.
#[derive(Clone)]
struct Hello;

impl NamedService for Hello {
    const NAME: &'static str = "test.Hello";
}

impl tower::Service<http::Request<Body>> for Hello {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = async |request: Request<Bytes>| Ok::<_, Status>(Response::new(request.into_inner()));
        Box::pin(
            async move { Ok(tonic::server::Grpc::new(Raw).unary(tower::service_fn(echo), request).await) },
        )
    }
}

/// Messages that are bytes.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
