//! What a subscriber of `tracing` receives. A separate program, because there is one global
//! subscriber per process: with one per thread, the first use on another thread would decide what
//! it receives.

#![allow(clippy::disallowed_methods, reason = "tests wait for a thread")]

use std::cell::RefCell;
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
/// The name of each span, and of the one that it was created in.
static PARENTS: Mutex<Vec<(&str, &str)>> = Mutex::new(Vec::new());

thread_local! {
    /// The names of the spans that this thread is in.
    static WITHIN: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}
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
        matches!(metadata.target(), "failover" | "operation")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = format!("span {}", span.metadata().name());
        span.record(&mut Fields(&mut line));
        let parent = WITHIN.with_borrow(|within| within.last().copied()).unwrap_or_default();
        PARENTS.lock().expect("not poisoned").push((span.metadata().name(), parent));
        let mut heard = HEARD.lock().expect("not poisoned");
        heard.push(line);
        span::Id::from_u64(heard.len() as u64)
    }

    fn record(&self, id: &span::Id, fields: &span::Record<'_>) {
        let mut heard = HEARD.lock().expect("not poisoned");
        fields.record(&mut Fields(&mut heard[id.into_u64() as usize - 1]));
    }

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

    fn enter(&self, id: &span::Id) {
        let line = HEARD.lock().expect("not poisoned")[id.into_u64() as usize - 1].clone();
        let name =
            ["call", "attempt", "own"].into_iter().find(|name| line.starts_with(&format!("span {name}")));
        WITHIN.with_borrow_mut(|within| within.push(name.expect("one of these")));
    }

    fn exit(&self, _: &span::Id) {
        WITHIN.with_borrow_mut(Vec::pop);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_and_attempts_are_spans_and_events_are_records_of_one_line() {
    listen();
    let endpoints = ["traced-1:80", "traced-2:80", "traced-3:80"];
    let service = ServiceHandle::fixed("traced", endpoints).expect("valid");
    let reply =
        async |attempt: failover_core::Attempt| if attempt.number() == 1 { Err("down") } else { Ok(()) };
    service.execute(reply).await.expect("the second attempt");
    assert_eq!(heard("span call"), ["span call service=traced outcome=\"success\" attempts=2"]);
    let attempts = heard("span attempt endpoint=traced-");
    let error = " number=1 outcome=\"failure\" reason=\"down\" otel.status_code=\"ERROR\"";
    assert!(attempts[0].ends_with(error), "{attempts:?}");
    assert!(attempts[1].ends_with(" number=2 outcome=\"success\""), "{attempts:?}");
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

#[tokio::test(start_paused = true)]
async fn spans_say_how_a_call_ended() {
    listen();
    let of = |name: &str, endpoint: Option<&str>| ServiceHandle::fixed(name, endpoint).expect("valid");
    let rejected = of("ends-rejected", Some("ends-1:80"));
    let rejects = |_: Result<&(), &&str>| failover_core::Outcome::Rejected;
    let _ = rejected.call().classify(rejects).execute(async |_| Err::<(), _>("no such user")).await;
    let refused = of("ends-refused", None);
    let _ = refused.execute(async |_| Ok::<_, &str>(())).await;
    let late = of("ends-late", Some("ends-2:80"));
    let _ = late.call().max_retries(0).execute(async |_| pending::<Result<(), &str>>().await).await;
    let dropped = of("ends-dropped", Some("ends-3:80"));
    let call = dropped.execute(async |_| pending::<Result<(), &str>>().await);
    tokio::time::timeout(Duration::from_millis(1), call).await.expect_err("it is dropped");
    let once = of("ends-once", Some("ends-4:80"));
    let _ = once.call().idempotent(false).execute(async |_| Err::<(), _>("reset")).await;

    for (service, fields) in [
        ("rejected", "outcome=\"rejected\" attempts=1 stopped_by=\"rejected\""),
        ("refused", "outcome=\"refused\" attempts=0 stopped_by=\"no_endpoints\" otel.status_code=\"ERROR\""),
        ("late", "outcome=\"failure\" attempts=1 stopped_by=\"max_retries\" otel.status_code=\"ERROR\""),
        ("once", "outcome=\"failure\" attempts=1 stopped_by=\"not_idempotent\" otel.status_code=\"ERROR\""),
    ] {
        let call = format!("span call service=ends-{service}");
        assert_eq!(heard(&call), [format!("{call} {fields}")]);
    }
    assert_eq!(heard("span call service=ends-dropped"), ["span call service=ends-dropped"]);
    for (endpoint, fields) in [
        ("ends-1:80", " outcome=\"rejected\""),
        ("ends-2:80", " outcome=\"timeout\" otel.status_code=\"ERROR\""),
        ("ends-3:80", ""),
    ] {
        let attempt = format!("span attempt endpoint={endpoint} number=1");
        assert_eq!(heard(&attempt), [format!("{attempt}{fields}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_operation_creates_is_within_its_attempt() {
    listen();
    let service = ServiceHandle::fixed("within", Some("within-1:80")).expect("valid");
    let operation = |_| {
        drop(tracing::info_span!(target: "operation", "own, before the future"));
        async {
            tokio::task::yield_now().await;
            drop(tracing::info_span!(target: "operation", "own, within it"));
            Ok::<_, &str>(())
        }
    };
    service.execute(operation).await.expect("answers");
    drop(tracing::info_span!(target: "operation", "own, after it"));
    let parents = PARENTS.lock().expect("not poisoned").clone();
    for (span, parent) in [
        ("own, before the future", "attempt"),
        ("own, within it", "attempt"),
        ("own, after it", ""),
        ("attempt", "call"),
    ] {
        assert!(parents.contains(&(span, parent)), "{span}: {parents:?}");
    }
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
