//! What a subscriber of `tracing` receives. A separate program, because there is one global
//! subscriber per process.

use std::fmt::{Debug, Write};
use std::sync::Mutex;

use bytes::Bytes;
use failover_core::ServiceHandle;
use failover_tower::{FailoverLayer, ReplayBody};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::span;

/// Records the fields of spans of the target `failover::http`, a line each.
struct Listener;

static SPANS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "failover::http"
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut spans = SPANS.lock().expect("not poisoned");
        let mut line = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut line));
        spans.push(line);
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &span::Id, fields: &span::Record<'_>) {
        let mut spans = SPANS.lock().expect("not poisoned");
        fields.record(&mut Fields(&mut spans[id.into_u64() as usize - 1]));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn each_attempt_is_a_span_with_the_fields_of_opentelemetry() {
    tracing::subscriber::set_global_default(Listener).expect("the only one");
    let users =
        ServiceHandle::fixed("users", ["http://10.0.0.1:81", "http://10.0.0.2:82", "http://10.0.0.3:83"]);
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let client = tower::service_fn(move |_: Request<ReplayBody<Full<Bytes>>>| {
        let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = if attempt == 0 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        std::future::ready(if attempt == 1 { Err(refused) } else { Ok(response) })
    });
    let tower = FailoverLayer::new(users.expect("valid")).layer(client);
    let request = Request::get("/users/7?token=secret").body(Full::default()).expect("valid");
    tower.oneshot(request).await.expect("the third attempt");
    let spans = SPANS.lock().expect("not poisoned").clone();
    assert_eq!(spans.len(), 3, "{spans:?}");
    for (span, (server, rest)) in spans.iter().zip([
        ("10.0.0.", " http.response.status_code=502 error.type=\"502\" otel.status_code=\"ERROR\""),
        ("10.0.0.", " http.request.resend_count=1 error.type=\"not_sent\" otel.status_code=\"ERROR\""),
        ("10.0.0.", " http.request.resend_count=2 http.response.status_code=200"),
    ]) {
        assert!(
            span.starts_with(&format!("request otel.kind=\"client\" server.address=\"{server}")),
            "{span}"
        );
        assert!(span.contains(" server.port=8") && span.contains(" http.request.method=GET"), "{span}");
        assert!(span.ends_with(rest) && !span.contains("secret"), "{span}");
    }
    // An attempt that the engine's timer ends, and one whose call is dropped.
    let users = ServiceHandle::fixed("users", ["http://10.0.0.1:81"]).expect("valid");
    let client = tower::service_fn(|_: Request<ReplayBody<Full<Bytes>>>| {
        std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>()
    });
    let short = std::time::Duration::from_millis(20);
    let tower = FailoverLayer::new(users)
        .with_call(move |call, _| call.max_retries(0).attempt_timeout(short))
        .layer(client);
    let request = || Request::get("/users/7").body(Full::default()).expect("valid");
    tower.clone().oneshot(request()).await.expect_err("no answer in time");
    let soon = std::time::Duration::from_millis(1);
    tokio::time::timeout(soon, tower.oneshot(request())).await.expect_err("it is dropped");
    let spans = SPANS.lock().expect("not poisoned")[3..].to_vec();
    assert!(spans[0].ends_with(" error.type=\"timeout\" otel.status_code=\"ERROR\""), "{spans:?}");
    assert!(spans[1].ends_with(" error.type=\"cancelled\"") && spans.len() == 2, "{spans:?}");
}
