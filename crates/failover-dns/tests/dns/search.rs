//! Search domains.

use failover_core::ErrorKind;

use super::*;

#[tokio::test]
async fn a_name_that_only_a_search_domain_resolves_is_named() {
    let server = NameServer::start().await;
    server.zone().address("users.prod.test", "10.0.0.1");
    let asks = || asking(&server).search_domains(["other.test", "prod.test"]);
    let error = list(asks(), "users").await.expect_err("not without search");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("write users.prod.test in full"), "{error}");
    // What does not exist there, either, is absent; so is a name that is complete.
    assert!(list(asks(), "orders").await.expect("an answer").is_unknown_service());
    assert!(list(asks(), "users.").await.expect("an answer").is_unknown_service());
    assert!(list(asks().suffix("nowhere.test"), "users").await.expect("an answer").is_unknown_service());
}

#[tokio::test]
async fn it_keeps_the_endpoints_of_a_service_that_runs() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    let (_manager, users) = believing(asking(&server).search_domains(["prod.test"]), "users.test").await;
    server.zone().address("users.test.prod.test", "10.0.0.2");
    server.zone().remove("users.test");
    until("it is stale", || users.is_stale()).await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
}

#[tokio::test]
async fn with_search_the_domains_are_tried_in_their_order() {
    let server = NameServer::start().await;
    server.zone().address("users.prod.test", "10.0.0.1");
    server.zone().address("users.test", "10.0.0.2");
    let asks = || asking(&server).search(true).search_domains(["other.test", "prod.test"]);
    assert_eq!(ids(&list(asks(), "users").await.expect("an answer")), ["10.0.0.1:80"]);
    // One with dots is complete at first.
    server.zone().address("users.test.prod.test", "10.0.0.3");
    assert_eq!(ids(&list(asks(), "users.test").await.expect("an answer")), ["10.0.0.2:80"]);
    assert!(list(asks(), "orders").await.expect("an answer").is_unknown_service());
    server.zone().mood = Mood::Says(ResponseCode::ServFail);
    list(asks(), "users").await.expect_err("another name would be a guess");
}
