//! Reads slices of any author. Each part is parsed separately, so that an invalid one does not
//! affect the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use failover_core::provider::EndpointEntry;
use failover_core::{Endpoint, Error, ErrorKind, Health, Lifecycle, ServiceName};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::conditions::Conditions;
use super::document::Document;
use super::port::{Chosen, PORT_NOT_FOUND, choose, protocol};
use crate::names;
use crate::settings::{AddressFamily, Reading, UsedPort};

/// The maximum number of endpoints per slice, as in Kubernetes. An endpoint takes more memory than
/// its encoding.
const MAX_ENDPOINTS: usize = 1000;

/// The priority of endpoints that are meant for callers elsewhere.
const FALLBACK: u32 = 1;

/// A parsed slice.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) service: ServiceName,
    /// Its version, if it is a number.
    pub(crate) version: Option<u64>,
    pub(crate) candidates: Vec<Candidate>,
    /// The port of the endpoints that others wrote.
    pub(crate) used: Option<UsedPort>,
    /// The object itself if none of its ports is the one to use, for another look when the port in
    /// use is known.
    pub(crate) undecided: Option<Box<Value>>,
    /// The unreadable parts: what they are, and why.
    pub(crate) rejected: Vec<(String, Error)>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) entry: EndpointEntry,
    /// Whether this crate wrote the slice.
    pub(crate) managed: bool,
    /// Ready ranks above serving, serving above the rest.
    pub(crate) rank: u8,
    /// Whether it works but is terminating: used only if no endpoint is ready.
    pub(crate) is_last_resort: bool,
    pub(crate) family: Family,
    /// The pod's uid, which connects the addresses of one pod.
    pub(crate) target: Option<Arc<str>>,
    /// Whether it is meant for callers in this zone, and on this node; `None` without such a hint.
    pub(crate) for_zone: Option<bool>,
    pub(crate) for_node: Option<bool>,
    /// The entry as a fallback, if it is meant for other callers.
    pub(crate) fallback: Option<EndpointEntry>,
}

/// The kind of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    Name,
}

impl Family {
    fn of(endpoint: &Endpoint) -> Self {
        match endpoint.ip() {
            Some(IpAddr::V4(_)) => Self::V4,
            Some(IpAddr::V6(_)) => Self::V6,
            None => Self::Name,
        }
    }

    fn is_wanted(self, wanted: AddressFamily) -> bool {
        !matches!((self, wanted), (Self::V4, AddressFamily::Ipv6) | (Self::V6, AddressFamily::Ipv4))
    }
}

/// Parses a slice.
///
/// # Errors
///
/// Returns an error only if the slice cannot be identified.
pub(crate) fn read(object: &Value, reading: &Reading) -> Result<Slice, Error> {
    let metadata = object.get("metadata");
    let text = |key: &str| metadata.and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
    let name = text("name").unwrap_or_default().to_owned();
    let label = metadata.and_then(|m| m.get("labels")).and_then(|labels| labels.get(reading.label));
    let service = ServiceName::new(label.and_then(Value::as_str).unwrap_or_default())
        .map_err(|error| error.context(format!("slice {name}: label {}", reading.label)))?;
    if name.is_empty() {
        return Err(Error::new(ErrorKind::Validation, "a slice without a name"));
    }
    let annotation = metadata.and_then(|m| m.get("annotations")).and_then(|all| all.get(names::ENDPOINT));
    let mut slice = Slice {
        name,
        uid: text("uid").unwrap_or_default().to_owned(),
        service,
        version: text("resourceVersion").and_then(|version| version.parse().ok()),
        candidates: Vec::new(),
        used: None,
        undecided: None,
        rejected: Vec::new(),
    };
    let created =
        text("creationTimestamp").and_then(|text| text.parse::<Timestamp>().ok()).map(SystemTime::from);
    let endpoints = object.get("endpoints").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut foreign = endpoints;
    if let Some(document) = annotation.and_then(Value::as_str) {
        slice.read_managed(object, document, endpoints.first(), created);
        foreign = endpoints.get(1..).unwrap_or_default();
    }
    slice.read_foreign(object, foreign, reading);
    Ok(slice)
}

impl Slice {
    /// Returns a slice without any usable part.
    pub(crate) fn unreadable(object: &Value, service: &ServiceName, error: Error) -> Self {
        let metadata = object.get("metadata");
        let text = |key: &str| metadata.and_then(|metadata| metadata.get(key)).and_then(Value::as_str);
        let name = text("name").unwrap_or_default().to_owned();
        Self {
            rejected: vec![(format!("slice {name}"), error)],
            name,
            uid: text("uid").unwrap_or_default().to_owned(),
            service: service.clone(),
            version: text("resourceVersion").and_then(|version| version.parse().ok()),
            candidates: Vec::new(),
            used: None,
            undecided: None,
        }
    }

    fn reject(&mut self, what: String, error: Error) {
        self.rejected.push((what, error));
    }

    /// Reads a slice written by this crate: the annotation, overridden by the slice's own fields.
    fn read_managed(
        &mut self,
        object: &Value,
        document: &str,
        native: Option<&Value>,
        created: Option<SystemTime>,
    ) {
        let what = format!("slice {}", self.name);
        let (mut document, unread) = match Document::parse(document) {
            Ok(document) => (document, None),
            Err(error) => (Document::default(), Some(error)),
        };
        let port = object.get("ports").and_then(Value::as_array).and_then(|ports| ports.first());
        document.fields.insert("name".to_owned(), self.service.as_str().into());
        if let Some(port) = port.and_then(|port| port.get("port")).filter(|port| !port.is_null()) {
            document.fields.insert("port".to_owned(), port.clone());
        }
        if let Some(native) = native {
            if let Some(address) = address(native) {
                document.fields.insert("address".to_owned(), address.into());
            }
            if let Some(zone) = native.get("zone").and_then(Value::as_str) {
                document.fields.insert("zone".to_owned(), zone.into());
            }
        }
        let entry = match document.entry() {
            Ok(entry) => entry,
            Err(error) => {
                // The valid part is used, and the annotation is reported.
                self.reject(what, unread.unwrap_or(error));
                match native_only(self, &document, native, port) {
                    Some(entry) => entry,
                    None => return,
                }
            }
        };
        let entry = with_creation(entry, created);
        let entry = match native.map(Conditions::read) {
            Some(said) if !said.means(Conditions::of(&entry, document.expired)) => {
                let (health, lifecycle) = said.claims();
                entry.with_health(health).with_lifecycle(lifecycle)
            }
            _ if document.expired => entry.with_health(Health::Unhealthy),
            _ => entry,
        };
        let usable = entry.health() != Health::Unhealthy;
        let rank = match (usable, entry.lifecycle()) {
            (true, Lifecycle::InService) => 2,
            (true, _) => 1,
            _ => 0,
        };
        let family = Family::of(entry.endpoint());
        self.candidates.push(Candidate {
            entry,
            managed: true,
            rank,
            is_last_resort: false,
            family,
            target: None,
            for_zone: None,
            for_node: None,
            fallback: None,
        });
    }

    fn read_foreign(&mut self, object: &Value, endpoints: &[Value], reading: &Reading) {
        if endpoints.is_empty() {
            return;
        }
        let port = choose(object, reading);
        match &port {
            Ok(chosen) => self.used = Some(chosen.used.clone()),
            Err(error) if error.code() == PORT_NOT_FOUND => self.undecided = Some(Box::new(object.clone())),
            Err(_) => {}
        }
        if endpoints.len() > MAX_ENDPOINTS {
            let count = endpoints.len();
            let why = format!("it has {count} endpoints; the first {MAX_ENDPOINTS} are read");
            self.reject(format!("slice {}", self.name), Error::new(ErrorKind::Validation, why));
        }
        for (number, native) in endpoints.iter().take(MAX_ENDPOINTS).enumerate() {
            let address = address(native).unwrap_or_default();
            let shown: String = address.chars().take(64).collect();
            let what = || format!("slice {}, endpoint {number} ({shown})", self.name);
            let chosen = match &port {
                Ok(chosen) => chosen,
                Err(error) => {
                    let what = what();
                    self.reject(what, error.clone());
                    continue;
                }
            };
            match self.candidate(native, address, chosen, reading) {
                Ok(candidate) if candidate.family.is_wanted(reading.family) => {
                    self.candidates.push(candidate);
                }
                Ok(_) => {}
                Err(error) => {
                    let what = what();
                    self.reject(what, error);
                }
            }
        }
    }

    fn candidate(
        &self,
        native: &Value,
        address: &str,
        chosen: &Chosen,
        reading: &Reading,
    ) -> Result<Candidate, Error> {
        let (family, port, protocol) = (reading.family, chosen.used.number, &chosen.protocol);
        let target = native.get("targetRef");
        let of_target = |key: &str| target.and_then(|target| target.get(key)).and_then(Value::as_str);
        let uid = of_target("uid").filter(|uid| !uid.is_empty());
        let id = match uid {
            // Each address of a pod is then an endpoint and needs an id of its own.
            Some(uid) if family == AddressFamily::Both => format!("{uid}:{port}@{address}"),
            Some(uid) => format!("{uid}:{port}"),
            None if address.contains(':') => format!("[{address}]:{port}"),
            None => format!("{address}:{port}"),
        };
        let mut builder = Endpoint::builder(id, self.service.as_str(), address, port).protocol(protocol);
        for (key, value) in [
            ("k8s.pod", of_target("name")),
            ("k8s.node", native.get("nodeName").and_then(Value::as_str)),
            ("k8s.hostname", native.get("hostname").and_then(Value::as_str)),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty() && value.len() <= 253) {
                builder = builder.metadata(key, value);
            }
        }
        let zones = hints(native, "forZones");
        if !zones.is_empty() {
            builder = builder.metadata("k8s.zone_hints", zones.join(","));
        }
        let bare = builder.clone();
        if let Some(zone) = native.get("zone").and_then(Value::as_str).filter(|zone| !zone.is_empty()) {
            builder = builder.zone(zone);
        }
        // An invalid zone is dropped; the endpoint stays.
        let endpoint = builder.build().or_else(|_| bare.build())?;
        let said = Conditions::read(native);
        let (health, lifecycle) = said.claims();
        let family = Family::of(&endpoint);
        let rank = match (said.ready(), said.serving()) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        };
        let meant = |hints: &[&str], own: &Option<String>| {
            let own = own.as_deref()?;
            (!hints.is_empty()).then(|| hints.contains(&own))
        };
        let for_zone = meant(&zones, &reading.zone);
        let for_node = meant(&hints(native, "forNodes"), &reading.node);
        let claim =
            |endpoint: Endpoint| EndpointEntry::new(endpoint).with_health(health).with_lifecycle(lifecycle);
        let fallback = match (for_zone, for_node) {
            (Some(false), _) | (_, Some(false)) => {
                endpoint.to_builder().priority(FALLBACK).build().ok().map(claim)
            }
            _ => None,
        };
        Ok(Candidate {
            entry: claim(endpoint),
            for_zone,
            for_node,
            fallback,
            managed: false,
            rank,
            is_last_resort: !said.ready() && said.serving() && said.terminating(),
            family,
            target: uid.map(Arc::from),
        })
    }
}

/// Returns the zones or nodes for whose callers an endpoint is meant.
fn hints<'a>(native: &'a Value, key: &str) -> Vec<&'a str> {
    let hints = native.get("hints").and_then(|hints| hints.get(key)).and_then(Value::as_array);
    let names =
        hints.into_iter().flatten().take(8).filter_map(|hint| hint.get("name").and_then(Value::as_str));
    names.filter(|name| name.len() <= 253).collect()
}

/// Returns the first address; Kubernetes ignores the others.
fn address(native: &Value) -> Option<&str> {
    native.get("addresses")?.get(0)?.as_str()
}

/// Builds an entry from the slice's own fields, for an endpoint whose annotation is unreadable.
fn native_only(
    slice: &Slice,
    document: &Document,
    native: Option<&Value>,
    port: Option<&Value>,
) -> Option<EndpointEntry> {
    let native = native?;
    let port = port?;
    let number = u16::try_from(port.get("port")?.as_i64()?).ok()?;
    let id = document.fields.get("id").and_then(Value::as_str).unwrap_or(&slice.name);
    let build = |id: &str| {
        let builder = Endpoint::builder(id, slice.service.as_str(), address(native)?, number);
        builder.protocol(protocol(port, crate::settings::defaults::PROTOCOL)).build().ok()
    };
    build(id).or_else(|| build(&slice.name)).map(EndpointEntry::new)
}

fn with_creation(entry: EndpointEntry, created: Option<SystemTime>) -> EndpointEntry {
    if entry.endpoint().created_at().is_some() {
        return entry;
    }
    let Ok(endpoint) = entry.endpoint().to_builder().created_at(created).build() else { return entry };
    EndpointEntry::new(endpoint).with_health(entry.health()).with_lifecycle(entry.lifecycle())
}
