//! Several operations at a time.

use std::future::poll_fn;
use std::task::Poll;

/// Runs operations, this many at a time, and returns their outputs, or the first error.
pub(crate) async fn together<T, E, F: Future<Output = Result<T, E>>>(
    limit: usize,
    mut operations: impl Iterator<Item = F>,
) -> Result<Vec<T>, E> {
    let mut running = Vec::new();
    let mut outputs = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < limit {
                let Some(operation) = operations.next() else { break };
                running.push(Box::pin(operation));
            }
            let before = running.len();
            let mut failed = None;
            running.retain_mut(|one| match one.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(Ok(output)) => {
                    outputs.push(output);
                    false
                }
                Poll::Ready(Err(error)) => {
                    failed.get_or_insert(error);
                    false
                }
            });
            match failed {
                Some(error) => return Poll::Ready(Err(error)),
                None if running.is_empty() && before == 0 => {
                    return Poll::Ready(Ok(std::mem::take(&mut outputs)));
                }
                None if running.len() == before => return Poll::Pending,
                None => {}
            }
        }
    })
    .await
}
