//! The probe's request, and the meaning of responses.

use failover_core::{Endpoint, ErrorKind, Health, HealthCheck};
use failover_probe::{HttpProbe, TcpProbe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Server, probe};

#[tokio::test]
async fn it_sends_the_path_method_headers_and_body_of_the_health_check() {
    let server = Server::saying("HTTP/1.1 204 No Content\r\n\r\n").await;
    let check = HealthCheck::builder()
        .path("/health?deep=1")
        .method("post")
        .header("Authorization", "Bearer hunter2")
        .header("X-Check", "yes")
        .body("ping")
        .build()
        .expect("valid");
    let found = probe(&HttpProbe::new(), server.endpoint().health_check(check)).await.expect("healthy");
    assert_eq!((found.health(), found.evidence()), (Health::Healthy, "204 No Content"));
    let requests = server.requests();
    let request = requests[0].to_lowercase();
    assert!(requests[0].starts_with("POST /health?deep=1 HTTP/1.1\r\n"), "{request}");
    for line in [
        format!("host: {}", server.address),
        "authorization: bearer hunter2".to_owned(),
        "x-check: yes".to_owned(),
        "content-length: 4".to_owned(),
        "connection: close".to_owned(),
        "user-agent: failover-probe/".to_owned(),
    ] {
        assert!(request.contains(&line), "{line} in {request}");
    }
    assert!(request.ends_with("\r\n\r\nping"), "{request}");
    assert_eq!(requests.len(), 1);
}

#[tokio::test]
async fn the_server_name_or_a_header_of_ones_own_is_the_host() {
    let server = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let named = server.endpoint().server_name("users.example");
    probe(&HttpProbe::new(), named).await.expect("healthy");
    let check = HealthCheck::builder().header("Host", "other.example").build().expect("valid");
    probe(&HttpProbe::new(), server.endpoint().health_check(check)).await.expect("healthy");
    let requests = server.requests();
    assert!(
        requests[0].contains(&format!("host: users.example:{}\r\n", server.address.port())),
        "{requests:?}"
    );
    assert!(requests[1].contains("host: other.example\r\n"), "{requests:?}");
}

/// The health check's own port and statuses come before those of the endpoint and the probe.
#[tokio::test]
async fn the_port_and_the_statuses_of_the_health_check_count() {
    let server = Server::saying("HTTP/1.1 401 Unauthorized\r\n\r\n").await;
    let elsewhere = || Endpoint::builder("a", "users", "127.0.0.1", 1).protocol("http");
    let check = || HealthCheck::builder().port(server.address.port());
    let expecting = check().expect_status(401..=401).expect_status(204..=204).build().expect("valid");
    let none = check().build().expect("valid");
    let own = HttpProbe::builder().expect_status(401..=401).build().expect("valid");
    probe(&HttpProbe::new(), elsewhere().health_check(expecting.clone())).await.expect("401 is expected");
    probe(&own, elsewhere().health_check(none.clone())).await.expect("the probe expects it");
    let error = probe(&HttpProbe::new(), elsewhere().health_check(none)).await.expect_err("401");
    assert_eq!(error.to_string(), "answered 401 Unauthorized, not 200 to 299");
    let ok = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let expecting = expecting.to_builder().port(ok.address.port()).build().expect("valid");
    let error = probe(&own, elsewhere().health_check(expecting)).await.expect_err("200 is not expected");
    assert_eq!(error.to_string(), "answered 200 OK, not 401 to 401 or 204 to 204");
    assert!(
        server.requests()[0].contains(&format!("host: {}\r\n", server.address)),
        "{:?}",
        server.requests()
    );
    let tcp = HealthCheck::builder().port(ok.address.port()).build().expect("valid");
    let tcp = Endpoint::builder("a", "users", "127.0.0.1", 1).health_check(tcp);
    let found = probe(&TcpProbe::new(), tcp).await.expect("connects");
    assert_eq!(found.evidence(), format!("connected to {}", ok.address));
}

/// Every server answers as soon as it is connected, before the request or without reading it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_probes_of_a_server_that_answers_before_the_request_are_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            if number % 2 == 0 {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    let post = HealthCheck::builder().method("POST").body("x".repeat(60_000)).build().expect("valid");
    for number in 0..400 {
        let endpoint = match number % 4 {
            0 => crate::endpoint(address).health_check(post.clone()),
            _ => crate::endpoint(address),
        };
        let found = probe(&HttpProbe::new(), endpoint).await;
        assert_eq!(found.unwrap_or_else(|error| panic!("{number}: {error}")).evidence(), "200 OK");
    }
}

#[tokio::test]
async fn the_expected_statuses_decide_and_a_redirect_is_not_followed() {
    let other = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let redirect: &'static str = Box::leak(
        format!("HTTP/1.1 302 Found\r\nlocation: http://{}/\r\n\r\n", other.address).into_boxed_str(),
    );
    let probes = [
        ("200 to 299", HttpProbe::new()),
        (
            "401 or 302",
            HttpProbe::builder().expect_status(401..=401).expect_status(302..=302).build().expect("valid"),
        ),
    ];
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\n", [true, false]),
        ("HTTP/1.1 299 Odd\r\n\r\n", [true, false]),
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", [false, true]),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", [false, false]),
        (redirect, [false, true]),
    ] {
        let server = Server::saying(answer).await;
        for ((what, of), healthy) in probes.iter().zip(expected) {
            let found = probe(of, server.endpoint()).await;
            assert_eq!(found.is_ok(), healthy, "{answer} {what}");
            if let Err(error) = found {
                assert_eq!((error.kind(), error.code()), (ErrorKind::Connection, "HEALTH_CHECK_FAILED"));
                assert!(error.to_string().starts_with("answered "), "{error}");
            }
        }
    }
    assert!(other.requests().is_empty(), "the redirect was not followed");
    let error =
        probe(&HttpProbe::new(), Server::saying(redirect).await.endpoint()).await.expect_err("redirect");
    assert_eq!(error.to_string(), "answered 302 Found, not 200 to 299; a redirect is not followed");
}

#[test]
fn what_cannot_be_a_probe_is_refused() {
    for range in [99..=200, 200..=600, 0..=0] {
        assert!(HttpProbe::builder().expect_status(range.clone()).build().is_err(), "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let reversed = HttpProbe::builder().expect_status(299..=200).build();
    assert!(reversed.is_err());
    for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = HttpProbe::builder().authority_pem(pem).build().expect_err(pem);
        assert!(error.to_string().starts_with("authority_pem: "), "{error}");
    }
    for path in ["http://10.0.0.1/", "//10.0.0.1/", "/a\r\nx: y", "/a b", "health"] {
        let error = HealthCheck::builder().path(path).build().expect_err(path);
        assert!(error.to_string().starts_with("health_check.path: "), "{error}");
    }
}

/// Whatever path a registry names, the probe sends one request for that path, or none and returns
/// an error that names it.
#[tokio::test]
async fn no_path_becomes_another_request() {
    let paths = [
        "/a",
        "/a?b=c&d",
        "/a/../b",
        "/%0d%0aX:%20y",
        "/a\"<>|{}^`",
        "/\u{e9}",
        "/a;b,c",
        "/a\\b",
        "/?",
        "/a%",
    ];
    for path in paths {
        let server = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
        let check = HealthCheck::builder().path(path).build().expect("no white space, no control character");
        match probe(&HttpProbe::new(), server.endpoint().health_check(check)).await {
            Ok(_) => {
                let requests = server.requests();
                assert_eq!(requests.len(), 1, "{path}");
                assert!(requests[0].starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{requests:?}");
                assert_eq!(requests[0].matches("\r\n\r\n").count(), 1, "{requests:?}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Validation, "{path}");
                assert!(error.to_string().starts_with("health_check.path: "), "{error}");
                assert!(server.requests().is_empty(), "{path}");
            }
        }
    }
}
