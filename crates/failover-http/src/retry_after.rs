//! The `Retry-After` header of a response.

use std::time::{Duration, SystemTime};

use failover_core::parse_retry_after;
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// Returns how long a response asks to wait.
///
/// A date is compared with the response's own `Date`, so that the clocks of server and client need
/// not agree; without that header, with this machine's clock.
pub(crate) fn requested_pause(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(value, server_time(headers).unwrap_or_else(wall_time))
}

fn server_time(headers: &HeaderMap) -> Option<SystemTime> {
    let date = headers.get(DATE)?.to_str().ok()?;
    // Digits alone would be read as seconds, and are no date.
    let date = Some(date).filter(|date| date.contains(':'))?;
    let since_epoch = parse_retry_after(date, SystemTime::UNIX_EPOCH)?;
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

#[allow(clippy::disallowed_methods, reason = "the header holds a wall-clock time")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn pause(headers: &[(http::HeaderName, &'static str)]) -> Option<Duration> {
        let values = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        requested_pause(&values.collect())
    }

    #[test]
    fn a_date_is_compared_with_the_date_of_the_server_itself() {
        let asked = (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT");
        let sent = (DATE, "Sun, 06 Nov 1994 08:49:30 GMT");
        assert_eq!(pause(&[asked.clone(), sent]), Some(Duration::from_secs(7)));
        // By this machine's clock, that date is long past.
        assert_eq!(pause(std::slice::from_ref(&asked)), Some(Duration::ZERO));
        assert_eq!(pause(&[asked, (DATE, "784111770")]), Some(Duration::ZERO));
    }

    #[test]
    fn seconds_need_no_date_and_other_text_is_no_pause() {
        assert_eq!(pause(&[(RETRY_AFTER, "120"), (DATE, "yesterday")]), Some(Duration::from_secs(120)));
        for text in ["", "-1", "soon", "1.5", "5, 6"] {
            assert_eq!(pause(&[(RETRY_AFTER, text)]), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(b"\xff").expect("opaque bytes are a value"));
        assert_eq!(requested_pause(&headers), None);
        assert_eq!(pause(&[]), None);
    }
}
