//! The endpoints for tower's balancer.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use failover_core::{Endpoint, ServiceHandle};
use failover_testkit::HttpServer;
use failover_tower::EndpointDiscover;
use futures_util::Stream;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::balance::p2c::Balance;
use tower::discover::Change;
use tower::load::{CompleteOnResponse, PendingRequestsDiscover};
use tower::{Service, ServiceExt};

use crate::support::{Bytes, service, text};

/// Applies all changes that are ready; a service is the endpoint's port.
fn apply<M>(discover: &mut EndpointDiscover<M>, known: &mut BTreeMap<String, u16>) -> Vec<String>
where
    M: FnMut(&std::sync::Arc<Endpoint>) -> u16,
{
    let mut seen = Vec::new();
    while let Poll::Ready(Some(change)) =
        Pin::new(&mut *discover).poll_next(&mut Context::from_waker(Waker::noop()))
    {
        match change.expect("no error") {
            Change::Insert(id, port) => {
                seen.push(format!("+{id}"));
                known.insert(id.to_string(), port);
            }
            Change::Remove(id) => {
                seen.push(format!("-{id}"));
                known.remove(id.as_str());
            }
        }
    }
    seen
}

fn endpoint(id: &str, port: u16) -> Endpoint {
    Endpoint::builder(id, "users", "10.0.0.1", port).protocol("http").build().expect("valid")
}

#[tokio::test]
async fn the_balancer_learns_of_what_comes_goes_and_moves_and_of_nothing_else() {
    let users = ServiceHandle::fixed("users", [endpoint("a", 1), endpoint("b", 2)]).expect("valid");
    let mut discover = EndpointDiscover::new(&users, |endpoint| endpoint.port());
    let mut known = BTreeMap::new();
    assert_eq!(apply(&mut discover, &mut known), ["+a", "+b"]);
    let heavier = endpoint("a", 1).to_builder().weight(7).build().expect("valid");
    users.replace_endpoints([heavier, endpoint("b", 3), endpoint("c", 4)]).expect("valid");
    assert_eq!(apply(&mut discover, &mut known), ["+b", "+c"], "a weight makes no new connection");
    users.replace_endpoints([endpoint("c", 4)]).expect("valid");
    assert_eq!(apply(&mut discover, &mut known), ["-a", "-b"]);
    assert_eq!(known, BTreeMap::from([("c".to_owned(), 4)]));
    assert!(apply(&mut discover, &mut known).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn towers_balancer_sends_to_the_servers_that_are_listed() {
    let servers: Vec<_> = (0..3).map(|_| HttpServer::start()).collect();
    let users = service(servers[..2].iter().map(HttpServer::url));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let discover = EndpointDiscover::new(&users, move |endpoint| {
        let (client, authority) = (client.clone(), endpoint.authority());
        tower::service_fn(move |path: &'static str| {
            let uri = format!("http://{authority}{path}");
            client.request(Request::get(uri).body(Full::default()).expect("valid"))
        })
    });
    let mut balance = Balance::new(PendingRequestsDiscover::new(discover, CompleteOnResponse::default()));
    for _ in 0..40 {
        let response = balance.ready().await.expect("ready").call("/x").await.expect("answers");
        assert!(text(response).await.starts_with("GET /x "));
    }
    assert!(servers[0].requests() > 0 && servers[1].requests() > 0 && servers[2].requests() == 0);
    users.replace_endpoints([servers[2].url()]).expect("valid");
    tokio::time::sleep(Duration::from_millis(10)).await;
    for _ in 0..10 {
        balance.ready().await.expect("ready").call("/x").await.expect("answers");
    }
    assert_eq!(servers[2].requests(), 10, "the change came before the next request");
}
