//! Serialises times in statistics, explanations and events.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serializer;

/// Writes RFC 3339 in UTC; a time that is out of range is written as the earliest representable
/// time.
pub(crate) fn write_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Timestamp::try_from(*time).unwrap_or(Timestamp::MIN))
}

/// Like [`write_time`]; an absent time stays absent.
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
