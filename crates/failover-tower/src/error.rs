//! The error of a request for which no endpoint gave an answer.

use std::error::Error as StdError;
use std::fmt;

use failover_core::{CallError, Endpoint, EndpointId, Error, ErrorKind};
use failover_http::TargetError;
use http::{Response, StatusCode};

use crate::BoxError;

/// Why a request got no answer.
///
/// An endpoint's own last answer is no error: the service returns it as a response, whatever its
/// status.
#[derive(Debug)]
#[non_exhaustive]
pub enum FailoverError {
    /// The call failed: no endpoint, no time, or all attempts ended without an answer.
    Call(CallError<BoxError>),
    /// The request cannot go to any endpoint, and was not attempted.
    Target(TargetError),
    /// The inner service cannot take requests any more, as its `poll_ready` says.
    Service(BoxError),
}

impl FailoverError {
    /// Returns the error of the call, with all attempts.
    pub fn call(&self) -> Option<&CallError<BoxError>> {
        match self {
            Self::Call(error) => Some(error),
            Self::Target(_) | Self::Service(_) => None,
        }
    }

    /// Returns the status that a gateway answers with: see [`failover_http::status`]. 400 for a request
    /// that cannot go to any endpoint, 502 for an inner service that has failed.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Call(error) => failover_http::status(error),
            Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::Service(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Returns the response that a gateway answers with: see [`failover_http::response`].
    pub fn response<B: Default>(&self) -> Response<B> {
        match self {
            Self::Call(error) => failover_http::response(error),
            Self::Target(_) | Self::Service(_) => {
                let mut response = Response::new(B::default());
                *response.status_mut() = self.status();
                response
            }
        }
    }
}

impl fmt::Display for FailoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Target(error) => error.fmt(f),
            Self::Service(_) => f.write_str("the inner service cannot take requests"),
        }
    }
}

impl StdError for FailoverError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Call(error) => error.last_error().map(|error| &**error as &(dyn StdError + 'static)),
            Self::Target(_) => None,
            Self::Service(error) => Some(&**error),
        }
    }
}

impl From<FailoverError> for Error {
    fn from(error: FailoverError) -> Self {
        match error {
            FailoverError::Call(error) => error.into(),
            FailoverError::Target(error) => error.into(),
            FailoverError::Service(source) => {
                Self::new(ErrorKind::Internal, "the inner service cannot take requests").with_source(source)
            }
        }
    }
}

/// The inner service goes by the URL, so that TLS would verify the endpoint's address instead of its
/// server name: see [`FailoverLayer::per_endpoint`](crate::FailoverLayer::per_endpoint).
#[derive(Clone, Debug)]
pub struct ServerNameError {
    endpoint: EndpointId,
    server_name: String,
}

impl ServerNameError {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let server_name = endpoint.connect_to().name().to_owned();
        Self { endpoint: endpoint.id().clone(), server_name }
    }

    /// Returns the endpoint's id.
    pub fn endpoint(&self) -> &EndpointId {
        &self.endpoint
    }

    /// Returns the endpoint's server name.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }
}

impl fmt::Display for ServerNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "endpoint {} has the certificate of {}, and a client that goes by the URL asks for its address; \
             use EndpointServices, and FailoverLayer::per_endpoint",
            self.endpoint, self.server_name
        )
    }
}

impl StdError for ServerNameError {}

/// No connection to the endpoint could be made, so that nothing was sent.
#[derive(Debug)]
pub struct ConnectError(BoxError);

impl ConnectError {
    pub(crate) fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// Whether this error or one of its sources is a `ConnectError`.
    pub(crate) fn is_in(error: &(dyn StdError + 'static)) -> bool {
        failover_http::causes(error).any(<dyn StdError>::is::<Self>)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot connect")
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}
