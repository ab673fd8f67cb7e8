//! The settings of a layer, which its services share.

use std::fmt;
use std::sync::Arc;

use failover_core::{Call, OkIsSuccess};
use failover_http::{CallHeaders, HttpRules};
use http::request::Parts;

/// The default limit of a body that is kept for another attempt.
const REPLAY_LIMIT: usize = 64 * 1024;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rules: HttpRules,
    pub(crate) replay_limit: usize,
    pub(crate) headers: Option<CallHeaders>,
    pub(crate) per_endpoint: bool,
    pub(crate) call: Option<Arc<Customise>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: HttpRules::new(),
            replay_limit: REPLAY_LIMIT,
            headers: None,
            per_endpoint: false,
            call: None,
        }
    }
}

type Customise = dyn for<'a> Fn(Call<'a, OkIsSuccess>, &Parts) -> Call<'a, OkIsSuccess> + Send + Sync;

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .field("replay_limit", &self.replay_limit)
            .field("headers", &self.headers)
            .field("per_endpoint", &self.per_endpoint)
            .finish_non_exhaustive()
    }
}
