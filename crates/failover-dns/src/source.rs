//! DNS as a source that is asked.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use failover_core::provider::{
    AddressTrust, ConnectionInfo, ConnectionStatus, EndpointSet, Feature, ProviderInfo,
};
use failover_core::{Endpoint, Error, ErrorKind, ServiceName, async_trait};
use failover_provider_kit::Source;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RecordType};

use crate::answer::Answer;
use crate::family::Family;
use crate::resolver::{Resolver, plain};
use crate::targets::{self, Place};

/// How long an absence lasts whose zone does not say, and at most.
const ABSENT: u32 = 5;
const LONGEST_ABSENT: u32 = 30;
/// The number of targets that are resolved at a time.
const AT_A_TIME: usize = 8;

/// What to ask for, and what to make of it.
pub(crate) struct Plan {
    /// The port of address records; `None` for SRV records.
    pub(crate) port: Option<u16>,
    pub(crate) prefix: String,
    pub(crate) suffix: Option<String>,
    pub(crate) protocol: String,
    pub(crate) family: Family,
    pub(crate) search: Search,
    pub(crate) max_ttl: Duration,
    /// The names, in lower case, whose loopback addresses are allowed.
    pub(crate) loopback: HashSet<String>,
}

pub(crate) struct Search {
    pub(crate) enabled: bool,
    pub(crate) domains: Vec<Name>,
    pub(crate) ndots: usize,
}

pub(crate) struct DnsSource {
    resolver: Resolver,
    plan: Plan,
    /// The last name that was asked for, to ask for again if only an answer counts.
    last: Mutex<Option<Name>>,
}

/// What there is of a name.
enum Found {
    NoName(Option<u32>),
    NoData(Option<u32>),
    Addresses(Vec<IpAddr>, u32),
    Srv(Vec<SRV>, targets::Addresses, u32),
}

impl DnsSource {
    pub(crate) fn new(resolver: Resolver, plan: Plan) -> Self {
        Self { resolver, plan, last: Mutex::default() }
    }

    /// Returns what there is of a name, and under which name.
    async fn find(&self, name: Name, absolute: bool) -> Result<(Name, Found), Error> {
        let search = &self.plan.search;
        let candidates: Vec<Name> = if absolute {
            Vec::new()
        } else {
            let below = |domain: &Name| name.clone().append_domain(domain).ok();
            search.domains.iter().filter_map(below).collect()
        };
        if !search.enabled {
            let found = self.look(&name).await?;
            if matches!(found, Found::NoName(_)) {
                self.ensure_absent(&name, &candidates).await?;
            }
            return Ok((name, found));
        }
        let own_first = usize::from(name.num_labels()) > search.ndots;
        let own = [name.clone()];
        let (before, after) = if own_first { (&own[..], &[][..]) } else { (&[][..], &own[..]) };
        let (mut best, mut at) = (Found::NoName(None), name);
        for candidate in before.iter().chain(&candidates).chain(after) {
            match self.look(candidate).await? {
                Found::NoName(ttl) => {
                    if let Found::NoName(before) = &mut best {
                        *before = (*before).into_iter().chain(ttl).min();
                    }
                }
                nothing @ Found::NoData(_) => (best, at) = (nothing, candidate.clone()),
                found => return Ok((candidate.clone(), found)),
            }
        }
        Ok((at, best))
    }

    /// Returns an error if a name that does not exist does so below a search domain, which is what other
    /// programs on this machine resolve.
    async fn ensure_absent(&self, name: &Name, candidates: &[Name]) -> Result<(), Error> {
        for candidate in candidates {
            if let Ok(Found::Addresses(..) | Found::Srv(..)) = self.look(candidate).await {
                let message = format!(
                    "{}: the name does not exist, and only a search domain resolves it; write {} in full, or enable \
                     search",
                    plain(name),
                    plain(candidate)
                );
                let error = Error::new(ErrorKind::Validation, message);
                return Err(error.with_detail("wanted", plain(candidate)));
            }
        }
        Ok(())
    }

    async fn look(&self, name: &Name) -> Result<Found, Error> {
        if self.plan.port.is_some() {
            return self.addresses(name).await;
        }
        Ok(match self.resolver.ask(name, RecordType::SRV).await? {
            Answer::NoName { ttl } => Found::NoName(ttl),
            Answer::NoData { ttl } => Found::NoData(ttl),
            Answer::Records { data, additional, ttl } => {
                let given = targets::given(&additional, self.plan.family);
                Found::Srv(targets::records(data), given, ttl)
            }
        })
    }

    /// Asks for the addresses of a name.
    async fn addresses(&self, name: &Name) -> Result<Found, Error> {
        let ask = |kind| self.resolver.ask(name, kind);
        let both = match self.plan.family {
            Family::V4 => [Some(ask(RecordType::A).await?), None],
            Family::V6 => [None, Some(ask(RecordType::AAAA).await?)],
            Family::Both => match join(ask(RecordType::A), ask(RecordType::AAAA)).await {
                (Ok(four), Ok(six)) => [Some(four), Some(six)],
                (Err(error), Err(_)) => return Err(error),
                (Err(error), Ok(_)) | (Ok(_), Err(error)) => {
                    let hint = "half of the answer is missing; `family` restricts it to the other";
                    return Err(error.context(hint));
                }
            },
        };
        let (mut found, mut shortest) = (Vec::new(), None::<u32>);
        let (mut exists, mut absent) = (false, None::<u32>);
        for answer in both.into_iter().flatten() {
            match answer {
                Answer::Records { data, ttl, .. } => {
                    found.extend(data.iter().filter_map(targets::address));
                    shortest = shortest.into_iter().chain([ttl]).min();
                }
                Answer::NoData { ttl } => {
                    exists = true;
                    absent = absent.into_iter().chain(ttl).min();
                }
                Answer::NoName { ttl } => absent = absent.into_iter().chain(ttl).min(),
            }
        }
        Ok(match shortest {
            Some(ttl) => Found::Addresses(found, ttl),
            None if exists => Found::NoData(absent),
            None => Found::NoName(absent),
        })
    }

    async fn set(&self, service: &ServiceName, name: &Name, found: Found) -> Result<EndpointSet, Error> {
        let absent = |ttl: Option<u32>| Duration::from_secs(ttl.unwrap_or(ABSENT).min(LONGEST_ABSENT).into());
        match found {
            Found::NoName(ttl) => Ok(EndpointSet::unknown_service().with_ttl(absent(ttl))),
            Found::NoData(ttl) => Ok(EndpointSet::new([]).with_ttl(absent(ttl))),
            Found::Addresses(addresses, ttl) => {
                let port = self.plan.port.unwrap_or_default();
                let place = |ip| {
                    let address = SocketAddr::new(ip, port);
                    let (id, host) = (address.to_string(), name.clone());
                    Place { id, address, host, weight: 1, priority: 0 }
                };
                let mut set = self.alive(ttl);
                self.fill(&mut set, service, name, addresses.into_iter().map(place));
                Ok(set)
            }
            Found::Srv(records, _, ttl) if targets::is_none(&records) => Ok(self.alive(ttl).confirmed()),
            Found::Srv(records, mut addresses, ttl) => {
                let ttl = ttl.min(self.resolve(&records, &mut addresses).await?);
                let (places, rejected) = targets::places(&records, &addresses);
                let mut set = self.alive(ttl);
                self.fill(&mut set, service, name, places.into_iter());
                for (what, error) in rejected {
                    set.reject(what, error);
                }
                Ok(set)
            }
        }
    }

    fn alive(&self, ttl: u32) -> EndpointSet {
        // RFC 2181: one with the highest bit set is zero.
        let ttl = if i32::try_from(ttl).is_ok() { ttl } else { 0 };
        EndpointSet::new([]).with_ttl(Duration::from_secs(ttl.into()).min(self.plan.max_ttl))
    }

    /// Asks for the addresses of the targets that did not come with the answer, and returns the shortest
    /// time to live.
    ///
    /// # Errors
    ///
    /// Returns an error if none of the targets could be asked for: no set is known then.
    async fn resolve(&self, records: &[SRV], addresses: &mut targets::Addresses) -> Result<u32, Error> {
        let mut wanted: Vec<Name> = Vec::new();
        let mut seen = HashSet::new();
        for target in records.iter().map(|srv| &srv.target).filter(|target| !target.is_root()) {
            if !addresses.contains_key(target) && seen.insert(target) {
                wanted.push(target.clone());
            }
        }
        let mut shortest = u32::MAX;
        let mut failed = None;
        let mut asked = stream::iter(wanted)
            .map(|target| async move {
                let found = self.addresses(&target).await;
                (target, found)
            })
            .buffer_unordered(AT_A_TIME);
        while let Some((target, found)) = asked.next().await {
            let known = match found {
                Ok(Found::Addresses(found, ttl)) => {
                    shortest = shortest.min(ttl);
                    Ok(found)
                }
                Ok(Found::NoName(ttl)) => {
                    shortest = shortest.min(ttl.unwrap_or(ABSENT).min(LONGEST_ABSENT));
                    Err(unresolved(&target, "the target does not exist"))
                }
                Ok(_) => {
                    shortest = shortest.min(ABSENT);
                    Err(unresolved(&target, "the target has no address"))
                }
                Err(error) => {
                    shortest = shortest.min(ABSENT);
                    failed = Some(error.clone());
                    Err(error)
                }
            };
            addresses.insert(target, known);
        }
        match failed {
            Some(error) if addresses.values().all(Result::is_err) => Err(error),
            _ => Ok(shortest),
        }
    }

    fn fill(
        &self,
        set: &mut EndpointSet,
        service: &ServiceName,
        name: &Name,
        places: impl Iterator<Item = Place>,
    ) {
        let loopback = self.plan.loopback.contains(&plain(name).to_ascii_lowercase());
        let mut seen = HashSet::new();
        for place in places.filter(|place| seen.insert((place.id.clone(), place.address))) {
            match self.endpoint(service, &place, loopback) {
                Ok(endpoint) => set.push(endpoint.into()),
                Err(error) => set.reject(place.id, error),
            }
        }
    }

    fn endpoint(&self, service: &ServiceName, place: &Place, loopback: bool) -> Result<Endpoint, Error> {
        // With names that may, the engine leaves this to the source.
        let ip = place.address.ip();
        if ip.to_canonical().is_loopback() && !loopback && !self.plan.loopback.is_empty() {
            let message = format!("{ip} is a loopback address; `allow_loopback` with this name allows it");
            return Err(Error::new(ErrorKind::Validation, message).with_code("ADDRESS_REFUSED"));
        }
        let mut builder =
            Endpoint::builder(&place.id, service.as_str(), ip.to_string(), place.address.port())
                .protocol(&self.plan.protocol)
                .weight(place.weight)
                .priority(place.priority);
        let host = plain(&place.host).to_ascii_lowercase();
        if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')) {
            builder = builder.server_name(host);
        }
        builder.build()
    }

    fn name(&self, service: &ServiceName) -> Result<(Name, bool), Error> {
        let plan = &self.plan;
        let suffix = plan.suffix.as_ref().map(|suffix| format!(".{suffix}")).unwrap_or_default();
        let own = service.as_str();
        let text = format!("{}{}{suffix}", plan.prefix, own.strip_suffix('.').unwrap_or(own));
        let absolute = own.ends_with('.') || plan.suffix.is_some();
        Ok((dns_name("service name", &text)?, absolute))
    }
}

/// Validates an absolute name.
pub(crate) fn dns_name(field: &str, text: &str) -> Result<Name, Error> {
    if text.parse::<IpAddr>().is_ok() {
        let wanted = "a DNS name; `ServiceHandle::fixed` takes addresses";
        return Err(Error::invalid(field, text, wanted));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    let bare = text.strip_suffix('.').unwrap_or(text);
    let name = Some(bare).filter(|bare| bare.len() <= 253 && bare.split('.').all(label));
    let mut name = name.and_then(|bare| Name::from_ascii(bare).ok()).ok_or_else(|| {
        let wanted = "a DNS name: labels of 1 to 63 letters, digits, hyphens and underscores, 253 characters in all; \
                      in Punycode for other letters";
        Error::invalid(field, text, wanted)
    })?;
    name.set_fqdn(true);
    Ok(name)
}

fn unresolved(target: &Name, why: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("{}: {why}; correct the SRV record or add its address", plain(target)),
    )
}

#[async_trait]
impl Source for DnsSource {
    fn info(&self) -> ProviderInfo {
        let trust = if self.plan.loopback.is_empty() { AddressTrust::Remote } else { AddressTrust::Loopback };
        let connection =
            ConnectionInfo::new(ConnectionStatus::Disconnected).with_address(self.resolver.shown());
        ProviderInfo::new("dns", env!("CARGO_PKG_VERSION"))
            .with_features(self.plan.port.is_none().then_some(Feature::WeightedRouting))
            .with_trust(trust)
            .with_connection(connection)
    }

    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
        let (name, absolute) = self.name(service)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.clone());
        let (name, found) = self.find(name, absolute).await?;
        self.set(service, &name, found).await
    }

    async fn ping(&self) -> Result<(), Error> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last {
            Some(name) => self.resolver.ping(&name).await,
            None => Ok(()),
        }
    }
}
