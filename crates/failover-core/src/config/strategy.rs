//! The names of strategies and algorithms.

use crate::codec::document::{one_of, words};

/// How the endpoints of a service are ordered into tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StrategyKind {
    /// All available endpoints, in turn.
    #[default]
    RoundRobin,
    /// All available endpoints, at random.
    Random,
    /// All available endpoints, by weight.
    Weighted,
    /// All available endpoints, those with the fewest calls in flight first.
    LeastConnections,
    /// All available endpoints, the same one for the same key.
    IpHash,
    /// Healthy before degraded, and the best responding first.
    HealthBased,
    /// The caller's zone first, then its region, then the rest.
    Geographic,
    /// The caller's own strategy.
    Custom,
}

words! {
    StrategyKind, "strategy", wanted = |_| one_of(StrategyKind::WORDS);
    RoundRobin = "round_robin",
    Random = "random",
    Weighted = "weighted",
    LeastConnections = "least_connections",
    IpHash = "ip_hash",
    HealthBased = "health_based",
    Geographic = "geographic",
    Custom = "custom",
}

/// Whether this process probes endpoints that their registry probes, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProbePolicy {
    /// Probes the endpoints that their registry does not check itself.
    #[default]
    Auto,
    /// Probes all endpoints that have a health check.
    Always,
    /// Probes no endpoint.
    Never,
}

words! {
    ProbePolicy, "probe", wanted = |_| one_of(ProbePolicy::WORDS);
    Auto = "auto",
    Always = "always",
    Never = "never",
}

impl StrategyKind {
    /// Returns the algorithm that is used if none is configured.
    pub fn default_algorithm(self) -> Algorithm {
        match self {
            Self::RoundRobin | Self::Custom => Algorithm::RoundRobin,
            Self::Random => Algorithm::Random,
            Self::Weighted => Algorithm::Weighted,
            Self::LeastConnections | Self::Geographic => Algorithm::LeastConnections,
            Self::IpHash => Algorithm::IpHash,
            Self::HealthBased => Algorithm::PeakEwma,
        }
    }
}

/// How one endpoint of a tier is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// In turn.
    #[default]
    RoundRobin,
    /// At random.
    Random,
    /// By weight, spread evenly.
    Weighted,
    /// Of two random endpoints, the one with fewer calls in flight, adjusted by weight.
    LeastConnections,
    /// Of two random endpoints, the one with the lower product of latency and calls in flight.
    PeakEwma,
    /// The same endpoint for the same key, while it is available.
    IpHash,
    /// By the load that endpoints report: see [`LoadReport`](crate::LoadReport).
    ReportedLoad,
    /// All calls on one endpoint, the first by priority and id, until it is out; then all on the next
    /// one, where they stay when the earlier one returns.
    ///
    /// As gRPC's `pick_first`, for a database's primary and its standbys. No call is used as a probe
    /// call, and a limit of calls in flight refuses instead of using another endpoint.
    First,
}

words! {
    Algorithm, "algorithm", wanted = algorithm_wanted;
    RoundRobin = "round_robin",
    Random = "random",
    Weighted = "weighted",
    LeastConnections = "least_connections",
    PeakEwma = "peak_ewma",
    IpHash = "ip_hash",
    ReportedLoad = "reported_load",
    First = "first",
}

/// The Go package lists three names as algorithms that order candidates instead of picking one.
fn algorithm_wanted(word: &str) -> String {
    let words = one_of(Algorithm::WORDS);
    if StrategyKind::WORDS.contains(&word) {
        format!("{words}; {word} is a strategy, which goes into `strategy`")
    } else {
        words
    }
}
