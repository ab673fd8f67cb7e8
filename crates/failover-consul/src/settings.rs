//! The validated configuration of a provider.

use std::time::Duration;

use failover_provider_kit::BaseUrl;

use crate::token::TokenSource;

/// The consistency mode of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Any server answers, if it lags behind the leader by at most this. Watches survive the
    /// election of a leader, and load is spread over all servers. If an answer lags more, it is
    /// ignored and the leader is asked instead; without a leader, the endpoints become stale.
    Stale(Duration),
    /// The leader answers.
    Leader,
    /// The leader answers after verifying that it is still the leader.
    Consistent,
}

/// All defaults of this crate.
pub(crate) mod defaults {
    use std::time::Duration;

    pub(crate) const ADDRESS: &str = "127.0.0.1:8500";
    /// The port of an agent's HTTP interface.
    pub(crate) const PORT: u16 = 8500;
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

/// The order of the endpoints of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The same for the same instances, however a server orders them.
    ById,
    /// That of the answer.
    AsAnswered,
}

/// Where the address of the agent came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Builder,
    Environment,
}

impl Origin {
    /// Describes it, as in `http://127.0.0.1:8500 (from CONSUL_HTTP_ADDR)`.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Default => "the default",
            Self::Builder => "from ConsulBuilder::address",
            Self::Environment => "from CONSUL_HTTP_ADDR",
        }
    }
}

/// The settings, validated.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Settings {
    pub(crate) address: BaseUrl,
    pub(crate) origin: Origin,
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
    pub(crate) passing_only: bool,
    /// Whether lists name the instances nearest to the agent first.
    pub(crate) near_agent: bool,
    pub(crate) secret_headers: bool,
    pub(crate) config_prefix: String,
    /// The protocol of instances that do not state one.
    pub(crate) protocol: String,
}

impl Settings {
    /// Returns the order of the endpoints of a list.
    pub(crate) fn order(&self) -> Order {
        if self.near_agent { Order::AsAnswered } else { Order::ById }
    }
}
