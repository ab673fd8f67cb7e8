//! How a service handles its source's answers, errors and faults.

use std::time::Duration;

use failover_core::config::EmptyPolicy;
use failover_core::events::EventKind;
use failover_core::provider::EndpointSet;
use failover_core::{Error, ErrorKind, FailoverConfig, NoEndpointsReason, RetryAdvice, ServiceHandle};
use failover_test::{Script, ScriptedProvider, Step};
use tokio::time::sleep;

use crate::{down, emitted, endpoint, endpoint_of, named, until, virtual_manager};

/// A restart follows the first failure within 250 ms.
const SOON: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_secs(300);

/// Returns a manager and its service with `users-1` and `users-2`. The caller keeps the manager,
/// because discovery ends with it.
async fn known(
    (provider, script): (ScriptedProvider, Script),
) -> (failover_core::FailoverManager, ServiceHandle, Script) {
    script.endpoints([endpoint("users-1", 1), endpoint("users-2", 2)]);
    let manager = virtual_manager(provider).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    assert_eq!(named(&service), ["users-1", "users-2"]);
    (manager, service, script)
}

async fn becomes(service: &ServiceHandle, ids: &[&str]) {
    until("the endpoints", SOON, || named(service) == ids).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_watch_is_polled_at_jittered_intervals() {
    let (provider, script) = ScriptedProvider::polled();
    script.endpoints([endpoint("users-1", 1)]);
    let manager =
        virtual_manager(provider).poll_interval(Duration::from_secs(10)).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    assert_eq!((named(&service), script.asked()), (vec!["users-1".to_owned()], 1));

    script.endpoints([endpoint("users-2", 2)]);
    let after = until("the next answer", Duration::from_secs(11), || named(&service) == ["users-2"]).await;
    assert!(after >= Duration::from_secs(9), "{after:?}");

    let asked = script.asked();
    sleep(Duration::from_secs(1000)).await;
    let asked = script.asked() - asked;
    assert!((90..=112).contains(&asked), "{asked} times in 100 intervals");
    let age = service.stats().sources[0].age.expect("it has answered");
    assert!(age <= Duration::from_secs(11), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_when_its_provider_is_asked_again() {
    let minute = Duration::from_secs(60);
    let answer = |ttl| EndpointSet::new([endpoint("users-1", 1).into()]).with_ttl(ttl);
    let pause = |pause| Error::new(ErrorKind::Connection, "busy").with_retry(RetryAdvice::After(pause));
    for (step, over, times) in [
        (Step::Answer(answer(Duration::from_secs(2))), minute, 26..=34),
        (Step::Answer(answer(Duration::ZERO)), minute, 210..=270),
        (Step::Answer(answer(Duration::MAX)), 48 * 60 * minute, 1..=3),
        (Step::Fail(pause(Duration::from_secs(120))), 60 * minute, 27..=31),
    ] {
        let (provider, script) = ScriptedProvider::polled();
        script.step(step.clone());
        let builder = virtual_manager(provider).poll_interval(Duration::from_secs(10));
        let manager = builder.build().await.expect("builds");
        let _service = manager.service("users").await.expect("a handle");
        sleep(over).await;
        assert!(times.contains(&script.asked()), "{step:?}: {} times", script.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_panics_is_started_again_and_its_endpoints_stay() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.step(Step::Panic);
    until("the panic", SOON, || !emitted(&service, EventKind::ProviderPanicked).is_empty()).await;
    assert_eq!(
        emitted(&service, EventKind::ProviderPanicked),
        ["provider_panicked users [scripted]: the provider panicked: the script says so; restarting it"]
    );
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert!(service.is_stale() && service.select().is_ok());

    until("the restart", SOON, || script.asked() == 2).await;
    script.endpoints([endpoint("users-3", 3)]);
    becomes(&service, &["users-3"]).await;
    assert!(!service.is_stale());
    assert_eq!(emitted(&service, EventKind::SourceFresh).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_panics_is_asked_again_and_its_endpoints_stay() {
    let (_manager, service, script) = known(ScriptedProvider::polled()).await;
    script.step(Step::Panic);
    until("the panic", Duration::from_secs(11), || {
        !emitted(&service, EventKind::ProviderPanicked).is_empty()
    })
    .await;
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert!(service.is_stale());
    script.endpoints([endpoint("users-3", 3)]);
    becomes(&service, &["users-3"]).await;
    assert!(!service.is_stale());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_started_again_and_its_endpoints_stay() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.step(Step::End);
    until("the end", SOON, || service.is_stale()).await;
    assert_eq!(named(&service), ["users-1", "users-2"]);
    until("the restart", SOON, || script.asked() == 2).await;
    script.endpoints([endpoint("users-1", 1)]);
    becomes(&service, &["users-1"]).await;
    assert!(!service.is_stale());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_again_and_again_is_not_started_in_a_tight_loop() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    for _ in 0..1000 {
        script.step(Step::End);
    }
    sleep(Duration::from_secs(60)).await;
    assert!((5..20).contains(&script.asked()), "{}", script.asked());
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert_eq!(emitted(&service, EventKind::SourceStale).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_marks_the_source_stale_once_and_no_endpoint_goes() {
    for scripted in [ScriptedProvider::watching(), ScriptedProvider::polled()] {
        let (_manager, service, script) = known(scripted).await;
        for _ in 0..3 {
            script.fail(down("the registry is down"));
            sleep(Duration::from_secs(15)).await;
        }
        assert!(service.is_stale());
        assert_eq!(named(&service), ["users-1", "users-2"]);
        assert!(service.select().is_ok());
        let stale = emitted(&service, EventKind::SourceStale);
        assert_eq!(stale.len(), 1, "{stale:?}");
        assert!(stale[0].starts_with(
            "source_stale users [scripted]: the registry is down; serving its last 2 endpoints ("
        ));
        let source = &service.stats().sources[0];
        assert!(source.stale && source.age.is_some_and(|age| age >= Duration::from_secs(40)));
        assert_eq!(source.error.as_deref(), Some("the registry is down"));

        // An unchanged answer ends the staleness, too.
        script.endpoints([endpoint("users-1", 1), endpoint("users-2", 2)]);
        until("the registry's return", Duration::from_secs(31), || !service.is_stale()).await;
        assert_eq!(emitted(&service, EventKind::SourceFresh).len(), 1);
        assert!(emitted(&service, EventKind::EndpointRemoved).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_empty_answer_is_believed_after_five_minutes() {
    for empty in [EndpointSet::new([]), EndpointSet::unknown_service()] {
        let (_manager, service, script) = known(ScriptedProvider::watching()).await;
        let unknown = empty.is_unknown_service();
        script.step(Step::Answer(empty.clone()));
        until("the answer", SOON, || service.is_stale()).await;
        let held = emitted(&service, EventKind::EmptyHeld);
        assert_eq!(held.len(), 1, "{held:?}");
        assert!(
            held[0].contains("the source no longer names an endpoint, unconfirmed") || unknown,
            "{held:?}"
        );

        // Repeating the answer neither confirms it nor extends the hold.
        sleep(HOLD / 2).await;
        script.step(Step::Answer(empty));
        sleep((HOLD / 2).saturating_sub(2 * SOON)).await;
        assert_eq!(named(&service), ["users-1", "users-2"]);
        assert!(service.select().is_ok());
        until("the end of the hold", 4 * SOON, || named(&service).is_empty()).await;
        assert!(!service.is_stale());
        let reason = if unknown { NoEndpointsReason::UnknownService } else { NoEndpointsReason::Empty };
        assert_eq!(service.select().expect_err("none").reason(), reason);
        assert_eq!(emitted(&service, EventKind::EmptyHeld).len(), 1);
        assert_eq!(emitted(&service, EventKind::EndpointRemoved).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_empty_answer_of_a_polled_source_is_believed_after_five_minutes() {
    let (_manager, service, script) = known(ScriptedProvider::polled()).await;
    script.step(Step::Answer(EndpointSet::new([])));
    until("the answer", Duration::from_secs(11), || service.is_stale()).await;
    sleep(HOLD.saturating_sub(SOON)).await;
    assert_eq!(named(&service), ["users-1", "users-2"]);
    until("the end of the hold", Duration::from_secs(12), || named(&service).is_empty()).await;
    assert!(!service.is_stale());
}

#[tokio::test(start_paused = true)]
async fn a_held_empty_answer_is_forgotten_when_endpoints_come() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.step(Step::Answer(EndpointSet::new([])));
    until("the answer", SOON, || service.is_stale()).await;
    sleep(HOLD / 2).await;
    script.endpoints([endpoint("users-1", 1), endpoint("users-2", 2)]);
    until("the return", SOON, || !service.is_stale()).await;
    sleep(HOLD * 2).await;
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert!(emitted(&service, EventKind::EndpointRemoved).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_held_empty_answer_is_not_believed_while_the_registry_fails() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.step(Step::Answer(EndpointSet::new([])));
    until("the answer", SOON, || service.is_stale()).await;
    for _ in 0..8 {
        script.fail(down("the registry is down"));
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert!(service.is_stale());
    assert!(emitted(&service, EventKind::SourceFresh).is_empty(), "it has not answered");
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_empty_answer_is_believed_at_once() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.step(Step::Answer(EndpointSet::new([]).confirmed()));
    becomes(&service, &[]).await;
    assert!(!service.is_stale());
    assert_eq!(service.select().expect_err("none").reason(), NoEndpointsReason::Empty);
    assert!(emitted(&service, EventKind::EmptyHeld).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_empty_answer_is_believed_at_once_where_the_policy_says_so() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let config = FailoverConfig::builder().empty_policy(EmptyPolicy::Trust).build().expect("valid");
    service.configure(config).expect("configures");
    script.step(Step::Answer(EndpointSet::new([])));
    becomes(&service, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_first_answer_takes_nothing_away_and_is_believed() {
    let (provider, script) = ScriptedProvider::watching();
    script.step(Step::Answer(EndpointSet::new([])));
    let manager = virtual_manager(provider).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    service.ready().await.expect("it has answered");
    assert_eq!(service.select().expect_err("none").reason(), NoEndpointsReason::Empty);
}

#[tokio::test(start_paused = true)]
async fn bad_entries_are_skipped_counted_and_named_and_the_good_ones_stay() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let mut set = EndpointSet::new(
        [
            endpoint("users-1", 1),
            endpoint("users-1", 11),
            endpoint("users-2", 1),
            endpoint_of("orders", "orders-1", 3),
            endpoint("users-4", 4),
        ]
        .map(Into::into),
    );
    set.reject("entry 5", Error::invalid("port", 0, "a number from 1 to 65535"));
    script.step(Step::Answer(set));
    becomes(&service, &["users-2", "users-4"]).await;
    assert!(!service.is_stale());
    assert_eq!(
        service.endpoint("users-1").expect("is there").address(),
        "10.0.0.1",
        "the first entry of an id is kept, and another id at its address names the same endpoint"
    );
    assert_eq!(service.stats().sources[0].rejected_entries, 3);
    assert_eq!(service.stats().sources[0].endpoints, 3);
    let explained = service.explain();
    assert_eq!(explained.sources[0].left_out.len(), 3);
    assert!(explained.to_string().contains("    left out: entry 5: port: 0 is not allowed"), "{explained}");
    assert_eq!(
        emitted(&service, EventKind::EntryRejected),
        [
            "entry_rejected users [scripted]: entry 5: port: 0 is not allowed; give a number from 1 to 65535",
            "entry_rejected users [scripted]: endpoint users-1: duplicate id; keeping the first entry",
            "entry_rejected users [scripted]: endpoint orders-1: belongs to service orders, not to users",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_bad_entry_that_stays_is_reported_once() {
    let (_manager, service, script) = known(ScriptedProvider::polled()).await;
    let mut set = EndpointSet::new([endpoint("users-1", 1).into()]);
    set.reject("entry 1", Error::invalid("port", 0, "a number from 1 to 65535"));
    script.step(Step::Answer(set));
    sleep(Duration::from_secs(6 * 3600)).await;
    assert_eq!(emitted(&service, EventKind::EntryRejected).len(), 1);
    assert_eq!(emitted(&service, EventKind::EndpointAdded).len(), 2, "the important events are kept");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_nothing_but_bad_entries_is_an_error_and_no_endpoint_goes() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.step(Step::Answer(EndpointSet::new([endpoint_of("orders", "orders-1", 3).into()]).confirmed()));
    until("the answer", SOON, || service.is_stale()).await;
    assert_eq!(named(&service), ["users-1", "users-2"]);
    let error = service.stats().sources[0].error.clone();
    assert_eq!(error.as_deref(), Some("none of the 1 entries in its answer is valid"));
}

/// A registry that names no usable endpoint any more, as a service whose port was renamed does, does
/// not keep its last endpoints for ever.
#[tokio::test(start_paused = true)]
async fn an_answer_of_nothing_but_bad_entries_ends_the_endpoints_before_it_after_the_hold() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let garbage = || Step::Answer(EndpointSet::new([endpoint_of("orders", "orders-1", 3).into()]));
    script.step(garbage());
    until("the answer", SOON, || service.is_stale()).await;
    let held = emitted(&service, EventKind::RemovalHeld);
    assert_eq!(held.len(), 1, "{held:?}");
    assert!(held[0].contains("removed after 5m"), "{held:?}");
    sleep(Duration::from_secs(200)).await;
    // The same again does not begin the time again.
    script.step(garbage());
    sleep(Duration::from_secs(95)).await;
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert!(emitted(&service, EventKind::EndpointRemoved).is_empty());
    sleep(Duration::from_secs(10)).await;
    assert!(named(&service).is_empty());
    assert_eq!(emitted(&service, EventKind::EndpointRemoved).len(), 2);
    assert_eq!(emitted(&service, EventKind::RemovalHeld).len(), 1);
    let error = service.stats().sources[0].error.clone();
    assert_eq!(error.as_deref(), Some("none of the 1 entries in its answer is valid"), "it is no empty set");
    // A good answer ends it, and a fault of the connection ends the hold.
    script.endpoints([endpoint("users-1", 1)]);
    becomes(&service, &["users-1"]).await;
    script.step(garbage());
    until("the answer", SOON, || service.is_stale()).await;
    script.fail(down("the registry is down"));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(named(&service), ["users-1"], "nothing is known about what it would answer");
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_many_waiting_answers_is_taken() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    for number in 0..500_u16 {
        script.endpoints([endpoint(&format!("users-{number}"), u8::try_from(number % 250).expect("small"))]);
    }
    becomes(&service, &["users-499"]).await;
    assert!(emitted(&service, EventKind::EndpointAdded).len() < 10);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_lost_to_an_error_that_follows_it_at_once() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.endpoints([endpoint("users-3", 3)]);
    script.fail(down("the registry is down"));
    until("the error", SOON, || service.is_stale()).await;
    becomes(&service, &["users-3"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_that_the_end_of_the_watch_follows_is_kept() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let error = |service: &ServiceHandle| service.stats().sources[0].error.clone().unwrap_or_default();
    script.fail(down("the token has expired"));
    script.step(Step::End);
    until("the error", SOON, || service.is_stale()).await;
    // The watch restarts and ends several times.
    for _ in 0..5 {
        sleep(Duration::from_secs(40)).await;
        script.step(Step::End);
        assert_eq!(error(&service), "the token has expired");
    }
    assert_eq!(emitted(&service, EventKind::SourceStale).len(), 1);
    // An answer of garbage is an error as well.
    script.endpoints([endpoint("users-1", 1)]);
    until("an answer", Duration::from_secs(40), || !service.is_stale()).await;
    script.step(Step::Answer(EndpointSet::new([endpoint_of("orders", "orders-1", 3).into()])));
    script.step(Step::End);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(error(&service), "none of the 1 entries in its answer is valid");
    // After a good answer, the end is what is known.
    script.endpoints([endpoint("users-1", 1)]);
    until("an answer", Duration::from_secs(40), || !service.is_stale()).await;
    script.step(Step::End);
    until("the end", SOON, || service.is_stale()).await;
    assert_eq!(error(&service), "the provider's watch ended and restarts");
}
