//! URLs: the name of a service in a request, and the address of an endpoint.

use failover_core::{Endpoint, EndpointId, Error, ErrorKind, ServiceName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

/// Why a request cannot go to a service or to one of its endpoints.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The URL has no host, which is where the name of the service belongs.
    #[error("the URL names no service; write http://user-service/path")]
    NoName,
    /// The URL has a port.
    #[error(
        "a port where a service is meant: the endpoints of {service} have ports of their own; leave :{port} out"
    )]
    Port {
        /// The name before the port.
        service: String,
        /// The port, as it was written.
        port: String,
    },
    /// The URL has a user, and maybe a password. Neither is shown.
    #[error("a user or password in the URL would be lost; send it in the header Authorization")]
    UserInfo,
    /// The host is not the name of a service.
    #[error("{0}")]
    Name(Error),
    /// The scheme of the URL is neither `http` nor `https`.
    #[error("the scheme {scheme} is not HTTP; write http:// or https://")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// The endpoint speaks another protocol than HTTP.
    #[error(
        "endpoint {endpoint} has the protocol {protocol}, which is not HTTP; register it as http or https"
    )]
    Protocol {
        /// The endpoint.
        endpoint: EndpointId,
        /// Its protocol.
        protocol: String,
    },
    /// The request asks for `https`, and the endpoint does not encrypt.
    #[error(
        "the request asks for https, and endpoint {endpoint} has the protocol {protocol}, which does not encrypt; \
         register it as https, or ask for http"
    )]
    Downgrade {
        /// The endpoint.
        endpoint: EndpointId,
        /// Its protocol.
        protocol: String,
    },
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        let kind = match &error {
            TargetError::Name(error) => return error.clone(),
            TargetError::Protocol { .. } | TargetError::Downgrade { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Validation,
        };
        Self::new(kind, error.to_string())
    }
}

/// Returns the name of the service that a URL names: its host.
///
/// ```
/// let uri: http::Uri = "http://user-service/users/7".parse()?;
/// assert_eq!(failover_http::service_name(&uri)?, "user-service");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Returns [`TargetError`] for a URL without a host, with a port or a user, for another scheme than
/// `http` and `https`, and for a host that is not the name of a service, such as `[::1]`.
pub fn service_name(uri: &Uri) -> Result<ServiceName, TargetError> {
    let authority = uri.authority().ok_or(TargetError::NoName)?.as_str();
    if authority.contains('@') {
        return Err(TargetError::UserInfo);
    }
    known(uri.scheme())?;
    // An IPv6 address has colons of its own, and is no name.
    if let Some((service, port)) = authority.split_once(':').filter(|_| !authority.starts_with('[')) {
        return Err(TargetError::Port { service: service.to_owned(), port: port.to_owned() });
    }
    ServiceName::new(authority).map_err(TargetError::Name)
}

/// Returns the scheme for an endpoint: `http` or `https`.
///
/// The endpoint's protocol decides: `http`, `h2c`, `ws` and `grpc` are `http`; `https`, `h2`, `wss` and
/// `grpcs` are `https`. `tcp`, which is the protocol of an endpoint that names none, takes the scheme
/// that the request asks for, or `http`.
///
/// # Errors
///
/// Returns [`TargetError::Protocol`] for any other protocol, and [`TargetError::Downgrade`] if the
/// request asks for `https` and the endpoint is one of `http`.
pub fn scheme(endpoint: &Endpoint, requested: Option<&Scheme>) -> Result<Scheme, TargetError> {
    let requested = known(requested)?;
    let (id, protocol) = (endpoint.id(), endpoint.protocol());
    let plain = match protocol {
        "http" | "h2c" | "ws" | "grpc" => true,
        "https" | "h2" | "wss" | "grpcs" => false,
        "tcp" => requested != Some(&Scheme::HTTPS),
        _ => return Err(TargetError::Protocol { endpoint: id.clone(), protocol: protocol.to_owned() }),
    };
    match plain {
        true if requested == Some(&Scheme::HTTPS) => {
            Err(TargetError::Downgrade { endpoint: id.clone(), protocol: protocol.to_owned() })
        }
        true => Ok(Scheme::HTTP),
        false => Ok(Scheme::HTTPS),
    }
}

fn known(scheme: Option<&Scheme>) -> Result<Option<&Scheme>, TargetError> {
    match scheme {
        Some(scheme) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
            Err(TargetError::Scheme { scheme: scheme.to_string() })
        }
        scheme => Ok(scheme),
    }
}

/// Returns the URL of an endpoint with the path and query of a request.
///
/// The host is the endpoint's address, so that a client connects to this endpoint and no other; the
/// name for TLS and `Host` is [`server_name`] and [`host`]. Whatever host the request names is replaced.
///
/// ```
/// use failover_core::Endpoint;
/// # use failover_http::uri;
/// let endpoint = Endpoint::builder("users-1", "user-service", "::1", 8080).protocol("http").build()?;
/// let target = "http://user-service/users/7?full=1".parse()?;
/// assert_eq!(uri(&endpoint, &target)?, "http://[::1]:8080/users/7?full=1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Returns [`TargetError::UserInfo`] for a URL with a user; see also [`scheme`].
pub fn uri(endpoint: &Endpoint, target: &Uri) -> Result<Uri, TargetError> {
    build(endpoint, target, endpoint.authority())
}

fn build(endpoint: &Endpoint, target: &Uri, authority: String) -> Result<Uri, TargetError> {
    if target.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(TargetError::UserInfo);
    }
    let scheme = scheme(endpoint, target.scheme())?;
    let path = target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let authority = Authority::try_from(authority).map_err(|_| bad_name(endpoint))?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    uri.map_err(|_| bad_name(endpoint))
}

fn bad_name(endpoint: &Endpoint) -> TargetError {
    let shown = endpoint.server_name().unwrap_or(endpoint.address());
    TargetError::Name(Error::invalid("host", shown, "a host name or an IP address"))
}

/// Returns the value of the header `Host`: the endpoint's server name or address, and its port unless
/// that is the default of the scheme.
///
/// # Errors
///
/// Returns [`TargetError`] if the endpoint's protocol is not HTTP, or its name cannot be in a header.
pub fn host(endpoint: &Endpoint) -> Result<HeaderValue, TargetError> {
    let usual = if scheme(endpoint, None)? == Scheme::HTTPS { ":443" } else { ":80" };
    let authority = endpoint.connect_to().authority();
    let shown = authority.strip_suffix(usual).unwrap_or(&authority);
    HeaderValue::try_from(shown).map_err(|_| bad_name(endpoint))
}

/// Returns the name that TLS verifies, and that spans show as `server.address`: the endpoint's server
/// name, or its address.
pub fn server_name(endpoint: &Endpoint) -> &str {
    endpoint.connect_to().name()
}

#[cfg(test)]
mod tests;
