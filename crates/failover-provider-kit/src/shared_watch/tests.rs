use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicU32, Ordering};

use failover_core::ErrorKind;
use tokio::sync::mpsc;

use super::*;

async fn next<T>(stream: &mut WatchItems<'_, T>) -> Option<Result<T, Error>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

fn lost() -> Error {
    Error::new(ErrorKind::Connection, "lost")
}

/// A step of a scripted task.
enum Step {
    Answer(u32),
    Error,
    End,
}

/// Returns a task that publishes what it is sent, and confirms each step.
fn scripted() -> (impl FnOnce(Publisher<u32>) -> Running + Send + Unpin, Script) {
    let (steps, mut next) = mpsc::channel::<Step>(8);
    let (done, published) = mpsc::channel(8);
    let start = move |publisher: Publisher<u32>| -> Running {
        Box::pin(async move {
            while let Some(step) = next.recv().await {
                match step {
                    Step::Answer(answer) => publisher.publish(answer),
                    Step::Error => publisher.error(lost()),
                    Step::End => return,
                }
                let _ = done.send(()).await;
            }
        })
    };
    (start, Script { steps, published })
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Script {
    steps: mpsc::Sender<Step>,
    published: mpsc::Receiver<()>,
}

impl Script {
    /// Returns once it is published, for which no listener has to be polled.
    async fn publish(&mut self, step: Step) {
        self.steps.send(step).await.expect("the task runs");
        self.published.recv().await.expect("it is published");
    }
}

/// Finding 1: an answer just before an outage is not lost.
#[tokio::test]
async fn an_answer_is_not_lost_to_the_error_that_follows_it() {
    let watches = SharedWatches::new(Timing::tokio());
    let (start, mut script) = scripted();
    let mut stream = watches.listen("a", start);
    script.steps.send(Step::Answer(1)).await.expect("queued");
    assert_eq!(next(&mut stream).await.expect("goes on").expect("an answer"), 1);
    script.published.recv().await.expect("it is published");

    script.publish(Step::Answer(2)).await;
    script.publish(Step::Error).await;
    assert_eq!(next(&mut stream).await.expect("goes on").expect("the answer first"), 2);
    assert!(next(&mut stream).await.expect("goes on").is_err(), "then the error");

    script.publish(Step::Error).await;
    script.publish(Step::Error).await;
    assert!(next(&mut stream).await.expect("goes on").is_err(), "two errors are one item");

    script.publish(Step::Error).await;
    script.publish(Step::Answer(3)).await;
    assert_eq!(next(&mut stream).await.expect("goes on").expect("an answer ends an error"), 3);

    script.publish(Step::Answer(4)).await;
    script.publish(Step::Error).await;
    script.publish(Step::Answer(5)).await;
    script.publish(Step::Error).await;
    assert_eq!(next(&mut stream).await.expect("goes on").expect("the newest answer"), 5);
    assert!(next(&mut stream).await.expect("goes on").is_err());
}

#[tokio::test]
async fn what_was_published_last_is_yielded_before_the_end() {
    let watches = SharedWatches::new(Timing::tokio());
    let (start, mut script) = scripted();
    let mut stream = watches.listen("a", start);
    script.steps.send(Step::Answer(1)).await.expect("queued");
    assert_eq!(next(&mut stream).await.expect("goes on").expect("an answer"), 1);
    script.published.recv().await.expect("it is published");
    script.publish(Step::Answer(2)).await;
    script.publish(Step::Error).await;
    script.steps.send(Step::End).await.expect("queued");
    while !script.steps.is_closed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut stream).await.expect("not the end").expect("an answer"), 2);
    assert!(next(&mut stream).await.expect("not the end").is_err());
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn listeners_share_a_task_that_ends_with_the_last_of_them() {
    let watches = SharedWatches::<_, u32>::new(Timing::tokio());
    let started = AtomicU32::new(0);
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let alive = Mutex::new(Some(alive));
    let listen = || {
        watches.listen("a", |publisher| {
            started.fetch_add(1, Ordering::Relaxed);
            let alive = alive.lock().expect("whole").take();
            async move {
                publisher.publish(1);
                publisher.error(lost());
                pending::<()>().await;
                drop(alive);
            }
        })
    };
    let (mut first, mut second) = (listen(), listen());
    for stream in [&mut first, &mut second] {
        assert_eq!(next(stream).await.expect("goes on").expect("an answer"), 1);
        assert!(next(stream).await.expect("goes on").is_err(), "an error does not hide the answer before it");
    }
    assert_eq!(started.load(Ordering::Relaxed), 1);
    drop(first);
    tokio::task::yield_now().await;
    assert!(matches!(ended.try_recv(), Err(mpsc::error::TryRecvError::Empty)), "the second one holds it");
    drop(second);
    assert_eq!(ended.recv().await, None, "the task is dropped");
    let mut third = listen();
    assert!(next(&mut third).await.is_some());
    assert_eq!(started.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn closing_ends_the_streams_and_they_stay_ended() {
    let watches = SharedWatches::<_, u32>::new(Timing::tokio());
    let mut stream = watches.listen("a", |publisher| async move {
        publisher.publish(7);
        pending::<()>().await;
    });
    assert_eq!(next(&mut stream).await.expect("goes on").expect("an answer"), 7);
    watches.close();
    assert!(next(&mut stream).await.is_none());
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn a_task_that_panicked_ends_its_streams_and_is_started_again() {
    let watches = SharedWatches::<_, u32>::new(Timing::tokio());
    let mut stream = watches.listen("a", |_| async { panic!("a fault of the task") });
    assert!(next(&mut stream).await.is_none());
    let mut again = watches.listen("a", |publisher| async move {
        publisher.publish(1);
        pending::<()>().await;
    });
    assert_eq!(next(&mut again).await.expect("goes on").expect("an answer"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_older_for_a_later_listener() {
    let age = |answer: u64, passed: Duration| answer + passed.as_secs();
    let watches = SharedWatches::new(Timing::tokio()).with_age(age);
    let listen = || {
        watches.listen("a", |publisher| async move {
            publisher.publish(0);
            pending::<()>().await;
        })
    };
    let (mut first, mut second) = (listen(), listen());
    assert_eq!(next(&mut first).await.expect("goes on").expect("an answer"), 0);
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(next(&mut second).await.expect("goes on").expect("an answer"), 9);
}
