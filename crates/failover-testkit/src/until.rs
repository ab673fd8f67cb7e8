//! Waiting for what a real server does in its own time.

use std::time::{Duration, Instant};

/// Asks again every 10 ms until it is so.
///
/// # Panics
/// It is not so within `limit`; the text names `what`.
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
