//! What an operator reads: statistics and explanations.

pub(crate) mod explain;
pub(crate) mod stats;
