//! Registry operations with a timeout and retries.

use std::time::Duration;

use crate::codec::duration::rough;
use crate::error::{Error, ErrorKind, RetryAdvice};
use crate::manager::inner::Inner;
use crate::runtime::backoff::Backoff;
use crate::runtime::require::current_runtime;

/// The longest wait before a retry, unless the registry requests a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Inner {
    /// Runs an operation of a provider within the manager's timeout, and retries it while its error
    /// is retryable. The operation must be idempotent.
    pub(super) async fn within<T, F, Fut>(&self, what: &str, mut operation: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        self.ensure_open()?;
        current_runtime(what)?;
        let limit = self.settings.timeout();
        let mut last = None;
        let tries = async {
            let mut failures = 0;
            loop {
                let error = match operation().await {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                failures += 1;
                match self.wait_before_retry(&error, failures) {
                    Some(wait) if failures < self.settings.retry_attempts() => {
                        last = Some(error);
                        tokio::time::sleep(wait).await;
                        self.ensure_open()?;
                    }
                    _ => return Err(with_tries(error, failures)),
                }
            }
        };
        let ended = tokio::time::timeout(limit, tries).await;
        match ended {
            Ok(result) => result,
            Err(_) => Err(match last {
                Some(error) => error.context(format!("{what}: giving up after {}", rough(limit))),
                None => {
                    let message = format!(
                        "{what}: no answer in {}; the operation may still have taken effect",
                        rough(limit)
                    );
                    Error::new(ErrorKind::Timeout, message)
                }
            }),
        }
    }

    /// Returns the wait before a retry if one can help: half of it fixed, half of it random.
    fn wait_before_retry(&self, error: &Error, failures: u32) -> Option<Duration> {
        let base = self.settings.retry_delay();
        match error.retry() {
            RetryAdvice::Never => None,
            RetryAdvice::After(wait) => Some(wait),
            RetryAdvice::Backoff => {
                let unit = 0.5 + 0.5 * self.random.unit();
                Some(Backoff::new(base, LONGEST_WAIT.max(base), 2.0).delay(failures, unit))
            }
        }
    }
}

fn with_tries(error: Error, tries: u32) -> Error {
    if tries > 1 { error.with_detail("tries", tries) } else { error }
}
