//! Parses text into values: configuration documents, durations, ranges and times.

pub(crate) mod document;
pub(crate) mod duration;
pub(crate) mod ordinal;
pub(crate) mod range;
pub(crate) mod retry_after;
pub(crate) mod seconds;
pub(crate) mod time;
