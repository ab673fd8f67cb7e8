//! Writes of endpoints.

mod ownership;

use std::borrow::Cow;
use std::sync::Arc;

use failover_core::provider::{EndpointEntry, Query, RegistrationStatus, Registry};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait};

use crate::agent;
use crate::convert::{self, encode_id, status_of};
use crate::empty_check::FILTERED;
use crate::error;
use crate::heartbeat::{Registered, report};
use crate::provider::ConsulProvider;
use crate::registry::ownership::{not_owner, own_service};

/// All writes go to the configured agent and belong to that agent's node; an instance on another
/// node is a [`Conflict`](ErrorKind::Conflict). While the provider is alive, it keeps what it
/// registered: it sends heartbeats for endpoints with a time to live, and registers an endpoint
/// again if the agent has lost it.
#[async_trait]
impl Registry for ConsulProvider {
    /// Registers an endpoint on the agent. An endpoint with a health check is checked by the agent;
    /// any other lives as long as this provider sends heartbeats. Registering resets the endpoint
    /// to in service and healthy, unless it is the answer to a loss by the agent: what this provider
    /// keeps is then registered as it was.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if the id belongs to another service on this agent or is alive on another
    /// node; `Unsupported`, naming the field, if Consul cannot store it; `Timeout` if the outcome
    /// is unknown. Retrying is safe.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint registered completely or not at all, and without
    /// heartbeats: an endpoint with a time to live becomes critical. Retrying is safe. A request
    /// that was sent continues, and the next write to the same id waits for it. The same holds for
    /// the other operations.
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        // On the heap: it is larger than a future should be.
        self.in_time("register", Box::pin(self.do_register(endpoint))).await
    }

    /// Replaces the agent's registration. Maintenance is kept, and so is the state of a check of
    /// the same kind. If another process registered the endpoint, that process continues to send
    /// its heartbeats, and registers its own version if the agent loses the endpoint.
    ///
    /// # Cancel safety
    ///
    /// See [`register`](Registry::register).
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        // On the heap: it is larger than a future should be.
        self.in_time("update", Box::pin(self.do_update(endpoint))).await
    }

    /// Deregisters an endpoint from the agent and verifies that it is gone. Returns false, and
    /// leaves the registration alone, if another process has registered the id since this provider
    /// did.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if the endpoint is on another node.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the endpoint registered or not; once the request is sent, its
    /// heartbeats have stopped. Retrying is safe.
    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        self.in_time("deregister", self.do_deregister(service, id)).await
    }

    /// Returns one endpoint from the agent, or from the leader if it is on another node.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.in_time("get", self.do_get(service, id)).await
    }

    /// Returns what the heartbeats of this provider know, without a request: as of the last one, which
    /// is at most a third of the time to live ago, and 10 s for an endpoint that the agent checks; a
    /// new owner of an endpoint with a time to live is noticed by every third one. A loss that was
    /// repaired before anybody asked is reported once. Another endpoint is read from the agent.
    ///
    /// # Errors
    ///
    /// Returns the error of the last heartbeat.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    async fn registration(&self, endpoint: &Endpoint) -> Result<RegistrationStatus, Error> {
        self.opened()?;
        if let Some(status) = self.heartbeats.status(&encode_id(endpoint.id())) {
            return status;
        }
        match self.get(endpoint.service(), endpoint.id()).await {
            Ok(found) => Ok(RegistrationStatus::compare(endpoint, found.endpoint())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(RegistrationStatus::Missing),
            Err(error) => Err(error),
        }
    }

    /// Sets the health of an endpoint with a time to live; other endpoints are checked by the
    /// agent. Each heartbeat of the process that registered the endpoint repeats that process's own
    /// value, so a health set by another process does not last.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` for an endpoint that the agent checks, and for [`Health::Unknown`],
    /// for which Consul has no status.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the health set or not. Retrying is safe.
    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        self.in_time("set_health", self.do_set_health(service, id, health)).await
    }

    /// Sets the lifecycle. Draining and maintenance are both Consul's maintenance, distinguished by
    /// the reason; a change from one to the other puts the endpoint in service for a moment.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the lifecycle changed or unchanged, not half changed. Retrying is
    /// safe.
    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.in_time("set_lifecycle", self.do_set_lifecycle(service, id, lifecycle)).await
    }
}

/// The operations, without their deadline.
impl ConsulProvider {
    async fn do_register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let client = self.opened()?;
        self.own_datacenter().await?;
        let mut registration = convert::registration(endpoint, &self.owner, &client.settings)?;
        let id = registration.id.clone();
        let permit = self.permit(&id).await?;
        // If this fails, the previous registration keeps its heartbeats.
        let held = self.heartbeats.hold(&id).await;
        let local = agent::local(client, &id).await?;
        if let Some(kept) =
            held.as_ref().filter(|kept| kept.is(&registration) && self.heartbeats.is_lost(&id))
        {
            return Box::pin(self.repair(&permit, kept, local.as_ref(), endpoint)).await;
        }
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
            // The provider was closed meanwhile, and closing waits briefly for this write. An
            // endpoint without heartbeats must not be left behind.
            if has_ttl {
                let to = Arc::clone(client);
                let _ = self.heartbeats.finish(&permit, async move { agent::remove(&to, &id).await }).await;
            }
            return Err(error::closed());
        }
        if local.is_some() && has_ttl {
            // The agent keeps the state of an existing check with this id.
            report(client, &id, "passing").await?;
        }
        Ok(())
    }

    async fn do_update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let client = self.opened()?;
        self.own_datacenter().await?;
        let renamed = match Box::pin(self.own_id(endpoint.service(), endpoint.id())).await? {
            Cow::Owned(id) => Some(Box::new(convert::with_id(endpoint, id)?)),
            Cow::Borrowed(_) => None,
        };
        let endpoint = renamed.as_deref().unwrap_or(endpoint);
        let mut registration = convert::registration(endpoint, &self.owner, &client.settings)?;
        let id = registration.id.clone();
        let permit = self.permit(&id).await?;
        let held = self.heartbeats.hold(&id).await;
        let local = self.owned(&permit, held.as_deref(), endpoint.service(), endpoint.id(), &id).await?;
        let is_theirs = local.owner.as_deref().is_some_and(|owner| owner != self.owner);
        if let Some(owner) = local.owner.as_deref().filter(|_| is_theirs) {
            convert::set_owner(&mut registration, owner);
        }
        // If the time to live expired for a moment, the agent's status is critical; the value of
        // this process takes precedence.
        let health = held.as_ref().map_or(local.own_health, |kept| kept.health);
        if let Some(status) = status_of(health) {
            status.clone_into(&mut registration.check.status);
        }
        let lifecycle = local.claims.lifecycle;
        // Replacing the checks would end maintenance, and the endpoint would receive calls for a
        // moment. Without replacing, an older agent keeps a check of another kind.
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
        // The process that registered it keeps sending heartbeats; this one may be a short-lived
        // tool.
        if !is_theirs
            && !self.heartbeats.keep(client, &self.owner, Registered { registration, health, lifecycle })
        {
            return Err(error::closed());
        }
        marked
    }

    async fn do_deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        let client = self.opened()?;
        let id = &*Box::pin(self.own_id(service, id)).await?;
        let key = Box::pin(self.own_key(service, id)).await?;
        let permit = self.heartbeats.permit(&key).await;
        // From here on no heartbeat registers it again, even if the agent has just lost it.
        let held = self.heartbeats.hold(&key).await;
        match agent::local(client, &key).await? {
            Some(local) if !convert::is_service(service, &local.service) => return Ok(false),
            // This provider's registration has been replaced by another process, such as a newer
            // release of the program. The id is still remembered, so that a second call has the
            // same result.
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
        // The agent has no instances of another datacenter.
        if client.settings.datacenter.is_none() {
            let local = agent::local(client, &encode_id(id)).await;
            // A token without permission to read it here may be able to list it.
            let local = local.ok().flatten().filter(|local| convert::is_service(service, &local.service));
            // An instance without an address has its node's, which this response does not contain.
            if let Some(Ok(entry)) = local.map(|local| local.entry(client, service)) {
                return Ok(entry);
            }
        }
        let set = self.list_unhealthy_too(&Query::service(service)).await?;
        let hidden = set.rejected().iter().find(|entry| entry.error().code() == FILTERED);
        let hidden = hidden.map(|entry| entry.error().clone().context(format!("{service}/{id}")));
        let entries = set.into_entries();
        if let Some(entry) = entries.iter().find(|entry| entry.endpoint().id() == id) {
            return Ok(entry.clone());
        }
        // The id alone is none of several instances with it.
        let is_holder = |entry: &&EndpointEntry| {
            let bare = entry.endpoint().id().as_str().rsplit_once('@');
            bare.is_some_and(|(bare, _)| bare == id.as_str())
        };
        let holders: Vec<_> = entries.iter().filter(is_holder).map(|entry| entry.endpoint().id()).collect();
        if let [first, .., last] = holders[..] {
            let wanted = format!("{first} or {last}, with the node");
            return Err(Error::invalid("endpoint id", format!("{id}, which is on several nodes,"), &wanted));
        }
        // What the server left out may be what was asked for.
        let missing = || Error::new(ErrorKind::NotFound, format!("{service}/{id} is not registered"));
        Err(hidden.unwrap_or_else(missing))
    }

    async fn do_set_health(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        health: Health,
    ) -> Result<(), Error> {
        let client = self.opened()?;
        let id = &*Box::pin(self.own_id(service, id)).await?;
        let key = Box::pin(self.own_key(service, id)).await?;
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
        let id = &*Box::pin(self.own_id(service, id)).await?;
        let key = Box::pin(self.own_key(service, id)).await?;
        let permit = self.heartbeats.permit(&key).await;
        let mut held = self.heartbeats.hold(&key).await;
        let before = self.owned(&permit, held.as_deref(), service, id, &key).await?.claims.lifecycle;
        let to = Arc::clone(client);
        let marking = async move {
            if before != lifecycle {
                if before != Lifecycle::InService && lifecycle != Lifecycle::InService {
                    // An agent does not change the reason of an ongoing maintenance.
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
