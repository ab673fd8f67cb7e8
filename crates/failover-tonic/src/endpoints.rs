//! The tonic channel of an endpoint.

use std::sync::Arc;

use failover_core::Endpoint;
use failover_http::TargetError;
use failover_tower::{BoxError, EndpointConnector};
use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::{self, Channel};

use crate::error::NoTlsError;
use crate::settings::Settings;

/// Returns the scheme for an endpoint, and refuses one to which the request may not go.
pub(crate) fn scheme(
    endpoint: &Endpoint,
    settings: &Settings,
    requested: Option<&Scheme>,
) -> Result<Scheme, BoxError> {
    let own = settings.tls.as_ref().map(|_| Scheme::HTTPS);
    let scheme = failover_http::scheme(endpoint, own.as_ref())?;
    if scheme == Scheme::HTTPS && own.is_none() {
        // Without its features for TLS, tonic would connect in the clear.
        return Err(NoTlsError::new(endpoint).into());
    }
    if scheme == Scheme::HTTP && requested == Some(&Scheme::HTTPS) {
        let (endpoint, protocol) = (endpoint.id().clone(), endpoint.protocol().to_owned());
        return Err(TargetError::Downgrade { endpoint, protocol }.into());
    }
    Ok(scheme)
}

/// Makes the channel of an endpoint, which connects on first use and again after its connection ended.
pub(crate) fn channel(
    endpoint: &Arc<Endpoint>,
    settings: &Settings,
    scheme: &Scheme,
) -> Result<Channel, BoxError> {
    // With the server name, which goes to TLS and `:authority`; the connection goes to the address.
    let uri = Uri::builder().scheme(scheme.clone()).authority(endpoint.connect_to().authority());
    let uri = uri.path_and_query("/").build()?;
    let mut transport = transport::Endpoint::from(uri).connect_timeout(settings.connect_timeout);
    if let Some(customise) = &settings.endpoint {
        transport = customise(endpoint, transport)?;
    }
    if let (Some(tls), true) = (&settings.tls, *scheme == Scheme::HTTPS) {
        transport = tls(endpoint, transport)?;
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(transport.get_tcp_nodelay());
    http.set_keepalive(transport.get_tcp_keepalive());
    http.set_keepalive_interval(transport.get_tcp_keepalive_interval());
    http.set_keepalive_retries(transport.get_tcp_keepalive_retries());
    Ok(transport.connect_with_connector_lazy(EndpointConnector::new(http, Arc::clone(endpoint))))
}
