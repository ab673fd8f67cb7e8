//! What each kind of answer means.

use failover_core::{ErrorKind, codes};

use super::*;

#[tokio::test]
async fn addresses_of_both_families_are_endpoints() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    server.zone().address("users.test", "fd00::1");
    let asks = |family| asking(&server).family(family).protocol("https");
    let set = list(asks(Family::Both), "users.test").await.expect("an answer");
    assert_eq!(ids(&set), ["10.0.0.1:80", "[fd00::1]:80"]);
    assert_eq!(set.ttl(), Some(Duration::from_secs(1)));
    let endpoint = set.entries()[0].endpoint();
    assert_eq!((endpoint.protocol(), endpoint.server_name()), ("https", Some("users.test")));
    assert_eq!(ids(&list(asks(Family::V4), "users.test").await.expect("an answer")), ["10.0.0.1:80"]);
    assert_eq!(ids(&list(asks(Family::V6), "users.test").await.expect("an answer")), ["[fd00::1]:80"]);
    // One family is enough to exist.
    server.zone().clear("users.test", RecordType::AAAA);
    assert_eq!(ids(&list(asks(Family::Both), "users.test").await.expect("an answer")), ["10.0.0.1:80"]);
    // A suffix completes the name.
    let set = list(asks(Family::Both).suffix(".test."), "users").await.expect("an answer");
    assert_eq!(ids(&set), ["10.0.0.1:80"]);
}

#[tokio::test]
async fn only_absence_is_empty_and_never_certain() {
    let server = NameServer::start().await;
    let set = list(asking(&server).family(Family::Both), "users.test").await.expect("NXDOMAIN is an answer");
    assert!(set.is_unknown_service() && !set.is_confirmed() && set.entries().is_empty(), "{set:?}");
    assert_eq!(set.ttl(), Some(Duration::from_secs(1)));
    server.zone().clear("users.test", RecordType::A);
    for family in [Family::Both, Family::V4] {
        let set = list(asking(&server).family(family), "users.test").await.expect("NODATA is an answer");
        assert!(!set.is_unknown_service() && !set.is_confirmed() && set.entries().is_empty(), "{set:?}");
    }
    server.zone().ttl = 3_600;
    let set = list(asking(&server), "users.test").await.expect("NODATA is an answer");
    assert_eq!(set.ttl(), Some(Duration::from_secs(30)), "the absence of an hour");
}

#[tokio::test]
async fn every_other_answer_is_an_error_that_says_what_to_do() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    let place = server.address.to_string();
    for (mood, kind, code, parts) in [
        (
            Mood::Says(ResponseCode::ServFail),
            ErrorKind::Connection,
            codes::SERVER_ERROR,
            ["answered SERVFAIL", "its operator"],
        ),
        (
            Mood::Says(ResponseCode::Refused),
            ErrorKind::Connection,
            codes::SERVER_ERROR,
            ["answered REFUSED", "name another server"],
        ),
        (
            Mood::Says(ResponseCode::NotImp),
            ErrorKind::Connection,
            codes::SERVER_ERROR,
            ["answered NOTIMP", "name another server"],
        ),
        (
            Mood::Silent,
            ErrorKind::Timeout,
            codes::TIMEOUT,
            ["gave no answer within 500ms", "check the address of the server"],
        ),
    ] {
        server.zone().mood = mood;
        let error = list(asking(&server), "users.test").await.expect_err("no answer");
        assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
        let text = error.to_string();
        for part in parts.into_iter().chain([place.as_str(), "users.test (A)"]) {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    server.zone().mood = Mood::Refers;
    let error = list(asking(&server), "others.test").await.expect_err("a referral");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, codes::BAD_ANSWER), "{error}");
    assert!(error.to_string().contains("refers to other servers"), "{error}");
    // One family without an answer is no whole answer.
    server.zone().mood = Mood::Answers;
    server.zone().fails = Some((RecordType::AAAA, ResponseCode::ServFail));
    let error = list(asking(&server).family(Family::Both), "users.test").await.expect_err("half an answer");
    assert!(error.to_string().contains("`family` restricts"), "{error}");
    assert_eq!(ids(&list(asking(&server), "users.test").await.expect("the other half")), ["10.0.0.1:80"]);
    server.zone().mood = Mood::Says(ResponseCode::ServFail);
    let error = list(asking(&server).family(Family::Both), "users.test").await.expect_err("no answer");
    assert!(!error.to_string().contains("`family`"), "{error}");
}

#[tokio::test]
async fn only_absence_can_empty_a_service() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    let (_manager, users) = believing(asking(&server), "users.test").await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
    for mood in [Mood::Says(ResponseCode::ServFail), Mood::Says(ResponseCode::Refused), Mood::Silent] {
        server.zone().mood = mood;
        until("it is stale", || users.is_stale()).await;
        assert_eq!(known(&users), ["10.0.0.1:80"], "{mood:?}");
        assert!(users.select().is_ok());
        server.zone().mood = Mood::Answers;
        until("it is fresh", || !users.is_stale()).await;
    }
    server.zone().remove("users.test");
    until("NXDOMAIN", || known(&users).is_empty()).await;
    server.zone().address("users.test", "10.0.0.2");
    until("an address", || known(&users) == ["10.0.0.2:80"]).await;
    server.zone().clear("users.test", RecordType::A);
    until("NODATA", || known(&users).is_empty()).await;
}

#[tokio::test]
async fn the_empty_policy_holds_the_endpoints() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    let (_manager, users) = watching(asking(&server), "users.test").await;
    server.zone().remove("users.test");
    until("it is absent", || users.is_stale()).await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
    server.zone().address("users.test", "10.0.0.2");
    until("the new one", || known(&users) == ["10.0.0.2:80"]).await;
}

#[tokio::test]
async fn the_time_to_live_says_when_to_ask_again() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    let (_manager, users) = watching(asking(&server), "users.test").await;
    for round in 2..5 {
        let address = format!("10.0.0.{round}");
        server.zone().addresses("users.test", [address.parse().expect("an address")]);
        let after = until("the change", || known(&users) == [format!("{address}:80")]).await;
        assert!(after < Duration::from_secs(3), "{after:?}");
    }
    // 0 is 250 ms; 1 s would allow for 3 questions in 3 s.
    server.zone().ttl = 0;
    server.zone().addresses("users.test", ["10.0.0.9".parse().expect("an address")]);
    until("the change", || known(&users) == ["10.0.0.9:80"]).await;
    let before = server.zone().asked.len();
    let took = until("four questions", || server.zone().asked.len() >= before + 4).await;
    assert!((Duration::from_millis(600)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_huge_time_to_live_is_bounded() {
    let server = NameServer::start().await;
    let day = Duration::from_secs(24 * 60 * 60);
    for (ttl, max, wanted) in [
        (i32::MAX as u32, day, day),
        (i32::MAX as u32, Duration::from_secs(60), Duration::from_secs(60)),
        (u32::MAX, day, Duration::ZERO),
        (7, day, Duration::from_secs(7)),
    ] {
        server.zone().ttl = ttl;
        server.zone().addresses("users.test", ["10.0.0.1".parse().expect("an address")]);
        let set = list(asking(&server).max_ttl(max), "users.test").await.expect("an answer");
        assert_eq!(set.ttl(), Some(wanted), "{ttl}");
    }
}

#[tokio::test]
async fn aliases_are_followed_with_the_shortest_time_to_live() {
    let server = NameServer::start().await;
    {
        let mut zone = server.zone();
        zone.ttl = 5;
        zone.alias("users.test", "one.test");
        zone.ttl = 2;
        zone.alias("one.test", "two.test");
        zone.ttl = 9;
        zone.address("two.test", "10.0.0.1");
        zone.alias("lost.test", "nowhere.test");
        zone.clear("empty.test", RecordType::A);
        zone.alias("to-empty.test", "empty.test");
        zone.alias("circle.test", "round.test");
        zone.alias("round.test", "circle.test");
    }
    let set = list(asking(&server), "users.test").await.expect("an answer");
    assert_eq!((ids(&set), set.ttl()), (vec!["10.0.0.1:80".to_owned()], Some(Duration::from_secs(2))));
    assert!(list(asking(&server), "lost.test").await.expect("an answer").is_unknown_service());
    let set = list(asking(&server), "to-empty.test").await.expect("an answer");
    assert!(!set.is_unknown_service() && set.entries().is_empty() && !set.is_confirmed());
    let error = list(asking(&server), "circle.test").await.expect_err("no end");
    assert!(error.code() == codes::BAD_ANSWER && error.to_string().contains("aliases"), "{error}");
    // Each alias may be a question of its own.
    server.zone().alone = true;
    let set = list(asking(&server), "users.test").await.expect("an answer");
    assert_eq!((ids(&set), set.ttl()), (vec!["10.0.0.1:80".to_owned()], Some(Duration::from_secs(2))));
    let before = server.zone().asked.len();
    let error = list(asking(&server), "circle.test").await.expect_err("no end");
    assert!(error.code() == codes::BAD_ANSWER && error.to_string().contains("in a circle"), "{error}");
    assert_eq!(server.zone().asked.len() - before, 8);
}

#[tokio::test]
async fn a_long_answer_comes_over_tcp() {
    let server = NameServer::start().await;
    server.zone().addresses("users.test", (1..=100).map(|last| [10, 0, 0, last].into()));
    let set = list(asking(&server), "users.test").await.expect("an answer");
    assert_eq!(set.entries().len(), 100);
    assert_eq!(server.zone().asked.len(), 2, "by UDP, and then by TCP");
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_gives_no_answer() {
    let (bad, good) = (NameServer::start().await, NameServer::start().await);
    good.zone().address("users.test", "10.0.0.1");
    let asks = || asking(&bad).nameserver(good.address);
    for mood in [Mood::Says(ResponseCode::ServFail), Mood::Says(ResponseCode::Refused), Mood::Silent] {
        bad.zone().mood = mood;
        let set = list(asks(), "users.test").await.expect("an answer of the other");
        assert_eq!(ids(&set), ["10.0.0.1:80"], "{mood:?}");
    }
    // The one that has answered is asked first from then on.
    let before = bad.zone().asked.len();
    let provider = asks().build().expect("valid");
    let query = Query::service(&ServiceName::new("users.test").expect("a service name"));
    for _ in 0..3 {
        provider.list(&query).await.expect("an answer");
    }
    let asked = bad.zone().asked.len() - before;
    assert!(asked <= 2, "{asked}: at first, and by UDP again");
    good.zone().mood = Mood::Says(ResponseCode::Refused);
    let error = provider.list(&query).await.expect_err("no answer").to_string();
    for part in [&bad.address.to_string(), &good.address.to_string(), "no answer within 250ms", "REFUSED"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_ping_asks_whether_a_server_answers_at_all() {
    let server = NameServer::start().await;
    let provider = asking(&server).build().expect("valid");
    provider.ping().await.expect("no name is known to ask for");
    assert!(server.zone().asked.is_empty());
    let query = Query::service(&ServiceName::new("users.test").expect("a service name"));
    provider.list(&query).await.expect("an answer");
    for mood in [Mood::Answers, Mood::Refers, Mood::Says(ResponseCode::Refused)] {
        server.zone().mood = mood;
        provider.ping().await.expect("it answers");
    }
    server.zone().mood = Mood::Silent;
    let error = provider.ping().await.expect_err("silence");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, codes::TIMEOUT), "{error}");
}
