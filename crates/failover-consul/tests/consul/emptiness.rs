//! Answers without instances: there are none, or the data are lost or hidden.

use failover_core::ErrorKind;
use failover_core::provider::{Provider, Query};
use failover_testkit::Reply;

use crate::fake::{Fake, good};
use crate::support::{SECOND, builder, has, ids, name, next, quiet, see};

/// Row 16: the last instance is gone, as the leader and the list of names confirm.
#[tokio::test]
async fn row_16_an_empty_answer_is_confirmed_before_it_is_published() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a"]);
    fake.set(&[], 101);
    let set = next(&mut stream, SECOND * 5).await.expect("good");
    assert!(set.entries().is_empty() && set.is_confirmed(), "{set:?}");
    let asked: Vec<_> = fake.server.requests().iter().map(|r| r.path().to_owned()).collect();
    assert!(asked.contains(&"/v1/catalog/services".to_owned()), "{asked:?}");
    fake.set(&["b"], 102);
    see(&mut stream, SECOND * 3, "it comes back", has(&["b"])).await;
}

/// Row 14 and R4: the catalog lists the service but no instance, as for a token without node:read.
#[tokio::test]
async fn row_14_an_answer_that_is_filtered_is_an_error_and_nothing_is_lost() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert_eq!(ids(&next(&mut stream, SECOND).await.expect("good")), ["a"]);
    fake.set(&[], 101);
    fake.set_names(&["consul", "users"]);
    let seen = see(&mut stream, SECOND * 3, "an error", Result::is_err).await;
    let error = seen.last().expect("one").as_ref().expect_err("an error");
    assert_eq!((seen.len(), error.kind(), error.code()), (1, ErrorKind::Permission, "FILTERED"));
    assert!(error.to_string().contains("node:read"), "{error}");
    let listed = provider.list(&Query::service(&users)).await.expect_err("hidden");
    assert_eq!(listed.code(), "FILTERED");
}

/// Row 14: newer servers report the filtering if the request has a token.
#[tokio::test]
async fn row_14_a_server_that_says_that_it_filtered_is_believed() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).token("t").build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    fake.fail(|request| {
        let is_read = request.path() == "/v1/health/service/users";
        is_read.then(|| good(101, "[]").header("X-Consul-Results-Filtered-By-ACLs", "true"))
    });
    let error = next(&mut stream, SECOND * 2).await.expect_err("filtered");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "FILTERED"));
}

/// Row 12: without any permission every answer is empty, even the list of names.
#[tokio::test]
async fn row_12_nothing_at_all_to_be_seen_is_no_empty_service() {
    let fake = Fake::start(&[]).await;
    fake.set_names(&[]);
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let error = provider.list(&Query::service(&users)).await.expect_err("nothing is visible");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "FILTERED"));
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert!(next(&mut stream, SECOND).await.is_err());
    // An old server does not report what it hides from a token: the set is empty, but not
    // confirmed.
    let with_token = builder(&fake.address()).token("t").build().expect("valid");
    let set = with_token.list(&Query::service(&users)).await.expect("an answer");
    assert!(set.entries().is_empty() && !set.is_confirmed(), "{set:?}");
}

/// Row 2 and R4: the index goes back and all instances are gone, as after the restart of an agent
/// without its data.
#[tokio::test]
async fn row_02_an_empty_answer_after_a_reset_is_held() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).wait(SECOND).empty_grace(SECOND * 3).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    fake.set(&[], 12);
    let error = next(&mut stream, SECOND * 2).await.expect_err("held");
    assert_eq!(error.code(), "EMPTY_AFTER_RESET");
    quiet(&mut stream, SECOND).await;
    // Registered again within the grace: listeners never saw a loss.
    fake.set(&["a"], 13);
    see(&mut stream, SECOND * 3, "it is back", has(&["a"])).await;
    // Not registered again: after the grace the empty set is published, unconfirmed.
    fake.set(&[], 5);
    let seen = see(&mut stream, SECOND * 10, "the empty set is published after the grace", has(&[])).await;
    let set = seen.last().expect("one").as_ref().expect("good");
    assert!(!set.is_confirmed() && seen[0].is_err(), "{seen:?}");
}

/// Row 15: a service that does not exist yet.
#[tokio::test]
async fn row_15_a_service_that_does_not_exist_is_an_empty_answer_and_wakes() {
    let fake = Fake::start(&[]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    let set = next(&mut stream, SECOND).await.expect("no error");
    assert!(set.entries().is_empty() && set.is_unknown_service(), "{set:?}");
    quiet(&mut stream, SECOND / 2).await;
    fake.set(&["a"], 101);
    see(&mut stream, SECOND, "its first registration", has(&["a"])).await;
}

/// A failed confirmation is an error, not an empty set.
#[tokio::test]
async fn an_empty_answer_that_cannot_be_confirmed_is_not_published() {
    let fake = Fake::start(&["a"]).await;
    let provider = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    fake.set(&[], 101);
    fake.fail(|request| (request.path() == "/v1/catalog/services").then(|| Reply::new(500, "")));
    let seen = see(&mut stream, SECOND * 3, "an error", Result::is_err).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    fake.heal();
    let seen = see(&mut stream, SECOND * 5, "the empty set is published", has(&[])).await;
    assert!(seen.last().expect("one").as_ref().expect("good").is_confirmed());
}

/// A service that was empty for certain is not so any longer once the server says that it filters.
#[tokio::test]
async fn an_empty_service_is_an_error_once_the_server_says_that_it_filtered() {
    let fake = Fake::start(&[]).await;
    let provider = builder(&fake.address()).token("t").build().expect("valid");
    let users = name("users");
    let mut stream = provider.watch(&Query::service(&users)).expect("it watches");
    assert!(next(&mut stream, SECOND).await.expect("good").entries().is_empty());
    fake.fail(|request| {
        let is_read = request.path() == "/v1/health/service/users";
        is_read.then(|| good(101, "[]").header("X-Consul-Results-Filtered-By-ACLs", "true"))
    });
    let error = next(&mut stream, SECOND * 2).await.expect_err("filtered");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "FILTERED"));
}
