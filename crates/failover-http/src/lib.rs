//! HTTP for `failover`, on the types of the `http` crate alone.
//!
//! Depend on this crate to call services through an HTTP client of your own, or to answer for calls
//! that failed. It brings no client, no server and no TLS.
//!
//! ```
//! use failover_core::ServiceHandle;
//! use failover_http::{HttpRules, uri};
//! use http::{HeaderMap, Method, Response, Uri};
//!
//! # struct Client;
//! # impl Client {
//! #     async fn get(&self, uri: Uri) -> Result<Response<String>, std::io::Error> {
//! #         Ok(Response::new(uri.to_string()))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = Client;
//! let rules = HttpRules::new();
//! let users = ServiceHandle::fixed("user-service", ["http://10.0.0.1:8080", "http://10.0.0.2:8080"])?
//!     .with_classifier(rules.clone());
//!
//! let target: Uri = "/users/7?full=1".parse()?;
//! let done = users
//!     .call()
//!     .idempotent(rules.is_idempotent(&Method::GET, &HeaderMap::new()))
//!     .execute(async |endpoint| {
//!         let uri = uri(&endpoint, &target).map_err(std::io::Error::other)?;
//!         client.get(uri).await
//!     })
//!     .await?;
//! assert!(done.value.body().ends_with(":8080/users/7?full=1"));
//! # Ok(()) }
//! ```
//!
//! The crate has no features. It needs Rust 1.85.

pub mod fields;
mod gateway;
mod headers;
mod retry_after;
mod rules;
mod target;

pub use gateway::{response, retry_after, status};
pub use headers::CallHeaders;
pub use rules::{HttpRules, causes};
pub use target::{TargetError, host, scheme, server_name, service_name, uri};
