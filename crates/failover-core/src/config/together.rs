//! Settings that depend on each other.

use std::time::Duration;

use crate::codec::duration;
use crate::config::{FailoverConfig, defaults};
use crate::error::Error;

/// Bytes of the metadata, as JSON.
const MAX_METADATA: usize = 256 * 1024;

impl FailoverConfig {
    /// Checks the settings of the breaker that depend on others.
    pub(super) fn check_breaker(&self) -> Result<(), Error> {
        if let (true, Some(floor @ 1..)) = (self.fail_fast(), self.circuit_breaker().min_available()) {
            let wanted = "0, or left out: with fail_fast, calls fail when every breaker is open";
            return Err(Error::invalid("circuit_breaker.min_available", floor, wanted));
        }
        if let (Some(attempt), Some(wait)) =
            (self.given_attempt_timeout(), self.circuit_breaker().half_open_max_wait())
        {
            if wait < attempt {
                let wanted = format!(
                    "at least the attempt_timeout, {}; otherwise a probe call counts as failed before it can \
                     answer",
                    duration::short(attempt)
                );
                let field = "circuit_breaker.half_open_max_wait";
                return Err(Error::invalid(field, duration::short(wait), &wanted));
            }
        }
        if let (Some(attempt), Some(_)) =
            (self.given_attempt_timeout(), self.circuit_breaker().failure_rate())
        {
            let window = self.circuit_breaker().failure_rate_window();
            if window < attempt {
                let wanted = format!("at least the attempt_timeout, {}", duration::short(attempt));
                let field = "circuit_breaker.failure_rate_window";
                return Err(Error::invalid(field, duration::short(window), &wanted));
            }
        }
        Ok(())
    }

    /// Checks the size of the metadata.
    pub(super) fn check_metadata(&self) -> Result<(), Error> {
        if self.metadata().is_empty() {
            return Ok(());
        }
        let size = serde_json::to_vec(self.metadata()).map_or(0, |json| json.len());
        if size > MAX_METADATA {
            let wanted = format!("at most {MAX_METADATA} bytes as JSON");
            return Err(Error::invalid("metadata", format!("{size} bytes as JSON"), &wanted));
        }
        Ok(())
    }

    /// Returns how long a half-open breaker waits for its calls.
    pub(crate) fn half_open_wait(&self) -> Duration {
        let longest = self.given_attempt_timeout().unwrap_or(self.timeout());
        let given = self.circuit_breaker().half_open_max_wait();
        given.unwrap_or(defaults::HALF_OPEN_MAX_WAIT.max(longest))
    }

    /// Returns the number of endpoints that stay in rotation whatever their breakers say.
    pub(crate) fn floor(&self) -> u32 {
        let default = if self.fail_fast() { 0 } else { defaults::MIN_AVAILABLE };
        self.circuit_breaker().min_available().unwrap_or(default)
    }
}
