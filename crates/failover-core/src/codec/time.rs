//! How times are written in what the engine tells of itself.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serializer;

/// RFC 3339, in UTC; the first representable time when it is out of range.
pub(crate) fn write_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Timestamp::try_from(*time).unwrap_or(Timestamp::MIN))
}

/// As [`write_time`]; absent stays absent.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(crate) fn write_time_option<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => write_time(time, serializer),
        None => serializer.serialize_none(),
    }
}
