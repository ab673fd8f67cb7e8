//! Serialised writes per key, which complete even if their caller is dropped.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::task::JoinSet;

use crate::{KeyedLocks, Slot};

/// The right to write to one key; no other permit of the key exists meanwhile.
///
/// Clones share the permit; dropping the last one releases it.
#[derive(Debug)]
pub struct WritePermit<K: Eq + Hash>(Arc<(OwnedMutexGuard<()>, Slot<K, ()>)>);

impl<K: Eq + Hash> Clone for WritePermit<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Serialises the writes to each key.
///
/// A sent request arrives eventually, whether or not its caller still waits, and a later write to
/// the same key must not overtake it. [`finish`](Self::finish) therefore runs a write to completion
/// and holds the permit until then.
///
/// ```
/// use failover_provider_kit::SerialWrites;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let writes = SerialWrites::new();
/// let permit = writes.acquire("users-1").await;
/// let written = writes.finish(&permit, async { /* send the request */ 200 }).await;
/// assert_eq!(written, Some(200));
/// # }
/// ```
pub struct SerialWrites<K> {
    keys: KeyedLocks<K, ()>,
    running: Mutex<JoinSet<()>>,
}

impl<K> SerialWrites<K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    /// Creates a set without writes.
    pub fn new() -> Self {
        Self { keys: KeyedLocks::new(|()| false), running: Mutex::default() }
    }

    /// Waits for all earlier permits of this key. The future borrows nothing.
    ///
    /// # Cancel safety
    ///
    /// A dropped future loses its place in the queue, and nothing else.
    pub fn acquire(&self, key: K) -> impl Future<Output = WritePermit<K>> + Send + use<K> {
        let slot = self.keys.slot(key);
        async move {
            let guard = slot.shared().lock_owned().await;
            WritePermit(Arc::new((guard, slot)))
        }
    }

    /// Runs a write to completion, even if this future is dropped, and holds the permit until then.
    ///
    /// Returns `None` if the write did not complete, because it panicked or the runtime shuts down.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the write running; only its result is lost.
    pub async fn finish<T: Send + 'static>(
        &self,
        permit: &WritePermit<K>,
        write: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let permit = permit.clone();
        let (sender, done) = oneshot::channel();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            while running.try_join_next().is_some() {}
            running.spawn(async move {
                let _ = sender.send(write.await);
                drop(permit);
            });
        }
        done.await.ok()
    }

    /// Waits until every current permit is released.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future leaves nothing behind.
    pub async fn settled(&self) {
        for slot in self.keys.all() {
            drop(slot.lock().await);
        }
    }
}

impl<K> Default for SerialWrites<K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug> fmt::Debug for SerialWrites<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SerialWrites").field(&self.keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dropped_write_ends_before_the_next_one_begins() {
        let writes = SerialWrites::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let log = |what: &'static str| {
            let order = Arc::clone(&order);
            move || order.lock().expect("whole").push(what)
        };
        let permit = writes.acquire("a").await;
        let (begins, ends) = (log("1st begins"), log("1st ends"));
        let first = writes.finish(&permit, async move {
            begins();
            tokio::time::sleep(Duration::from_secs(1)).await;
            ends();
        });
        timeout(Duration::from_millis(10), first).await.expect_err("its caller gives up");
        drop(permit);
        // Another key does not wait.
        drop(timeout(Duration::from_millis(10), writes.acquire("b")).await.expect("at once"));
        let second = log("2nd");
        drop(writes.acquire("a").await);
        second();
        assert_eq!(*order.lock().expect("whole"), ["1st begins", "1st ends", "2nd"]);
        timeout(Duration::from_millis(10), writes.settled()).await.expect("nothing runs");
        assert!(writes.keys.all().is_empty(), "no key is left behind");
    }

    #[tokio::test]
    async fn a_write_that_panics_gives_its_permit_back() {
        let writes = SerialWrites::new();
        let permit = writes.acquire("a").await;
        let written = writes.finish(&permit, async { panic!("a fault of the write") }).await;
        assert_eq!(written.map(|(): ()| ()), None);
        drop(permit);
        writes.acquire("a").await;
    }
}
