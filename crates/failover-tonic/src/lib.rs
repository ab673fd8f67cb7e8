//! A channel for tonic that fails over among the endpoints of a service.
//!
//! Depend on this crate in a program that calls gRPC services with tonic.
//!
//! ```ignore
//! let users = manager.service("user-service").await?;
//! let mut client = GreeterClient::new(FailoverChannel::new(users)); // the only change
//! let reply = client.say_hello(HelloRequest { name: "ada".into() }).await?;
//! ```
//!
//! Each attempt is a span `request` of the target `failover::grpc`, at level debug, with OpenTelemetry's
//! fields: `otel.kind`, `rpc.system`, `rpc.service`, `rpc.method`, `server.address`, `server.port`,
//! `http.request.resend_count`, `rpc.grpc.status_code` if the head of the reply has a status, and
//! `error.type`: the code's name, or the class of an attempt without a status. An attempt that ran out
//! of time has neither of the last two.
//!
//! The crate has no features; those of tonic, such as its TLS, come from the program's own dependency on
//! it. It needs Rust 1.85; tonic 0.14.6 and later need 1.88.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure time"))]

mod builder;
mod channel;
mod endpoints;
mod error;
mod request_body;
mod response_body;
mod rules;
mod settings;
mod span;
mod timeout;

pub use builder::FailoverChannelBuilder;
pub use channel::{FailoverChannel, ResponseFuture};
pub use error::NoTlsError;
pub use failover_tower::{AnsweredBy, FailoverError};
pub use response_body::ResponseBody;
pub use rules::GrpcRules;
