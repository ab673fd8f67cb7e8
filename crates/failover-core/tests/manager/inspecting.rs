//! What tools read of a manager, without keeping anything.

use std::time::Duration;

use failover_core::inspect::{Availability, Forced};
use failover_core::provider::Query;
use failover_core::{ErrorKind, Outcome, ServiceName};
use failover_memory::MemoryProvider;
use tokio::time::sleep;

use crate::{endpoint, picked, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn inspectors_list_what_is_kept_in_order_and_do_not_keep_it() {
    let manager =
        virtual_manager(MemoryProvider::new()).keep_idle(60 * SECOND).build().await.expect("builds");
    let name = ServiceName::new("orders").expect("valid");
    let handles = (
        manager.service("users").await.expect("a handle"),
        manager.service("orders").await.expect("a handle"),
        manager.service_matching(Query::service(&name).tag("canary")).await.expect("a handle"),
    );
    let listed = || {
        let named =
            |of: failover_core::inspect::ServiceInspector| (of.name().to_string(), of.query().is_some());
        manager.inspect().into_iter().map(named).collect::<Vec<_>>()
    };
    let all = [("orders".to_owned(), false), ("orders".to_owned(), true), ("users".to_owned(), false)];
    assert_eq!(listed(), all);
    drop(handles);
    for _ in 0..90 {
        sleep(SECOND).await;
        for inspector in manager.inspect() {
            inspector.stats();
            inspector.explain();
        }
    }
    assert_eq!(listed(), []);
}

#[tokio::test(start_paused = true)]
async fn an_inspector_forces_and_its_history_is_a_minute_of_seconds() {
    let manager = virtual_manager(MemoryProvider::new()).build().await.expect("builds");
    manager.register_endpoint(endpoint("users-1", 1)).await.expect("registers");
    manager.register_endpoint(endpoint("users-2", 2)).await.expect("registers");
    let users = manager.service("users").await.expect("a handle");
    users.ready().await.expect("ready");
    let inspector = manager.inspect().remove(0);
    inspector.force("users-1", Forced::Out, 600 * SECOND).expect("listed");
    assert_eq!(picked(&users), ["users-2".to_owned()].into());
    let availability = inspector.explain().endpoint("users-1").expect("listed").availability;
    assert!(matches!(availability, Availability::Out { .. }), "{availability:?}");
    let unknown = inspector.force("users-9", Forced::Out, SECOND).expect_err("unknown");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    for second in 0..200_u32 {
        for _ in 0..20 {
            let outcome = if second == 190 { Outcome::Failure } else { Outcome::Success };
            users.select().expect("available").finish(outcome);
            sleep(SECOND / 20).await;
        }
        if second % 2 == 0 {
            // A reader adds readings, and takes none away.
            inspector.stats();
        }
    }
    let history = inspector.history();
    assert!((40..=128).contains(&history.len()), "{}", history.len());
    let long = history.iter().find(|of| of.length > 2 * SECOND);
    assert!(long.is_none(), "{long:?}");
    let covered: Duration = history.iter().map(|of| of.length).sum();
    assert!((57 * SECOND..=63 * SECOND).contains(&covered), "{covered:?}");
    let failed: u64 = history.iter().map(|of| of.attempts.failures()).sum();
    assert_eq!(failed, 20);
    let at = history.iter().position(|of| of.attempts.failures() > 0).expect("there");
    let age: Duration = history[at..].iter().map(|of| of.length).sum();
    assert!((8 * SECOND..=12 * SECOND).contains(&age), "{age:?}");
}

#[tokio::test]
async fn a_weak_reference_ends_with_the_last_clone_and_a_closed_manager_says_so() {
    let manager = virtual_manager(MemoryProvider::new()).build().await.expect("builds");
    let (weak, other) =
        (manager.downgrade(), virtual_manager(MemoryProvider::new()).build().await.expect("builds"));
    assert!(weak.is_same(&manager.clone().downgrade()) && !weak.is_same(&other.downgrade()));
    let upgraded = weak.upgrade().expect("there");
    assert!(!upgraded.is_closed());
    manager.close().await.expect("closes");
    assert!(upgraded.is_closed());
    drop(manager);
    assert!(weak.upgrade().is_some());
    drop(upgraded);
    assert!(weak.upgrade().is_none());
}
