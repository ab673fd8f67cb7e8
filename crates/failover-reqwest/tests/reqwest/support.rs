//! Services of the tests.

use std::time::Duration;

use failover_core::{FailoverConfig, ServiceHandle};

pub(crate) use axum::body::Bytes;

/// Installs what reqwest needs where TLS is built into it.
pub(crate) fn provide_tls() {
    // The error is another test's, which installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn service(urls: impl IntoIterator<Item = String>) -> ServiceHandle {
    provide_tls();
    let config = FailoverConfig::builder().attempt_timeout(Duration::from_millis(400)).build();
    ServiceHandle::builder("users").endpoints(urls).config(config.expect("valid")).build().expect("valid")
}
