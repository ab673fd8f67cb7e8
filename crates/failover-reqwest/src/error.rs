//! Why a request got no answer.

use failover_core::{CallError, EndpointId, ServiceName};
use failover_http::TargetError;
use failover_tower::{BoxError, FailoverError, ServerNameError};

use crate::redirect::RedirectElsewhere;

/// Why a request got no answer.
///
/// An endpoint's own last answer is no error: it is the response, whatever its status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call failed: no endpoint, no time, or all attempts ended without an answer.
    #[error("{0}")]
    Call(#[source] CallError<BoxError>),
    /// The URL does not name a service.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The list of services has none of this name.
    #[error("{service}: the client knows no service of this name; it knows {known}")]
    UnknownService {
        /// The name in the URL.
        service: ServiceName,
        /// The names of the services that the client knows.
        known: String,
    },
    /// The manager gives no handle of the service.
    #[error("{0}")]
    Manager(#[from] failover_core::Error),
    /// The certificate of the endpoint is for a name, and a middleware's one client asks for its
    /// address.
    #[error(
        "endpoint {endpoint} has the certificate of {server_name}, and the middleware has one client, which asks for \
         the endpoint's address; use failover_reqwest::Client, which keeps a client per server name"
    )]
    ServerName {
        /// The endpoint.
        endpoint: EndpointId,
        /// Its server name.
        server_name: String,
    },
    /// The endpoint redirects to another server.
    #[error("{0}")]
    Redirect(RedirectElsewhere),
    /// The URL cannot be read.
    #[error("the URL cannot be read: {reason}; write http://user-service/path")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// reqwest cannot build the request or a client.
    #[error("reqwest: {0}")]
    Reqwest(reqwest::Error),
    /// A middleware below has failed and takes no more requests.
    #[error("{0}")]
    Below(BoxError),
}

impl From<reqwest::Error> for Error {
    /// Without the URL, whose query may hold secrets.
    fn from(error: reqwest::Error) -> Self {
        Self::Reqwest(error.without_url())
    }
}

impl From<FailoverError> for Error {
    fn from(error: FailoverError) -> Self {
        let call = match error {
            FailoverError::Call(call) => call,
            FailoverError::Target(error) => return Self::Target(error),
            error => return Self::Below(error.into()),
        };
        let last = call.last_error().map(|error| &**error);
        for error in last.into_iter().flat_map(|error| failover_http::causes(error)) {
            if let Some(name) = error.downcast_ref::<ServerNameError>() {
                let (endpoint, server_name) = (name.endpoint().clone(), name.server_name().to_owned());
                return Self::ServerName { endpoint, server_name };
            }
            if let Some(elsewhere) = error.downcast_ref::<RedirectElsewhere>() {
                return Self::Redirect(elsewhere.clone());
            }
        }
        Self::Call(call)
    }
}

impl From<Error> for reqwest_middleware::Error {
    fn from(error: Error) -> Self {
        Self::middleware(error)
    }
}
