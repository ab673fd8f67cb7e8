//! Which endpoint answered.

use std::sync::Arc;

use failover_core::{Attempt, Endpoint};

/// The endpoint and the attempt that a response comes from, in the response's extensions.
///
/// ```
/// # use failover_tower::AnsweredBy;
/// # fn log<B>(response: &http::Response<B>) {
/// if let Some(by) = response.extensions().get::<AnsweredBy>() {
///     println!("{} in attempt {}", by.endpoint().id(), by.attempt());
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AnsweredBy {
    endpoint: Arc<Endpoint>,
    attempt: u32,
}

impl AnsweredBy {
    /// Creates it for an attempt: for services that fail over without the layer.
    pub fn new(attempt: &Attempt) -> Self {
        Self { endpoint: Arc::clone(attempt.endpoint()), attempt: attempt.number() }
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns the number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}
