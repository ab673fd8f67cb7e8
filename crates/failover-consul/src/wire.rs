//! Requests and responses of Consul's HTTP API.
//!
//! The only module that uses consulrs and rustify, and only their request types, which define the
//! path, query and body of a request.

pub(crate) mod answer;
mod payloads;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use consulrs::api::check::requests::TtlCheckUpdateRequest;
use consulrs::api::features::{Blocking, ConsistencyMode, Features};
use consulrs::api::kv::requests::{ReadKeyRequest, SetKeyRequest};
use consulrs::api::service::requests::DeregisterServiceRequest;
use consulrs::api::{catalog, kv};
use failover_core::{Error, ErrorKind};
use http::Method;
use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError;
use serde::{Deserialize, Serialize};
use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;
use url::form_urlencoded;

use crate::settings::Settings;

pub(crate) use payloads::{AgentConfig, AgentSelf, CheckState, Instance, KeyValue, Service, entries, names};

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its purpose, for error messages.
    pub(crate) what: String,
    pub(crate) method: Method,
    /// Path and query, starting with `/v1`.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    /// Whether the status reflects an instance's checks, not the agent.
    pub(crate) is_state: bool,
    /// Whether it is part of a heartbeat, which the agent answers without the servers.
    pub(crate) is_beat: bool,
}

/// The consistency mode of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Stale,
    Leader,
    Consistent,
}

/// The parameters of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) mode: Mode,
    /// Blocks until the index exceeds this one, at most for this long.
    pub(crate) after: Option<(u64, Duration)>,
}

impl Read {
    /// Returns a read that does not block.
    pub(crate) fn now(mode: Mode) -> Self {
        Self { mode, after: None }
    }

    fn features(self) -> Features {
        Features {
            blocking: self.after.map(|(index, wait)| Blocking {
                index,
                // In whole seconds, and at least 1: 0 would mean five minutes.
                wait: Some(format!("{}s", wait.as_secs().max(1))),
            }),
            mode: match self.mode {
                Mode::Stale => Some(ConsistencyMode::STALE),
                Mode::Leader => None,
                Mode::Consistent => Some(ConsistencyMode::CONSISTENT),
            },
            ..Features::default()
        }
    }
}

/// A request without a consulrs type.
#[derive(Debug)]
struct Ask {
    method: RequestMethod,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

impl Endpoint for Ask {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        self.method.clone()
    }

    fn query(&self) -> Result<Option<String>, ClientError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        Ok(Some(query.finish()))
    }

    fn body(&self) -> Result<Option<Vec<u8>>, ClientError> {
        Ok(self.body.clone())
    }
}

/// Assembles a request from its type. `Endpoint::request` and `Features::process` would do the
/// same, but log each request, encode what needs no encoding, and panic on unexpected input.
fn call(what: String, endpoint: &impl Endpoint, features: Option<&Features>) -> Result<Call, Error> {
    let broken =
        |why: &str| Error::new(ErrorKind::Internal, format!("{what}: the request cannot be made: {why}"));
    let (query, body) = quietly(|| Ok((endpoint.query()?, endpoint.body()?)))
        .map_err(|error: ClientError| broken(&error.to_string()))?;
    let path = endpoint.path();
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"/._:@-".contains(&b);
    // A path that ends in a slash is that of the keys below it.
    let mut segments = path.strip_suffix('/').unwrap_or(&path).split('/');
    if !path.bytes().all(is_safe) || segments.any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(broken("its path is not one"));
    }
    let mut query = form_urlencoded::Serializer::new(query.unwrap_or_default());
    if let Some(blocking) = features.and_then(|features| features.blocking.as_ref()) {
        query.append_pair("index", &blocking.index.to_string());
        query.extend_pairs(blocking.wait.iter().map(|wait| ("wait", wait)));
    }
    match features.and_then(|features| features.mode.as_ref()) {
        Some(ConsistencyMode::STALE) => drop(query.append_key_only("stale")),
        Some(ConsistencyMode::CONSISTENT) => drop(query.append_key_only("consistent")),
        None => {}
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    let method = match endpoint.method() {
        RequestMethod::GET => Method::GET,
        RequestMethod::POST => Method::POST,
        RequestMethod::PUT => Method::PUT,
        _ => return Err(broken("its method is none of those in use")),
    };
    let target = format!("/v1/{path}{mark}{query}");
    Ok(Call { what, method, target, body: body.unwrap_or_default(), is_state: false, is_beat: false })
}

/// Runs `make` without rustify's spans. Without a subscriber, `make` runs as is: setting any
/// subscriber, even one that does nothing, stops `tracing` from sending events to `log` in the
/// whole process.
fn quietly<T>(make: impl FnOnce() -> T) -> T {
    let no_subscriber = dispatcher::get_default(Dispatch::is::<NoSubscriber>);
    if no_subscriber { make() } else { dispatcher::with_default(&Dispatch::none(), make) }
}

impl Settings {
    fn place(&self, query: &mut Vec<(&'static str, String)>) {
        query.extend(self.datacenter.iter().map(|dc| ("dc", dc.clone())));
        self.namespaced(query);
    }

    fn namespaced(&self, query: &mut Vec<(&'static str, String)>) {
        query.extend(self.namespace.iter().map(|namespace| ("ns", namespace.clone())));
    }

    /// Reads the instances of a service with their checks; with an id, only those with that id.
    pub(crate) fn health(&self, service: &str, id: Option<&str>, read: Read) -> Result<Call, Error> {
        let mut query = Vec::new();
        self.place(&mut query);
        if let Some(id) = id {
            query.push(("filter", format!("Service.ID == {}", quoted(id))));
        }
        let path = format!("health/service/{service}");
        let ask = Ask { method: RequestMethod::GET, path, query, body: None };
        call(format!("reading service {service}"), &ask, Some(&read.features()))
    }

    /// Reads the names of all services.
    pub(crate) fn services(&self, read: Read) -> Result<Call, Error> {
        let request = catalog::requests::ListServicesRequest {
            dc: self.datacenter.clone(),
            ns: self.namespace.clone(),
            ..Default::default()
        };
        call("reading the names of all services".to_owned(), &request, Some(&read.features()))
    }

    /// Asks whether the token may read a service.
    pub(crate) fn may_read(&self, service: &str) -> Result<Call, Error> {
        let mut query = Vec::new();
        self.place(&mut query);
        let body =
            serde_json::json!([{"Resource": "service", "Access": "read", "Segment": service}]).to_string();
        let path = "internal/acl/authorize".to_owned();
        let ask = Ask { method: RequestMethod::POST, path, query, body: Some(body.into_bytes()) };
        call(format!("asking for the rights to {service}"), &ask, None)
    }

    pub(crate) fn kv_read(&self, key: &str, read: Read) -> Result<Call, Error> {
        let request = ReadKeyRequest {
            key: key.to_owned(),
            dc: self.datacenter.clone(),
            ns: self.namespace.clone(),
            ..kv::requests::ReadKeyRequest::default()
        };
        call(format!("reading key {key}"), &request, Some(&read.features()))
    }

    /// Reads every key below a path.
    pub(crate) fn kv_below(&self, path: &str, read: Read) -> Result<Call, Error> {
        let request = ReadKeyRequest {
            key: path.to_owned(),
            dc: self.datacenter.clone(),
            ns: self.namespace.clone(),
            recurse: Some(true),
            ..kv::requests::ReadKeyRequest::default()
        };
        call(format!("reading the keys below {path}"), &request, Some(&read.features()))
    }

    /// Writes if the key's index is still this one; 0 means that the key must not exist.
    pub(crate) fn kv_swap(&self, key: &str, value: &[u8], index: u64) -> Result<Call, Error> {
        let request = SetKeyRequest {
            key: key.to_owned(),
            value: value.to_vec(),
            cas: Some(index),
            dc: self.datacenter.clone(),
            ns: self.namespace.clone(),
            ..SetKeyRequest::default()
        };
        call(format!("writing key {key}"), &request, None)
    }

    /// Reads one instance from the agent, with its checks; the status is 404 if it does not exist.
    pub(crate) fn local(&self, id: &str) -> Result<Call, Error> {
        let mut query = Vec::new();
        self.namespaced(&mut query);
        let path = format!("agent/health/service/id/{id}");
        let local = call(
            format!("reading {id} from the agent"),
            &Ask { method: RequestMethod::GET, path, query, body: None },
            None,
        )?;
        Ok(Call { is_state: true, is_beat: true, ..local })
    }

    pub(crate) fn register(&self, registration: &Registration, replace_checks: bool) -> Result<Call, Error> {
        let mut query = Vec::new();
        self.namespaced(&mut query);
        if replace_checks {
            query.push(("replace-existing-checks", "true".to_owned()));
        }
        let what = format!("registering {}", registration.id);
        let body = serde_json::to_vec(registration)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("{what}: {error}")))?;
        let path = "agent/service/register".to_owned();
        call(what, &Ask { method: RequestMethod::PUT, path, query, body: Some(body) }, None)
    }

    pub(crate) fn deregister(&self, id: &str) -> Result<Call, Error> {
        let request =
            DeregisterServiceRequest { id: id.to_owned(), ns: self.namespace.clone(), ..Default::default() };
        call(format!("deregistering {id}"), &request, None)
    }

    /// Starts maintenance with this reason, or ends it without one.
    pub(crate) fn maintenance(&self, id: &str, reason: Option<&str>) -> Result<Call, Error> {
        let mut query = vec![("enable", reason.is_some().to_string())];
        query.extend(reason.map(|reason| ("reason", reason.to_owned())));
        self.namespaced(&mut query);
        let path = format!("agent/service/maintenance/{id}");
        let ask = Ask { method: RequestMethod::PUT, path, query, body: None };
        call(format!("setting the maintenance of {id}"), &ask, None)
    }

    /// Reports the status of a check with a time to live.
    pub(crate) fn beat(&self, check: &str, status: &str) -> Result<Call, Error> {
        let request = TtlCheckUpdateRequest {
            check: check.to_owned(),
            ns: self.namespace.clone(),
            status: Some(status.to_owned()),
            // Every server would log a text that changes.
            output: Some("failover".to_owned()),
            ..TtlCheckUpdateRequest::default()
        };
        let beat = call(format!("updating check {check}"), &request, None)?;
        Ok(Call { is_beat: true, ..beat })
    }
}

/// Reads the agent's configuration.
pub(crate) fn agent_self() -> Result<Call, Error> {
    let path = "agent/self".to_owned();
    call(
        "reading the agent".to_owned(),
        &Ask { method: RequestMethod::GET, path, query: Vec::new(), body: None },
        None,
    )
}

/// Reads the leader's address, empty if there is none.
pub(crate) fn leader(datacenter: Option<&str>) -> Result<Call, Error> {
    let query = datacenter.map(|dc| ("dc", dc.to_owned())).into_iter().collect();
    let path = "status/leader".to_owned();
    call(
        "asking for the leader".to_owned(),
        &Ask { method: RequestMethod::GET, path, query, body: None },
        None,
    )
}

/// Returns a text quoted for a filter expression.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A registration. It has only the fields that Consul 1.8 knows, because an agent refuses others.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Registration {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) weights: Weights,
    pub(crate) enable_tag_override: bool,
    pub(crate) check: Check,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Weights {
    pub(crate) passing: i64,
    pub(crate) warning: Option<i64>,
}

#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Check {
    #[serde(rename = "CheckID")]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    #[serde(rename = "TTL", skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<String>,
    #[serde(rename = "HTTP", skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<String>,
    #[serde(rename = "TCP", skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<String>,
    #[serde(rename = "GRPC", skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<String>,
    #[serde(rename = "GRPCUseTLS", skip_serializing_if = "Option::is_none")]
    pub(crate) grpc_tls: Option<bool>,
    #[serde(rename = "TLSServerName", skip_serializing_if = "Option::is_none")]
    pub(crate) tls_server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) header: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) success_before_passing: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failures_before_critical: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deregister_critical_service_after: Option<String>,
}

/// Omits headers and body, which can be secret.
impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}
