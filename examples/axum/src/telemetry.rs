//! Traces for a collector of OpenTelemetry, and their context across services.

use std::error::Error;

use axum::http::HeaderMap;
use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Sends spans to a collector, such as `http://localhost:4318`, and writes warnings to standard error.
/// The provider has to be shut down at the end, because it sends in batches.
pub(crate) fn start(collector: &str) -> Result<SdkTracerProvider, Box<dyn Error>> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter =
        SpanExporter::builder().with_http().with_endpoint(format!("{collector}/v1/traces")).build()?;
    let provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name("orders").build())
        .with_batch_exporter(exporter)
        .build();
    // The spans of failover: `call`, `attempt` and `request`, at the level debug.
    let wanted = Targets::new().with_target("orders", Level::INFO).with_target("failover", Level::DEBUG);
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("orders")).with_filter(wanted);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::ERROR);
    tracing_subscriber::registry().with(spans).with(lines).try_init()?;
    Ok(provider)
}

/// Returns the span of a request, within the trace that its headers name.
pub(crate) fn server_span(name: &str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(target: "orders", "request", otel.name = name, otel.kind = "server");
    let caller = global::get_text_map_propagator(|known| known.extract(&HeaderExtractor(headers)));
    // Fails only without a layer of OpenTelemetry, whose spans have no parent.
    let _ = span.set_parent(caller);
    span
}

/// Returns the headers that name the current span to the service that is called.
pub(crate) fn context() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let current = Span::current().context();
    global::get_text_map_propagator(|known| {
        known.inject_context(&current, &mut HeaderInjector(&mut headers));
    });
    headers
}
