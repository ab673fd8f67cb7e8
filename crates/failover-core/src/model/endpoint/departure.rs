//! The departure of an endpoint from its service, for the holders of connections to it.

use std::fmt;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

/// Whether an endpoint has left its service, or is drained. Shared by all values of the endpoint that
/// its source has named, as long as the address stays.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    departed: AtomicBool,
    notify: Notify,
}

impl Departure {
    pub(crate) fn set(&self, departed: bool) {
        if self.departed.swap(departed, Ordering::SeqCst) != departed && departed {
            self.notify.notify_waiters();
        }
    }

    fn has_happened(&self) -> bool {
        self.departed.load(Ordering::SeqCst)
    }

    async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        // Registers first and looks then, so that no departure in between is missed.
        notified.as_mut().enable();
        if !self.has_happened() {
            notified.await;
        }
    }
}

/// Stands for the service that an endpoint belongs to.
#[derive(Debug, Default)]
pub(crate) struct Owner;

/// The service that an endpoint belongs to, and its departure from there, which is made when the first
/// waits for it.
///
/// It is no part of the endpoint's value: it affects no comparison, and a clone belongs to no service.
#[derive(Default)]
pub(super) struct Attached {
    owner: OnceLock<Arc<Owner>>,
    departure: OnceLock<Arc<Departure>>,
    /// The index of the slot in which the endpoint was found last.
    last_slot: AtomicU32,
}

impl Clone for Attached {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Attached {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Attached {}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl Attached {
    /// Attaches the endpoint to a service, with the departure of its stay if that has one. Returns
    /// false if the endpoint belongs to another service, or to an earlier stay in this one.
    pub(super) fn attach(&self, owner: &Arc<Owner>, departure: Option<&Arc<Departure>>) -> bool {
        if !Arc::ptr_eq(self.owner.get_or_init(|| Arc::clone(owner)), owner) {
            return false;
        }
        match departure {
            Some(departure) => Arc::ptr_eq(self.departure.get_or_init(|| Arc::clone(departure)), departure),
            None => self.departure.get().is_none_or(|departure| !departure.has_happened()),
        }
    }

    /// Returns the departure of an endpoint that belongs to a service.
    pub(super) fn departure(&self) -> Option<&Arc<Departure>> {
        self.owner.get().map(|_| self.departure.get_or_init(Arc::default))
    }

    pub(super) fn last_slot(&self) -> u32 {
        self.last_slot.load(Ordering::Relaxed)
    }

    pub(super) fn found_in(&self, slot: u32) {
        self.last_slot.store(slot, Ordering::Relaxed);
    }

    /// Waits for the departure; forever if the endpoint belongs to no service.
    pub(super) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let departure = self.departure().cloned();
        async move {
            match departure {
                Some(departure) => departure.wait().await,
                None => pending().await,
            }
        }
    }
}
