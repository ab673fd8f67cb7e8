//! A response of the agent: status, body, and Consul's headers.

use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};

use failover_provider_kit::Secret;

/// A response, whatever its status.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// `X-Consul-Index`, if it is a number.
    pub(crate) index: Option<u64>,
    pub(crate) known_leader: Option<bool>,
    pub(crate) last_contact: Duration,
    /// The backend that answered; older servers do not state it.
    pub(crate) backend: Option<String>,
    /// Whether the server reported that it filtered the result for lack of permission.
    pub(crate) filtered: bool,
    pub(crate) retry_after: Option<Duration>,
    /// The token used for the request.
    pub(crate) token: Option<Secret>,
}

impl Answer {
    pub(crate) fn is_streaming(&self) -> bool {
        self.backend.as_deref() == Some("streaming")
    }
}

pub(crate) fn read_head(status: u16, headers: &HeaderMap) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|value| value.trim().parse::<u64>().ok());
    Answer {
        status,
        index: number("x-consul-index"),
        known_leader: text("x-consul-knownleader").and_then(|value| value.parse().ok()),
        last_contact: Duration::from_millis(number("x-consul-lastcontact").unwrap_or(0)),
        backend: text("x-consul-query-backend").map(str::to_owned),
        filtered: text("x-consul-results-filtered-by-acls") == Some("true"),
        // Dates are ignored: the clocks of two machines differ.
        retry_after: number(RETRY_AFTER.as_str()).map(Duration::from_secs),
        ..Answer::default()
    }
}
