//! What a provider is certified for.

use std::fmt;

/// A part of the contract that a provider can be certified for.
///
/// Levels are a set, not a ladder: a read-only provider reaches `Read`, `Watch` and `Survive`. Only
/// `Read` is needed by all others. Each clause belongs to one level:
///
/// | level | clauses |
/// |---|---|
/// | `Read` | 1, 2, 3, 11, 50, 51, 52 |
/// | `Watch` | 20, 21, 22, 23 |
/// | `Write` | 4 to 10, 12 to 15 |
/// | `Configure` | 40, 41, 42, 43 |
/// | `Survive` | 30 to 35, 60 to 63 |
///
/// A provider reaches a level if every clause of the level that applies to it has passed, and no clause
/// of any level has failed. A clause that was skipped because the subject lacks a hook was not tested,
/// and the level is not reached. A level of which nothing applies is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Lists endpoints, closes, keeps secrets.
    Read,
    /// Watches endpoints.
    Watch,
    /// Registers and deregisters endpoints.
    Write,
    /// Keeps configuration documents.
    Configure,
    /// Stays right during outages, with ten thousand endpoints, beside broken data and when another
    /// process takes over.
    Survive,
}

impl Level {
    /// All levels, in the order of the reports.
    pub const ALL: [Self; 5] = [Self::Read, Self::Watch, Self::Write, Self::Configure, Self::Survive];

    /// Returns the name, such as `Survive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Watch => "Watch",
            Self::Write => "Write",
            Self::Configure => "Configure",
            Self::Survive => "Survive",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a level was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Every clause that applies has passed.
    Reached,
    /// No clause of the level applies: the provider does not offer this part.
    NotOffered {
        /// What the provider does not offer.
        why: String,
    },
    /// A clause has failed or was not tested.
    NotReached {
        /// Which clauses, and what to do about it.
        why: String,
    },
}

/// A level and whether it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelReport {
    /// The level.
    pub level: Level,
    /// Whether it was reached.
    pub standing: Standing,
}

impl fmt::Display for LevelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level;
        match &self.standing {
            Standing::Reached => write!(f, "{level:<9}  reached"),
            Standing::NotOffered { why } => write!(f, "{level:<9}  not offered: {why}"),
            Standing::NotReached { why } => write!(f, "{level:<9}  NOT REACHED: {why}"),
        }
    }
}
