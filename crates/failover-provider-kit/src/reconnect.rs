//! Detects that an unreachable server accepts connections again.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{Publisher, SharedWatches, Timing};

/// The minimum interval between probes.
const INTERVAL: Duration = Duration::from_millis(1500);
/// The random part of that interval: of a thousand clients, few probe within the same tenth of a
/// second.
const RANDOM: Duration = Duration::from_secs(2);
/// The minimum interval, its random part and the duration of eager probes.
const EAGER: (Duration, Duration, Duration) =
    (Duration::from_millis(150), Duration::from_millis(250), Duration::from_secs(30));
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;
/// Waiters continue at different times, up to this much later.
const SPREAD: Duration = Duration::from_millis(300);

/// The return of one server, detected with one probe for all waiters.
///
/// A probe opens a TCP connection and closes it again. It costs the server nothing, and cuts a long
/// back-off short.
pub struct Reconnect {
    address: Option<Arc<str>>,
    timing: Timing,
    was_gone: Arc<AtomicBool>,
    is_eager: bool,
    searches: SharedWatches<(), ()>,
}

impl Reconnect {
    /// Creates the probe of a server at `address`, which is `host:port`. If the address is unknown
    /// (`None`), [`wait`](Self::wait) never resolves.
    pub fn new(address: Option<String>, timing: Timing) -> Self {
        let searches = SharedWatches::new(timing.clone());
        Self { address: address.map(Arc::from), timing, was_gone: Arc::default(), is_eager: false, searches }
    }

    /// Probes every 0.15 s to 0.4 s for the first 30 s of an absence.
    ///
    /// For a server on this machine that is known by few, whose return must be noticed at once.
    #[must_use]
    pub fn eager(mut self) -> Self {
        self.is_eager = true;
        self
    }

    /// Waits until an unreachable server accepts connections again. Resolves at most 5 s after its
    /// return.
    ///
    /// Does not resolve while the server accepts connections: the failure then has another cause.
    /// `is_gone` states that the caller saw a refused connection; otherwise a probe has to fail
    /// first.
    ///
    /// # Cancel safety
    ///
    /// Safe: probes end with the last waiter.
    pub async fn wait(&self, is_gone: bool) {
        let Some(address) = &self.address else { return std::future::pending().await };
        let start = |found| {
            self.was_gone.store(false, Ordering::Relaxed);
            let was_gone = Arc::clone(&self.was_gone);
            search(Arc::clone(address), was_gone, self.is_eager, self.timing.clone(), found)
        };
        let mut search = self.searches.listen((), start);
        poll_fn(|context| {
            let polled = search.as_mut().poll_next(context);
            // Set after the first poll, which may start the search.
            if is_gone {
                self.was_gone.store(true, Ordering::Relaxed);
            }
            polled
        })
        .await;
        let spread = if self.is_eager { SPREAD / 10 } else { SPREAD };
        sleep(spread.mul_f64(self.timing.unit())).await;
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn search(
    address: Arc<str>,
    was_gone: Arc<AtomicBool>,
    is_eager: bool,
    timing: Timing,
    found: Publisher<()>,
) {
    let began = timing.now();
    loop {
        let (interval, random) = match EAGER {
            (interval, random, lasts) if is_eager && timing.now().since(began) < lasts => (interval, random),
            _ => (INTERVAL, RANDOM),
        };
        sleep(interval + random.mul_f64(timing.unit())).await;
        let accepted = timeout(CONNECT_TIMEOUT, async { accepts(lookup_host(&*address).await?).await }).await;
        match accepted {
            Ok(Ok(())) if was_gone.load(Ordering::Relaxed) => return found.publish(()),
            Ok(Ok(())) => {}
            _ => was_gone.store(true, Ordering::Relaxed),
        }
    }
}

/// Connects to all addresses at once, because one that swallows packets would take all the time.
async fn accepts(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<()> {
    let mut attempts: JoinSet<_> = addresses.take(MAX_ADDRESSES).map(TcpStream::connect).collect();
    while let Some(attempt) = attempts.join_next().await {
        if matches!(attempt, Ok(Ok(_))) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::NotConnected.into())
}

#[cfg(test)]
mod tests {
    use failover_testkit::BlackHole;
    use tokio::net::TcpListener;

    use super::*;

    async fn address() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn a_server_that_returns_is_found_within_five_seconds_by_all_waiting_tasks() {
        let (listener, address) = address().await;
        drop(listener);
        let timing = Timing::tokio();
        let reconnect = Reconnect::new(Some(address.clone()), timing.clone());
        let returns = async {
            sleep(Duration::from_millis(200)).await;
            let listener = TcpListener::bind(&address).await.expect("its port again");
            (listener, timing.now())
        };
        let waits = async { tokio::join!(reconnect.wait(true), reconnect.wait(false)) };
        let (_, (_listener, since)) = tokio::join!(waits, returns);
        let taken = timing.now().since(since);
        assert!(taken < Duration::from_secs(5), "{taken:?}");
    }

    #[tokio::test]
    async fn an_eager_search_finds_a_server_within_half_a_second() {
        let (listener, address) = address().await;
        drop(listener);
        let timing = Timing::tokio();
        let reconnect = Reconnect::new(Some(address.clone()), timing.clone()).eager();
        let returns = async {
            sleep(Duration::from_secs(1)).await;
            let listener = TcpListener::bind(&address).await.expect("its port again");
            (listener, timing.now())
        };
        let ((), (_listener, since)) = tokio::join!(reconnect.wait(true), returns);
        let taken = timing.now().since(since);
        assert!(taken < Duration::from_millis(900), "{taken:?}");
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_hides_no_other() {
        let (hole, (listener, address)) = (BlackHole::start().await, address().await);
        let here = listener.local_addr().expect("bound");
        let both = || [hole.address(), here].into_iter();
        timeout(CONNECT_TIMEOUT, accepts(both())).await.expect("in time").expect("the second accepts");
        drop((listener, address));
        assert!(timeout(CONNECT_TIMEOUT, accepts([here].into_iter())).await.expect("at once").is_err());
        assert!(timeout(CONNECT_TIMEOUT, accepts(both())).await.is_err(), "the first may still accept");
    }

    #[tokio::test]
    async fn a_server_that_never_was_gone_ends_no_pause() {
        let (_listener, address) = address().await;
        let reconnect = Reconnect::new(Some(address), Timing::tokio());
        let waited = timeout(Duration::from_secs(5), reconnect.wait(false)).await;
        assert!(waited.is_err());
        assert!(
            timeout(Duration::from_secs(5), reconnect.wait(true)).await.is_ok(),
            "it was known to be gone"
        );
    }
}
