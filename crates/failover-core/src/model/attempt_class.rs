//! The classes of attempts, by what they show about the endpoint.

use std::fmt;

use serde::Serialize;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptClass {
    /// The endpoint processed the request.
    Success,
    /// The endpoint failed.
    Failure,
    /// No reply within the attempt's timeout.
    Timeout,
    /// The endpoint reported that it is overloaded.
    Overload,
    /// The request provably did not reach the endpoint.
    NotSent,
    /// The endpoint rejected the request as invalid.
    Rejected,
    /// This machine failed, not the endpoint.
    Local,
}

impl AttemptClass {
    /// All classes, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Success,
        Self::Failure,
        Self::Timeout,
        Self::Overload,
        Self::NotSent,
        Self::Rejected,
        Self::Local,
    ];

    /// Whether an attempt of this class says something bad about its endpoint.
    #[inline]
    pub(crate) const fn is_failure(self) -> bool {
        !matches!(self, Self::Success | Self::Rejected | Self::Local)
    }

    /// Returns the name of this class, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Overload => "overload",
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for AttemptClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
