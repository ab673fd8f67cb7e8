//! Building blocks for providers of `failover`.
//!
//! For authors of crates that implement [`Provider`](failover_core::provider::Provider) for a
//! registry: everything such a crate needs besides the registry's own protocol. A provider can be
//! written with `failover-core` alone, and applications do not need this crate.
//!
//! ```
//! use std::time::Duration;
//!
//! use failover_core::Error;
//! use failover_core::provider::{EndpointSet, Query, WatchStream};
//! use failover_provider_kit::{Backoff, BackoffSteps, Publisher, SharedWatches, Timing};
//!
//! # async fn ask_registry(_: &Query) -> Result<EndpointSet, Error> { Ok(EndpointSet::new([])) }
//! struct MyProvider {
//!     timing: Timing,
//!     watches: SharedWatches<Query, EndpointSet>,
//! }
//!
//! impl MyProvider {
//!     /// Implements `Provider::watch`: all streams of a query share one task.
//!     fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
//!         let (query, timing) = (query.clone(), self.timing.clone());
//!         Some(self.watches.listen(query.clone(), |publisher| follow(query, timing, publisher)))
//!     }
//! }
//!
//! async fn follow(query: Query, timing: Timing, publisher: Publisher<EndpointSet>) {
//!     let steps = BackoffSteps::new(Duration::from_millis(250), 2.0, Duration::from_secs(30));
//!     let mut backoff = Backoff::new(steps);
//!     loop {
//!         match ask_registry(&query).await {
//!             Ok(set) => {
//!                 backoff.reset();
//!                 publisher.publish(set);
//!                 tokio::time::sleep(timing.jittered(Duration::from_secs(10), 0.1)).await;
//!             }
//!             Err(error) => {
//!                 publisher.error(error);
//!                 tokio::time::sleep(backoff.after_failure(timing.now(), timing.unit())).await;
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! Time and randomness come from core's [`Clock`](failover_core::Clock) and
//! [`Random`](failover_core::Random), bundled as [`Timing`], so that tests run in virtual time and
//! from a seed. The crate needs Rust 1.85 and a tokio runtime with its timer enabled, and with I/O
//! for [`Reconnect`] and the HTTP client.
//!
//! # Features
//!
//! `http-client`, off by default, adds `HttpClient` with its TLS settings, and `Dialer`: deadlines,
//! size limits after decompression, HTTP/1 or HTTP/2, and errors that name the address, the cause
//! and the option that would help.
//!
//! # Logging
//!
//! Events have the target `failover::provider`: a token file cannot be read again (`WARN`).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
mod blocking;
mod documents;
#[cfg(feature = "http-client")]
mod http_client;
mod keyed_locks;
mod pacer;
mod polled;
mod reconnect;
mod serial_writes;
mod shared_watch;
mod source;
mod task;
mod timing;
mod token_file;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use backoff::{Backoff, BackoffSteps};
pub use blocking::{BlockingWork, Deadline};
pub use documents::MAX_DOCUMENT_BYTES;
#[cfg(feature = "http-client")]
pub use http_client::{
    BaseUrl, ConnectTarget, Dialer, HttpClient, HttpClientBuilder, HttpError, HttpErrorKind, HttpOption,
    HttpProtocol, HttpResponse, ReadBodyError, Tls, TlsBuilder, read_body,
};
pub use keyed_locks::{KeyedLocks, Slot};
pub use pacer::RequestPacer;
pub use polled::Polled;
pub use reconnect::Reconnect;
pub use serial_writes::{SerialWrites, WritePermit};
pub use shared_watch::{Publisher, SharedWatches, WatchItems};
pub use source::Source;
pub use task::AbortOnDrop;
pub use timing::Timing;
pub use token_file::{Secret, TokenFile, read_small_file};
