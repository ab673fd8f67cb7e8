//! Values that must be within two bounds, and the text that describes the bounds.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::codec::duration;
use crate::error::Error;

pub(crate) fn whole(field: &str, value: u32, range: &RangeInclusive<u32>) -> Result<u32, Error> {
    if range.contains(&value) { Ok(value) } else { Err(Error::invalid(field, value, &whole_wanted(range))) }
}

/// NaN and the infinities are outside every range.
pub(crate) fn number(field: &str, value: f64, range: &RangeInclusive<f64>) -> Result<f64, Error> {
    if range.contains(&value) { Ok(value) } else { Err(Error::invalid(field, value, &number_wanted(range))) }
}

pub(crate) fn duration(
    field: &str,
    value: Duration,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, Error> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(field, duration::short(value), &duration_wanted(range)))
}

pub(crate) fn whole_wanted(range: &RangeInclusive<u32>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

pub(crate) fn number_wanted(range: &RangeInclusive<f64>) -> String {
    format!("a number from {} to {}", range.start(), range.end())
}

pub(crate) fn duration_wanted(range: &RangeInclusive<Duration>) -> String {
    format!("a duration from {} to {}", duration::short(*range.start()), duration::short(*range.end()))
}
