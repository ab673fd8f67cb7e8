//! Watches of the endpoints of a service.

use std::pin::Pin;
use std::task::{Context, Poll};

use failover_core::provider::EndpointSet;
use failover_core::{Error, ServiceName};
use futures_core::Stream;

use crate::MemoryCluster;

/// A stream of a service's endpoints. It keeps no queue; each poll yields the newest set.
pub(crate) struct Watch<'a> {
    cluster: &'a MemoryCluster,
    service: ServiceName,
    /// `None` if the provider was closed; the stream has then ended.
    watcher: Option<u64>,
    /// The last yielded revision.
    seen: Option<u64>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(cluster: &'a MemoryCluster, service: &ServiceName, watcher: Option<u64>) -> Self {
        Self { cluster, service: service.clone(), watcher, seen: None }
    }
}

impl Stream for Watch<'_> {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        let Some(watcher) = watch.watcher else { return Poll::Ready(None) };
        watch.cluster.poll(&watch.service, watcher, &mut watch.seen, context.waker()).map(|set| set.map(Ok))
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher {
            self.cluster.leave(&self.service, watcher);
        }
    }
}
