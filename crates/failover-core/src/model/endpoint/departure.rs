//! The departure of an endpoint from its service, for the holders of connections to it.

use std::fmt;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::model::endpoint::Endpoint;

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

    async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        // Registers first and looks then, so that no departure in between is missed.
        notified.as_mut().enable();
        if !self.departed.load(Ordering::SeqCst) {
            notified.await;
        }
    }
}

/// The departure that an engine has attached to an endpoint.
///
/// It is no part of the endpoint's value: it affects no comparison, and a clone has none.
#[derive(Default)]
pub(super) struct Attached(OnceLock<Arc<Departure>>);

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

impl Endpoint {
    pub(crate) fn departure(&self) -> Option<&Arc<Departure>> {
        self.attached.0.get()
    }

    /// Returns the endpoint with this departure: the same value, unless another service, or an earlier
    /// stay in this one, has attached its own.
    pub(crate) fn with_departure(self: &Arc<Self>, departure: &Arc<Departure>) -> Arc<Self> {
        if Arc::ptr_eq(self.attached.0.get_or_init(|| Arc::clone(departure)), departure) {
            return Arc::clone(self);
        }
        let own = Self::clone(self);
        let _ = own.attached.0.set(Arc::clone(departure));
        Arc::new(own)
    }

    /// Waits until the endpoint leaves its service or is drained.
    pub(crate) fn departed(&self) -> impl Future<Output = ()> + Send + use<> {
        let departure = self.departure().cloned();
        async move {
            match departure {
                Some(departure) => departure.wait().await,
                None => pending().await,
            }
        }
    }
}
