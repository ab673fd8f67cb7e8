//! What a subscriber of `tracing` receives. A separate program, because there is one global
//! subscriber per process: with one per thread, the first use on another thread would decide what
//! it receives.

#![allow(clippy::disallowed_methods, reason = "tests wait for a thread")]

use std::fmt::{Debug, Write};
use std::future::{Future, pending};
use std::sync::{Mutex, Once, OnceLock, mpsc};
use std::time::Duration;

use failover_core::provider::{EndpointSet, Provider, ProviderInfo, Query};
use failover_core::{Error, FailoverManager, ServiceHandle, async_trait};
use tracing::field::{Field, Visit};
use tracing::span;

/// Records events of the target `failover`, and calls a manager at each event, if it has one.
struct Listener;

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());
static MANAGER: OnceLock<FailoverManager> = OnceLock::new();

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).expect("the only one"));
}

/// Returns the recorded lines that contain this text.
fn heard(text: &str) -> Vec<String> {
    HEARD.lock().expect("not poisoned").iter().filter(|line| line.contains(text)).cloned().collect()
}

/// Writes fields as ` name=value`.
struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "failover"
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = format!("span {}", span.metadata().name());
        span.record(&mut Fields(&mut line));
        let mut heard = HEARD.lock().expect("not poisoned");
        heard.push(line);
        span::Id::from_u64(heard.len() as u64)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = format!("{} event", event.metadata().level());
        event.record(&mut Fields(&mut line));
        HEARD.lock().expect("not poisoned").push(line);
        if let Some(manager) = MANAGER.get() {
            manager.stats();
            manager.events(1);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn calls_and_attempts_are_spans_and_events_are_records_of_one_line() {
    listen();
    let endpoints = ["traced-1:80", "traced-2:80", "traced-3:80"];
    let service = ServiceHandle::fixed("traced", endpoints).expect("valid");
    let reply =
        async |attempt: failover_core::Attempt| if attempt.number() == 1 { Err("down") } else { Ok(()) };
    service.execute(reply).await.expect("the second attempt");
    assert_eq!(heard("span call"), ["span call service=traced"]);
    let attempts = heard("span attempt endpoint=traced-");
    assert!(attempts[0].ends_with("number=1") && attempts[1].ends_with("number=2"), "{attempts:?}");
    assert_eq!(attempts.len(), 2);
    let failovers = heard("kind=\"failover\"");
    assert_eq!(failovers.len(), 1);
    assert!(
        failovers[0].starts_with("DEBUG event") && failovers[0].contains("attempt 2 goes to"),
        "{failovers:?}"
    );
    let all = heard("");
    assert!(all.iter().all(|line| !line.contains('\n')), "{all:?}");
}

/// Never answers.
struct Silent;

#[async_trait]
impl Provider for Silent {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("silent", "1")
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        pending().await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _: &Query) -> Result<EndpointSet, Error> {
        pending().await
    }
}

/// Runs a future on a dedicated runtime and thread; a deadlock is a failure.
fn in_time(future: impl Future<Output = ()> + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future);
        done.send(()).expect("it is waited for");
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("no deadlock");
}

#[test]
fn a_subscriber_of_events_may_call_the_manager() {
    listen();
    in_time(async {
        let builder = FailoverManager::builder().provider(Silent).start_timeout(Duration::ZERO);
        let manager = builder.build().await.expect("builds");
        let _service = manager.service("asked").await.expect("a handle");
        assert!(MANAGER.set(manager.clone()).is_ok());
        let config = failover_core::FailoverConfig::builder().max_retries(1).build().expect("valid");
        manager.configure(config).await.expect("applies");
        manager.close().await.expect("closes");
    });
    assert!(!heard("service=asked").is_empty(), "the configuration was reported");
}
