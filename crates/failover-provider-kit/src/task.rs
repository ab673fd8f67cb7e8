//! A background task that ends with its owner.

use tokio::task::JoinHandle;

/// Aborts its task when it is dropped.
///
/// ```
/// use failover_provider_kit::AbortOnDrop;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let renewal = AbortOnDrop::spawn(async { std::future::pending::<()>().await });
/// assert!(renewal.is_running());
/// drop(renewal); // the task ends
/// # }
/// ```
#[derive(Debug)]
pub struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    /// Starts a task on the current runtime.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Returns whether the task is still running: it has neither finished, nor panicked, nor ended
    /// with its runtime.
    pub fn is_running(&self) -> bool {
        !self.0.is_finished()
    }

    /// Aborts the task without dropping the handle.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_task_ends_with_its_owner() {
        let (alive, ended) = oneshot::channel::<()>();
        let task = AbortOnDrop::spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        tokio::task::yield_now().await;
        assert!(task.is_running());
        drop(task);
        ended.await.expect_err("what the task held is dropped");
    }
}
