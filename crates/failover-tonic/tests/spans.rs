//! The spans of attempts. A separate program, because there is one global subscriber per process.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

#[allow(dead_code, reason = "the other program uses all of it")]
#[path = "tonic/greeter.rs"]
mod greeter;
#[allow(dead_code, reason = "the other program uses all of it")]
#[path = "tonic/server.rs"]
mod server;

use std::fmt::{Debug, Write};
use std::sync::Mutex;

use failover_tonic::FailoverChannel;
use tracing::field::{Field, Visit};
use tracing::span;

use crate::greeter::GreeterClient;
use crate::server::{Server, service};

/// Writes each span of the channel to a line, and what is recorded later to the same line.
struct Listener;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "failover::grpc"
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut line));
        let mut lines = LINES.lock().expect("not poisoned");
        lines.push(line);
        span::Id::from_u64(lines.len() as u64)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        let line = usize::try_from(span.into_u64()).expect("few lines") - 1;
        values.record(&mut Fields(&mut LINES.lock().expect("not poisoned")[line]));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_a_span_with_the_names_of_opentelemetry() {
    tracing::subscriber::set_global_default(Listener).expect("the only one");
    let (busy, mut killed) = (Server::start(), Server::start());
    busy.fail(tonic::Status::unavailable("secret"));
    killed.kill();
    let users = service([busy.url(), killed.url()]);
    GreeterClient::new(FailoverChannel::new(users))
        .hello("ada".to_owned())
        .await
        .expect_err("nobody answers");
    let lines = LINES.lock().expect("not poisoned").clone();
    let common =
        r#"request otel.kind="client" rpc.system="grpc" rpc.service="test.Greeter" rpc.method="Hello""#;
    assert!(lines.len() > 1 && lines.iter().all(|line| line.starts_with(common)), "{lines:#?}");
    let of = |server: &Server| {
        let port = format!(r#" server.address="127.0.0.1" server.port={}"#, server.address().port());
        lines.iter().find(|line| line.contains(&port)).expect("each was tried").clone()
    };
    assert!(
        of(&busy).ends_with(r#" rpc.grpc.status_code=14 error.type="UNAVAILABLE" otel.status_code="ERROR""#),
        "{lines:#?}"
    );
    assert!(of(&killed).ends_with(r#" error.type="not_sent" otel.status_code="ERROR""#), "{lines:#?}");
    assert!(lines[1].contains(" http.request.resend_count=1"), "{lines:#?}");
    assert!(!lines.concat().contains("secret"), "texts of servers stay out");
}
