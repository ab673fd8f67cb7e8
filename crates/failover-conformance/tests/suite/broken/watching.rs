//! Watches with a flaw.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use failover_core::Error;
use failover_core::provider::{EndpointSet, Provider, Query, WatchStream};
use futures_core::Stream;
use tokio::sync::watch;

use super::{Flaw, Flawed, PAGE, is_case, refused};

pub(super) type Changed = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Waits until an outage begins or ends, and returns whether it has begun.
pub(super) fn changed(mut down: watch::Receiver<bool>) -> Changed {
    Box::pin(async move {
        // The subject holds the sender.
        let _ = down.changed().await;
        *down.borrow()
    })
}

pub(super) struct Watch<'a> {
    inner: WatchStream<'a>,
    owner: &'a Flawed,
    query: Query,
    down: Changed,
    state: State,
    yielded: u32,
    last: Option<EndpointSet>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Watching,
    /// An error was not yielded yet.
    Failed,
    /// It has yielded an empty set in place of the error.
    Emptied,
    /// It stays pending.
    Dead,
    Ended,
}

impl<'a> Watch<'a> {
    pub(super) fn new(owner: &'a Flawed, query: &Query) -> Option<Self> {
        let number = owner.watches.fetch_add(1, Ordering::SeqCst);
        let is_dead = owner.has(Flaw::OneWatchForAll) && number > 1;
        Some(Self {
            inner: owner.inner.watch(query)?,
            owner,
            query: query.clone(),
            down: changed(owner.down.subscribe()),
            state: if is_dead { State::Dead } else { State::Watching },
            yielded: 0,
            last: None,
        })
    }

    /// Returns whether it has a flaw, and is a watch of this case: the flaw would show in others, too.
    fn has_in(&self, flaw: Flaw, case: u32) -> bool {
        self.owner.has(flaw) && is_case(&self.query, case)
    }

    /// Returns what to yield for a set.
    fn received(&mut self, set: EndpointSet) -> Poll<Option<Result<EndpointSet, Error>>> {
        self.yielded += 1;
        let is_first = self.yielded == 1;
        let before = self.last.replace(set.clone()).map_or(0, |last| last.entries().len());
        if is_first && self.has_in(Flaw::BeginsLate, 20)
            || self.has_in(Flaw::MissesRemovals, 21) && set.entries().len() < before
        {
            return Poll::Pending;
        }
        if is_first && self.has_in(Flaw::BeginsEmpty, 20) {
            return Poll::Ready(Some(Ok(EndpointSet::new([]))));
        }
        if self.has_in(Flaw::EndsWhileCalm, 22) {
            self.state = State::Ended;
        }
        if self.owner.has(Flaw::WatchesOnePage) {
            return Poll::Ready(Some(Ok(EndpointSet::new(set.into_entries().into_iter().take(PAGE)))));
        }
        Poll::Ready(Some(self.owner.beside_broken(&self.query, set)))
    }

    /// Handles the beginning of an outage; returns an error that is yielded at once.
    fn fails(&mut self, context: &mut Context<'_>) -> Option<Error> {
        self.state = State::Failed;
        let loses = self.owner.has(Flaw::LosesASetToAnError);
        if loses {
            while let Poll::Ready(Some(_)) = self.inner.as_mut().poll_next(context) {}
        }
        if loses || self.owner.has(Flaw::YieldsAnErrorFirst) {
            self.state = State::Watching;
            return Some(refused());
        }
        None
    }
}

impl Stream for Watch<'_> {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        let flawed = |flaw| watch.owner.flaw == Some(flaw);
        let is_over = flawed(Flaw::DropEndsAll) && watch.owner.dropped.load(Ordering::SeqCst);
        match watch.state {
            State::Ended => return Poll::Ready(None),
            _ if is_over => return Poll::Ready(None),
            State::Dead => return Poll::Pending,
            _ => {}
        }
        while let Poll::Ready(down) = watch.down.as_mut().poll(context) {
            watch.down = changed(watch.owner.down.subscribe());
            if let Some(error) = down.then(|| watch.fails(context)).flatten() {
                return Poll::Ready(Some(Err(error)));
            }
        }
        if watch.yielded > 0 && watch.has_in(Flaw::NeverWakes, 21) {
            return Poll::Pending;
        }
        match watch.inner.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(set))) => watch.received(set),
            Poll::Ready(None) if watch.owner.has(Flaw::WatchesOutliveClose) => Poll::Pending,
            Poll::Pending if watch.state == State::Failed => match watch.owner.flaw {
                Some(Flaw::EmptiesOnAnError) => {
                    watch.state = State::Emptied;
                    Poll::Ready(Some(Ok(EndpointSet::new([]))))
                }
                Some(Flaw::HidesErrors) => Poll::Pending,
                flaw => {
                    let ends = flaw == Some(Flaw::EndsOnAnError);
                    watch.state = if ends { State::Ended } else { State::Watching };
                    Poll::Ready(Some(Err(refused())))
                }
            },
            Poll::Pending if watch.state == State::Emptied => {
                watch.state = State::Watching;
                Poll::Ready(Some(Err(refused())))
            }
            Poll::Pending if watch.owner.has(Flaw::Floods) && watch.yielded > 0 => {
                context.waker().wake_by_ref();
                Poll::Ready(watch.last.clone().map(Ok))
            }
            other => other,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.owner.dropped.store(true, Ordering::SeqCst);
    }
}
