//! The pages behind axum, and the operations.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use failover_core::inspect::Availability;
use failover_core::{Endpoint, ErrorKind, FailoverManager, Lifecycle, ServiceHandle};
use failover_memory::MemoryProvider;
use failover_status::{Operations, router, router_with_operations};
use tower::ServiceExt;

const TOKEN: &str = "a-token-of-24-characters";

async fn users() -> (FailoverManager, ServiceHandle) {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await.expect("builds");
    for (id, port) in [("users-1", 1), ("users-2", 2)] {
        let endpoint = Endpoint::builder(id, "users", "10.0.0.1", port).build().expect("valid");
        manager.register_endpoint(endpoint).await.expect("registers");
    }
    let users = manager.service("users").await.expect("a handle");
    users.ready().await.expect("ready");
    (manager, users)
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

async fn ask(app: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).expect("valid");
    let (parts, body) = app.clone().oneshot(request).await.expect("infallible").into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).expect("UTF-8"),
    }
}

fn is_in(users: &ServiceHandle, id: &str) -> bool {
    matches!(users.explain().endpoint(id).expect("listed").availability, Availability::In { .. })
}

#[tokio::test]
async fn nested_at_any_path_every_link_leads_back_to_the_pages() {
    let (manager, _users) = users().await;
    let app = Router::new()
        .nest("/failover", router(&manager))
        .nest("/admin/deep", router(&manager))
        .route("/", axum::routing::get(|| async { "the program's own" }));
    for prefix in ["/failover", "/admin/deep"] {
        for path in ["", "/service/users", "/service/users?show=out", "/json", "/json/users"] {
            let answer = ask(&app, "GET", &format!("{prefix}{path}"), &[], "").await;
            assert_eq!(answer.status, StatusCode::OK, "{prefix}{path}: {}", answer.body);
            // What every link leads to.
            for link in answer.body.split("href=\"").skip(1).filter_map(|part| part.split('"').next()) {
                let link = link.replace("&amp;", "&");
                let whole = if link.starts_with('/') { link } else { format!("{prefix}/{link}") };
                if whole != format!("{prefix}/") {
                    let status = ask(&app, "GET", &whole, &[], "").await.status;
                    assert_eq!(status, StatusCode::OK, "{whole} on {prefix}{path}");
                }
            }
            if !path.starts_with("/json") {
                assert!(answer.body.contains(&format!("<base href=\"{prefix}/\">")), "{}", answer.body);
            }
        }
        for path in ["/service/orders", "/nothing"] {
            let answer = ask(&app, "GET", &format!("{prefix}{path}"), &[], "").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert_eq!(ask(&app, "GET", "/", &[], "").await.body, "the program's own");
    let service = Router::new().nest_service("/failover", router(&manager));
    for path in ["/failover", "/failover/", "/failover/service/users"] {
        let answer = ask(&service, "GET", path, &[], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.body.contains("<base href=\"/failover/\">"), "{path}: {}", answer.body);
    }
    let alone = ask(&router(&manager), "GET", "/service/users", &[], "").await;
    assert!(alone.body.contains("<base href=\"/\">"), "{}", alone.body);
    assert_eq!(alone.headers["cache-control"], "no-store");
    assert!(alone.headers["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));
    assert_eq!(
        ask(&router(&manager), "POST", "/service/users", &[], "").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(ask(&router(&manager), "HEAD", "/", &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_opting_in_there_are_no_operations() {
    let (manager, users) = users().await;
    let form = format!("token={TOKEN}&endpoint=users-1&action=out");
    let answer = ask(&router(&manager), "POST", "/service/users/operate", &[], &form).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(is_in(&users, "users-1"));
}

#[tokio::test]
async fn with_the_token_endpoints_are_forced_out_in_and_observed_and_drained() {
    let (manager, users) = users().await;
    let operations = Operations::with_token(TOKEN).expect("long enough");
    let app = Router::new().nest("/failover", router_with_operations(&manager, operations));
    let operate = async |form: &str, headers: &[(&str, &str)]| {
        ask(&app, "POST", "/failover/service/users/operate", headers, form).await
    };
    let page = ask(&app, "GET", "/failover/service/users", &[], "").await;
    assert!(page.body.contains("action=\"service/users/operate\""), "{}", page.body);
    assert!(page.body.contains("form=\"operate\" value=\"users-1\""), "{}", page.body);
    let done = operate(&format!("token={TOKEN}&endpoint=users-1&action=out&minutes=5"), &[]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    assert_eq!(done.headers["location"], "/failover/service/users");
    assert!(!is_in(&users, "users-1"));
    let bearer = format!("Bearer {TOKEN}");
    for action in ["end", "in", "observe"] {
        let done = operate(&format!("endpoint=users-1&action={action}"), &[("authorization", &bearer)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.body);
        assert!(is_in(&users, "users-1"), "{action}");
    }
    for (action, lifecycle) in [("drain", Lifecycle::Draining), ("in_service", Lifecycle::InService)] {
        let done = operate(&format!("token={TOKEN}&endpoint=users-2&action={action}"), &[]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.body);
        let is_so =
            || users.stats().endpoints.iter().any(|of| of.name == "users-2" && of.lifecycle == lifecycle);
        failover_testkit::until(Duration::from_secs(5), action, || std::future::ready(is_so())).await;
    }
    for (form, status, part) in [
        ("endpoint=users-9&action=out", StatusCode::NOT_FOUND, "users-9"),
        ("endpoint=users-1&action=explode", StatusCode::BAD_REQUEST, "there is no action"),
        ("endpoint=users-1&action=out&minutes=0", StatusCode::BAD_REQUEST, "from 1 to 1440"),
        ("endpoint=users-1&action=out&minutes=9e9", StatusCode::BAD_REQUEST, "from 1 to 1440"),
        ("action=out", StatusCode::BAD_REQUEST, "choose an endpoint"),
        ("endpoint=%3Cb%3E&action=out", StatusCode::NOT_FOUND, "&lt;b&gt;"),
        ("endpoint=users-1&action=out&query=tag", StatusCode::NOT_FOUND, "does not keep"),
    ] {
        let answer = operate(form, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{form}: {}", answer.body);
        assert!(answer.body.contains(part), "{form}: {}", answer.body);
    }
    assert!(is_in(&users, "users-1"));
    let gone =
        ask(&app, "POST", "/failover/service/orders/operate", &[("authorization", &bearer)], "endpoint=a")
            .await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&app, "GET", "/failover/service/users/operate", &[], "").await.headers["allow"], "POST");
}

#[tokio::test]
async fn without_the_token_or_from_another_site_nothing_changes() {
    let (manager, users) = users().await;
    let app = router_with_operations(&manager, Operations::with_token(TOKEN).expect("long enough"));
    let form = |token: &str| format!("token={token}&endpoint=users-1&action=out");
    let right = form(TOKEN);
    let long = format!("{right}&padding={}", "x".repeat(20_000));
    let (shorter, longer) = (form(&TOKEN[1..]), form(&format!("{TOKEN}{TOKEN}")));
    for (headers, form, status) in [
        (&[][..], "endpoint=users-1&action=out", StatusCode::FORBIDDEN),
        (&[], form("").as_str(), StatusCode::FORBIDDEN),
        (&[], form("another-token-of-24-byte").as_str(), StatusCode::FORBIDDEN),
        (&[], &shorter, StatusCode::FORBIDDEN),
        (&[], &longer, StatusCode::FORBIDDEN),
        (&[("authorization", "Bearer wrong")], &right, StatusCode::FORBIDDEN),
        (&[("origin", "https://evil.example")], &right, StatusCode::FORBIDDEN),
        (&[("origin", "null")], &right, StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "cross-site")], &right, StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "same-site")], &right, StatusCode::FORBIDDEN),
        (&[], &long, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = ask(&app, "POST", "/service/users/operate", headers, form).await;
        assert_eq!(answer.status, status, "{headers:?} {form}: {}", answer.body);
        assert!(!answer.body.contains(TOKEN), "{}", answer.body);
        assert!(is_in(&users, "users-1"), "{headers:?} {form}");
    }
    let own = [("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")];
    assert_eq!(ask(&app, "POST", "/service/users/operate", &own, &right).await.status, StatusCode::SEE_OTHER);
    assert!(!is_in(&users, "users-1"));
}

#[test]
fn a_token_that_can_be_guessed_is_refused_and_none_is_shown() {
    let error = Operations::with_token("secret").expect_err("too short");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("has 6 bytes") && !error.to_string().contains("secret"), "{error}");
    assert!(Operations::with_token("x".repeat(257)).is_err());
    let operations = Operations::with_token(TOKEN).expect("long enough");
    assert!(!format!("{operations:?}").contains(TOKEN));
}

#[tokio::test]
async fn after_the_end_of_the_manager_pages_say_so() {
    let (manager, users) = users().await;
    let app = router(&manager);
    drop((manager, users));
    let answer = ask(&app, "GET", "/", &[], "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("manager is gone"), "{}", answer.body);
}
