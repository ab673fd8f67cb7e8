//! Durations as text, such as `"1m30s"`, in the notation of the Go package.

use std::time::Duration;

use serde::Serializer;

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The longest duration that Go can represent: about 292 years.
pub(crate) const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);

/// Parses `"30s"`, `"250ms"`, `"1.5h"` or `"1m30s"`. Returns `None` for anything else, including
/// negative and too long durations.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let mut nanos = 0_u128;
    let mut rest = text;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let &(_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if !whole.is_empty() {
            nanos += u128::from(whole.parse::<u64>().ok()?) * scale;
        }
        nanos += part_of(scale, fraction);
        if nanos > LONGEST.as_nanos() {
            return None;
        }
        rest = after;
    }
    Some(Duration::from_nanos(nanos as u64))
}

/// Converts an integer of nanoseconds, as Go's encoder writes a duration.
pub(crate) fn from_nanos(nanos: i128) -> Option<Duration> {
    i64::try_from(nanos).ok().and_then(|n| u64::try_from(n).ok()).map(Duration::from_nanos)
}

/// Formats a duration as Go does: `"1m30s"`, `"250ms"`, `"1.5s"`, `"0s"`.
pub(crate) fn format(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..=999 => format!("{nanos}ns"),
            1_000..=999_999 => decimal((nanos / 1_000).into(), nanos % 1_000, 3, "\u{b5}s"),
            _ => decimal((nanos / 1_000_000).into(), nanos % 1_000_000, 6, "ms"),
        };
    }
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let seconds = decimal(seconds % 60, nanos, 9, "s");
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// Like [`format`], without trailing zero units: `5m` for `5m0s`.
pub(crate) fn short(duration: Duration) -> String {
    let text = format(duration);
    let Some(text) = text.strip_suffix("m0s") else {
        return text;
    };
    match text.strip_suffix("h0") {
        Some(hours) => format!("{hours}h"),
        None => format!("{text}m"),
    }
}

/// Like [`short`], rounded to the nearest millisecond, or microsecond below one millisecond: for
/// measured times in messages.
pub(crate) fn rough(duration: Duration) -> String {
    let step = if duration < Duration::from_millis(1) { 1_000 } else { 1_000_000 };
    let nanos = (duration.as_nanos() + step / 2) / step * step;
    short(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn write<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For `#[serde(serialize_with)]` beside `skip_serializing_if = "Option::is_none"`.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(crate) fn write_option<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => write(duration, serializer),
        None => serializer.serialize_none(),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Returns the value of a decimal fraction of a unit, truncated to whole nanoseconds as in Go.
fn part_of(scale: u128, fraction: &str) -> u128 {
    // No unit has more than 10^12 nanoseconds in its last place, so 18 digits are exact.
    let digits = &fraction[..fraction.len().min(18)];
    let value: u128 = digits.parse().unwrap_or(0);
    scale * value / 10_u128.pow(digits.len() as u32)
}

fn decimal(whole: u64, fraction: u32, width: usize, unit: &str) -> String {
    if fraction == 0 {
        return format!("{whole}{unit}");
    }
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}{unit}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_and_people_write_is_read() {
        for (text, nanos) in [
            ("0", 0_u64),
            ("0s", 0),
            ("1ns", 1),
            ("100us", 100_000),
            ("100\u{b5}s", 100_000),
            ("100\u{3bc}s", 100_000),
            ("250ms", 250_000_000),
            ("30s", 30_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1m0.5s", 60_500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m30.25s", 9_930_250_000_000),
            ("0.000000001s", 1),
            ("0.0000000019s", 1),
            ("0.99999999999999999999999999s", 999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            " ",
            "s",
            ".s",
            "-1s",
            "+1s",
            "1",
            "1x",
            "1 s",
            "1s ",
            "1d",
            "1S",
            "1e3s",
            "1.2.3s",
            "NaN",
            "inf",
            "1s-1s",
            "\u{661}s",
            "9223372036854775808ns",
            "18446744073709551615",
            "18446744073709551616s",
            "2562048h",
            "99999999999999999999999999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let endless = "9000000000000000000ns".repeat(100_000);
        assert_eq!(parse(&endless), None);
    }

    #[test]
    fn integers_are_nanoseconds_up_to_what_go_can_hold() {
        assert_eq!(from_nanos(0), Some(Duration::ZERO));
        assert_eq!(from_nanos(i128::from(i64::MAX)), Some(LONGEST));
        for nanos in [-1, i128::from(i64::MAX) + 1, i128::from(u64::MAX), i128::MIN, i128::MAX] {
            assert_eq!(from_nanos(nanos), None, "{nanos}");
        }
    }

    /// The examples of the Go documentation and of its own test table.
    #[test]
    fn it_is_written_as_go_writes_it() {
        for (nanos, text) in [
            (0_u64, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (9_223_372_036_854_775_807, "2562047h47m16.854775807s"),
            (90_000_000_000, "1m30s"),
            (250_000_000, "250ms"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn for_people_the_zeros_at_the_end_are_left_out() {
        for (seconds, text) in [(0, "0s"), (20, "20s"), (300, "5m"), (86_400, "24h"), (3_610, "1h0m10s")] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
            prop_assert_eq!(parse(&short(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+.0-9a-zµ ]{0,24}|\\PC{0,12}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn rough_times_have_no_more_digits_than_they_are_worth() {
        for (nanos, text) in [
            (0, "0s"),
            (1_499, "1\u{b5}s"),
            (345_678, "346\u{b5}s"),
            (1_499_999, "1ms"),
            (250_512_345, "251ms"),
            (1_178_400_000, "1.178s"),
            (300_000_000_000, "5m"),
        ] {
            assert_eq!(rough(Duration::from_nanos(nanos)), text);
        }
        assert!(!rough(Duration::MAX).is_empty());
    }
}
