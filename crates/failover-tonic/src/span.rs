//! The span of an attempt, with OpenTelemetry's names for RPC.

use failover_core::{Attempt, AttemptClass};
use failover_http::server_name;
use failover_tower::{AttemptSpan, BoxError};
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

use crate::rules::{self, GrpcRules};

pub(crate) fn of_attempt(attempt: &Attempt, path: &str) -> Span {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
    tracing::debug_span!(
        target: "failover::grpc",
        "request",
        otel.kind = "client",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        server.address = server_name(attempt),
        server.port = attempt.port(),
        http.request.resend_count = (attempt.number() > 1).then(|| attempt.number() - 1),
        rpc.grpc.status_code = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Records how an attempt ended: the status if the head has one, and for a failure what it was.
pub(crate) fn record(span: &Span, answered: Result<Option<Code>, &BoxError>) {
    match answered {
        Ok(Some(code)) => {
            span.record("rpc.grpc.status_code", code as i32);
            if code != Code::Ok {
                AttemptSpan::failed(span, rules::name(code));
            }
        }
        Ok(None) => {}
        Err(error) => {
            let class = AttemptClass::from(GrpcRules::classify_error(&**error).outcome());
            AttemptSpan::failed(span, class.as_str());
        }
    }
}
