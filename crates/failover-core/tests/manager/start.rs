//! A registry that does not answer when a service is first requested.

use std::time::Duration;

use failover_core::{Error, ErrorKind, NoEndpointsReason};
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
