//! Finding out that a server which was gone takes connections again: once for a provider, however many wait for it.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::clock;

/// So much later than the first those who waited begin again at most, so that they do not all come at once.
const SPREAD: Duration = Duration::from_millis(300);

type Search = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The return of one server.
pub(crate) struct Comeback {
    /// Host and port; a client that was given does not tell them.
    address: Option<Arc<str>>,
    is_gone: Arc<AtomicBool>,
    /// What is under way, for as long as somebody waits for it.
    search: Mutex<Option<WeakShared<Search>>>,
}

impl fmt::Debug for Comeback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comeback").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Comeback {
    pub(crate) fn of(address: Option<String>) -> Self {
        Self { address: address.map(Arc::from), is_gone: Arc::default(), search: Mutex::default() }
    }

    /// Comes back when a server that could not be reached takes connections again, at most five seconds later. Nothing is
    /// asked of it. For ever while it takes them all the time: then they are not what is wrong. `is_gone`: it is known
    /// that it took none.
    pub(crate) async fn wait(&self, is_gone: bool) {
        let Some(address) = &self.address else { return std::future::pending().await };
        self.search(address, is_gone).await;
        sleep(SPREAD.mul_f64(clock::unit())).await;
    }

    fn search(&self, address: &Arc<str>, is_gone: bool) -> Shared<Search> {
        let mut known = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = known.as_ref().and_then(WeakShared::upgrade).filter(|search| search.peek().is_none());
        let search = under_way.unwrap_or_else(|| {
            self.is_gone.store(false, Ordering::Relaxed);
            let search: Search = Box::pin(search(Arc::clone(address), Arc::clone(&self.is_gone)));
            let search = search.shared();
            *known = search.downgrade();
            search
        });
        if is_gone {
            self.is_gone.store(true, Ordering::Relaxed);
        }
        search
    }
}

async fn search(address: Arc<str>, is_gone: Arc<AtomicBool>) {
    loop {
        // So far apart that a thousand clients do not come in one tenth of a second.
        sleep(Duration::from_millis(1500) + Duration::from_secs(2).mul_f64(clock::unit())).await;
        let connected = timeout(Duration::from_millis(500), TcpStream::connect(&*address)).await;
        match connected {
            Ok(Ok(_)) if is_gone.load(Ordering::Relaxed) => return,
            Ok(Ok(_)) => {}
            _ => is_gone.store(true, Ordering::Relaxed),
        }
    }
}
