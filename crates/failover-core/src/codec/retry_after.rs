//! The `Retry-After` header of HTTP (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

/// Parses the value of a `Retry-After` header: whole seconds, or an HTTP date in one of its three
/// forms.
///
/// `now` is the wall-clock time that a date is compared with; a date in the past yields zero.
/// Returns `None` for anything else: a sign, a fraction, an exponent, a number above 2^64, an empty
/// value, or other text.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
/// assert_eq!(failover_core::parse_retry_after("120", now), Some(Duration::from_secs(120)));
/// let date = "Sun, 06 Nov 1994 08:49:37 GMT";
/// assert_eq!(failover_core::parse_retry_after(date, now), Some(Duration::from_secs(7)));
/// assert_eq!(failover_core::parse_retry_after("-1", now), None);
/// ```
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:30.
    const NOW: Duration = Duration::from_secs(784_111_770);

    fn read(value: &str) -> Option<u64> {
        parse_retry_after(value, SystemTime::UNIX_EPOCH + NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_the_three_forms_of_dates_are_read() {
        for (value, seconds) in [
            ("0", 0),
            ("00", 0),
            ("120", 120),
            (" 5\t", 5),
            ("18446744073709551615", u64::MAX),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 7),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 7),
            ("Sun Nov  6 08:49:37 1994", 7),
            ("Sun, 06 Nov 1994 08:49:30 GMT", 0),
            ("Sat, 05 Nov 1994 08:49:37 GMT", 0),
        ] {
            assert_eq!(read(value), Some(seconds), "{value}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for value in [
            "",
            " ",
            "-0",
            "-1",
            "+5",
            "1.5",
            "1e18",
            "5s",
            "0x10",
            "５",
            "18446744073709551616",
            "NaN",
            "tomorrow",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "5, 6",
            "\u{0}",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
