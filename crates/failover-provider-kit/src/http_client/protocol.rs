//! The versions of HTTP.

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpProtocol {
    /// HTTP/1.1. Requests at the same time have connections of their own, so that a long poll
    /// delays nothing else.
    #[default]
    Http1,
    /// HTTP/2: over TLS by ALPN, in the clear with prior knowledge, as gRPC wants it. Requests to
    /// one host share a connection.
    Http2,
}
