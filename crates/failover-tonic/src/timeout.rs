//! The header `grpc-timeout`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The most digits that the protocol allows.
const DIGITS: usize = 8;

/// Returns the time that a caller gives its call.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse);
    parsed.map(Some).ok_or_else(|| {
        Status::invalid_argument(format!(
            "grpc-timeout is {value:?}; valid are up to 8 digits and a unit of H, M, S, m, u or n"
        ))
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Returns the value for the time that is left, rounded up: at least a microsecond, at most
/// 99 999 999 s.
pub(crate) fn value(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let micros = left.as_nanos().div_ceil(1_000).max(1);
    let (number, unit) = match micros {
        0..=MOST => (micros, 'u'),
        _ if micros.div_ceil(1_000) <= MOST => (micros.div_ceil(1_000), 'm'),
        _ => (micros.div_ceil(1_000_000).min(MOST), 'S'),
    };
    HeaderValue::try_from(format!("{number}{unit}")).expect("digits and a letter are a valid value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_eight_digits_and_a_unit_are_a_time() {
        for (text, expected) in [
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("7M", Some(Duration::from_secs(420))),
            ("1S", Some(Duration::from_secs(1))),
            ("30000000u", Some(Duration::from_secs(30))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("m", None),
            ("5", None),
            ("100000000m", None),
            ("-1m", None),
            ("+1m", None),
            ("1.5S", None),
            ("1s", None),
            ("1 S", None),
            ("1\u{b5}", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_written_time_is_read_as_that_time_or_a_little_more() {
        for nanos in [0, 1, 999, 1_000, 1_001, 99_999_999_000, 99_999_999_001, 99_999_999_000_000_000] {
            let left = Duration::from_nanos(nanos);
            let read = parse(value(left).to_str().expect("text")).expect("valid");
            assert!(read >= left && read.as_secs_f64() <= left.as_secs_f64() * 1.01 + 1e-6, "{left:?}");
        }
        assert_eq!(value(Duration::MAX), "99999999S", "more than three years");
    }
}
