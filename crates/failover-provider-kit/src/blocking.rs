//! Blocking work on a dedicated thread: a runtime's thread must not wait for a file, and the
//! shutdown of a runtime must not wait for one, either.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use failover_core::{Error, Time};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

use crate::Timing;

/// A time limit shared by several steps.
#[derive(Clone, Debug)]
pub struct Deadline {
    limit: Duration,
    until: Time,
    timing: Timing,
}

impl Deadline {
    /// Creates a deadline that passes `limit` from now.
    pub fn after(timing: &Timing, limit: Duration) -> Self {
        Self { limit, until: timing.now() + limit, timing: timing.clone() }
    }

    /// Returns the whole time limit.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs `future` until the deadline, and returns `None` if it is not done by then.
    ///
    /// # Cancel safety
    ///
    /// As safe as `future` itself.
    pub async fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.timing.timeout_at(self.until, future).await
    }

    /// Runs `future` until the deadline. `what` names it in the error.
    ///
    /// # Errors
    ///
    /// Returns the future's own error, or `Timeout` if it is not done by then.
    ///
    /// # Cancel safety
    ///
    /// As safe as `future` itself.
    pub async fn enforce<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.run(future).await.unwrap_or_else(|| Err(Error::timed_out(what, self.limit)))
    }
}

/// Blocking work of one kind, such as reading one file, one piece at a time.
///
/// A piece that hangs keeps its turn: however often the work is tried, only one thread hangs.
///
/// ```
/// use std::time::Duration;
/// use failover_provider_kit::{BlockingWork, Deadline, Timing};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), failover_core::Error> {
/// let files = BlockingWork::new("my-provider");
/// let deadline = Deadline::after(&Timing::tokio(), Duration::from_secs(5));
/// let read = || std::fs::read_to_string("/proc/version");
/// let version = files.run("read the version", &deadline, read).await?;
/// # drop(version);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct BlockingWork {
    thread: &'static str,
    turn: Arc<Mutex<()>>,
}

impl BlockingWork {
    /// Creates a kind of work whose threads have this name. Clones take turns with each other.
    pub fn new(thread: &'static str) -> Self {
        Self { thread, turn: Arc::default() }
    }

    /// Runs `work` on a new thread, inside the current runtime. `what` names it in errors.
    ///
    /// # Errors
    ///
    /// Returns `Timeout` if it is not done by the deadline; `Internal` if it panics or no thread
    /// can be started.
    ///
    /// # Cancel safety
    ///
    /// Work that has started continues after the future is dropped, and after the deadline; its
    /// result is dropped. The next piece of work waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        what: &str,
        deadline: &Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let internal = |why: &str| Error::new(failover_core::ErrorKind::Internal, format!("{what}: {why}"));
        let done = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let (runtime, (sender, result)) = (Handle::current(), oneshot::channel());
            let started = thread::Builder::new().name(self.thread.to_owned()).spawn(move || {
                let _inside = runtime.enter();
                let result = work();
                drop(turn);
                let _ = sender.send(result);
            });
            started.map_err(|error| internal(&format!("cannot start a thread: {error}")))?;
            result.await.map_err(|_| internal("it panicked"))
        };
        deadline.enforce(what, done).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, sync_channel};

    use failover_core::ErrorKind;

    use super::*;

    fn within(limit: Duration) -> Deadline {
        Deadline::after(&Timing::tokio(), limit)
    }

    #[tokio::test]
    async fn what_hangs_holds_no_runtime_and_is_one_thread_however_often_it_is_tried() {
        let (files, begun) = (BlockingWork::new("test"), Arc::new(AtomicUsize::new(0)));
        let (end, ends) = sync_channel::<()>(0);
        let hang = |begun: Arc<AtomicUsize>, ends: Option<Receiver<()>>| {
            move || {
                begun.fetch_add(1, Ordering::Relaxed);
                let _ = ends.map(|ends| ends.recv());
            }
        };
        let soon = Duration::from_millis(50);
        let mut first = Some(ends);
        for _ in 0..3 {
            let work = hang(Arc::clone(&begun), first.take());
            let error = files.run("read it", &within(soon), work).await.expect_err("it hangs");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.to_string().contains("read it") && error.to_string().contains("50ms"), "{error}");
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        drop(end);
        let work = hang(Arc::clone(&begun), None);
        files.run("read it", &within(Duration::from_secs(5)), work).await.expect("it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_names_what_was_late() {
        let limit = within(Duration::from_secs(5));
        assert_eq!(limit.enforce("list", async { Ok(7) }).await.expect("in time"), 7);
        let late: Result<(), Error> = limit.enforce("list", std::future::pending()).await;
        assert_eq!(late.expect_err("late").to_string(), "list: not done within 5s");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let (files, limit) = (BlockingWork::new("test"), within(Duration::from_secs(5)));
        let panics = files.run("read it", &limit, || panic!("no")).await.map(|(): ()| ());
        assert_eq!(panics.expect_err("a panic").kind(), ErrorKind::Internal);
        assert_eq!(files.run("read it", &limit, || 7).await.expect("goes on"), 7);
    }
}
