//! Builds the slice of an endpoint.

use std::net::{IpAddr, Ipv6Addr};

use failover_core::provider::EndpointEntry;
use failover_core::{Endpoint, Error, ErrorKind};
use serde_json::{Map, Value, json};

use super::conditions::Conditions;
use super::document::{self, Document};
use crate::names;

/// The lease to which a process's registrations are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) lease: String,
    pub(crate) uid: String,
}

/// Returns the slice of an endpoint for server-side apply.
pub(crate) fn slice(
    namespace: &str,
    entry: &EndpointEntry,
    owner: Option<&Owner>,
    secrets: bool,
) -> Result<Value, Error> {
    let endpoint = entry.endpoint();
    let name = names::slice(namespace, endpoint.service(), endpoint.id());
    let mut labels = json!({
        names::SERVICE: endpoint.service().as_str(),
        names::MANAGED_BY: names::MANAGER,
        names::HEADLESS: "",
    });
    let mut metadata = json!({
        "name": name,
        "namespace": namespace,
        "annotations": {names::ENDPOINT: document::write(entry, secrets, false, Map::new())?},
    });
    if let Some(owner) = owner {
        labels[names::REGISTRANT] = owner.lease.as_str().into();
        metadata["ownerReferences"] = json!([{
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": owner.lease, "uid": owner.uid,
        }]);
    }
    metadata["labels"] = labels;
    Ok(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": address_type(endpoint),
        "endpoints": endpoints(entry, false, None),
        "ports": ports(endpoint),
    }))
}

/// Returns an existing slice with this entry in it. Fields that others wrote are kept.
pub(crate) fn amend(
    mut object: Value,
    entry: &EndpointEntry,
    secrets: bool,
    expired: bool,
) -> Result<Value, Error> {
    let annotation = object.pointer("/metadata/annotations").and_then(|all| all.get(names::ENDPOINT));
    let others = annotation
        .and_then(Value::as_str)
        .and_then(|text| Document::parse(text).ok())
        .map(|document| document.others)
        .unwrap_or_default();
    let text = document::write(entry, secrets, expired, others)?;
    let native = object.get("endpoints").and_then(|endpoints| endpoints.get(0)).cloned();
    let endpoints = endpoints(entry, expired, native);
    let ports = ports(entry.endpoint());
    let Some(all) = object.as_object_mut() else {
        return Err(Error::new(ErrorKind::Internal, "a slice that is no object"));
    };
    all.insert("endpoints".to_owned(), endpoints);
    all.insert("ports".to_owned(), ports);
    let metadata = all.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        // It is large, and the server maintains it itself.
        metadata.remove("managedFields");
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if !annotations.is_object() {
            *annotations = json!({});
        }
        annotations[names::ENDPOINT] = text.into();
    }
    Ok(object)
}

/// Returns an existing slice marked as expired, or `None` if its content is unreadable.
pub(crate) fn expire(object: Value, entry: Option<&EndpointEntry>) -> Option<Value> {
    // Secrets in it were stored intentionally.
    amend(object, entry?, true, true).ok()
}

/// Returns the address type of an endpoint's slice, which is immutable.
pub(crate) fn address_type(endpoint: &Endpoint) -> &'static str {
    match endpoint.ip() {
        Some(IpAddr::V6(_)) => "IPv6",
        // Host names are only in the annotation: the type FQDN is deprecated and unused in
        // Kubernetes.
        _ => "IPv4",
    }
}

fn endpoints(entry: &EndpointEntry, expired: bool, before: Option<Value>) -> Value {
    let endpoint = entry.endpoint();
    let Some(ip) = endpoint.ip().filter(|ip| is_taken(*ip)) else { return json!([]) };
    let mut native = match before {
        Some(Value::Object(before)) => before,
        _ => Map::new(),
    };
    native.insert("addresses".to_owned(), json!([ip.to_string()]));
    native.insert("conditions".to_owned(), Conditions::of(entry, expired).write());
    match endpoint.zone().filter(|zone| names::is_label(zone)) {
        Some(zone) => native.insert("zone".to_owned(), zone.into()),
        None => native.remove("zone"),
    };
    json!([native])
}

fn ports(endpoint: &Endpoint) -> Value {
    let transport = match endpoint.protocol() {
        "udp" => "UDP",
        "sctp" => "SCTP",
        _ => "TCP",
    };
    let mut port = json!({"name": "", "port": endpoint.port(), "protocol": transport});
    if let Some(application) = application(endpoint.protocol()) {
        port["appProtocol"] = application.into();
    }
    json!([port])
}

fn application(protocol: &str) -> Option<String> {
    match protocol {
        "tcp" | "udp" | "sctp" => None,
        "http" | "https" => Some(protocol.to_owned()),
        "h2c" | "ws" | "wss" => Some(format!("kubernetes.io/{protocol}")),
        // A label value cannot contain a plus; the annotation has the exact protocol.
        other => names::is_label(other).then(|| format!("failover.rs/{other}")),
    }
}

/// Returns whether the API server accepts the address of an endpoint.
fn is_taken(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_link_local() || [a, b, c] == [224, 0, 0])
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            !(ip.is_unspecified()
                || ip.is_loopback()
                || first & 0xffc0 == 0xfe80
                || first & 0xff0f == 0xff02
                || is_mapped(ip))
        }
    }
}

fn is_mapped(ip: Ipv6Addr) -> bool {
    ip.to_ipv4_mapped().is_some()
}
