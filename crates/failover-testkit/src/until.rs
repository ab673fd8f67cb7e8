//! Waits for real servers.

use std::time::{Duration, Instant};

/// Checks a condition every 10 ms until it holds.
///
/// # Panics
/// Panics with `what` if it does not hold within `limit`.
pub async fn until<F>(limit: Duration, what: &str, mut is_so: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
