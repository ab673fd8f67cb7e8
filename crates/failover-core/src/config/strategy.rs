//! The words for who comes first, and for who is picked among equals.

use crate::codec::document::{one_of, words};

/// In which order the endpoints of a service are candidates for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StrategyKind {
    /// All that are available, in turn.
    #[default]
    RoundRobin,
    /// All that are available, at random.
    Random,
    /// All that are available, by their weights.
    Weighted,
    /// All that are available, those with the fewest calls in flight first.
    LeastConnections,
    /// All that are available, the same one for the same key.
    IpHash,
    /// Healthy before degraded, those that answer best first.
    HealthBased,
    /// Those in the caller's zone, then in its region, then the rest.
    Geographic,
    /// What the caller's own strategy says.
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
    /// Those that their registry does not check itself.
    #[default]
    Auto,
    /// All that have a health check.
    Always,
    /// None.
    Never,
}

words! {
    ProbePolicy, "probe", wanted = |_| one_of(ProbePolicy::WORDS);
    Auto = "auto",
    Always = "always",
    Never = "never",
}

impl StrategyKind {
    /// The algorithm that picks among equals when none is configured.
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

/// Which of the endpoints that are equal to the strategy gets the call.
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
    /// Of two at random the one with fewer calls in flight, by weight.
    LeastConnections,
    /// Of two at random the one with the lower latency times calls in flight.
    PeakEwma,
    /// The same one for the same key, while it is available.
    IpHash,
    /// By what endpoints say of their load: see [`LoadReport`](crate::LoadReport).
    ReportedLoad,
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
}

/// The Go package lists three words as algorithms that order candidates instead of picking among equals.
fn algorithm_wanted(word: &str) -> String {
    let words = one_of(Algorithm::WORDS);
    if StrategyKind::WORDS.contains(&word) {
        format!("{words}; {word} is a strategy, which goes into `strategy`")
    } else {
        words
    }
}
