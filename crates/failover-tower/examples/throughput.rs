//! Requests per second through the layer and without it, in turns, on one endpoint; and through tower's own layers:
//! its timeout alone, and its retries above a timeout above its balancer.
//!
//! `cargo run --release -p failover-tower --example throughput`

#![allow(clippy::disallowed_methods, reason = "a program that measures")]

use std::error::Error;
use std::future::Ready;
use std::time::{Duration, Instant};

use bytes::Bytes;
use failover_core::ServiceHandle;
use failover_tower::{FailoverLayer, ReplayBody};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma};
use tower::retry::{Policy, Retry};
use tower::timeout::Timeout;
use tower::{BoxError, Layer, Service, ServiceExt};

const TURNS: usize = 20;
const TURN: Duration = Duration::from_millis(500);
const CONCURRENT: usize = 8;
const ATTEMPT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    serving.spawn(async move {
        let routes = axum::Router::new().fallback(|| async { "hello" });
        axum::serve(tokio::net::TcpListener::from_std(listener).expect("a socket"), routes).await
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = || Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Full<Bytes>>>();
        let bare = client().map_request(|request: Request<Full<Bytes>>| request.map(ReplayBody::from_body));
        let layered = FailoverLayer::new(ServiceHandle::fixed("users", [url.clone()])?).layer(client());
        let timeout = Timeout::new(bare.clone(), ATTEMPT);
        let measured = PeakEwma::new(bare.clone(), ATTEMPT, 1e9, CompleteOnResponse::default());
        let balanced = Buffer::new(Balance::new(ServiceList::new(vec![measured])), 2 * CONCURRENT);
        let tower = Retry::new(Twice, Timeout::new(balanced, ATTEMPT));
        let mut rates: [Vec<f64>; 4] = Default::default();
        for turn in 0..=TURNS {
            let of_turn = [
                turn_of(&bare, &url).await,
                turn_of(&layered, &url).await,
                turn_of(&timeout, &url).await,
                turn_of(&tower, &url).await,
            ];
            // The first turn makes the connections.
            if turn > 0 {
                rates.iter_mut().zip(of_turn).for_each(|(rates, rate)| rates.push(rate));
            }
        }
        let [bare, layer, timeout, tower] = rates.map(median);
        let share = |rate: f64| 100.0 * rate / bare;
        println!("bare={bare:.0}/s layer={layer:.0}/s share={:.1}%", share(layer));
        println!("tower's own: timeout={:.1}% retry+timeout+balance={:.1}%", share(timeout), share(tower));
        Ok(())
    })
}

/// Repeats a request once after an error.
#[derive(Clone)]
struct Twice;

impl<B> Policy<Request<Full<Bytes>>, Response<B>, BoxError> for Twice {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Ready<()>> {
        result.is_err().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

/// Returns the requests per second of a turn.
async fn turn_of<S, B>(service: &S, url: &str) -> f64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let start = Instant::now();
    let caller = || async {
        let (mut service, mut calls) = (service.clone(), 0_u32);
        while start.elapsed() < TURN {
            let request = Request::get(format!("{url}/users/7")).body(Full::default()).expect("valid");
            let response = service.ready().await.expect("ready").call(request).await.expect("an answer");
            response.into_body().collect().await.expect("a body");
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
