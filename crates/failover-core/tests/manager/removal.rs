//! Endpoints that disappear all at once.

use std::time::Duration;

use failover_core::config::RemovalGuard;
use failover_core::events::EventKind;
use failover_core::inspect::{Availability, UnavailableCause};
use failover_core::{Endpoint, FailoverConfig, FailoverManager, Outcome, ServiceHandle};
use failover_test::{Script, ScriptedProvider};
use tokio::time::sleep;

use crate::{emitted, endpoint, named, picked, until, virtual_manager};

const SOON: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

fn some(numbers: impl IntoIterator<Item = u8>) -> Vec<Endpoint> {
    numbers.into_iter().map(|number| endpoint(&format!("users-{number}"), number)).collect()
}

async fn ten(
    guard: RemovalGuard,
    (provider, script): (ScriptedProvider, Script),
) -> (FailoverManager, ServiceHandle, Script) {
    let config = FailoverConfig::builder().removal_guard(guard).build().expect("valid");
    script.endpoints(some(0..10));
    let manager = virtual_manager(provider).service_config(config).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    until("the ten", SOON, || named(&service).len() == 10).await;
    (manager, service, script)
}

const GUARD: RemovalGuard = RemovalGuard::Keep { share: 0.5, grace: GRACE };

fn removed(service: &ServiceHandle) -> usize {
    let cause = Availability::Out { cause: UnavailableCause::Removed };
    service.stats().endpoints.iter().filter(|endpoint| endpoint.availability == cause).count()
}

#[tokio::test(start_paused = true)]
async fn r5_a_mass_removal_is_believed_at_once_unless_the_guard_is_on() {
    assert_eq!(FailoverConfig::default().removal_guard(), RemovalGuard::Off);
    let (_manager, service, script) = ten(RemovalGuard::Off, ScriptedProvider::watching()).await;
    script.endpoints(some([0]));
    until("the one", SOON, || named(&service).len() == 1).await;
    assert!(emitted(&service, EventKind::RemovalHeld).is_empty());
}

#[tokio::test(start_paused = true)]
async fn addresses_that_are_named_under_other_ids_have_not_disappeared() {
    let (_manager, service, script) = ten(GUARD, ScriptedProvider::watching()).await;
    script.endpoints((0..9).map(|number| endpoint(&format!("new-{number}"), number)));
    until("the new ids", SOON, || named(&service).iter().all(|id| id.starts_with("new-"))).await;
    assert!(emitted(&service, EventKind::RemovalHeld).is_empty());
    assert_eq!((picked(&service).len(), removed(&service)), (9, 0));
}

#[tokio::test(start_paused = true)]
async fn r5_with_the_guard_what_went_at_once_is_a_last_resort_until_its_grace_ends() {
    for scripted in [ScriptedProvider::watching(), ScriptedProvider::polled()] {
        let (_manager, service, script) = ten(GUARD, scripted).await;
        script.endpoints(some([0]));
        until("the answer", Duration::from_secs(15), || removed(&service) == 9).await;
        assert_eq!(picked(&service).len(), 1, "calls go to the one that is still named");
        let held = emitted(&service, EventKind::RemovalHeld);
        assert_eq!(held.len(), 1);
        assert!(held[0].contains("9 of 10 endpoints disappeared at once"), "{held:?}");

        // The remaining one dies: the removed ones are still there.
        for _ in 0..40 {
            let Ok(pick) = service.select() else { break };
            let dead = pick.endpoint().id().as_str() == "users-0";
            pick.finish(if dead { Outcome::Failure } else { Outcome::Success });
        }
        let done = service.execute(async |attempt| match attempt.id().as_str() {
            "users-0" => Err("dead"),
            _ => Ok(()),
        });
        done.await.expect("a removed one answers");

        sleep(GRACE + Duration::from_secs(15)).await;
        assert_eq!(named(&service), ["users-0"], "the grace is over");
    }
}

#[tokio::test(start_paused = true)]
async fn r5_with_the_guard_what_comes_back_is_in_at_once_and_few_that_go_are_gone_at_once() {
    let (_manager, service, script) = ten(GUARD, ScriptedProvider::watching()).await;
    script.endpoints(some(0..8));
    until("two are gone", SOON, || named(&service).len() == 8).await;
    assert!(emitted(&service, EventKind::RemovalHeld).is_empty(), "two of ten are below the share");

    script.endpoints(some(0..2));
    until("six are held", SOON, || removed(&service) == 6).await;
    script.endpoints(some(0..10));
    until("all are back", SOON, || removed(&service) == 0).await;
    assert_eq!(named(&service).len(), 10);
    sleep(GRACE * 2).await;
    assert_eq!((named(&service).len(), picked(&service).len()), (10, 10));
}
