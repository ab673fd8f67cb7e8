//! The provider contract for the provider in memory, and its guarantees beyond that.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

mod contract;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use failover_core::provider::{EndpointSet, WatchStream};
use failover_core::{Endpoint, EndpointId, Error, ServiceName};

fn users() -> ServiceName {
    ServiceName::new("users").expect("valid")
}

fn id(id: &str) -> EndpointId {
    EndpointId::new(id).expect("valid")
}

/// Returns an endpoint of `users`, at `10.0.0.last`.
fn endpoint(id: &str, last: u8) -> Endpoint {
    endpoint_of("users", id, last)
}

fn endpoint_of(service: &str, id: &str, last: u8) -> Endpoint {
    let builder = Endpoint::builder(id, service, format!("10.0.0.{last}"), 8080);
    builder.protocol("http").build().expect("valid")
}

fn ids(set: &EndpointSet) -> Vec<&str> {
    set.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect()
}

async fn next(stream: &mut WatchStream<'_>) -> Option<Result<EndpointSet, Error>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

async fn next_set(stream: &mut WatchStream<'_>) -> EndpointSet {
    next(stream).await.expect("it has not ended").expect("it is no error")
}

/// Polls a stream once.
fn ready(stream: &mut WatchStream<'_>) -> Poll<Option<Result<EndpointSet, Error>>> {
    poll(stream, Waker::noop())
}

fn poll(stream: &mut WatchStream<'_>, waker: &Waker) -> Poll<Option<Result<EndpointSet, Error>>> {
    Pin::as_mut(stream).poll_next(&mut Context::from_waker(waker))
}
