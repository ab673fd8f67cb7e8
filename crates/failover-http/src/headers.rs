//! Headers that tell a server about the call: the time left, and the number of the attempt.

use std::time::Duration;

use failover_core::Attempt;
use http::{HeaderMap, HeaderName, HeaderValue};

const TIME_LEFT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const ATTEMPT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// A longer time in a header is as good as none.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes the time left and the attempt's number to a request, and reads them from one.
///
/// A server that reads the time left does no work that nobody waits for, and gives its own calls no
/// more time: [`Call::deadline`](failover_core::Call::deadline). The default names are Envoy's,
/// `x-envoy-expected-rq-timeout-ms` and `x-envoy-attempt-count`, which meshes and servers know.
///
/// ```
/// use failover_core::ServiceHandle;
/// use failover_http::CallHeaders;
/// use http::HeaderMap;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let names = CallHeaders::new();
/// let users = ServiceHandle::fixed("users", ["10.0.0.1:80"])?;
/// let done = users
///     .execute(async |attempt| {
///         let mut headers = HeaderMap::new();
///         names.write(&attempt, &mut headers);
///         Ok::<_, std::io::Error>(headers)
///     })
///     .await?;
/// assert_eq!(names.attempt(&done.value), Some(1));
/// assert!(names.time_left(&done.value).is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallHeaders {
    time_left: HeaderName,
    attempt: HeaderName,
}

impl Default for CallHeaders {
    fn default() -> Self {
        Self { time_left: TIME_LEFT, attempt: ATTEMPT }
    }
}

impl CallHeaders {
    /// Creates them with the default names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name of the header with the milliseconds that are left.
    pub fn with_time_left(mut self, name: HeaderName) -> Self {
        self.time_left = name;
        self
    }

    /// Sets the name of the header with the attempt's number.
    pub fn with_attempt(mut self, name: HeaderName) -> Self {
        self.attempt = name;
        self
    }

    /// Writes both headers of an attempt, in place of earlier ones: the whole milliseconds left, at
    /// least 1, and the number from 1.
    pub fn write(&self, attempt: &Attempt, headers: &mut HeaderMap) {
        let left = u64::try_from(attempt.time_left().as_millis()).unwrap_or(u64::MAX).max(1);
        headers.insert(self.time_left.clone(), HeaderValue::from(left));
        headers.insert(self.attempt.clone(), HeaderValue::from(attempt.number()));
    }

    /// Returns the time left that a request names, at most 24 h. `None` for 0, which means no limit,
    /// and for anything but digits.
    pub fn time_left(&self, headers: &HeaderMap) -> Option<Duration> {
        let millis = number(headers, &self.time_left).filter(|millis| *millis > 0)?;
        Some(Duration::from_millis(millis).min(LONGEST))
    }

    /// Returns the number of the attempt that a request names, from 1.
    pub fn attempt(&self, headers: &HeaderMap) -> Option<u32> {
        let attempt = number(headers, &self.attempt)?;
        u32::try_from(attempt).ok().filter(|attempt| *attempt > 0)
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let digits = headers.get(name)?.to_str().ok()?.trim();
    Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, value: &'static str) -> HeaderMap {
        [(name.clone(), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn only_digits_are_numbers_and_a_long_time_is_limited() {
        let names = CallHeaders::new();
        for (value, left, attempt) in [
            ("250", Some(Duration::from_millis(250)), Some(250)),
            ("1", Some(Duration::from_millis(1)), Some(1)),
            ("0", None, None),
            ("", None, None),
            ("-1", None, None),
            ("+1", None, None),
            ("1.5", None, None),
            ("1e9", None, None),
            ("18446744073709551615", Some(LONGEST), None),
            ("18446744073709551616", None, None),
        ] {
            assert_eq!(names.time_left(&headers(&TIME_LEFT, value)), left, "{value}");
            assert_eq!(names.attempt(&headers(&ATTEMPT, value)), attempt, "{value}");
        }
        assert_eq!(names.time_left(&HeaderMap::new()), None);
    }

    #[test]
    fn other_names_are_read_and_written() {
        let own = HeaderName::from_static("x-budget-ms");
        let names = CallHeaders::new().with_time_left(own.clone());
        assert_eq!(names.time_left(&headers(&own, "5")), Some(Duration::from_millis(5)));
        assert_eq!(names.time_left(&headers(&TIME_LEFT, "5")), None);
    }
}
