//! The HTTP statuses of a healthy endpoint: ranges, written as `204` or `"200-299"`.

use std::ops::RangeInclusive;

use serde::Serializer;

use crate::codec::document::Raw;
use crate::error::Error;

const MAX_RANGES: usize = 32;
const WANTED: &str = "statuses from 100 to 599, such as 204 or \"200-299\"";

/// Reads one status or range, or a list of them.
pub(super) fn read(field: &str, raw: Raw) -> Result<Vec<RangeInclusive<u16>>, Error> {
    match raw {
        Raw::List(statuses) => statuses.iter().map(|one| read_one(field, one)).collect(),
        one => Ok(vec![read_one(field, &one)?]),
    }
}

fn read_one(field: &str, raw: &Raw) -> Result<RangeInclusive<u16>, Error> {
    let read = match raw {
        Raw::Text(text) => match text.split_once('-') {
            Some((low, high)) => number(low).zip(number(high)).map(|(low, high)| low..=high),
            None => number(text).map(|status| status..=status),
        },
        raw => raw.as_whole().and_then(|status| u16::try_from(status).ok()).map(|status| status..=status),
    };
    read.ok_or_else(|| Error::invalid(field, raw, WANTED))
}

fn number(text: &str) -> Option<u16> {
    let text = text.trim();
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn check(field: &str, statuses: &[RangeInclusive<u16>]) -> Result<(), Error> {
    if statuses.len() > MAX_RANGES {
        return Err(Error::invalid(field, format!("{} ranges", statuses.len()), "at most 32"));
    }
    let wrong = |range: &&RangeInclusive<u16>| range.is_empty() || *range.start() < 100 || *range.end() > 599;
    match statuses.iter().find(wrong) {
        None => Ok(()),
        Some(range) => Err(Error::invalid(field, format!("{}-{}", range.start(), range.end()), WANTED)),
    }
}

pub(super) fn write<S: Serializer>(
    statuses: &[RangeInclusive<u16>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(statuses.iter().map(|range| match (range.start(), range.end()) {
        (low, high) if low == high => serde_json::Value::from(*low),
        (low, high) => format!("{low}-{high}").into(),
    }))
}
