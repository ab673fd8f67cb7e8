//! Durations in output: as text for people, and beside it as a number of seconds for programs.
//!
//! Each function serves a field of its own name, with `#[serde(flatten, serialize_with = "...")]`, and
//! writes two keys: `"uptime": "1m30s", "uptime_seconds": 90.0`. serde tells a function neither the name
//! of its field nor allows it a second key otherwise.

use std::time::Duration;

use serde::Serializer;
use serde::ser::SerializeMap;

use crate::codec::duration;

fn both<S: Serializer>(
    serializer: S,
    value: Option<Duration>,
    text: &'static str,
    number: &'static str,
) -> Result<S::Ok, S::Error> {
    let mut keys = serializer.serialize_map(None)?;
    if let Some(value) = value {
        keys.serialize_entry(text, &duration::format(value))?;
        keys.serialize_entry(number, &value.as_secs_f64())?;
    }
    keys.end()
}

macro_rules! fields {
    ($($name:ident),+; optional $($optional:ident),+) => {
        $(pub(crate) fn $name<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
            both(serializer, Some(*value), stringify!($name), concat!(stringify!($name), "_seconds"))
        })+
        $(#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
        pub(crate) fn $optional<S: Serializer>(
            value: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            both(serializer, *value, stringify!($optional), concat!(stringify!($optional), "_seconds"))
        })+
    };
}

fields! {
    p50, p90, p99, p999, uptime, length, window, since, ago, retry_in, duration;
    optional average_response_time, age, took, frozen_for
}
