//! Requests and responses of Consul's HTTP API.

pub(crate) mod answer;
mod payloads;
mod requests;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use http::Method;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

use requests::{Ask, Requests, Scope, Selected, pair};

pub(crate) use payloads::{
    AgentConfig, AgentSelf, CheckState, Instance, KeyValue, Locality, Service, content_hash, entries, names,
    node_id,
};
pub(crate) use requests::{Mode, Read};

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

/// Checks a request, whichever implementation made it.
fn call(what: String, ask: Result<Ask, String>) -> Result<Call, Error> {
    let broken =
        |why: &str| Error::new(ErrorKind::Internal, format!("{what}: the request cannot be made: {why}"));
    let Ask { method, path, query, body } = ask.map_err(|why| broken(&why))?;
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"/._:@-".contains(&b);
    // A path that ends in a slash is that of the keys below it. Ids of other software can have spaces.
    let whole = path.strip_suffix('/').unwrap_or(&path);
    if !path.replace("%20", "").bytes().all(is_safe)
        || whole.split('/').any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(broken("its path is not one"));
    }
    let mark = if query.is_empty() { "" } else { "?" };
    let target = format!("/v1/{path}{mark}{query}");
    Ok(Call { what, method, target, body, is_state: false, is_beat: false })
}

impl Settings {
    /// Returns the scope of a request to the servers.
    fn scope(&self) -> Scope<'_> {
        Scope { datacenter: self.datacenter.as_deref(), namespace: self.namespace.as_deref() }
    }

    /// Reads the instances of a service with their checks; with an id, only those with that id.
    pub(crate) fn health(&self, service: &str, id: Option<&str>, read: Read) -> Result<Call, Error> {
        let filter = id.map(|id| format!("Service.ID == {}", quoted(id)));
        let ask = Ask::new(Method::GET, format!("health/service/{service}"))
            .query(self.scope().pairs())
            .query(filter.iter().map(|filter| ("filter", filter.as_str())));
        call(format!("reading service {service}"), Ok(ask.read(read)))
    }

    /// Reads the instances of a service for a list, the nearest first where that is wanted.
    pub(crate) fn listed(&self, service: &str, read: Read) -> Result<Call, Error> {
        let mut call = self.health(service, None, read)?;
        if self.near_agent {
            call.target.push(if call.target.contains('?') { '&' } else { '?' });
            call.target.push_str("near=_agent");
        }
        Ok(call)
    }

    /// Reads the names of all services.
    pub(crate) fn services(&self, read: Read) -> Result<Call, Error> {
        let ask = Selected::list_services(self.scope());
        call("reading the names of all services".to_owned(), ask.map(|ask| ask.read(read)))
    }

    /// Reads a node with its services; null if it is not in the catalog.
    pub(crate) fn node(&self, node: &str) -> Result<Call, Error> {
        let ask = Ask::new(Method::GET, format!("catalog/node/{node}")).query(self.scope().pairs());
        call(format!("reading node {node}"), Ok(ask))
    }

    /// Asks whether the token may read a service.
    pub(crate) fn may_read(&self, service: &str) -> Result<Call, Error> {
        let body = serde_json::json!([{"Resource": "service", "Access": "read", "Segment": service}]);
        let ask = Ask::new(Method::POST, "internal/acl/authorize").query(self.scope().pairs());
        call(format!("asking for the rights to {service}"), Ok(ask.body(body.to_string())))
    }

    pub(crate) fn kv_read(&self, key: &str, read: Read) -> Result<Call, Error> {
        let ask = Selected::read_key(self.scope(), key);
        call(format!("reading key {key}"), ask.map(|ask| ask.read(read)))
    }

    /// Reads every key below a path.
    pub(crate) fn kv_below(&self, path: &str, read: Read) -> Result<Call, Error> {
        let ask = Selected::read_key(self.scope(), path);
        let ask = ask.map(|ask| ask.query([("recurse", "true")]).read(read));
        call(format!("reading the keys below {path}"), ask)
    }

    /// Writes if the key's index is still this one; 0 means that the key must not exist.
    pub(crate) fn kv_swap(&self, key: &str, value: &[u8], index: u64) -> Result<Call, Error> {
        call(format!("writing key {key}"), Selected::swap_key(self.scope(), key, value, index))
    }

    /// Reads one instance from the agent, with its checks; the status is 404 if it does not exist.
    pub(crate) fn local(&self, id: &str) -> Result<Call, Error> {
        let ask = Ask::new(Method::GET, format!("agent/health/service/id/{id}"));
        let local =
            call(format!("reading {id} from the agent"), Ok(ask.query(pair(self.namespace.as_deref()))))?;
        Ok(Call { is_state: true, is_beat: true, ..local })
    }

    /// Reads a registration from the agent; the status is 404 if it does not exist. With the hash of its
    /// content, waits until that changes, at most for this long.
    pub(crate) fn registered(&self, id: &str, after: Option<(&str, Duration)>) -> Result<Call, Error> {
        let mut ask = Ask::new(Method::GET, format!("agent/service/{id}"));
        ask = ask.query(pair(self.namespace.as_deref()));
        if let Some((hash, wait)) = after {
            let wait = format!("{}s", wait.as_secs().max(1));
            ask = ask.query([("hash", hash), ("wait", &wait)]);
        }
        call(format!("watching {id} on the agent"), Ok(ask))
    }

    pub(crate) fn register(&self, registration: &Registration, replace_checks: bool) -> Result<Call, Error> {
        let what = format!("registering {}", registration.id);
        let body = serde_json::to_vec(registration)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("{what}: {error}")))?;
        let ask = Ask::new(Method::PUT, "agent/service/register")
            .query(pair(self.namespace.as_deref()))
            .query(replace_checks.then_some(("replace-existing-checks", "true")));
        call(what, Ok(ask.body(body)))
    }

    pub(crate) fn deregister(&self, id: &str) -> Result<Call, Error> {
        call(format!("deregistering {id}"), Selected::deregister(self.namespace.as_deref(), id))
    }

    /// Starts maintenance with this reason, or ends it without one.
    pub(crate) fn maintenance(&self, id: &str, reason: Option<&str>) -> Result<Call, Error> {
        let enable = if reason.is_some() { "true" } else { "false" };
        let ask = Ask::new(Method::PUT, format!("agent/service/maintenance/{id}"))
            .query([("enable", enable)])
            .query(reason.map(|reason| ("reason", reason)))
            .query(pair(self.namespace.as_deref()));
        call(format!("setting the maintenance of {id}"), Ok(ask))
    }

    /// Reports the status of a check with a time to live.
    pub(crate) fn beat(&self, check: &str, status: &str) -> Result<Call, Error> {
        // Every server would log a text that changes.
        let ask = Selected::update_check(self.namespace.as_deref(), check, status, "failover");
        let beat = call(format!("updating check {check}"), ask)?;
        Ok(Call { is_beat: true, ..beat })
    }
}

/// Reads the agent's configuration.
pub(crate) fn agent_self() -> Result<Call, Error> {
    call("reading the agent".to_owned(), Ok(Ask::new(Method::GET, "agent/self")))
}

/// Reads the leader's address, empty if there is none.
pub(crate) fn leader(datacenter: Option<&str>) -> Result<Call, Error> {
    let ask = Ask::new(Method::GET, "status/leader").query(Scope { datacenter, namespace: None }.pairs());
    call("asking for the leader".to_owned(), Ok(ask))
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
