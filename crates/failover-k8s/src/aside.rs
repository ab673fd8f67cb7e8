//! What can block, on threads of its own: no thread of a runtime may wait for a file, and no runtime that ends may have to
//! wait for one.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::{clock, error};

/// A time that is given for several things in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) whole: Duration,
    pub(crate) until: Instant,
}

impl Limit {
    pub(crate) fn of(whole: Duration) -> Self {
        Self { whole, until: clock::now() + whole }
    }
}

/// Work of one kind, one piece at a time. One that hangs keeps its turn: however often it is tried, one thread hangs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside(Arc<Mutex<()>>);

impl Aside {
    /// Does it on a thread of its own, inside this runtime. Dropped, or late, it goes on there, and what comes of it is
    /// dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        what: &str,
        limit: Limit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let internal = |why: &str| Error::new(ErrorKind::Internal, format!("{what}: {why}"));
        let done = async {
            let turn = Arc::clone(&self.0).lock_owned().await;
            let (runtime, (tell, told)) = (Handle::current(), oneshot::channel());
            let begun = thread::Builder::new().name("failover-k8s".to_owned()).spawn(move || {
                let _inside = runtime.enter();
                let result = work();
                drop(turn);
                let _ = tell.send(result);
            });
            begun.map_err(|error| internal(&format!("no thread can be had: {error}")))?;
            told.await.map_err(|_| internal("it panicked"))
        };
        timeout_at(limit.until, done).await.unwrap_or_else(|_| Err(error::slow(what, limit.whole)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn what_hangs_holds_no_runtime_and_is_one_thread_however_often_it_is_tried() {
        let (aside, begun) = (Aside::default(), Arc::new(AtomicUsize::new(0)));
        let (end, ends) = sync_channel::<()>(0);
        let hang = |begun: Arc<AtomicUsize>, ends: Option<std::sync::mpsc::Receiver<()>>| {
            move || {
                begun.fetch_add(1, Ordering::Relaxed);
                let _ = ends.map(|ends| ends.recv());
            }
        };
        let soon = || Limit::of(Duration::from_millis(50));
        let mut first = Some(ends);
        for _ in 0..3 {
            let work = hang(Arc::clone(&begun), first.take());
            let error = aside.run("read it", soon(), work).await.expect_err("it hangs");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.to_string().contains("read it") && error.to_string().contains("50ms"), "{error}");
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        drop(end);
        let work = hang(Arc::clone(&begun), None);
        aside.run("read it", Limit::of(Duration::from_secs(5)), work).await.expect("it goes on");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let aside = Aside::default();
        let limit = || Limit::of(Duration::from_secs(5));
        let error =
            aside.run("read it", limit(), || panic!("no")).await.map(|(): ()| ()).expect_err("a panic");
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(aside.run("read it", limit(), || 7).await.expect("goes on"), 7);
    }
}
