//! A subscription that may miss events, and never slows down their source.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::events::event::Event;

/// A subscription to events. Never slows down the engine: a slow subscriber misses the oldest ones.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: broadcast::Receiver<Arc<Event>>,
    missed: u64,
    /// The number of events that flood control has left out, now and when the subscription began.
    suppressed: Arc<AtomicU64>,
    suppressed_before: u64,
}

impl EventReceiver {
    pub(super) fn new(receiver: broadcast::Receiver<Arc<Event>>, suppressed: Arc<AtomicU64>) -> Self {
        let suppressed_before = suppressed.load(Ordering::Relaxed);
        Self { receiver, missed: 0, suppressed, suppressed_before }
    }

    /// Waits for the next event. Returns `None` once the source has ended.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future loses no event.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(count)) => self.missed += count,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Returns the next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<Arc<Event>> {
        use broadcast::error::TryRecvError;
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Lagged(count)) => self.missed += count,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// Returns the number of events that this subscription missed: because it was too slow, and
    /// because flood control left them out.
    ///
    /// After 100 events of a kind that a registry can cause, one in six seconds is emitted. Changes
    /// that one event sums up (its detail `more` is their number) are not missed.
    pub fn missed(&self) -> u64 {
        self.missed + self.suppressed.load(Ordering::Relaxed) - self.suppressed_before
    }
}
