//! The requests as consulrs defines them.
//!
//! The only module that uses consulrs and rustify, and only types of requests, which define path,
//! query and body. No client of theirs is created.

use consulrs::api::catalog::requests::ListServicesRequest;
use consulrs::api::check::requests::TtlCheckUpdateRequest;
use consulrs::api::kv::requests::{ReadKeyRequest, SetKeyRequest};
use consulrs::api::service::requests::DeregisterServiceRequest;
use http::Method;
use rustify::endpoint::Endpoint;
use rustify::enums::RequestMethod;
use rustify::errors::ClientError;
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use super::{Ask, Requests, Scope};

pub(crate) struct OfConsulrs;

impl Requests for OfConsulrs {
    fn list_services(scope: Scope<'_>) -> Result<Ask, String> {
        ask(&ListServicesRequest {
            dc: owned(scope.datacenter),
            ns: owned(scope.namespace),
            ..ListServicesRequest::default()
        })
    }

    fn read_key(scope: Scope<'_>, key: &str) -> Result<Ask, String> {
        ask(&ReadKeyRequest {
            key: key.to_owned(),
            dc: owned(scope.datacenter),
            ns: owned(scope.namespace),
            ..ReadKeyRequest::default()
        })
    }

    fn swap_key(scope: Scope<'_>, key: &str, value: &[u8], index: u64) -> Result<Ask, String> {
        ask(&SetKeyRequest {
            key: key.to_owned(),
            value: value.to_vec(),
            cas: Some(index),
            dc: owned(scope.datacenter),
            ns: owned(scope.namespace),
            ..SetKeyRequest::default()
        })
    }

    fn deregister(namespace: Option<&str>, id: &str) -> Result<Ask, String> {
        ask(&DeregisterServiceRequest {
            id: id.to_owned(),
            ns: owned(namespace),
            ..DeregisterServiceRequest::default()
        })
    }

    fn update_check(namespace: Option<&str>, check: &str, status: &str, output: &str) -> Result<Ask, String> {
        ask(&TtlCheckUpdateRequest {
            check: check.to_owned(),
            ns: owned(namespace),
            status: Some(status.to_owned()),
            output: Some(output.to_owned()),
            ..TtlCheckUpdateRequest::default()
        })
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// Assembles a request from its type. `Endpoint::request` would do the same, but logs each request,
/// encodes what needs no encoding, and panics on unexpected input.
fn ask(endpoint: &impl Endpoint) -> Result<Ask, String> {
    let (query, body) = quietly(|| Ok((endpoint.query()?, endpoint.body()?)))
        .map_err(|error: ClientError| error.to_string())?;
    let method = match endpoint.method() {
        RequestMethod::GET => Method::GET,
        RequestMethod::PUT => Method::PUT,
        _ => return Err("its method is none of those in use".to_owned()),
    };
    let (query, body) = (query.unwrap_or_default(), body.unwrap_or_default());
    Ok(Ask { method, path: endpoint.path(), query, body })
}

/// Runs `make` without rustify's spans. Without a subscriber, `make` runs as is: setting any
/// subscriber, even one that does nothing, stops `tracing` from sending events to `log` in the
/// whole process.
fn quietly<T>(make: impl FnOnce() -> T) -> T {
    let no_subscriber = dispatcher::get_default(Dispatch::is::<NoSubscriber>);
    if no_subscriber { make() } else { dispatcher::with_default(&Dispatch::none(), make) }
}
