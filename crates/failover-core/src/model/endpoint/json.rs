//! Endpoints as JSON, with the names of the Go package.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::builder::EndpointBuilder;
use crate::model::endpoint::limits::{FIRST_TIME, PORT_WANTED};
use crate::model::endpoint::{Endpoint, EndpointEntry};
use crate::model::health::{Health, Lifecycle};
use crate::model::health_check::HealthCheck;

const GO_KEYS: usize = 4;
const KEYS: &[&str] = &[
    "id",
    "name",
    "address",
    "port",
    "protocol",
    "server_name",
    "health_check",
    "metadata",
    "tags",
    "weight",
    "zero_weight",
    "priority",
    "region",
    "zone",
    "created_at",
    "updated_at",
    "health",
    "draining",
    "maintenance",
    // The last four are the Go package's internal state: read, ignored, and never written.
    "last_check",
    "response_time",
    "failures",
    "successes",
];

impl EndpointEntry {
    /// The keys of an entry's JSON form. A provider that stores entries beside its own keys
    /// distinguishes them by these.
    pub const JSON_KEYS: &'static [&'static str] = KEYS.split_at(KEYS.len() - GO_KEYS).0;
}

impl Endpoint {
    pub(crate) fn from_raw(raw: Raw) -> Result<Self, Error> {
        read(&mut open(raw)?)?.build()
    }
}

impl EndpointEntry {
    pub(crate) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let mut fields = open(raw)?;
        let entry = Self::new(read(&mut fields)?.build()?);
        let health = match fields.take("health") {
            None => Health::default(),
            Some(Raw::Text(word)) if word.is_empty() => Health::default(),
            Some(raw) => Health::from_raw("health", &raw)?,
        };
        let draining = fields.flag("draining")?.unwrap_or(false);
        let lifecycle = match fields.flag("maintenance")? {
            Some(true) => Lifecycle::Maintenance,
            _ if draining => Lifecycle::Draining,
            _ => Lifecycle::InService,
        };
        Ok(entry.with_health(health).with_lifecycle(lifecycle))
    }
}

fn open(raw: Raw) -> Result<Document, Error> {
    Document::open(raw, "", "endpoint", KEYS)
}

fn read(fields: &mut Document) -> Result<EndpointBuilder, Error> {
    let mut required = |name: &str, wanted: &str| {
        fields.text(name)?.ok_or_else(|| {
            Error::new(ErrorKind::Validation, format!("{name} is missing or empty; give {wanted}"))
                .with_detail("field", name)
        })
    };
    let id = required("id", "an id that is unique within the service")?;
    let service = required("name", "the name of the service")?;
    let address = required("address", "an IP address or a host name")?;
    let port = read_port(fields)?;
    let mut builder = Endpoint::builder(id, service, address, port)
        .metadata_map(read_metadata(fields)?)
        .tags(read_tags(fields)?)
        .weight(read_weight(fields)?)
        .priority(fields.whole("priority", &(0..=u32::MAX))?.unwrap_or(0))
        .created_at(read_time(fields, "created_at")?)
        .updated_at(read_time(fields, "updated_at")?)
        .health_check(fields.take("health_check").map(HealthCheck::from_raw).transpose()?);
    if let Some(protocol) = fields.text("protocol")? {
        builder = builder.protocol(protocol);
    }
    if let Some(name) = fields.text("server_name")? {
        builder = builder.server_name(name);
    }
    if let Some(region) = fields.text("region")? {
        builder = builder.region(region);
    }
    if let Some(zone) = fields.text("zone")? {
        builder = builder.zone(zone);
    }
    Ok(builder)
}

fn read_port(fields: &mut Document) -> Result<u16, Error> {
    match fields.take("port") {
        None => {
            let message = format!("port is missing; give {PORT_WANTED}");
            Err(Error::new(ErrorKind::Validation, message).with_detail("field", "port"))
        }
        Some(raw) => match raw.as_whole() {
            Some(port @ 1..=65_535) => Ok(port as u16),
            _ => Err(Error::invalid("port", raw, PORT_WANTED)),
        },
    }
}

/// Reads the weight. Go writes 0 for an unset weight, so an intended 0 has a marker beside it.
fn read_weight(fields: &mut Document) -> Result<u32, Error> {
    let given = fields.take("weight").filter(|raw| !raw.is_unset());
    let given = given.map(|raw| document::whole("weight", &raw, &(0..=u32::MAX))).transpose()?;
    match (given, fields.flag("zero_weight")?) {
        (None | Some(0), Some(true)) => Ok(0),
        (None, _) => Ok(crate::model::defaults::WEIGHT),
        (Some(weight), Some(true)) => {
            Err(Error::invalid("weight", weight, "0 beside \"zero_weight\": true, or leave that out"))
        }
        (Some(weight), _) => Ok(weight),
    }
}

fn read_metadata(fields: &mut Document) -> Result<BTreeMap<String, String>, Error> {
    let entries = fields.object("metadata")?;
    entries
        .into_iter()
        .map(|(key, value)| match value {
            Raw::Text(value) => Ok((key, value)),
            other => Err(Error::invalid(&document::path("metadata", &key), other, "text")),
        })
        .collect()
}

fn read_tags(fields: &mut Document) -> Result<Vec<String>, Error> {
    let tags = match fields.take("tags") {
        None => Vec::new(),
        Some(Raw::List(tags)) => tags,
        Some(other) => return Err(Error::invalid("tags", other, "a list of strings")),
    };
    tags.into_iter()
        .map(|tag| match tag {
            Raw::Text(tag) => Ok(tag),
            other => Err(Error::invalid("tags", other, "a list of strings")),
        })
        .collect()
}

fn read_time(fields: &mut Document, name: &str) -> Result<Option<SystemTime>, Error> {
    const WANTED: &str = "a time as in RFC 3339, such as \"2025-09-22T10:00:00Z\"";
    match fields.take(name) {
        None => Ok(None),
        Some(Raw::Text(text)) if text.is_empty() => Ok(None),
        Some(Raw::Text(text)) => match text.parse::<Timestamp>() {
            Ok(time) if time < FIRST_TIME => Ok(None),
            Ok(time) => Ok(Some(SystemTime::try_from(time).map_err(|_| Error::invalid(name, time, WANTED))?)),
            Err(_) => Err(Error::invalid(name, Raw::Text(text), WANTED)),
        },
        Some(other) => Err(Error::invalid(name, other, WANTED)),
    }
}

/// The JSON form that is written; absent values are omitted.
#[derive(Serialize)]
struct Wire<'a> {
    id: &'a str,
    name: &'a str,
    address: &'a str,
    port: u16,
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<&'a HealthCheck>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero_weight: Option<bool>,
    priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance: Option<bool>,
}

impl<'a> From<&'a Endpoint> for Wire<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        Self {
            id: endpoint.id.as_str(),
            name: endpoint.service.as_str(),
            address: &endpoint.address,
            port: endpoint.port,
            protocol: &endpoint.protocol,
            server_name: endpoint.server_name(),
            health_check: endpoint.health_check(),
            metadata: &endpoint.metadata,
            tags: &endpoint.tags,
            weight: endpoint.weight,
            zero_weight: (endpoint.weight == 0).then_some(true),
            priority: endpoint.priority,
            region: endpoint.region(),
            zone: endpoint.zone(),
            created_at: endpoint.created_at.and_then(time_text),
            updated_at: endpoint.updated_at.and_then(time_text),
            health: None,
            draining: None,
            maintenance: None,
        }
    }
}

/// Formats a time; the builder rejects the times for which this is `None`.
fn time_text(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|stamp| stamp.to_string())
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

impl Serialize for EndpointEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut wire = Wire::from(self.endpoint().as_ref());
        wire.health = Some(self.health()).filter(|health| *health != Health::Unknown);
        wire.draining = (self.lifecycle() == Lifecycle::Draining).then_some(true);
        wire.maintenance = (self.lifecycle() == Lifecycle::Maintenance).then_some(true);
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EndpointEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}
