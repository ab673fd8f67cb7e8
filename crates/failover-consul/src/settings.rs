//! What a provider was configured with, checked.

use std::time::Duration;

use crate::address::Address;
use crate::token::TokenSource;

/// Which data a watch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Whatever server answers, however much it lags, as long as that is not more than this. A watch goes on while a
    /// leader is elected, and the load is spread over the servers. An answer that lags more is not taken: the leader is
    /// asked instead, and if there is none the endpoints are stale.
    Stale(Duration),
    /// The leader answers.
    Leader,
    /// The leader answers after making sure that it still is.
    Consistent,
}

/// Every default of this crate.
pub(crate) mod defaults {
    use std::time::Duration;

    pub(crate) const ADDRESS: &str = "127.0.0.1:8500";
    pub(crate) const MAX_STALE: Duration = Duration::from_secs(10);
    pub(crate) const CONNECTIONS: usize = 100;
    pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
    pub(crate) const WAIT: Duration = Duration::from_secs(30);
    pub(crate) const POLL: Duration = Duration::from_secs(10);
    pub(crate) const ANSWER_BYTES: usize = 64 << 20;
    pub(crate) const EMPTY_GRACE: Duration = Duration::from_secs(60);
    pub(crate) const TTL: Duration = Duration::from_secs(30);
    pub(crate) const DEREGISTER_AFTER: Duration = Duration::from_secs(600);
    pub(crate) const CONFIG_PREFIX: &str = "failover/config";
    pub(crate) const PROTOCOL: &str = "tcp";
}

/// What was set, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    pub(crate) token: TokenSource,
    pub(crate) datacenter: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) consistency: Consistency,
    pub(crate) connections: usize,
    pub(crate) deadline: Duration,
    pub(crate) wait: Duration,
    pub(crate) poll: Duration,
    pub(crate) answer_bytes: usize,
    pub(crate) empty_grace: Duration,
    pub(crate) ttl: Duration,
    pub(crate) agent_checks: bool,
    pub(crate) deregister_after: Option<Duration>,
    pub(crate) ignore_node_checks: bool,
    pub(crate) secret_headers: bool,
    pub(crate) config_prefix: String,
    /// Of instances that say nothing of it.
    pub(crate) protocol: String,
}
