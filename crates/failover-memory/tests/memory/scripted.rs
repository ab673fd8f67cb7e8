//! A provider that does what a test tells it to.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use failover_core::{
    Endpoint, EndpointSet, Error, ErrorKind, Provider, ProviderInfo, Query, ServiceName, WatchStream,
    async_trait,
};
use futures_core::Stream;
use tokio::sync::mpsc;

/// What it does next. A watch waits for its next step; `list` repeats the last one until there is another.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Answer(EndpointSet),
    Fail(&'static str),
    End,
    Panic,
    Hang,
}

/// The steps that a provider is told to take, and what was asked of it.
pub(crate) struct Script {
    steps: mpsc::UnboundedSender<Step>,
    asked: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn step(&self, step: Step) {
        self.steps.send(step).expect("the provider is there");
    }

    pub(crate) fn endpoints<const N: usize>(&self, endpoints: [Endpoint; N]) {
        self.step(Step::Answer(EndpointSet::new(endpoints.map(Into::into))));
    }

    /// How often a watch was begun or a list was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(crate) struct Scripted {
    steps: Mutex<mpsc::UnboundedReceiver<Step>>,
    last: Mutex<Step>,
    watches: bool,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    pub(crate) fn watching() -> (Self, Script) {
        Self::new(true)
    }

    pub(crate) fn polled() -> (Self, Script) {
        Self::new(false)
    }

    fn new(watches: bool) -> (Self, Script) {
        let (sender, steps) = mpsc::unbounded_channel();
        let asked = Arc::new(AtomicUsize::new(0));
        let script = Script { steps: sender, asked: Arc::clone(&asked) };
        (Self { steps: Mutex::new(steps), last: Mutex::new(Step::Hang), watches, asked }, script)
    }

    fn poll_step(&self, context: &mut Context<'_>) -> Poll<Step> {
        match ready!(self.steps.lock().expect("not poisoned").poll_recv(context)) {
            Some(step) => Poll::Ready(step),
            None => Poll::Pending,
        }
    }
}

#[async_trait]
impl Provider for Scripted {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("scripted", "1")
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

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let next = poll_fn(|context| match self.poll_step(context) {
            Poll::Ready(step) => Poll::Ready(Some(step)),
            Poll::Pending => Poll::Ready(None),
        });
        let step = {
            let next = next.await;
            let mut last = self.last.lock().expect("not poisoned");
            if let Some(step) = next {
                *last = step;
            }
            last.clone()
        };
        match step {
            Step::Answer(set) => Ok(set),
            Step::Fail(message) => Err(failure(message)),
            Step::Panic => panic!("the script says so"),
            Step::End | Step::Hang => pending().await,
        }
    }

    fn watch(&self, _service: &ServiceName) -> Option<WatchStream<'_>> {
        self.watches.then(|| {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let stream: WatchStream<'_> = Box::pin(Steps(self));
            stream
        })
    }
}

struct Steps<'a>(&'a Scripted);

impl Stream for Steps<'_> {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.0.poll_step(context)) {
            Step::Answer(set) => Some(Ok(set)),
            Step::Fail(message) => Some(Err(failure(message))),
            Step::End => None,
            Step::Panic => panic!("the script says so"),
            Step::Hang => return Poll::Pending,
        })
    }
}

fn failure(message: &str) -> Error {
    Error::new(ErrorKind::Connection, message)
}
