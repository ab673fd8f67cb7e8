//! A small collector of traces, which the example starts in place of a real one.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;

/// What the lines of a trace show of its spans.
const SHOWN: [&str; 6] = [
    "endpoint",
    "outcome",
    "http.request.resend_count",
    "http.response.status_code",
    "error.type",
    "stopped_by",
];

/// The spans that were received.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Listens at a free port, and returns its URL.
    pub(crate) async fn start(&self) -> std::io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let collector = self.clone();
        let receive = async move |body: Bytes| collector.receive(body);
        let routes = Router::new().route("/v1/traces", post(receive));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(url)
    }

    fn receive(&self, body: Bytes) -> StatusCode {
        let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(scopes.flat_map(|scope| scope.spans));
        StatusCode::OK
    }

    /// Returns a trace in which an attempt ended like this, a line for each span.
    pub(crate) fn trace_with(&self, error_type: &str) -> Option<String> {
        let spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed =
            spans.iter().find(|span| attribute(span, "error.type").as_deref() == Some(error_type))?;
        let mut trace: Vec<_> = spans.iter().filter(|span| span.trace_id == failed.trace_id).collect();
        trace.sort_by_key(|span| span.start_time_unix_nano);
        let root = trace.first()?;
        let mut text = String::new();
        write_tree(&mut text, &trace, root, 0);
        Some(text)
    }
}

fn write_tree(text: &mut String, trace: &[&Span], span: &Span, depth: usize) {
    let took = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1_000_000;
    let _ = write!(text, "{:1$}{2} {took} ms", "", 2 * depth + 2, span.name);
    for (name, value) in SHOWN.iter().filter_map(|name| Some((name, attribute(span, name)?))) {
        let _ = write!(text, " {name}={value}");
    }
    text.push('\n');
    for child in trace.iter().filter(|child| child.parent_span_id == span.span_id) {
        write_tree(text, trace, child, depth + 1);
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}
