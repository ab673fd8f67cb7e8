//! The provider: its state, its connection and its reads.

pub(crate) mod builder;
mod env;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::provider::{
    AddressTrust, ConfigSet, ConfigStore, EndpointSet, Feature, PortChoice, Provider, ProviderInfo, Query,
    Registry, WatchStream,
};
use failover_core::{Error, ErrorKind, ServiceName, async_trait};
use failover_provider_kit::{SharedWatches, Timing, Tls};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::blocking_query::ServiceWatch;
use crate::client::Client;
use crate::empty_check::{self, Emptiness};
use crate::heartbeat::Heartbeats;
use crate::leader::{self, Leader};
use crate::metrics::{Counts, Metrics};
use crate::settings::{Consistency, Settings};
use crate::wire::{AgentConfig, AgentSelf, Mode, Read, agent_self, names};
use crate::{agent, convert, error};

/// A provider backed by a Consul agent.
///
/// It connects with its first request. [`close`](Provider::close) ends its watches and deregisters
/// the endpoints that it kept alive; every operation then returns [`Shutdown`](ErrorKind::Shutdown)
/// until [`connect`](Provider::connect) opens it again. Dropping it without closing leaves its
/// registrations; those with a time to live become critical when that expires.
///
/// ```no_run
/// use std::time::Duration;
///
/// use failover_consul::ConsulProvider;
/// use failover_core::{Endpoint, FailoverManager, HealthCheck};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let consul = ConsulProvider::builder().address("127.0.0.1:8500").build()?;
/// let manager = FailoverManager::builder().provider(consul).build().await?;
///
/// let check = HealthCheck::builder().path("/health").interval(Duration::from_secs(1)).build()?;
/// let endpoint = Endpoint::builder("users-1", "user-service", "10.0.0.1", 8080)
///     .protocol("http")
///     .health_check(check)
///     .build()?;
/// manager.register_endpoint(endpoint).await?;
///
/// let users = manager.service("user-service").await?;
/// println!("{}", users.select()?.endpoint());
/// # Ok(()) }
/// ```
pub struct ConsulProvider {
    pub(crate) client: Arc<Client>,
    pub(crate) heartbeats: Heartbeats,
    /// Distinguishes this provider's registrations from those of others.
    pub(crate) owner: String,
    counts: Arc<Counts>,
    leader: Arc<Leader>,
    services: SharedWatches<Query, EndpointSet>,
    pub(crate) documents: SharedWatches<(), ConfigSet>,
    agent: Mutex<Option<AgentConfig>>,
}

/// Number of services read concurrently when all are listed.
const AT_ONCE: usize = 8;
/// The provider contract limits closing to a second.
const CLOSING: Duration = Duration::from_millis(900);

impl ConsulProvider {
    pub(crate) fn new(settings: Settings, tls: Option<Tls>, timing: Timing) -> Result<Self, Error> {
        Ok(Self {
            heartbeats: Heartbeats::default(),
            owner: format!("{:016x}", timing.bits()),
            counts: Arc::default(),
            leader: Arc::default(),
            services: SharedWatches::new(timing.clone()).with_age(aged),
            documents: SharedWatches::new(timing.clone()),
            agent: Mutex::default(),
            client: Arc::new(Client::new(settings, tls, timing)?),
        })
    }

    /// Returns the provider's counters.
    pub fn metrics(&self) -> Metrics {
        let (requests, bytes) = self.client.traffic();
        Metrics {
            requests,
            bytes,
            services: self.counts.services(),
            polled: self.counts.polled(),
            registered: self.heartbeats.count(),
        }
    }

    pub(crate) fn opened(&self) -> Result<&Arc<Client>, Error> {
        if self.client.is_open() { Ok(&self.client) } else { Err(error::closed()) }
    }

    /// Runs an operation whose requests share one deadline.
    pub(crate) async fn in_time<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.client.settings.deadline;
        timeout(limit, operation).await.unwrap_or_else(|_| Err(self.client.timed_out(what, limit)))
    }

    /// Returns the agent's configuration, or `None` if the token may not read it.
    ///
    /// # Errors
    ///
    /// Returns an error if the agent does not answer or does not know the token.
    pub(crate) async fn agent(&self) -> Result<Option<AgentConfig>, Error> {
        if let Some(known) = self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(Some(known));
        }
        self.ask_agent().await
    }

    pub(crate) async fn ask_agent(&self) -> Result<Option<AgentConfig>, Error> {
        let answer = match self.opened()?.done(agent_self()?).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::Permission => {
                // A token that exists may have other rights than this one.
                if !self.client.settings.token.is_some() || error.to_string().contains("ACL not found") {
                    return Err(error);
                }
                tracing::debug!(target: "failover::consul",
                    "the token may not read the agent (agent:read): endpoints of other nodes cannot be distinguished from its own"
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let read: AgentSelf = serde_json::from_slice(&answer.body)
            .map_err(|error| error::of_json("reading the agent", &error))?;
        self.agent.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&read.config);
        Ok(read.config)
    }

    /// Lists the matching endpoints, also those that `passing_only` leaves out.
    pub(crate) async fn list_unhealthy_too(&self, query: &Query) -> Result<EndpointSet, Error> {
        let set = match query.service_name() {
            Some(service) => self.in_time("list", self.read(service, query.port_choice())).await?,
            None => self.in_time("list", self.read_all()).await?,
        };
        Ok(set.matching(query))
    }

    async fn check(&self) -> Result<(), Error> {
        self.ask_agent().await?;
        leader::ask(self.opened()?).await
    }

    async fn read(&self, service: &ServiceName, port: Option<&PortChoice>) -> Result<EndpointSet, Error> {
        let client = self.opened()?;
        let settings = &client.settings;
        let mut answer = client.done(settings.listed(service.as_str(), self.once())?).await?;
        let what = format!("reading service {service}");
        let body = std::mem::take(&mut answer.body);
        let mut set = convert::read_set(settings, service, port, body, settings.order()).await?;
        if set.entries().is_empty() && set.rejected_count() == 0 {
            return match empty_check::verify(client, service, &answer).await? {
                Emptiness::Certain => Ok(EndpointSet::unknown_service().confirmed()),
                Emptiness::Likely => Ok(EndpointSet::unknown_service()),
                Emptiness::NotEmpty => {
                    let message = format!("{what}: it was empty, and then it was not; ask again");
                    Err(Error::new(ErrorKind::Connection, message))
                }
            };
        }
        if answer.filtered {
            set.reject(format!("service {service}"), empty_check::partly_hidden());
        }
        Ok(set)
    }

    /// Returns the parameters of a one-time read.
    pub(crate) fn once(&self) -> Read {
        Read::now(match self.client.settings.consistency {
            Consistency::Consistent => Mode::Consistent,
            _ => Mode::Leader,
        })
    }

    async fn read_all(&self) -> Result<EndpointSet, Error> {
        let client = self.opened()?;
        let answer = client.done(client.settings.services(self.once())?).await?;
        let names = names(&answer.body)
            .map_err(|error| error::of_json("reading the names of all services", &error))?;
        let mut rejected = Vec::new();
        // Consul lists every spelling, and returns the instances of all of them for each. The last one
        // in order stays, which is the one in lower case.
        let mut spellings = BTreeMap::new();
        for name in BTreeSet::from_iter(names) {
            match ServiceName::new(&name) {
                Ok(service) => drop(spellings.insert(name.to_ascii_lowercase(), service)),
                Err(error) => rejected.push((format!("service {name}"), error)),
            }
        }
        let mut left: Vec<_> = spellings.into_values().rev().collect();
        let named = left.len();
        let mut is_filtered = answer.filtered;
        if is_filtered {
            rejected.push(("the list of services".to_owned(), empty_check::partly_hidden()));
        }
        let mut reading = JoinSet::new();
        let mut entries = Vec::new();
        loop {
            while reading.len() < AT_ONCE {
                let Some(name) = left.pop() else { break };
                let (client, read) = (Arc::clone(client), self.once());
                reading.spawn(async move {
                    let settings = &client.settings;
                    let answer = client.done(settings.listed(name.as_str(), read)?).await?;
                    let mut set =
                        convert::read_set(settings, &name, None, answer.body, settings.order()).await?;
                    // An older server names a service without the instances that it hides.
                    if answer.filtered || (set.entries().is_empty() && set.rejected_count() == 0) {
                        set.reject(format!("service {name}"), empty_check::partly_hidden());
                    }
                    Ok::<_, Error>((set, answer.filtered))
                });
            }
            let Some(done) = reading.join_next().await else { break };
            let (set, hides) =
                done.map_err(|error| Error::new(ErrorKind::Internal, format!("listing: {error}")))??;
            is_filtered |= hides;
            let count = set.rejected_count() as usize;
            rejected
                .extend(set.rejected().iter().take(count).map(|r| (r.what().to_owned(), r.error().clone())));
            entries.extend(set.into_entries());
        }
        let is_hidden = |(_, error): &(_, Error)| error.code() == empty_check::FILTERED;
        if entries.is_empty() && rejected.iter().all(is_hidden) {
            empty_check::verify_all(client, named, is_filtered).await?;
        }
        let mut set = EndpointSet::new(entries);
        for (what, error) in rejected {
            set.reject(what, error);
        }
        Ok(set)
    }
}

impl fmt::Debug for ConsulProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulProvider")
            .field("address", &self.client.settings.address.as_str())
            .field("datacenter", &self.client.settings.datacenter)
            .field("open", &self.client.is_open())
            .field("activity", &self.metrics())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for ConsulProvider {
    fn info(&self) -> ProviderInfo {
        let trust = if self.client.settings.address.is_loopback() {
            AddressTrust::Loopback
        } else {
            AddressTrust::Remote
        };
        ProviderInfo::new("consul", env!("CARGO_PKG_VERSION"))
            .with_features([
                Feature::Registry,
                Feature::Watch,
                Feature::ConfigStore,
                Feature::HealthCheck,
                Feature::Ports,
                Feature::WeightedRouting,
                Feature::GeographicRouting,
            ])
            .with_connection(self.client.connection())
            .with_trust(trust)
    }

    /// Reads the agent's configuration and checks that the servers have a leader.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads. The provider is open from the first poll.
    async fn connect(&self) -> Result<(), Error> {
        self.heartbeats.open();
        self.client.set_open(true);
        self.in_time("connect", self.check()).await
    }

    /// Checks the connection like [`connect`](Provider::connect), without opening a closed
    /// provider.
    async fn ping(&self) -> Result<(), Error> {
        self.opened()?;
        self.in_time("ping", self.check()).await
    }

    /// Ends the watches, deregisters the endpoints to which this provider sends heartbeats (their
    /// checks would become critical), and closes. Endpoints that the agent checks stay registered.
    ///
    /// # Errors
    ///
    /// Returns an error if an endpoint cannot be deregistered within 900 ms; it becomes critical
    /// when its time to live expires.
    ///
    /// # Cancel safety
    ///
    /// From the first poll, watches have ended and no heartbeats are sent.
    async fn close(&self) -> Result<(), Error> {
        self.services.close();
        self.documents.close();
        let leases = self.heartbeats.close();
        if !self.client.is_open() {
            return Ok(());
        }
        let count = leases.len();
        let leaving = async {
            let mut leaving = JoinSet::new();
            for lease in leases {
                let (client, owner) = (Arc::clone(&self.client), self.owner.clone());
                leaving.spawn(async move {
                    let id = lease.id.clone();
                    let _permit = lease.settled().await;
                    // Another process may have taken it over since the last check.
                    match agent::local(&client, &id).await? {
                        Some(local) if local.owner.as_deref() == Some(owner.as_str()) => {
                            client.done(client.settings.deregister(&id)?).await.map(drop)
                        }
                        _ => Ok(()),
                    }
                });
            }
            let mut first = Ok(());
            while let Some(done) = leaving.join_next().await {
                match done {
                    // An endpoint that is already gone needs no removal.
                    Ok(Err(error)) if error.kind() != ErrorKind::NotFound => first = first.and(Err(error)),
                    _ => {}
                }
            }
            // Waits until registrations in progress have been taken back.
            self.heartbeats.settled().await;
            first
        };
        let left = timeout(CLOSING, leaving).await.unwrap_or_else(|_| {
            let message = format!("closing: not all of {count} endpoints were deregistered in {CLOSING:?}");
            Err(Error::new(ErrorKind::Timeout, message))
        });
        self.client.set_open(false);
        // Ends watches that began meanwhile.
        self.services.close();
        self.documents.close();
        left
    }

    /// Reads from the leader, whatever the consistency of watches.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        let set = self.list_unhealthy_too(query).await?;
        Ok(if self.client.settings.passing_only { convert::only_passing(set) } else { set })
    }

    /// Watches a service. All watches of a service and its port share one task and one connection. The task
    /// starts with the first poll and ends when the last stream is dropped.
    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let (service, port) = (query.service_name()?.clone(), query.port_choice().cloned());
        let (client, leader) = (Arc::clone(&self.client), Arc::clone(&self.leader));
        let counts = Arc::clone(&self.counts);
        Some(self.services.listen(query.unfiltered(), |publisher| async move {
            if client.is_open() {
                ServiceWatch { client, leader, counts, service, port, publisher }.run().await;
            }
        }))
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}

/// Adds the time that an answer waited for a listener to its age.
fn aged(set: EndpointSet, waited: Duration) -> EndpointSet {
    let age = set.age() + waited;
    set.with_age(age)
}
