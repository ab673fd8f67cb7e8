use std::time::Duration;

use super::*;
use crate::provider::ConsulProvider;

#[test]
fn requests_are_what_consul_reads() {
    let plain = ConsulProvider::builder().build().expect("valid");
    let far = ConsulProvider::builder().datacenter("dc2").namespace("team").build().expect("valid");
    let (plain, far) = (&plain.client.settings, &far.client.settings);
    let wait = Read { mode: Mode::Stale, after: Some((7, Duration::from_millis(2500))) };
    let now = Read::now(Mode::Consistent);
    for (call, method, target, body) in [
        (plain.health("users", None, wait), "GET", "/v1/health/service/users?index=7&wait=2s&stale", ""),
        (
            far.health("users", None, Read::now(Mode::Leader)),
            "GET",
            "/v1/health/service/users?dc=dc2&ns=team",
            "",
        ),
        (
            plain.health("users", Some("a\"b"), Read::now(Mode::Leader)),
            "GET",
            "/v1/health/service/users?filter=Service.ID+%3D%3D+%22a%5C%22b%22",
            "",
        ),
        (plain.services(now), "GET", "/v1/catalog/services?consistent", ""),
        (far.services(now), "GET", "/v1/catalog/services?dc=dc2&ns=team&consistent", ""),
        (plain.kv_read("a/b", Read::now(Mode::Leader)), "GET", "/v1/kv/a/b", ""),
        (far.kv_read("a/b", wait), "GET", "/v1/kv/a/b?dc=dc2&ns=team&index=7&wait=2s&stale", ""),
        (plain.kv_below("a/b/", Read::now(Mode::Leader)), "GET", "/v1/kv/a/b/?recurse=true", ""),
        (far.kv_below("a/", wait), "GET", "/v1/kv/a/?dc=dc2&ns=team&recurse=true&index=7&wait=2s&stale", ""),
        (plain.kv_swap("a", b"{}", 9), "PUT", "/v1/kv/a?cas=9", "{}"),
        (plain.local("fo._41"), "GET", "/v1/agent/health/service/id/fo._41", ""),
        (plain.registered("a", None), "GET", "/v1/agent/service/a", ""),
        (
            far.registered("a", Some(("c0ffee", Duration::from_secs(30)))),
            "GET",
            "/v1/agent/service/a?ns=team&hash=c0ffee&wait=30s",
            "",
        ),
        (plain.deregister("a"), "PUT", "/v1/agent/service/deregister/a", ""),
        (
            plain.maintenance("a", Some("x y")),
            "PUT",
            "/v1/agent/service/maintenance/a?enable=true&reason=x+y",
            "",
        ),
        (plain.maintenance("a", None), "PUT", "/v1/agent/service/maintenance/a?enable=false", ""),
        (
            plain.beat("service:a", "passing"),
            "PUT",
            "/v1/agent/check/update/service:a",
            r#"{"Output":"failover","Status":"passing"}"#,
        ),
        (far.node("n-1"), "GET", "/v1/catalog/node/n-1?dc=dc2&ns=team", ""),
        (leader(None), "GET", "/v1/status/leader", ""),
        (agent_self(), "GET", "/v1/agent/self", ""),
    ] {
        let call = call.expect(target);
        let found = (call.method.as_str(), call.target.as_str(), String::from_utf8(call.body).expect("text"));
        assert_eq!(found, (method, target, body.to_owned()));
    }
    assert_eq!(plain.local("a%20b").expect("a space").target, "/v1/agent/health/service/id/a%20b");
    for odd in ["a b", "a%", "a%2", "a%25b", "a%2Fb", "..", "a?b", "a//b", "\u{fc}"] {
        assert!(plain.local(odd).is_err(), "{odd}");
    }
}

/// With any subscriber set, `tracing` stops sending events to `log`.
#[test]
fn making_a_request_sets_no_subscriber() {
    let provider = ConsulProvider::builder().build().expect("valid");
    provider.client.settings.kv_swap("a", b"{}", 9).expect("valid");
    assert!(!tracing::dispatcher::has_been_set());
}
