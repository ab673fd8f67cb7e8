//! reqwest for `failover`: a client that calls services by name, and a middleware.
//!
//! Depend on this crate in a program that sends its requests with reqwest.
//!
//! ```no_run
//! use failover_core::FailoverManager;
//! use failover_reqwest::Client;
//!
//! # async fn example(manager: FailoverManager) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(manager)?;
//! let user = client.get("http://user-service/users/7").send().await?.text().await?;
//! # Ok(()) }
//! ```
//!
//! With a chain of `reqwest-middleware`, the last line of the chain:
//!
//! ```no_run
//! use failover_reqwest::{FailoverMiddleware, redirect_policy};
//!
//! # async fn example(manager: failover_core::FailoverManager) -> Result<(), Box<dyn std::error::Error>> {
//! let client = reqwest::Client::builder().redirect(redirect_policy()).build()?;
//! let client = reqwest_middleware::ClientBuilder::new(client).with(FailoverMiddleware::new(manager)).build();
//! let user = client.get("http://user-service/users/7").send().await?.text().await?;
//! # Ok(()) }
//! ```
//!
//! The crate has no features; those of reqwest (TLS, `json`, `stream`, …) are chosen by the program's
//! own dependency on it. It needs Rust 1.85.

mod client;
mod error;
mod make;
mod middleware;
mod redirect;
mod request;
mod rules;
mod send;
mod services;
mod stacks;

pub use client::{Client, ClientBuilder};
pub use error::Error;
pub use middleware::FailoverMiddleware;
pub use redirect::{RedirectElsewhere, redirect_policy};
pub use request::RequestBuilder;
pub use rules::reqwest_rules;
pub use services::Services;
