//! A subscription that may miss events, and never slows down what emits them.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::events::event::Event;

/// A subscription to events. It never slows the engine down: who does not keep up misses the oldest.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: broadcast::Receiver<Arc<Event>>,
    missed: u64,
}

impl EventReceiver {
    pub(super) fn new(receiver: broadcast::Receiver<Arc<Event>>) -> Self {
        Self { receiver, missed: 0 }
    }

    /// The next event; `None` when what it is subscribed to is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future takes no event with it.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(count)) => self.missed += count,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event if one is waiting.
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

    /// How many events this subscription has missed because it was too slow.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
