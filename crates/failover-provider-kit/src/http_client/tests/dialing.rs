//! Names with several addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use failover_core::Error;
use failover_testkit::BlackHole;

use super::*;

/// Resolves every name to these addresses.
fn to(addresses: &[SocketAddr]) -> Dialer {
    let addresses = addresses.to_vec();
    Dialer::new().with_resolver(move |_, _| {
        let addresses = addresses.clone();
        async { Ok(addresses) }
    })
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

async fn closed() -> SocketAddr {
    listening().await.1
}

#[tokio::test]
async fn an_address_that_swallows_packets_costs_a_quarter_of_a_second() {
    let (hole, second, (_listener, here)) =
        (BlackHole::start().await, BlackHole::start().await, listening().await);
    let begun = Instant::now();
    let dialer = to(&[hole.address(), second.address(), here]);
    let stream = dialer.connect(&ConnectTarget::new("users.example", 80)).await.expect("the third");
    let taken = begun.elapsed();
    assert_eq!(stream.peer_addr().expect("connected"), here);
    assert!((SECOND / 2..SECOND).contains(&taken), "{taken:?}");
    // A refusal is an answer: the next address does not wait.
    let begun = Instant::now();
    to(&[closed().await, here]).connect(&ConnectTarget::new("users.example", 80)).await.expect("the second");
    assert!(begun.elapsed() < SECOND / 5, "{:?}", begun.elapsed());
}

/// The slower address is connected in parallel, not given up.
#[tokio::test]
async fn an_address_that_is_slow_may_still_win() {
    let hole = BlackHole::start().await;
    let dialer = to(&[hole.address(), closed().await]).with_connect_timeout(SECOND * 2);
    let begun = Instant::now();
    let error = dialer.connect(&ConnectTarget::new("users.example", 80)).await.expect_err("neither");
    assert!(begun.elapsed() >= SECOND * 2, "the first was waited for: {:?}", begun.elapsed());
    assert_eq!((error.kind(), error.is_refused()), (HttpErrorKind::NotConnected, false));
    let text = error.to_string();
    assert!(text.starts_with("connecting to users.example:80: "), "{text}");
    assert!(text.contains(&format!("{}: not accepted within 2s", hole.address())), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn the_rule_is_asked_for_each_address_and_each_time() {
    let (_listener, here) = listening().await;
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    let answers = Arc::new(Mutex::new(vec![vec![metadata], vec![metadata, here], vec![here]]));
    let dialer = Dialer::new().with_resolver(move |name, port| {
        assert_eq!((name.as_str(), port), ("users.example", 80));
        let answer = answers.lock().expect("whole").pop().expect("three times");
        async { Ok(answer) }
    });
    let rule = |ip: std::net::IpAddr| {
        if ip.is_loopback() { Ok(()) } else { Err(Error::new(ErrorKind::Permission, "no").with_code("MINE")) }
    };
    let target = ConnectTarget::new("users.example", 80).allowed(&rule);
    dialer.connect(&target).await.expect("allowed");
    assert_eq!(dialer.connect(&target).await.expect("one of them").peer_addr().expect("connected"), here);
    let error = dialer.connect(&target).await.expect_err("it resolves to another address now");
    assert_eq!(error.kind(), HttpErrorKind::AddressRefused);
    let error = error.into_error("probe");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "MINE"), "{error}");
}

#[tokio::test]
async fn a_name_without_an_address_is_named_and_so_are_four_addresses_of_many() {
    let target = ConnectTarget::new("users.example", 80);
    let error = to(&[]).connect(&target).await.expect_err("none");
    assert_eq!(error.kind(), HttpErrorKind::Unresolved);
    assert_eq!(error.to_string(), "connecting to users.example:80: users.example resolves to no address");
    let fails = Dialer::new().with_resolver(|_, _| async { Err(io::Error::other("SERVFAIL")) });
    let error = fails.connect(&target).await.expect_err("no answer");
    assert_eq!(error.cause(), "users.example cannot be resolved: SERVFAIL");
    assert_eq!(error.into_error("list").code(), codes::CONNECTION_ERROR);

    let mut addresses = Vec::new();
    for _ in 0..6 {
        addresses.push(closed().await);
    }
    // A repeated address is tried once.
    addresses.extend(addresses.clone());
    let error = to(&addresses).connect(&target).await.expect_err("all refuse");
    assert!(error.is_refused());
    assert!(error.cause().contains(&addresses[3].to_string()), "{error}");
    assert!(error.cause().ends_with("and 2 more"), "{error}");
    assert!(!error.cause().contains(&addresses[4].to_string()), "{error}");
}

#[tokio::test]
async fn both_families_take_turns() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return println!("skipped: no IPv6") };
    let here = listener.local_addr().expect("bound");
    let holes = [BlackHole::start().await, BlackHole::start().await, BlackHole::start().await];
    let mut addresses: Vec<_> = holes.iter().map(BlackHole::address).collect();
    addresses.push(here);
    let begun = Instant::now();
    to(&addresses).connect(&ConnectTarget::new("users.example", 80)).await.expect("the last");
    // It is the second one to be tried.
    assert!(begun.elapsed() < SECOND / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_goes_to_the_address_that_accepts() {
    let hole = BlackHole::start().await;
    let server = serving(|| Reply::new(200, "here")).await;
    let client = client().dialer(to(&[hole.address(), server.address()])).build().expect("valid");
    let begun = Instant::now();
    let mut response = client.send(get("http://users.example/")).await.expect("an answer");
    assert_eq!(response.read().await.expect("whole"), b"here");
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(server.requests()[0].header("host"), Some("users.example"));
    // An address that never accepts ends with the deadline, and says where it was.
    let client =
        HttpClient::builder().deadline(SECOND / 2).dialer(to(&[hole.address()])).build().expect("valid");
    let error = client.send(get("http://users.example/")).await.expect_err("never");
    assert_eq!(error.to_string(), "request to http://users.example:80: not done within 500ms");
}
