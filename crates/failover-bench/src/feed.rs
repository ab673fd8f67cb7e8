//! A registry whose answers come from the benchmark.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use failover_core::provider::{
    EndpointEntry, EndpointSet, Feature, Provider, ProviderInfo, Query, WatchStream,
};
use failover_core::{Error, FailoverManager, ServiceHandle};
use futures_core::Stream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A manager with one service, and the channel of its endpoints.
pub(crate) struct Fed {
    runtime: Runtime,
    answers: UnboundedSender<EndpointSet>,
    service: ServiceHandle,
    _manager: FailoverManager,
}

struct Feed(Mutex<Option<UnboundedReceiver<EndpointSet>>>);

struct Answers(UnboundedReceiver<EndpointSet>);

impl Fed {
    pub(crate) fn new(service: &str) -> Self {
        // With paused time, timers do not wait: only work is measured.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        let (answers, receiver) = unbounded_channel();
        let feed = Feed(Mutex::new(Some(receiver)));
        let manager = runtime.block_on(FailoverManager::builder().provider(feed).build()).expect("builds");
        let service = runtime.block_on(manager.service(service)).expect("valid");
        Self { runtime, answers, service, _manager: manager }
    }

    pub(crate) fn service(&self) -> &ServiceHandle {
        &self.service
    }

    /// Returns the nanoseconds until the answer and all its consequences are applied.
    pub(crate) fn answer(&self, entries: Vec<EndpointEntry>) -> f64 {
        let set = EndpointSet::new(entries);
        self.runtime.block_on(async {
            let began = Instant::now();
            self.answers.send(set).expect("it is watched");
            // Paused time advances only when all tasks are idle.
            tokio::time::sleep(Duration::from_millis(50)).await;
            began.elapsed().as_secs_f64() * 1e9
        })
    }
}

#[async_trait]
impl Provider for Feed {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("feed", "1").with_features([Feature::Watch])
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _: &Query) -> Result<EndpointSet, Error> {
        Ok(EndpointSet::new([]))
    }

    fn watch(&self, _: &Query) -> Option<WatchStream<'_>> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        receiver.map(|receiver| Box::pin(Answers(receiver)) as WatchStream<'_>)
    }
}

impl Stream for Answers {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|set| set.map(Ok))
    }
}
