//! A tower layer that fails over, and what else tower and hyper need to use `failover`.
//!
//! Depend on this crate in a program that sends its requests through tower services.
//!
//! ```
//! use failover_core::ServiceHandle;
//! use failover_tower::FailoverLayer;
//! use http::{Request, Response};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # type Body = http_body_util::Full<bytes::Bytes>;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = tower::service_fn(async |request: Request<failover_tower::ReplayBody<Body>>| {
//! #     assert_eq!(request.uri().path(), "/users/7");
//! #     Ok::<_, std::io::Error>(Response::new(Body::default()))
//! # });
//! let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080", "http://10.0.0.2:8080"])?;
//! let mut users = ServiceBuilder::new().layer(FailoverLayer::new(users)).service(client);
//!
//! let request = Request::get("http://user-service/users/7").body(Body::default())?;
//! let response = users.ready().await?.call(request).await?;
//! assert_eq!(response.status(), 200);
//! # Ok(()) }
//! ```
//!
//! | name | is |
//! |---|---|
//! | [`FailoverLayer`] | the layer: requests go to one endpoint after another until one answers |
//! | [`EndpointServices`] | a service per endpoint, made by a `MakeService`, below the layer |
//! | [`EndpointConnector`] | a connector of hyper-util, for a client per endpoint with TLS by server name |
//! | [`EndpointDiscover`] | the endpoints for tower's own balancer |
//!
//! Each attempt is a span `request` of the target `failover::http`, at level debug, with OpenTelemetry's
//! fields: `otel.kind`, `server.address`, `server.port`, `http.request.method`,
//! `http.request.resend_count`, `http.response.status_code` and `error.type`. An attempt that ran out of
//! time has neither of the last two.
//!
//! The crate has no features. It needs Rust 1.85.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure time"))]

mod answered_by;
mod connector;
mod discover;
mod endpoint_services;
mod error;
mod layer;
mod replay;
mod response_body;
mod service;
mod settings;
mod span;

pub use answered_by::AnsweredBy;
pub use connector::{ConnectFuture, Connector, EndpointConnector};
pub use discover::EndpointDiscover;
pub use endpoint_services::EndpointServices;
pub use error::{ConnectError, FailoverError, ServerNameError};
pub use layer::FailoverLayer;
pub use replay::ReplayBody;
pub use response_body::ResponseBody;
pub use service::{Failover, ResponseFuture};
pub use span::AttemptSpan;

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
