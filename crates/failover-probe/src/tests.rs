//! Names with several addresses: what only a scripted resolver can show.

#![allow(clippy::disallowed_methods, reason = "tests measure time")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::provider::AddressTrust;
use failover_core::{Endpoint, Error, ErrorKind};
use failover_provider_kit::{Dialer, Tls};
use failover_testkit::{BlackHole, FaultServer, Reply};
use tokio::net::TcpListener;

use crate::{GrpcProbe, HttpProbe, TcpProbe, client};

const SECOND: Duration = Duration::from_secs(1);

/// Gives these answers, one for each question.
fn scripted(answers: &[&[SocketAddr]]) -> Dialer {
    let answers: VecDeque<_> = answers.iter().map(|answer| answer.to_vec()).collect();
    let answers = Arc::new(Mutex::new(answers));
    client::dialer().with_resolver(move |_, _| {
        let answer = answers.lock().expect("whole").pop_front().expect("as often as it is asked");
        async { Ok(answer) }
    })
}

fn http(dialer: Dialer) -> HttpProbe {
    HttpProbe::with(Tls::builder(), vec![200..=299], dialer)
}

fn target(protocol: &str, port: u16, trust: AddressTrust) -> ProbeTarget {
    let endpoint = Endpoint::builder("a", "users", "users.example", port).protocol(protocol).build();
    ProbeTarget::new(endpoint.expect("valid")).with_trust(trust, false)
}

/// Runs the probes of all three protocols, each with these addresses for the name.
async fn all(addresses: &[SocketAddr], port: u16, trust: AddressTrust) -> [Result<ProbeOutcome, Error>; 3] {
    let dialer = || scripted(&[addresses]);
    let tcp = TcpProbe { dialer: dialer() };
    let grpc = GrpcProbe::with(Tls::builder(), dialer());
    [
        tcp.probe(&target("tcp", port, trust)).await,
        http(dialer()).probe(&target("http", port, trust)).await,
        grpc.probe(&target("grpc", port, trust)).await,
    ]
}

#[tokio::test]
async fn a_name_that_comes_to_stand_for_this_machine_or_for_metadata_is_refused_each_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let here = listener.local_addr().expect("bound");
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    for address in [
        here,
        metadata,
        "[::ffff:169.254.169.254]:80".parse().expect("valid"),
        "[fd00:ec2::254]:80".parse().expect("valid"),
        "[::1]:80".parse().expect("valid"),
    ] {
        for error in all(&[address], here.port(), AddressTrust::Remote).await {
            let error = error.expect_err("refused");
            assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "ADDRESS_REFUSED"), "{address}");
            assert!(error.to_string().starts_with("users.example is at "), "{error}");
        }
    }
    // Of several addresses, only the allowed one is tried.
    let allowed = target("tcp", here.port(), AddressTrust::Loopback);
    let tcp = |answers: &[&[SocketAddr]]| TcpProbe { dialer: scripted(answers) };
    let outcome = tcp(&[&[metadata, here]]).probe(&allowed).await.expect("connects");
    assert_eq!(outcome.evidence(), format!("connected to {here}"));
    // The second resolution differs, and is checked again.
    let twice = tcp(&[&[here], &[metadata]]);
    twice.probe(&allowed).await.expect("connects");
    twice.probe(&allowed).await.expect_err("rebound");
}

#[tokio::test]
async fn a_name_without_an_address_says_so() {
    for error in all(&[], 80, AddressTrust::Remote).await {
        assert_eq!(error.expect_err("nothing").to_string(), "users.example resolves to no address");
    }
}

/// As clients do: some servers know a name, and not the name with a port.
#[test]
fn the_usual_port_is_left_out_of_the_host() {
    for (protocol, port, name, expected) in [
        ("http", 80, None, "http://10.0.0.1/health?a"),
        ("http", 443, None, "http://10.0.0.1:443/health?a"),
        ("http", 8080, None, "http://10.0.0.1:8080/health?a"),
        ("https", 443, None, "https://10.0.0.1/health?a"),
        ("https", 80, None, "https://10.0.0.1:80/health?a"),
        ("https", 443, Some("users.example"), "https://users.example/health?a"),
        ("https", 8443, Some("users.example"), "https://users.example:8443/health?a"),
    ] {
        let endpoint = Endpoint::builder("a", "users", "10.0.0.1", port).protocol(protocol);
        let endpoint = if let Some(name) = name { endpoint.server_name(name) } else { endpoint };
        let target = ProbeTarget::new(endpoint.build().expect("valid"));
        let url = client::url(&target, protocol == "https", None, "/health?a").expect("valid");
        assert_eq!(url.to_string(), expected);
    }
    let endpoint = Endpoint::builder("a", "users", "2001:db8::1", 80).build().expect("valid");
    let target = ProbeTarget::new(endpoint);
    let url = client::url(&target, false, None, "/").expect("valid");
    assert_eq!(url.to_string(), "http://[2001:db8::1]/");
}

#[tokio::test]
async fn a_first_address_that_swallows_packets_does_not_take_the_whole_time() {
    let server = FaultServer::start(|_| async { Reply::new(200, "") }).await;
    let hole = BlackHole::start().await;
    let begun = Instant::now();
    let addresses = [hole.address(), server.address()];
    let [tcp, http, grpc] = all(&addresses, server.address().port(), AddressTrust::Loopback).await;
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(tcp.expect("healthy").evidence(), format!("connected to {}", server.address()));
    assert_eq!(http.expect("healthy").evidence(), "200 OK");
    // It was reached, and speaks another protocol.
    assert!(grpc.expect_err("HTTP/1").to_string().contains("does the server speak HTTP/2?"));
}
