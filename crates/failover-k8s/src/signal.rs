//! A search that many wait for and one task makes.

use std::future::{pending, poll_fn};

use failover_provider_kit::{SharedWatches, Timing};

/// Waits of many tasks for one event.
#[derive(Debug)]
pub(crate) struct SharedSignal(SharedWatches<(), ()>);

impl SharedSignal {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self(SharedWatches::new(timing.clone()))
    }

    /// Waits until `search` ends. One search runs for all that wait at the same time, and ends with
    /// the last of them.
    pub(crate) async fn wait<S>(&self, search: S)
    where
        S: Future<Output = ()> + Send + Unpin + 'static,
    {
        let mut found = self.0.listen((), |publisher| async move {
            search.await;
            publisher.publish(());
        });
        if poll_fn(|context| found.as_mut().poll_next(context)).await.is_none() {
            // The provider is closing.
            pending::<()>().await;
        }
    }
}
