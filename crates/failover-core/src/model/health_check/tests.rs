use serde_json::json;

use super::*;

const CANARY: &str = "c4n4ry-s3cret";

fn read(json: &serde_json::Value) -> Result<HealthCheck, String> {
    serde_json::from_value(json.clone()).map_err(|error| error.to_string())
}

#[test]
fn nothing_set_is_every_default() {
    let check = HealthCheck::builder().build().unwrap();
    assert_eq!(check, HealthCheck::default());
    assert_eq!(check.path(), "/");
    assert_eq!(check.interval(), Duration::from_secs(10));
    assert_eq!(check.timeout(), Duration::from_secs(2));
    assert_eq!(check.method(), "GET");
    assert!(check.headers().is_empty());
    assert_eq!(check.body(), None);
    assert_eq!((check.healthy_threshold(), check.unhealthy_threshold()), (2, 3));
}

#[test]
fn the_default_timeout_follows_a_shorter_interval() {
    let check = HealthCheck::builder().interval(Duration::from_millis(500)).build().unwrap();
    assert_eq!(check.timeout(), Duration::from_millis(500));
}

#[test]
fn what_go_writes_for_unset_fields_is_absent() {
    let go = json!({
        "path": "", "interval": 0, "timeout": 0, "method": "", "headers": null, "body": "",
        "healthy_threshold": 0, "unhealthy_threshold": null,
    });
    assert_eq!(read(&go).unwrap(), HealthCheck::default());
    assert_eq!(read(&json!({})).unwrap(), HealthCheck::default());
}

#[test]
fn the_quick_start_of_the_go_package_is_read_as_meant() {
    let go = json!({
        "path": "/health", "interval": 30_000_000_000_u64, "timeout": 5_000_000_000_u64,
        "method": "", "headers": null, "body": "",
    });
    let check = read(&go).unwrap();
    assert_eq!(check.path(), "/health");
    assert_eq!(check.interval(), Duration::from_secs(30));
    assert_eq!(check.timeout(), Duration::from_secs(5));
}

#[test]
fn statuses_are_read_as_people_write_them() {
    for (written, expected) in [
        (json!(204), vec![204..=204]),
        (json!("204"), vec![204..=204]),
        (json!("200-299"), vec![200..=299]),
        (json!([204, "300 - 399", 4.01e2]), vec![204..=204, 300..=399, 401..=401]),
        (json!([]), vec![]),
        (json!(null), vec![]),
    ] {
        let check = read(&json!({"expected_statuses": written})).unwrap();
        assert_eq!(check.expected_statuses(), expected, "{written}");
    }
    assert_eq!(read(&json!({"port": 0, "grpc_service": ""})).unwrap(), HealthCheck::default());
}

#[test]
fn it_comes_back_as_it_went_out() {
    let check = HealthCheck::builder()
        .path("/health?deep=1")
        .port(9_090)
        .expect_status(200..=299)
        .expect_status(401..=401)
        .grpc_service("shop.v1.Users")
        .interval(Duration::from_secs(90))
        .timeout(Duration::from_millis(1500))
        .method("post")
        .header("Authorization", "Bearer x")
        .header("accept", "text/plain")
        .body("{\"a\":\"b\\n\"}")
        .healthy_threshold(1)
        .unhealthy_threshold(100)
        .build()
        .unwrap();
    assert_eq!(check.method(), "POST");
    let json = serde_json::to_value(&check).unwrap();
    assert_eq!(json["interval"], "1m30s");
    assert_eq!(json["port"], 9_090);
    assert_eq!(json["expected_statuses"], json!(["200-299", 401]));
    assert_eq!(json["grpc_service"], "shop.v1.Users");
    assert_eq!(json["timeout"], "1.5s");
    assert_eq!(read(&json).unwrap(), check);
    assert_eq!(check.to_builder().build().unwrap(), check);
    assert_eq!(
        serde_json::to_value(HealthCheck::default()).unwrap(),
        json!({"path": "/", "interval": "10s", "method": "GET", "healthy_threshold": 2, "unhealthy_threshold": 3})
    );
}

#[test]
fn a_bad_value_in_json_is_refused_with_its_field_and_what_it_is() {
    for (json, field, shown) in [
        (json!({"path": "health"}), "health_check.path", "health"),
        (json!({"path": "http://10.0.0.1/health"}), "health_check.path", "http://10.0.0.1/health"),
        (json!({"path": "//evil/health"}), "health_check.path", "//evil/health"),
        (json!({"path": "/a b"}), "health_check.path", "/a b"),
        (json!({"path": "/a\r\nX: y"}), "health_check.path", "/a\\u{d}\\u{a}X: y"),
        (json!({"path": "/a\u{7f}"}), "health_check.path", "\\u{7f}"),
        (json!({"path": "x".repeat(3000)}), "health_check.path", "xxx"),
        (json!({"path": format!("/{}", "x".repeat(2048))}), "health_check.path", "2049 bytes"),
        (json!({"path": 1}), "health_check.path", "1"),
        (json!({"port": 65_536}), "health_check.port", "65536"),
        (json!({"port": -1}), "health_check.port", "-1"),
        (json!({"port": "metrics"}), "health_check.port", "\"metrics\""),
        (json!({"expected_statuses": ["2xx"]}), "health_check.expected_statuses", "\"2xx\""),
        (json!({"expected_statuses": 99}), "health_check.expected_statuses", "99"),
        (json!({"expected_statuses": "200-600"}), "health_check.expected_statuses", "200-600"),
        (json!({"expected_statuses": "299-200"}), "health_check.expected_statuses", "299-200"),
        (json!({"expected_statuses": "200-+299"}), "health_check.expected_statuses", "200-+299"),
        (json!({"expected_statuses": 65_736}), "health_check.expected_statuses", "65736"),
        (json!({"expected_statuses": [[200]]}), "health_check.expected_statuses", "a list"),
        (json!({"expected_statuses": vec![200; 33]}), "health_check.expected_statuses", "33 ranges"),
        (json!({"grpc_service": "a b"}), "health_check.grpc_service", "a b"),
        (json!({"grpc_service": "s".repeat(257)}), "health_check.grpc_service", "257 bytes"),
        (json!({"interval": "1x"}), "health_check.interval", "\"1x\""),
        (json!({"interval": ""}), "health_check.interval", "\"\""),
        (json!({"interval": "-1s"}), "health_check.interval", "\"-1s\""),
        (json!({"interval": "99ms"}), "health_check.interval", "\"99ms\""),
        (json!({"interval": "0s"}), "health_check.interval", "\"0s\""),
        (json!({"interval": 30}), "health_check.interval", "30"),
        (json!({"interval": -1}), "health_check.interval", "-1"),
        (json!({"interval": 1.5}), "health_check.interval", "1.5"),
        (json!({"interval": u64::MAX}), "health_check.interval", "18446744073709551615"),
        (json!({"interval": true}), "health_check.interval", "true"),
        (json!({"timeout": "5m1s"}), "health_check.timeout", "\"5m1s\""),
        (json!({"timeout": "11s"}), "health_check.timeout", "11s"),
        (json!({"timeout": "1ms"}), "health_check.timeout", "\"1ms\""),
        (json!({"method": "GET /"}), "health_check.method", "GET /"),
        (json!({"method": []}), "health_check.method", "a list"),
        (json!({"healthy_threshold": 101}), "health_check.healthy_threshold", "101"),
        (json!({"unhealthy_threshold": -1}), "health_check.unhealthy_threshold", "-1"),
        (json!({"unhealthy_threshold": "3"}), "health_check.unhealthy_threshold", "\"3\""),
        (json!({"unhealthy_threshold": 2.5}), "health_check.unhealthy_threshold", "2.5"),
        (json!({"headers": []}), "health_check.headers", "a list"),
        (json!({"headers": {"X-A": 5}}), "health_check.headers.X-A", "a number"),
        (json!({"headers": {"X A": "b"}}), "health_check.headers", "the name \"X\""),
        (json!({"headers": {"": "b"}}), "health_check.headers", "the name \"\""),
        (json!({"headers": {"X-A": "1", "x-a": "2"}}), "health_check.headers.x-a", "a second value"),
        (json!({"body": 5}), "health_check.body", "a number"),
        (json!({"body": "x".repeat(65_537)}), "health_check.body", "65537 bytes"),
        (json!({"pth": "/"}), "health_check.pth", "did you mean path?"),
        (json!([]), "health_check", "a list"),
    ] {
        let error = read(&json).unwrap_err();
        assert!(error.starts_with(&format!("{field}: ")), "{json}: {error}");
        assert!(error.contains(shown), "{json}: {error}");
    }
}

#[test]
fn a_bad_value_in_code_is_refused_as_well() {
    let builder = HealthCheck::builder;
    for (build, field) in [
        (builder().interval(Duration::ZERO), "health_check.interval: 0s"),
        (builder().interval(Duration::MAX), "health_check.interval: "),
        (builder().timeout(Duration::from_secs(20)), "health_check.timeout: 20s"),
        (builder().path(""), "health_check.path: an empty value"),
        (builder().port(0), "health_check.port: 0"),
        (builder().expect_status(600..=600), "health_check.expected_statuses: 600-600"),
        (builder().grpc_service("a\n"), "health_check.grpc_service: "),
        (builder().method(""), "health_check.method: an empty value"),
        (builder().healthy_threshold(0), "health_check.healthy_threshold: 0"),
        (
            builder().headers((0..65).map(|n| (format!("X-{n}"), "v"))),
            "health_check.headers: 65 is not allowed; give at most 64 headers",
        ),
        (builder().header("X-A", "a".repeat(8193)), "health_check.headers.X-A: "),
    ] {
        let error = build.build().unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

#[test]
fn debug_shows_no_header_value_and_no_body() {
    let builder = HealthCheck::builder()
        .header("Authorization", CANARY)
        .header(format!("X-Token: {CANARY}"), "v")
        .body(CANARY);
    let debug = format!("{builder:?} {builder:#?}");
    assert!(!debug.contains(CANARY), "{debug}");
    let check = HealthCheck::builder()
        .header("Authorization", CANARY)
        .header("Cookie", "x")
        .body(CANARY)
        .build()
        .unwrap();
    let debug = format!("{check:?} {check:#?}");
    assert!(!debug.contains(CANARY), "{debug}");
    assert!(debug.contains("\"Authorization\": \"<redacted>\""), "{debug}");
    assert!(debug.contains("body_bytes: Some(13)"), "{debug}");
}

#[test]
fn no_error_shows_a_header_value_or_the_body() {
    for json in [
        json!({"headers": {"Authorization": format!("{CANARY}\r\n")}}),
        json!({"headers": {"Authorization": format!("{CANARY}\u{fc}")}}),
        json!({"headers": {"Authorization": [CANARY]}}),
        json!({"headers": {(format!("Authorization: {CANARY}")): "x"}}),
        json!({"headers": {(format!("Authorization: {CANARY}")): 5}}),
        json!({"headers": CANARY}),
        json!({"headers": [CANARY]}),
        json!({"headers": {"a": CANARY, "A": CANARY}}),
        json!({"body": [CANARY]}),
        json!({"body": {"token": CANARY}}),
        json!({"body": CANARY.repeat(10_000)}),
        json!(CANARY),
        json!({"headers": {"Authorization": CANARY}, "body": CANARY, "interval": "1x"}),
    ] {
        let error = serde_json::from_value::<HealthCheck>(json.clone()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(CANARY), "{json}: {shown}");
        let error = HealthCheck::from_raw(serde_json::from_value(json).unwrap()).unwrap_err();
        let shown = format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap());
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn without_secrets_keeps_only_what_is_harmless() {
    let check = HealthCheck::builder()
        .path("/health")
        .header("authorization", CANARY)
        .header("X-Api-Key", CANARY)
        .header("Cookie", CANARY)
        .header("accept", "text/plain")
        .header("Accept-Language", "de")
        .header("CONTENT-TYPE", "text/plain")
        .header("Host", "a.example")
        .header("User-Agent", "probe")
        .body(CANARY)
        .build()
        .unwrap();
    let public = check.without_secrets();
    assert!(!serde_json::to_string(&public).unwrap().contains(CANARY));
    let names: Vec<_> = public.headers().keys().map(String::as_str).collect();
    assert_eq!(names, ["Accept-Language", "CONTENT-TYPE", "Host", "User-Agent", "accept"]);
    assert_eq!(public.path(), "/health");
    assert_eq!(public.body(), None);
}
