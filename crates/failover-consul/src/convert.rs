//! Converts endpoints to and from Consul's representation.
//!
//! Fields that Consul has are stored there; others are stored in the service's metadata under keys
//! that start with `fo-`. What does not fit is stored in a JSON document split into values of 512
//! bytes (`fo-x00`, `fo-x01`, …).

mod adjust;
mod check;
mod id;
mod overflow;
mod port;
mod set;
mod states;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use failover_core::provider::{EndpointEntry, PortChoice};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, ServiceName};

use crate::error::unsupported;
use crate::settings::Settings;
use crate::wire::{Instance, Locality, Registration, Service, Weights};

pub(crate) use adjust::Notes;
pub(crate) use check::{has_check, status_of};
pub(crate) use id::encode as encode_id;
pub(crate) use set::{node, nodes, only_passing, read_set};
pub(crate) use states::{Claims, DRAINING, MAINTENANCE, claims};

use overflow::{MAX_VALUE, Overflow};
use port::Ports;

/// The number of pairs that Consul accepts per service.
const MAX_META: usize = 64;
/// Plain pairs stored as they are; the rest is left for the library's own keys and the pieces.
const MAX_PLAIN: usize = 40;
const MAX_WEIGHT: u32 = 65_535;

const SCHEMA: &str = "fo-v";
const PROTOCOL: &str = "fo-proto";
const WEIGHT: &str = "fo-weight";
const PRIORITY: &str = "fo-prio";
const REGION: &str = "fo-region";
const ZONE: &str = "fo-zone";
const SERVER_NAME: &str = "fo-sn";
const CREATED: &str = "fo-ctime";
const UPDATED: &str = "fo-utime";
const OWNER: &str = "fo-owner";
const OURS: &str = "fo-";

/// The error code for a sidecar or a gateway.
const NOT_AN_INSTANCE: &str = "NOT_AN_INSTANCE";

/// Returns the registration of an endpoint by the provider identified as `owner`.
///
/// # Errors
///
/// Returns `Unsupported`, naming the field, if Consul cannot store it.
pub(crate) fn registration(
    endpoint: &Endpoint,
    owner: &str,
    settings: &Settings,
) -> Result<Registration, Error> {
    let id = id::encode(endpoint.id());
    let check = check::check(endpoint, &id, settings)?;
    Ok(Registration {
        id,
        name: endpoint.service().as_str().to_owned(),
        tags: endpoint.tags().to_vec(),
        address: address(endpoint)?,
        port: endpoint.port(),
        meta: meta(endpoint, owner, settings)?,
        weights: Weights { passing: i64::from(endpoint.weight().clamp(1, MAX_WEIGHT)), warning: Some(1) },
        enable_tag_override: false,
        check,
    })
}

/// Returns the address; Consul would refuse these two itself, with a less helpful message.
fn address(endpoint: &Endpoint) -> Result<String, Error> {
    if endpoint.ip().is_some_and(|ip| ip.is_unspecified()) {
        return Err(unsupported("address", "consul takes no unspecified address"));
    }
    Ok(endpoint.address().to_owned())
}

fn meta(endpoint: &Endpoint, owner: &str, settings: &Settings) -> Result<BTreeMap<String, String>, Error> {
    let mut meta = BTreeMap::from([
        (SCHEMA.to_owned(), "1".to_owned()),
        (PROTOCOL.to_owned(), endpoint.protocol().to_owned()),
        (OWNER.to_owned(), owner.to_owned()),
    ]);
    let weight = endpoint.weight();
    let optional = [
        (WEIGHT, (!(1..=MAX_WEIGHT).contains(&weight)).then(|| weight.to_string())),
        (PRIORITY, (endpoint.priority() != 0).then(|| endpoint.priority().to_string())),
        (REGION, endpoint.region().map(str::to_owned)),
        (ZONE, endpoint.zone().map(str::to_owned)),
        (SERVER_NAME, endpoint.server_name().map(str::to_owned)),
        (CREATED, endpoint.created_at().map(millis)),
        (UPDATED, endpoint.updated_at().map(millis)),
    ];
    meta.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let check = endpoint
        .health_check()
        .map(|check| if settings.secret_headers { check.clone() } else { check.without_secrets() });
    let (plain, long): (Vec<_>, Vec<_>) =
        endpoint.metadata().iter().partition(|(key, value)| is_plain(key) && value.len() <= MAX_VALUE);
    let count = if plain.len() <= MAX_PLAIN { plain.len() } else { MAX_PLAIN };
    // Pieces hold more than pairs: what does not fit with plain pairs may fit without any.
    for count in [count, 0] {
        let mut whole = meta.clone();
        whole.extend(plain[..count].iter().map(|(key, value)| ((*key).clone(), (*value).clone())));
        let rest = plain[count..].iter().chain(&long).map(|(key, value)| ((*key).clone(), (*value).clone()));
        let overflow = Overflow { metadata: rest.collect(), health_check: check.clone() };
        whole.extend(overflow.pieces()?);
        if whole.len() <= MAX_META {
            return Ok(whole);
        }
    }
    Err(unsupported(
        "metadata",
        "with the health check it is larger than the 25 KiB that consul has room for",
    ))
}

fn is_plain(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let reserved =
        |prefix: &str| key.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    (1..=128).contains(&key.len()) && key.bytes().all(allowed) && !reserved(OURS) && !reserved("consul-")
}

fn millis(time: SystemTime) -> String {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_millis().to_string(),
        Err(before) => format!("-{}", before.duration().as_millis()),
    }
}

fn time(millis: &str) -> Option<SystemTime> {
    let millis: i64 = millis.parse().ok()?;
    let distance = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

/// Returns the provider that registered an instance, if it was registered by this library.
pub(crate) fn owner<'a>(service: &'a Service<'_>) -> Option<&'a str> {
    service.meta.as_ref()?.get(OWNER)?.as_deref()
}

/// Returns whether Consul takes two names for the same service: it ignores their case.
pub(crate) fn is_service(service: &ServiceName, name: &str) -> bool {
    service.as_str().eq_ignore_ascii_case(name)
}

/// Records another provider as the owner of a registration.
pub(crate) fn set_owner(registration: &mut Registration, owner: &str) {
    registration.meta.insert(OWNER.to_owned(), owner.to_owned());
}

/// Returns the same endpoint under another id.
pub(crate) fn with_id(endpoint: &Endpoint, id: EndpointId) -> Result<Endpoint, Error> {
    // Only a new builder can set an id.
    let mut copy = Endpoint::builder(id, endpoint.service(), endpoint.address(), endpoint.port())
        .protocol(endpoint.protocol())
        .health_check(endpoint.health_check().cloned())
        .metadata_map(endpoint.metadata())
        .tags(endpoint.tags())
        .weight(endpoint.weight())
        .priority(endpoint.priority())
        .created_at(endpoint.created_at())
        .updated_at(endpoint.updated_at());
    if let Some(name) = endpoint.server_name() {
        copy = copy.server_name(name);
    }
    if let Some(region) = endpoint.region() {
        copy = copy.region(region);
    }
    if let Some(zone) = endpoint.zone() {
        copy = copy.zone(zone);
    }
    copy.build()
}

/// Converts one instance to an endpoint with the health and lifecycle of its checks. What does not fit
/// into the model is cut or encoded, and noted.
///
/// # Errors
///
/// Returns an error with the reason if the instance is unusable.
pub(crate) fn entry(
    service: &ServiceName,
    port: Option<&PortChoice>,
    instance: &Instance<'_>,
    settings: &Settings,
    notes: &mut Notes,
) -> Result<EndpointEntry, Error> {
    let Some(found) = &instance.service else {
        return Err(Error::new(ErrorKind::Validation, "it has no service"));
    };
    let name = found.name.as_deref().unwrap_or_default();
    if !is_service(service, name) {
        let message = format!("it belongs to service {name}, not to {service}");
        return Err(Error::new(ErrorKind::Validation, message));
    }
    if let Some(kind) = found.kind.as_deref().filter(|kind| !matches!(*kind, "" | "typical")) {
        let message = format!("its kind is {kind}: it is not an instance of the service itself");
        return Err(Error::new(ErrorKind::Validation, message).with_code(NOT_AN_INSTANCE));
    }
    let Claims { health, lifecycle } = claims(instance.checks.as_deref(), settings.ignore_node_checks);
    let port = Ports::new(found.port, found.ports).choose(port.map(ToString::to_string).as_deref())?;
    let endpoint = endpoint(service, port, instance, found, health, settings, notes)?;
    Ok(EndpointEntry::new(endpoint).with_health(health).with_lifecycle(lifecycle))
}

fn endpoint(
    service: &ServiceName,
    port: u16,
    instance: &Instance<'_>,
    found: &Service<'_>,
    health: Health,
    settings: &Settings,
    notes: &mut Notes,
) -> Result<Endpoint, Error> {
    let empty = BTreeMap::new();
    let meta = found.meta.as_ref().unwrap_or(&empty);
    let get = |key: &str| meta.get(key).and_then(Option::as_deref);
    let ours = get(SCHEMA).is_some();
    let id = found.id.as_deref().filter(|id| !id.is_empty()).or(found.name.as_deref());
    let id = id.unwrap_or_default();
    let id = if ours { id::decode(id) } else { id.into() };
    let id = adjust::id(&id, notes);
    let ports = Ports::new(found.port, found.ports);
    let node = instance.node.as_ref();
    let own = found.address.as_deref().filter(|address| !address.is_empty());
    let address = own.or_else(|| node.and_then(|node| node.address.as_deref())).unwrap_or_default();
    let weight = match get(WEIGHT).filter(|_| ours).and_then(|weight| weight.parse().ok()) {
        Some(exact) => exact,
        None => found.weights.as_ref().map_or(1, |weights| {
            // An endpoint of this library has one weight, whatever its health.
            let warning = weights.warning.filter(|_| !ours && health == Health::Degraded);
            warning.unwrap_or(weights.passing).clamp(0, i64::from(u32::MAX)) as u32
        }),
    };
    let overflow = if ours { Overflow::read(&get) } else { Overflow::default() };
    let plain = meta.iter().filter(|(key, _)| !(ours && key.starts_with(OURS)));
    let mut metadata: BTreeMap<String, String> =
        plain.map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())).collect();
    metadata.extend(overflow.metadata);
    ports.note(&mut metadata);
    let mut builder = Endpoint::builder(id, service, address, port)
        .protocol(get(PROTOCOL).filter(|_| ours).unwrap_or(&settings.protocol))
        .health_check(overflow.health_check)
        .metadata_map(adjust::metadata(metadata, notes))
        .tags(adjust::tags(found.tags.clone().unwrap_or_default(), notes))
        .weight(weight);
    if !ours {
        let node_meta = node.and_then(|node| node.meta.as_ref());
        let of_node = |key: &str| node_meta?.get(key)?.as_deref().filter(|value| !value.is_empty());
        // What the service says of itself comes before what its node says, and Consul's own field
        // before a convention.
        let places = [found.locality, node.and_then(|node| node.locality)];
        let [service_at, node_at] = places.map(Locality::read);
        let datacenter = node.and_then(|node| node.datacenter.as_deref());
        let zones = [
            service_at.zone.as_deref(),
            node_at.zone.as_deref(),
            of_node("zone"),
            of_node("availability-zone"),
        ];
        let regions =
            [service_at.region.as_deref(), node_at.region.as_deref(), of_node("region"), datacenter];
        let usable = |text: &&str| is_locality(text);
        if let Some(zone) = zones.into_iter().flatten().find(usable) {
            builder = builder.zone(zone);
        }
        if let Some(region) = regions.into_iter().flatten().find(usable) {
            builder = builder.region(region);
        }
        return builder.build();
    }
    builder = builder
        .priority(get(PRIORITY).and_then(|priority| priority.parse().ok()).unwrap_or(0))
        .created_at(get(CREATED).and_then(time))
        .updated_at(get(UPDATED).and_then(time));
    if let Some(name) = get(SERVER_NAME) {
        builder = builder.server_name(name);
    }
    if let Some(region) = get(REGION) {
        builder = builder.region(region);
    }
    if let Some(zone) = get(ZONE) {
        builder = builder.zone(zone);
    }
    builder.build()
}

/// Returns whether a node's zone or region is a valid one here. If not, its instances have none
/// rather than being lost.
fn is_locality(text: &str) -> bool {
    let shown = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    (1..=63).contains(&text.chars().count()) && text.chars().all(shown)
}

/// Returns whether an instance on another node is alive; one that is not may be taken over.
pub(crate) fn is_alive(instance: &Instance<'_>) -> bool {
    claims(instance.checks.as_deref(), false).health != Health::Unhealthy
}
