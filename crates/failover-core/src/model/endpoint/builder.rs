//! The builder of endpoints, which validates their values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use crate::error::{Error, is_unprintable};
use crate::model::defaults;
use crate::model::endpoint::departure::Attached;
use crate::model::endpoint::{Endpoint, EndpointId, ServiceName, address, limits};
use crate::model::health_check::HealthCheck;

/// Builds an [`Endpoint`]; created by [`Endpoint::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct EndpointBuilder {
    /// If `None`, the authority.
    id: Option<String>,
    service: String,
    address: String,
    port: u16,
    protocol: String,
    server_name: Option<String>,
    health_check: Option<HealthCheck>,
    metadata: BTreeMap<String, String>,
    tags: Vec<String>,
    weight: u32,
    priority: u32,
    region: Option<String>,
    zone: Option<String>,
    created_at: Option<SystemTime>,
    updated_at: Option<SystemTime>,
}

impl EndpointBuilder {
    pub(super) fn new(id: String, service: String, address: String, port: u16) -> Self {
        Self {
            id: Some(id),
            service,
            address,
            port,
            protocol: defaults::PROTOCOL.to_owned(),
            server_name: None,
            health_check: None,
            metadata: BTreeMap::new(),
            tags: Vec::new(),
            weight: defaults::WEIGHT,
            priority: 0,
            region: None,
            zone: None,
            created_at: None,
            updated_at: None,
        }
    }

    pub(super) fn from_endpoint(endpoint: &Endpoint) -> Self {
        let e = endpoint.clone();
        Self {
            id: Some(e.id.into()),
            service: e.service.into(),
            address: e.address,
            port: e.port,
            protocol: e.protocol,
            server_name: e.server_name,
            health_check: e.health_check,
            metadata: e.metadata,
            tags: e.tags,
            weight: e.weight,
            priority: e.priority,
            region: e.region,
            zone: e.zone,
            created_at: e.created_at,
            updated_at: e.updated_at,
        }
    }

    pub(super) fn id_from_authority(mut self) -> Self {
        self.id = None;
        self
    }

    /// Sets the protocol, as the scheme of a URL, at most 32 characters, converted to lower case.
    /// Default: `tcp`.
    pub fn protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocol = protocol.into();
        self
    }

    /// Sets the name for TLS and the `Host` header, if it differs from the address. Default: none.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets the health check. Default: none.
    pub fn health_check(mut self, check: impl Into<Option<HealthCheck>>) -> Self {
        self.health_check = check.into();
        self
    }

    /// Adds an entry of metadata: at most 256, with keys of 1 to 256 bytes and values of at most 16
    /// KiB.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Replaces all metadata.
    pub fn metadata_map<K: Into<String>, V: Into<String>>(
        mut self,
        metadata: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.metadata = metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self
    }

    /// Adds a tag: at most 256, of at most 1024 bytes each.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Replaces all tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the weight relative to the other endpoints. Default: 1. With 0, algorithms that use
    /// weights send no new calls.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the priority: endpoints with a lower number come first. Default: 0.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the region, 1 to 63 printable characters. Default: none.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Sets the zone, 1 to 63 printable characters. Default: none.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets when it was first registered, in the years 2 to 9999. Default: unknown.
    pub fn created_at(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.created_at = time.into();
        self
    }

    /// Sets when it was last registered, in the years 2 to 9999. Default: unknown.
    pub fn updated_at(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.updated_at = time.into();
        self
    }

    /// Validates the values.
    ///
    /// # Errors
    ///
    /// Returns the first invalid value, with what is allowed.
    pub fn build(self) -> Result<Endpoint, Error> {
        let service = ServiceName::new(self.service)?;
        let id = self.id.map(EndpointId::new).transpose()?;
        let (address, ip) = address::parse("address", &self.address)?;
        if self.port == 0 {
            return Err(Error::invalid("port", self.port, limits::PORT_WANTED));
        }
        let id = match (id, ip) {
            (Some(id), _) => id,
            (None, Some(IpAddr::V6(ip))) => EndpointId::new(format!("[{ip}]:{}", self.port))?,
            (None, _) => EndpointId::new(format!("{address}:{}", self.port))?,
        };
        let server_name = self.server_name.map(|name| address::parse("server_name", &name)).transpose()?;
        check_metadata(&self.metadata)?;
        check_tags(&self.tags)?;
        check_locality("region", self.region.as_deref())?;
        check_locality("zone", self.zone.as_deref())?;
        check_time("created_at", self.created_at)?;
        check_time("updated_at", self.updated_at)?;
        Ok(Endpoint {
            id,
            service,
            address,
            ip,
            port: self.port,
            protocol: checked_protocol(self.protocol)?,
            server_name: server_name.map(|(name, _)| name),
            health_check: self.health_check,
            metadata: self.metadata,
            tags: self.tags,
            weight: self.weight,
            priority: self.priority,
            region: self.region,
            zone: self.zone,
            created_at: self.created_at,
            updated_at: self.updated_at,
            attached: Attached::default(),
        })
    }
}

/// Validates a protocol by RFC 3986, section 3.1, and converts it to lower case.
fn checked_protocol(mut protocol: String) -> Result<String, Error> {
    let right = protocol.len() <= limits::PROTOCOL
        && protocol.starts_with(|c: char| c.is_ascii_alphabetic())
        && protocol.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !right {
        let wanted =
            "a letter and then letters, digits, +, - and dots, at most 32, such as http, https, grpc or tcp";
        return Err(Error::invalid("protocol", address::without_user(&protocol), wanted));
    }
    protocol.make_ascii_lowercase();
    Ok(protocol)
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Error> {
    if metadata.len() > limits::METADATA {
        return Err(Error::invalid("metadata", metadata.len(), "at most 256 entries"));
    }
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > limits::ALL_BYTES {
        return Err(Error::invalid("metadata", format!("{bytes} bytes"), "at most 65536 bytes in all"));
    }
    for (key, value) in metadata {
        if !(1..=limits::METADATA_KEY).contains(&key.len()) {
            return Err(Error::invalid("metadata key", key, "1 to 256 bytes"));
        }
        if value.len() > limits::METADATA_VALUE {
            let field = crate::codec::document::path("metadata", key);
            return Err(Error::invalid(&field, format!("{} bytes", value.len()), "at most 16384 bytes"));
        }
    }
    Ok(())
}

fn check_tags(tags: &[String]) -> Result<(), Error> {
    if tags.len() > limits::TAGS {
        return Err(Error::invalid("tags", tags.len(), "at most 256 tags"));
    }
    let bytes: usize = tags.iter().map(String::len).sum();
    if bytes > limits::ALL_BYTES {
        return Err(Error::invalid("tags", format!("{bytes} bytes"), "at most 65536 bytes in all"));
    }
    match tags.iter().find(|tag| tag.len() > limits::TAG) {
        None => Ok(()),
        Some(tag) => Err(Error::invalid("tags", tag, "tags of at most 1024 bytes each")),
    }
}

fn check_locality(field: &str, value: Option<&str>) -> Result<(), Error> {
    let Some(value) = value else { return Ok(()) };
    let right = !value.is_empty()
        && value.chars().nth(limits::LOCALITY).is_none()
        && !value.chars().any(is_unprintable);
    if right { Ok(()) } else { Err(Error::invalid(field, value, "1 to 63 printable characters")) }
}

/// Validates a time: JSON cannot represent others, and reads the year 1 as absent.
fn check_time(field: &str, time: Option<SystemTime>) -> Result<(), Error> {
    let Some(time) = time else { return Ok(()) };
    match jiff::Timestamp::try_from(time) {
        Ok(stamp) if stamp >= limits::FIRST_TIME => Ok(()),
        _ => Err(Error::invalid(field, "this time", "a time in the years 2 to 9999")),
    }
}
