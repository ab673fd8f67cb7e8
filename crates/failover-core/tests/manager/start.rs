//! A registry that does not answer when a service is first requested.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::events::{Event, EventKind};
use failover_core::provider::{AddressTrust, EndpointSet, Provider, ProviderInfo, Query};
use failover_core::{Error, ErrorKind, FailoverManager, NoEndpointsReason, async_trait};
use failover_memory::MemoryProvider;
use failover_test::ScriptedProvider;
use tokio::time::{Instant, timeout};

use crate::{down, endpoint, named, until, virtual_manager};

const START: Duration = Duration::from_secs(5);
/// A restart follows the first failure within 250 ms.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_holds_a_service_up_until_start_timeout_and_no_longer() {
    let (provider, script) = ScriptedProvider::watching();
    let manager = virtual_manager(provider).build().await.expect("builds");
    let begun = Instant::now();
    let service = manager.service("users").await.expect("a handle, whatever the provider does");
    assert!((START..START + SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let none = service.select().expect_err("nothing is known");
    assert_eq!(none.reason(), NoEndpointsReason::NotYetKnown);
    assert!(none.source_error().is_none(), "it has not said anything");
    timeout(Duration::from_secs(3600), service.ready()).await.expect_err("it is still waited for");

    script.endpoints([endpoint("users-1", 1)]);
    timeout(SOON, service.ready()).await.expect("in time").expect("it answers");
    assert_eq!(service.select().expect("one").endpoint().id(), "users-1");

    let begun = Instant::now();
    manager.service("users").await.expect("a handle");
    assert_eq!(begun.elapsed(), Duration::ZERO, "a service that is known costs no time");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_is_given_up_after_the_timeout_and_asked_again() {
    let (provider, script) = ScriptedProvider::polled();
    let manager = virtual_manager(provider).timeout(Duration::from_secs(20)).build().await.expect("builds");
    let begun = Instant::now();
    let service = manager.service("users").await.expect("a handle, whatever the provider does");
    assert!((START..START + SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(service.select().expect_err("nothing is known").reason(), NoEndpointsReason::NotYetKnown);

    let given_up = until("the list given up", Duration::from_secs(16), || service.is_stale()).await;
    assert_eq!((begun.elapsed().as_secs(), given_up.as_secs()), (20, 15));
    assert!(!service.is_ready());
    let none = service.select().expect_err("nothing is known");
    assert_eq!(none.reason(), NoEndpointsReason::NotYetKnown);
    assert_eq!(none.source_error().map(Error::kind), Some(ErrorKind::Timeout));

    script.endpoints([endpoint("users-1", 1)]);
    until("the next question", SOON, || named(&service) == ["users-1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_gives_a_handle_by_start_timeout_that_says_what_failed() {
    for (provider, script) in [ScriptedProvider::watching(), ScriptedProvider::polled()] {
        script.fail(down("the registry is down"));
        let manager = virtual_manager(provider).build().await.expect("builds");
        let begun = Instant::now();
        let service = manager.service("users").await.expect("a handle, whatever the provider does");
        assert!((START..START + SOON).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        let none = service.select().expect_err("nothing is known");
        assert_eq!(none.reason(), NoEndpointsReason::NotYetKnown);
        assert_eq!(none.source_error().map(Error::kind), Some(ErrorKind::Connection));
        assert!(none.to_string().ends_with("the source's last error: the registry is down"), "{none}");
        let error = Error::from(none);
        assert_eq!(error.kind(), ErrorKind::NoEndpoints);
        assert_eq!(
            std::error::Error::source(&error).expect("the source's error").to_string(),
            "the registry is down"
        );
        assert!(service.is_stale() && !service.is_ready());

        script.endpoints([endpoint("users-1", 1)]);
        timeout(Duration::from_secs(31), service.ready()).await.expect("in time").expect("it answers");
        assert_eq!(named(&service), ["users-1"]);
        assert!(!service.is_stale() && service.select().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_at_first_and_then_answers_holds_a_service_up_no_longer_than_that() {
    let (provider, script) = ScriptedProvider::watching();
    script.fail(down("the registry is starting"));
    let manager = virtual_manager(provider).build().await.expect("builds");
    let begun = Instant::now();
    let (service, ()) = tokio::join!(manager.service("users"), async {
        tokio::time::sleep(SOON).await;
        script.endpoints([endpoint("users-1", 1)]);
    });
    assert!(begun.elapsed() < SOON + SOON, "{:?}", begun.elapsed());
    assert!(service.expect("a handle").select().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_for_long_is_asked_less_and_less_and_never_given_up() {
    let (provider, script) = ScriptedProvider::polled();
    script.fail(down("the registry is down"));
    let manager = virtual_manager(provider).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let asked = script.asked();
    // 7 while the pause grows, then one every 15 to 30 s.
    assert!((100..260).contains(&asked), "{asked}");
    script.endpoints([endpoint("users-1", 1)]);
    until("the registry's return", Duration::from_secs(31), || named(&service) == ["users-1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_timeout_of_zero_waits_for_nothing() {
    let (provider, script) = ScriptedProvider::watching();
    let manager = virtual_manager(provider).start_timeout(Duration::ZERO).build().await.expect("builds");
    let begun = Instant::now();
    let service = manager.service("users").await.expect("a handle");
    assert!(begun.elapsed() <= Duration::from_millis(1));
    script.endpoints([endpoint("users-1", 1)]);
    until("the first answer", SOON, || service.select().is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_readiness_ends_when_the_manager_closes() {
    for failing in [false, true] {
        let (provider, script) = ScriptedProvider::watching();
        if failing {
            script.fail(down("the registry is down"));
        }
        let manager = virtual_manager(provider).build().await.expect("builds");
        let service = manager.service("users").await.expect("a handle");
        let waiting = tokio::spawn(async move { service.ready().await });
        tokio::time::sleep(SOON).await;
        manager.close().await.expect("closes");
        let ended = timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("no error, failing: {failing}"));
        let error = ended.expect("no panic").expect_err("it will never be ready");
        assert_eq!(error.kind(), ErrorKind::Shutdown);
    }
}

/// A provider that cannot be connected at first, and lists nothing until it is.
#[derive(Clone)]
struct Late {
    inner: MemoryProvider,
    /// What its next attempts to connect do; after them it connects.
    failures: Arc<Mutex<VecDeque<Failure>>>,
    attempts: Arc<Mutex<Vec<Instant>>>,
    connected: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Failure {
    Refuse,
    Hang,
    Panic,
}

impl Late {
    fn new(failures: impl IntoIterator<Item = Failure>) -> Self {
        Self {
            inner: MemoryProvider::new(),
            failures: Arc::new(Mutex::new(failures.into_iter().collect())),
            attempts: Arc::default(),
            connected: Arc::default(),
        }
    }

    fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().expect("no panic").clone()
    }
}

#[async_trait]
impl Provider for Late {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("late", "1").with_trust(AddressTrust::InProcess)
    }

    async fn connect(&self) -> Result<(), Error> {
        self.attempts.lock().expect("no panic").push(Instant::now());
        let failure = self.failures.lock().expect("no panic").pop_front();
        match failure {
            Some(Failure::Refuse) => Err(down("connection refused")),
            Some(Failure::Hang) => pending().await,
            Some(Failure::Panic) => panic!("a bug"),
            None => {
                self.connected.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        if self.connected.load(Ordering::Relaxed) {
            self.inner.list(query).await
        } else {
            Err(down("not connected"))
        }
    }
}

fn events_of(manager: &FailoverManager, kind: EventKind) -> Vec<String> {
    let of_kind = |event: &Arc<Event>| (event.kind == kind).then(|| event.to_string());
    manager.events(usize::MAX).iter().filter_map(of_kind).collect()
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_be_connected_is_connected_again_with_a_back_off() {
    for (failure, kind, problem) in [
        (
            Failure::Refuse,
            EventKind::SourceStale,
            "source_stale [late]: connection refused; connecting again",
        ),
        (Failure::Hang, EventKind::SourceStale, "source_stale [late]: no connection in 5s; connecting again"),
        (
            Failure::Panic,
            EventKind::ProviderPanicked,
            "provider_panicked [late]: panicked while connecting: a bug;",
        ),
    ] {
        for later in [false, true] {
            let late =
                Late::new([failure, Failure::Refuse, Failure::Panic, Failure::Refuse, Failure::Refuse]);
            let registry = Provider::registry(&late.inner).expect("it has one");
            registry.register(&endpoint("users-1", 1)).await.expect("registers");
            let begun = Instant::now();
            let manager = if later {
                let manager = virtual_manager(MemoryProvider::new()).build().await.expect("builds");
                manager.register_provider(late.clone()).await.expect("an unreachable one is no error");
                manager
            } else {
                virtual_manager(late.clone()).build().await.expect("an unreachable one is no error")
            };
            assert!(begun.elapsed() <= START, "{:?}", begun.elapsed());
            assert!(events_of(&manager, kind)[0].starts_with(problem), "{:?}", events_of(&manager, kind));
            let connected = || late.connected.load(Ordering::Relaxed);
            until("the connection", Duration::from_secs(31), connected).await;
            let attempts = late.attempts();
            assert_eq!(attempts.len(), 6);
            let waits: Vec<_> = attempts.windows(2).map(|two| two[1] - two[0]).skip(1).collect();
            for (wait, longest) in waits.iter().zip([500, 1_000, 2_000, 4_000]) {
                let longest = Duration::from_millis(longest);
                assert!(*wait >= longest / 2 && *wait <= longest + SOON / 100, "{waits:?}");
            }
            assert_eq!(
                events_of(&manager, EventKind::SourceFresh),
                ["source_fresh [late]: connected in the 6th attempt"]
            );
            let reported = events_of(&manager, EventKind::SourceStale).len()
                + events_of(&manager, EventKind::ProviderPanicked).len();
            assert_eq!(reported, 1, "the first failure");
            let users = manager.provider("late").expect("there").service("users").await.expect("a handle");
            until("its endpoints", Duration::from_secs(31), || named(&users) == ["users-1"]).await;
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!(late.attempts().len(), 6, "it is connected");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_not_connected_again_after_its_manager_is_closed_or_dropped() {
    for close in [true, false] {
        let late = Late::new([Failure::Refuse; 100]);
        let manager = virtual_manager(late.clone()).build().await.expect("builds");
        tokio::time::sleep(Duration::from_secs(120)).await;
        let attempts = late.attempts().len();
        assert!((8..=16).contains(&attempts), "{attempts}");
        let kept = if close {
            manager.close().await.expect("closes");
            Some(manager)
        } else {
            drop(manager);
            None
        };
        tokio::time::sleep(Duration::from_secs(120)).await;
        drop(kept);
        assert_eq!(late.attempts().len(), attempts, "closed: {close}");
    }
    // A caller that does not wait for the connection leaves it to the manager.
    let late = Late::new([Failure::Hang, Failure::Refuse]);
    let manager = virtual_manager(MemoryProvider::new()).build().await.expect("builds");
    timeout(SOON, manager.register_provider(late.clone())).await.expect_err("it hangs");
    until("the connection", Duration::from_secs(31), || late.connected.load(Ordering::Relaxed)).await;
}
