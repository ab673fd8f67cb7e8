//! Writing endpoints.

use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::{EndpointEntry, Provider, Query, Registry};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait};

use tokio::time::timeout;

use crate::agent::{self, Local};
use crate::convert::{self, encode_id, status_of};
use crate::error;
use crate::heartbeat::{Permit, Registered, report, restore};
use crate::provider::ConsulProvider;
use crate::wire::{Instance, Mode, Read, entries};

/// How long the leader may take to find the owner of an id.
const LEADER: Duration = Duration::from_secs(2);

/// Everything is written to the agent that the provider talks to, and belongs to that agent's node: what another node has is
/// [`Conflict`](ErrorKind::Conflict). While this provider lives it keeps what it registered: it says that the endpoint lives, where that
/// has a time to live, and registers it again when the agent has lost it.
#[async_trait]
impl Registry for ConsulProvider {
    /// Registers on the agent. An endpoint with a health check is checked by the agent, another one lives as long as this provider
    /// says so. It is in service and healthy again, whatever was claimed before.
    ///
    /// # Errors
    ///
    /// `Conflict` when the id belongs to another service on this agent, or is alive on another node; `Unsupported`, naming the
    /// field, for what Consul has no place for; `Timeout` when nobody knows whether it was registered: doing it again is safe.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint registered whole or not at all. It is not kept then: with a time to live it becomes
    /// critical, and doing it again is safe. A request that was sent goes on without it, and whatever is written to the id next
    /// waits for that, as after every other operation here.
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.in_time("register", self.do_register(endpoint)).await
    }

    /// Replaces what this agent has. Maintenance stays, and so does the state of a check of the same kind. What another process
    /// registered stays that process's to keep: it says that the endpoint lives, and registers it as it was if the agent loses it.
    ///
    /// # Cancel safety
    ///
    /// As [`register`](Registry::register).
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.in_time("update", self.do_update(endpoint)).await
    }

    /// Removes it from the agent, and makes sure that it is gone. What another process has registered under the same id since this
    /// provider did is left alone, and that is false.
    ///
    /// # Errors
    ///
    /// `Conflict` when another node has it.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves it registered or not; it is not kept any more once the request was sent. Doing it again is safe.
    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        self.in_time("deregister", self.do_deregister(service, id)).await
    }

    /// One endpoint, as the agent has it, or else as the leader knows it of other nodes.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.in_time("get", self.do_get(service, id)).await
    }

    /// Claims a health for an endpoint that has a time to live; another one is the agent's to check. The process that registered
    /// it says its own claim with each heartbeat, so that what others claim of it does not last.
    ///
    /// # Errors
    ///
    /// `Unsupported` for what the agent checks, and for [`Health::Unknown`], which Consul has no word for.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the claim made or not; doing it again is safe.
    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        self.in_time("set_health", self.do_set_health(service, id, health)).await
    }

    /// Draining and maintenance are Consul's maintenance, distinguished by the reason. From one of them to the other the endpoint is in
    /// service for a moment.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves it said or not, and no half of it; doing it again is safe.
    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.in_time("set_lifecycle", self.do_set_lifecycle(service, id, lifecycle)).await
    }
}

/// The operations, without the deadline for all that belongs to one.
impl ConsulProvider {
    async fn do_register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let client = self.opened()?;
        self.own_datacenter().await?;
        let mut registration = convert::registration(endpoint, &self.owner, &client.settings)?;
        let id = registration.id.clone();
        let permit = self.permit(&id).await?;
        // If this fails, what was kept before is kept on.
        let _held = self.heartbeats.hold(&id).await;
        let local = agent::local(client, &id).await?;
        match &local {
            Some(local) => {
                own_service(local, endpoint.service(), &id)?;
                if local.owner.as_deref().is_some_and(|owner| owner != self.owner) {
                    tracing::info!(target: "failover::consul", id, "an endpoint that another process registered is taken over");
                }
            }
            None => {
                if let Some(node) = self.elsewhere(endpoint.service(), &id).await {
                    return Err(not_owner(endpoint.service(), endpoint.id(), &node));
                }
            }
        }
        let to = Arc::clone(client);
        let write = async move { agent::write(&to, &mut registration, true).await.map(|()| registration) };
        let registration = self.heartbeats.finish(&permit, write).await?;
        let has_ttl = registration.check.ttl.is_some();
        let kept = Registered { registration, health: Health::Healthy, lifecycle: Lifecycle::InService };
        if !self.heartbeats.keep(client, &self.owner, kept) {
            // Closing has overtaken it, and waits for this a while: what nobody will keep alive is not left behind.
            if has_ttl {
                let to = Arc::clone(client);
                let _ = self.heartbeats.finish(&permit, async move { agent::remove(&to, &id).await }).await;
            }
            return Err(error::closed());
        }
        if local.is_some() && has_ttl {
            // An agent keeps the state that a check of this id had.
            report(client, &id, "passing").await?;
        }
        Ok(())
    }

    async fn do_update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let client = self.opened()?;
        self.own_datacenter().await?;
        let mut registration = convert::registration(endpoint, &self.owner, &client.settings)?;
        let id = registration.id.clone();
        let permit = self.permit(&id).await?;
        let held = self.heartbeats.hold(&id).await;
        let local = self.owned(&permit, held.as_deref(), endpoint.service(), endpoint.id(), &id).await?;
        let is_theirs = local.owner.as_deref().is_some_and(|owner| owner != self.owner);
        if let Some(owner) = local.owner.as_deref().filter(|_| is_theirs) {
            convert::set_owner(&mut registration, owner);
        }
        // A time to live that was over for a moment is no claim: what this process says of it counts.
        let health = held.as_ref().map_or(local.own_health, |kept| kept.health);
        if let Some(status) = status_of(health) {
            status.clone_into(&mut registration.check.status);
        }
        let lifecycle = local.claims.lifecycle;
        // Replacing the checks would end a maintenance, and the endpoint would have calls for a moment. Without that an older
        // agent goes on with a check of another kind.
        let same_kind = registration.check.ttl.is_some() == local.has_ttl;
        let replace = lifecycle == Lifecycle::InService || !same_kind;
        let to = Arc::clone(client);
        let write = async move {
            agent::write(&to, &mut registration, replace).await?;
            let marked = if replace && lifecycle != Lifecycle::InService {
                agent::set_lifecycle(&to, &registration.id, lifecycle).await
            } else {
                Ok(())
            };
            Ok((registration, marked))
        };
        let (registration, marked) = self.heartbeats.finish(&permit, write).await?;
        // What another process keeps is its own still, with these values: this one may be a tool that ends in a moment.
        if !is_theirs
            && !self.heartbeats.keep(client, &self.owner, Registered { registration, health, lifecycle })
        {
            return Err(error::closed());
        }
        marked
    }

    async fn do_deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        let client = self.opened()?;
        let key = encode_id(id);
        let permit = self.heartbeats.permit(&key).await;
        // Nothing registers it again from here on, not even for an agent that has just lost it.
        let held = self.heartbeats.hold(&key).await;
        match agent::local(client, &key).await? {
            Some(local) if service != local.service.as_str() => return Ok(false),
            // Ours is gone: another process has registered the id since, as a newer release of a program does. That it was
            // here once is remembered: doing this twice is as good as once.
            Some(local) if held.is_some() && local.owner.as_deref() != Some(&self.owner) => {
                tracing::info!(target: "failover::consul",
                    id = key,
                    "another process has taken the id over; its registration is left alone"
                );
                self.heartbeats.stop(&key);
                return Ok(false);
            }
            Some(_) => {}
            None => {
                self.heartbeats.forget(&key);
                return match self.elsewhere(service, &key).await {
                    Some(node) => Err(not_owner(service, id, &node)),
                    None => Ok(false),
                };
            }
        }
        self.heartbeats.stop(&key);
        let (to, of) = (Arc::clone(client), key.clone());
        self.heartbeats.finish(&permit, async move { agent::remove(&to, &of).await }).await?;
        self.heartbeats.forget(&key);
        Ok(true)
    }

    async fn do_get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        let client = self.opened()?;
        // Another datacenter is not the agent's.
        if client.settings.datacenter.is_none() {
            let local = agent::local(client, &encode_id(id)).await;
            // A token that may not read it here may still be able to list it.
            let local = local.ok().flatten().filter(|local| service == local.service.as_str());
            // Without an address of its own it has that of its node, which the agent does not return here.
            if let Some(Ok(entry)) = local.map(|local| local.entry(client, service)) {
                return Ok(entry);
            }
        }
        let set = self.list(&Query::service(service)).await?;
        set.into_entries()
            .into_iter()
            .find(|entry| entry.endpoint().id() == id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{service}/{id} is not registered")))
    }

    async fn do_set_health(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        health: Health,
    ) -> Result<(), Error> {
        let client = self.opened()?;
        let key = encode_id(id);
        let permit = self.heartbeats.permit(&key).await;
        let mut held = self.heartbeats.hold(&key).await;
        self.owned(&permit, held.as_deref(), service, id, &key).await?;
        let Some(status) = status_of(health) else {
            let message = format!("set_health of {service}/{id}: consul has no word for {health}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let to = Arc::clone(client);
        let telling = async move {
            report(&to, &key, status).await?;
            if let Some(kept) = &mut held {
                kept.health = health;
            }
            Ok(())
        };
        self.heartbeats.finish(&permit, telling).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let message =
                    format!("set_health of {service}/{id}: its health is found by the agent's own check");
                Error::new(ErrorKind::Unsupported, message)
            }
            _ => error,
        })
    }

    async fn do_set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        let client = self.opened()?;
        let key = encode_id(id);
        let permit = self.heartbeats.permit(&key).await;
        let mut held = self.heartbeats.hold(&key).await;
        let before = self.owned(&permit, held.as_deref(), service, id, &key).await?.claims.lifecycle;
        let to = Arc::clone(client);
        let marking = async move {
            if before != lifecycle {
                if before != Lifecycle::InService && lifecycle != Lifecycle::InService {
                    // An agent does not change the reason of a maintenance.
                    agent::set_lifecycle(&to, &key, Lifecycle::InService).await?;
                }
                agent::set_lifecycle(&to, &key, lifecycle).await?;
            }
            if let Some(kept) = &mut held {
                kept.lifecycle = lifecycle;
            }
            Ok(())
        };
        self.heartbeats.finish(&permit, marking).await
    }
}

impl ConsulProvider {
    /// As [`Heartbeats::permit`](crate::heartbeat::Heartbeats::permit), for what is to be kept alive: closing waits for the holder of a permit, and lets
    /// nobody in after that.
    async fn permit(&self, id: &str) -> Result<Permit, Error> {
        let permit = self.heartbeats.permit(id).await;
        if self.heartbeats.is_closed() { Err(error::closed()) } else { Ok(permit) }
    }

    /// What the agent has of an endpoint that is to be changed. An agent that has lost what is kept here gets it back first.
    async fn owned(
        &self,
        permit: &Permit,
        kept: Option<&Registered>,
        service: &ServiceName,
        id: &EndpointId,
        key: &str,
    ) -> Result<Local, Error> {
        let client = self.opened()?;
        let mut found = agent::local(client, key).await?;
        if let (None, Some(kept)) = (&found, kept) {
            if service == kept.registration.name.as_str() && self.heartbeats.keeps(key) {
                tracing::info!(target: "failover::consul",
                    id = key,
                    "the agent has lost an endpoint that is changed; it is registered again"
                );
                let (to, kept) = (Arc::clone(client), kept.clone());
                self.heartbeats.finish(permit, async move { restore(&to, &kept).await }).await?;
                found = agent::local(client, key).await?;
            }
        }
        match found {
            Some(local) if service == local.service.as_str() => Ok(local),
            found => {
                if found.is_none() {
                    if let Some(node) = self.elsewhere(service, key).await {
                        return Err(not_owner(service, id, &node));
                    }
                }
                Err(Error::new(ErrorKind::NotFound, format!("{service}/{id} is not registered")))
            }
        }
    }

    /// The other node that has this instance alive, as far as can be seen.
    async fn elsewhere(&self, service: &ServiceName, key: &str) -> Option<String> {
        let client = &self.client;
        let own = self.agent().await.ok()??.node_name?;
        let read = |mode| client.settings.health(service.as_str(), Some(key), Read::now(mode));
        // Without a leader that takes 7 s to fail: then whatever the nearest server knows has to do.
        let answer = match timeout(LEADER, client.done(read(Mode::Leader).ok()?)).await {
            Ok(Ok(answer)) => answer,
            _ => client.done(read(Mode::Stale).ok()?).await.ok()?,
        };
        let found = alive_beside(&answer.body, &own)?;
        // An agent can have been started again as another node since it was asked.
        match self.ask_agent().await.ok().flatten().and_then(|agent| agent.node_name) {
            Some(now) if now != own => alive_beside(&answer.body, &now),
            _ => Some(found),
        }
    }

    /// An agent registers in its own datacenter, whatever it is asked.
    async fn own_datacenter(&self) -> Result<(), Error> {
        let Some(wanted) = &self.client.settings.datacenter else { return Ok(()) };
        let own = self.agent().await?.and_then(|agent| agent.datacenter);
        match own {
            Some(own) if own.eq_ignore_ascii_case(wanted) => Ok(()),
            Some(own) => {
                let message = format!(
                    "the agent is in datacenter {own}: nothing can be registered in {wanted} through it"
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
            None => {
                let message = "the token may not read in which datacenter the agent is (agent:read)";
                Err(Error::new(ErrorKind::Permission, message))
            }
        }
    }
}

/// The first node but this one that has an instance alive.
fn alive_beside(body: &[u8], own: &str) -> Option<String> {
    entries(body)
        .ok()?
        .into_iter()
        .filter_map(|raw| serde_json::from_str::<Instance<'_>>(raw.get()).ok())
        .find(|instance| !convert::node(instance).eq_ignore_ascii_case(own) && convert::is_alive(instance))
        .map(|instance| convert::node(&instance).to_owned())
}

/// Ids count for a whole agent there, and for a service here.
fn own_service(local: &Local, service: &ServiceName, id: &str) -> Result<(), Error> {
    if service == local.service.as_str() {
        return Ok(());
    }
    let message = format!(
        "id {id} belongs to service {} on this agent: consul has an id once on each agent, whatever the service",
        local.service
    );
    Err(Error::new(ErrorKind::Conflict, message))
}

fn not_owner(service: &ServiceName, id: &EndpointId, node: &str) -> Error {
    let message = format!("{service}/{id} belongs to the agent on node {node}: only there it can be changed");
    Error::new(ErrorKind::Conflict, message).with_code("NOT_OWNER")
}
