//! The public state of a circuit breaker.

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls are admitted.
    Closed,
    /// Calls are refused until the open time has passed.
    Open,
    /// A few probe calls are admitted to learn whether the endpoint has recovered.
    HalfOpen,
}

impl BreakerState {
    /// Returns the name of this state, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
