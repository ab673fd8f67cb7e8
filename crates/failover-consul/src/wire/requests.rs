//! Requests as values, and the five for which consulrs has types.
//!
//! [`Requests`] has two implementations, of which the feature `consulrs` selects one. They make the
//! same requests; what checks and sends them is the same code for both.

#[cfg(feature = "consulrs")]
mod of_consulrs;
#[cfg(any(test, not(feature = "consulrs")))]
mod own;

#[cfg(all(test, feature = "consulrs"))]
mod tests;

use std::time::Duration;

use http::Method;

#[cfg(feature = "consulrs")]
pub(super) use of_consulrs::OfConsulrs as Selected;
#[cfg(not(feature = "consulrs"))]
pub(super) use own::Own as Selected;

/// The requests for which consulrs has types.
///
/// # Errors
///
/// Each returns a message if the implementation cannot encode the request.
pub(super) trait Requests {
    /// Reads the names of all services.
    fn list_services(scope: Scope<'_>) -> Result<Ask, String>;

    /// Reads a key.
    fn read_key(scope: Scope<'_>, key: &str) -> Result<Ask, String>;

    /// Writes a key if its index is still this one.
    fn swap_key(scope: Scope<'_>, key: &str, value: &[u8], index: u64) -> Result<Ask, String>;

    /// Deregisters an instance from the agent.
    fn deregister(namespace: Option<&str>, id: &str) -> Result<Ask, String>;

    /// Reports the status of a check with a time to live.
    fn update_check(namespace: Option<&str>, check: &str, status: &str, output: &str) -> Result<Ask, String>;
}

/// The consistency mode of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Stale,
    Leader,
    Consistent,
}

/// The parameters of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) mode: Mode,
    /// Blocks until the index exceeds this one, at most for this long.
    pub(crate) after: Option<(u64, Duration)>,
}

impl Read {
    /// Returns a read that does not block.
    pub(crate) fn now(mode: Mode) -> Self {
        Self { mode, after: None }
    }
}

/// Where a request to the servers applies; an agent has no other datacenter than its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) datacenter: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// Returns the parameters of a query.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'static str, &'a str)> {
        let datacenter = self.datacenter.map(|datacenter| ("dc", datacenter));
        datacenter.into_iter().chain(pair(self.namespace))
    }
}

/// Returns the parameter of a query to the agent.
pub(super) fn pair(namespace: Option<&str>) -> Option<(&'static str, &str)> {
    namespace.map(|namespace| ("ns", namespace))
}

/// A request that is not checked yet.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(super) struct Ask {
    pub(super) method: Method,
    /// The path below `/v1/`, not encoded.
    pub(super) path: String,
    /// The query, encoded.
    pub(super) query: String,
    pub(super) body: Vec<u8>,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: String::new(), body: Vec::new() }
    }

    /// Appends parameters to the query.
    pub(super) fn query<'a>(mut self, pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        self.query = form_urlencoded::Serializer::new(self.query).extend_pairs(pairs).finish();
        self
    }

    /// Appends the parameters of a read to the query.
    pub(super) fn read(mut self, read: Read) -> Self {
        let mut query = form_urlencoded::Serializer::new(self.query);
        if let Some((index, wait)) = read.after {
            query.append_pair("index", &index.to_string());
            // In whole seconds, and at least 1: 0 would mean five minutes.
            query.append_pair("wait", &format!("{}s", wait.as_secs().max(1)));
        }
        match read.mode {
            Mode::Stale => drop(query.append_key_only("stale")),
            Mode::Leader => {}
            Mode::Consistent => drop(query.append_key_only("consistent")),
        }
        self.query = query.finish();
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}
