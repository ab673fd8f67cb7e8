//! OpenTelemetry's names for the fields of spans, as its semantic conventions for HTTP name them.
//!
//! A span of the `tracing` crate takes names at compile time, so that these constants are for
//! programs that create spans through OpenTelemetry itself, and a reference for the others:
//!
//! | field | value |
//! |---|---|
//! | [`OTEL_KIND`] | `client` for a request that is sent, `server` for one that is answered |
//! | [`SERVER_ADDRESS`], [`SERVER_PORT`] | the endpoint's [`server_name`](crate::server_name) and port |
//! | [`REQUEST_METHOD`] | the method |
//! | [`RESPONSE_STATUS_CODE`] | the status, as a number |
//! | [`RESEND_COUNT`] | the attempt's number minus 1; absent for the first attempt |
//! | [`ERROR_TYPE`] | [`error_type`]; absent for a success |

use failover_core::{AttemptClass, AttemptRecord};

/// The kind of the span: `client` or `server`.
pub const OTEL_KIND: &str = "otel.kind";
/// The name of the server that is called.
pub const SERVER_ADDRESS: &str = "server.address";
/// The port of the server that is called.
pub const SERVER_PORT: &str = "server.port";
/// The method of the request.
pub const REQUEST_METHOD: &str = "http.request.method";
/// The status of the response.
pub const RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// The number of times that the request has been sent before.
pub const RESEND_COUNT: &str = "http.request.resend_count";
/// How the request failed.
pub const ERROR_TYPE: &str = "error.type";

/// Returns the value of [`ERROR_TYPE`] for an attempt: the status if the endpoint answered with one,
/// otherwise the class of the failure. `None` for a success.
///
/// The number of values is bounded: texts of errors are not among them.
pub fn error_type(record: &AttemptRecord) -> Option<&str> {
    let is_status = |reason: &&str| reason.len() == 3 && reason.bytes().all(|digit| digit.is_ascii_digit());
    match record.class {
        AttemptClass::Success => None,
        class => Some(record.reason().filter(is_status).unwrap_or(class.as_str())),
    }
}
