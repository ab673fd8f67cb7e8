//! A task that ends with its owner.

use tokio::task::JoinHandle;

/// Aborts the task on drop.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn<F>(runtime: &tokio::runtime::Handle, future: F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(runtime.spawn(future))
    }
}

impl Task {
    /// Aborts the task and waits until its future is dropped.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        // An aborted task has no result.
        let _ = (&mut self.0).await;
    }

    /// Whether the task has ended, which it also does when its runtime shuts down.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
