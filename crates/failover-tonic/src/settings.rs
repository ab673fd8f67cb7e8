//! The settings of a channel.

use std::fmt;
use std::time::Duration;

use failover_core::{Call, Endpoint, OkIsSuccess};
use http::request::Parts;
use tonic::transport;

use crate::rules::GrpcRules;

/// The default limit of a body that is kept for another attempt.
const REPLAY_LIMIT: usize = 64 * 1024;
/// The default time to connect, name and TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Settings {
    pub(crate) rules: GrpcRules,
    pub(crate) replay_limit: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) endpoint: Option<Box<Transport>>,
    pub(crate) tls: Option<Box<Transport>>,
    pub(crate) call: Option<Box<Customise>>,
}

type Transport =
    dyn Fn(&Endpoint, transport::Endpoint) -> Result<transport::Endpoint, transport::Error> + Send + Sync;
type Customise = dyn for<'a> Fn(Call<'a, OkIsSuccess>, &Parts) -> Call<'a, OkIsSuccess> + Send + Sync;

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: GrpcRules::new(),
            replay_limit: REPLAY_LIMIT,
            connect_timeout: CONNECT_TIMEOUT,
            endpoint: None,
            tls: None,
            call: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .field("replay_limit", &self.replay_limit)
            .field("connect_timeout", &self.connect_timeout)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
