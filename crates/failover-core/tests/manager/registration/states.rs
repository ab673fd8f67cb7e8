//! What becomes of a registration: lost, taken over, refused, and made in the background.

use failover_core::RegistrationState as State;
use failover_core::provider::RegistrationStatus;
use failover_core::{ErrorKind, Health, Registration};

use super::*;

/// The endpoint that other processes see under an id.
async fn seen(manager: &FailoverManager, id: &str) -> Option<String> {
    manager.get_endpoint(("users", id)).await.ok().map(|entry| entry.endpoint().authority())
}

fn events(manager: &FailoverManager) -> Vec<String> {
    let events = manager.events(usize::MAX);
    let about = events.iter().filter(|event| event.kind.as_str().starts_with("regist"));
    about.map(|event| event.kind.to_string()).collect()
}

async fn becomes(serving: &Registration, what: &str, is: fn(&State) -> bool) {
    until(what, 30 * SECOND, || is(&serving.state())).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_loses_is_registered_again_with_an_event() {
    let (server, human) = two(&MemoryCluster::new()).await;
    let serving = server.register_self(endpoint("me", 1)).await.expect("registers");
    let mut states = serving.watch();
    assert!(matches!(states.current(), State::Registered));
    for round in 1..=3 {
        assert!(human.deregister_endpoint(("users", "me")).await.expect("a human removes it"));
        let lost = Instant::now();
        assert!(matches!(states.changed().await, State::Lost | State::Registered));
        becomes(&serving, "registered", |state| matches!(state, State::Registered)).await;
        assert!(lost.elapsed() <= 12 * SECOND, "{:?}", lost.elapsed());
        states.current();
        assert_eq!(seen(&human, "me").await.as_deref(), Some("10.0.0.1:8080"));
        assert_eq!(events(&server).len(), 2 * round);
    }
    assert_eq!(events(&server)[..2], ["registration_lost", "registered"]);
    serving.close().await.expect("deregisters");
    assert!(matches!(states.changed().await, State::Closed));
    sleep(60 * SECOND).await;
    assert_eq!(seen(&human, "me").await, None, "what was closed stays closed");
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_process_has_taken_over_is_left_alone() {
    // The other one is elsewhere, or at the same place: a restart while the old one still shuts down.
    for (last, notices) in [(2, true), (1, true), (2, false), (1, false)] {
        let cluster = MemoryCluster::new();
        let (old, new) = two(&cluster).await;
        let serving = old.register_self(endpoint("me", 1)).await.expect("registers");
        sleep(SECOND).await;
        let newer = new.register_self(endpoint("me", last)).await.expect("registers");
        if notices {
            becomes(&serving, "taken over", |state| matches!(state, State::TakenOver { .. })).await;
            assert_eq!(events(&old), ["registration_taken_over"]);
        }
        for refused in [
            old.set_lifecycle(("users", "me"), Lifecycle::Draining).await,
            old.set_health(("users", "me"), Health::Unhealthy).await,
            old.update_endpoint(endpoint("me", 1)).await,
            old.deregister_endpoint(("users", "me")).await.map(|_| ()),
        ] {
            let error = refused.expect_err("it belongs to another process");
            assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "TAKEN_OVER"), "{error}");
        }
        serving.close().await.expect("there is nothing to do");
        old.close().await.expect("closes");
        sleep(60 * SECOND).await;
        let entry = new.get_endpoint(("users", "me")).await.expect("the newer one's");
        assert_eq!(entry.endpoint().authority(), format!("10.0.0.{last}:8080"));
        assert_eq!((entry.lifecycle(), entry.health()), (Lifecycle::InService, Health::Unknown));
        assert!(matches!(newer.state(), State::Registered));
        newer.close().await.expect("deregisters");
        assert_eq!(seen(&new, "me").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_or_dropping_right_after_a_takeover_leaves_the_other_alone() {
    for drops in [false, true] {
        let cluster = MemoryCluster::new();
        let (old, new) = two(&cluster).await;
        let serving = old.register_self(endpoint("me", 1)).await.expect("registers");
        let newer = new.register_self(endpoint("me", 2)).await.expect("registers");
        if drops {
            drop(serving);
            sleep(20 * SECOND).await;
        } else {
            old.close().await.expect("closes");
        }
        let entry = new.get_endpoint(("users", "me")).await.expect("the newer one's");
        assert_eq!((entry.endpoint().address(), entry.lifecycle()), ("10.0.0.2", Lifecycle::InService));
        drop(newer);
    }
}

#[tokio::test(start_paused = true)]
async fn ones_own_update_is_no_takeover_and_survives_a_loss() {
    let (server, human) = two(&MemoryCluster::new()).await;
    let serving = server.register_self(endpoint("me", 1)).await.expect("registers");
    server.update_endpoint(endpoint("me", 7)).await.expect("its own");
    sleep(30 * SECOND).await;
    assert!(matches!(serving.state(), State::Registered), "{:?}", serving.state());
    human.deregister_endpoint(("users", "me")).await.expect("a human removes it");
    sleep(15 * SECOND).await;
    assert_eq!(seen(&human, "me").await.as_deref(), Some("10.0.0.7:8080"));
    // Its own deregistration is meant.
    assert!(server.deregister_endpoint(("users", "me")).await.expect("its own"));
    sleep(30 * SECOND).await;
    assert_eq!(seen(&human, "me").await, None);
    assert!(matches!(serving.state(), State::Closed), "{:?}", serving.state());
    serving.close().await.expect("there is nothing to do");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_is_told_once_and_its_return_too() {
    let slow = Slow::new(Duration::ZERO);
    let down = Arc::clone(&slow.2);
    let manager = virtual_manager(slow).build().await.expect("builds");
    let serving = manager.register_self(endpoint("me", 1)).await.expect("registers");
    down.store(true, Ordering::SeqCst);
    becomes(&serving, "failing", |state| matches!(state, State::Failing { .. })).await;
    let State::Failing { error } = serving.state() else { unreachable!("it fails") };
    assert_eq!(error.to_string(), "connection refused");
    sleep(120 * SECOND).await;
    assert_eq!(events(&manager), ["registration_failed"]);
    down.store(false, Ordering::SeqCst);
    becomes(&serving, "registered", |state| matches!(state, State::Registered)).await;
    assert_eq!(events(&manager), ["registration_failed", "registered"]);
    serving.close().await.expect("deregisters");
}

#[tokio::test(start_paused = true)]
async fn a_process_starts_while_the_registry_is_down_and_is_registered_later() {
    let slow = Slow::new(Duration::ZERO);
    let down = Arc::clone(&slow.2);
    down.store(true, Ordering::SeqCst);
    let manager = virtual_manager(slow).build().await.expect("builds");
    let serving = manager.register_in_background(endpoint("me", 1)).expect("returns at once");
    assert!(matches!(serving.state(), State::Registering));
    sleep(90 * SECOND).await;
    assert_eq!(events(&manager), ["registration_failed"]);
    down.store(false, Ordering::SeqCst);
    let mut states = serving.watch();
    assert!(matches!(states.changed().await, State::Registered));
    assert_eq!(seen(&manager, "me").await.as_deref(), Some("10.0.0.1:8080"));
    serving.close().await.expect("deregisters");
    assert_eq!(count(&manager).await, 0);

    // One that is closed before it was ever registered.
    down.store(true, Ordering::SeqCst);
    let never = manager.register_in_background(endpoint("other", 2)).expect("returns at once");
    sleep(SECOND).await;
    never.close_within(SECOND).close().await.expect_err("the registry is down");
    down.store(false, Ordering::SeqCst);
    sleep(60 * SECOND).await;
    assert_eq!(count(&manager).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_no_caller_could_use_is_refused_at_registration() {
    let memory = virtual_manager(MemoryProvider::new()).build().await.expect("builds");
    let at = |address: &str| Endpoint::builder("me", "users", address, 80).build().expect("valid");
    for address in
        ["0.0.0.0", "::", "224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "::ffff:0.0.0.0"]
    {
        for refused in [
            memory.register_endpoint(at(address)).await,
            memory.update_endpoint(at(address)).await,
            memory.register_self(at(address)).await.map(|_| ()),
            memory.register_in_background(at(address)).map(|_| ()),
        ] {
            let error = refused.expect_err(address);
            assert_eq!((error.kind(), error.code()), (ErrorKind::Validation, "ADDRESS_REFUSED"), "{error}");
            assert!(error.to_string().contains("register the address"), "{error}");
        }
    }
    assert_eq!(count(&memory).await, 0);
    for address in ["127.0.0.1", "::1", "10.0.0.1", "db.example.com"] {
        memory.register_endpoint(at(address)).await.expect(address);
    }
}

#[test]
fn two_registrations_are_told_apart_by_place_and_by_time() {
    use RegistrationStatus::{Registered, TakenOver};
    let at = |last: u8, seconds: Option<u64>| {
        let time = seconds.map(|seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds));
        endpoint("me", last).to_builder().created_at(time).build().expect("valid")
    };
    let by = |last: u8| TakenOver { by: format!("10.0.0.{last}:8080") };
    for (ours, found, expected) in [
        (at(1, Some(5)), at(1, Some(5)), Registered),
        (at(1, Some(5)), at(1, None), Registered),
        (at(1, None), at(1, Some(6)), Registered),
        (at(1, Some(5)), at(1, Some(6)), by(1)),
        (at(1, Some(5)), at(2, Some(5)), by(2)),
    ] {
        assert_eq!(RegistrationStatus::compare(&ours, &found), expected, "{ours:?} {found:?}");
    }
}
