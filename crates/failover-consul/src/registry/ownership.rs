//! Which instance of an agent an operation means, and whose it is.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::Query;
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, ServiceName};
use tokio::time::timeout;

use crate::agent::{self, Local};
use crate::convert::{self, encode_id};
use crate::error;
use crate::heartbeat::{Permit, Registered, restore};
use crate::provider::ConsulProvider;
use crate::wire::{Instance, Mode, Read, entries};

/// Time limit of asking the leader for the owner of an id.
const LEADER: Duration = Duration::from_secs(2);

impl ConsulProvider {
    /// Acquires a [permit](crate::heartbeat::Heartbeats::permit) for an endpoint that will be kept
    /// alive. Closing waits for permits in use; later ones are refused.
    pub(super) async fn permit(&self, id: &str) -> Result<Permit, Error> {
        let permit = self.heartbeats.permit(id).await;
        if self.heartbeats.is_closed() { Err(error::closed()) } else { Ok(permit) }
    }

    /// Returns the id of an instance on this agent's node that `id@node` names: a registry lists an
    /// id that is on several nodes so. Any other id is returned as it is, and an exact id comes
    /// first.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if the instance is on another node.
    pub(super) async fn own_id<'a>(
        &self,
        service: &ServiceName,
        id: &'a EndpointId,
    ) -> Result<Cow<'a, EndpointId>, Error> {
        let Some((bare, node)) = id.as_str().rsplit_once('@') else { return Ok(Cow::Borrowed(id)) };
        let client = self.opened()?;
        let key = encode_id(id);
        if self.heartbeats.keeps(&key) || agent::local(client, &key).await?.is_some() {
            return Ok(Cow::Borrowed(id));
        }
        let (Ok(bare), Some(own)) =
            (EndpointId::new(bare), self.agent().await?.and_then(|agent| agent.node_name))
        else {
            return Ok(Cow::Borrowed(id));
        };
        if own.eq_ignore_ascii_case(node) {
            return Ok(Cow::Owned(bare));
        }
        let listed = self.list_unhealthy_too(&Query::service(service)).await?;
        if listed.entries().iter().any(|entry| entry.endpoint().id() == id) {
            return Err(not_owner(service, &bare, node));
        }
        Ok(Cow::Borrowed(id))
    }

    /// Returns the id that an endpoint has in Consul. Other software registers ids that this library
    /// would encode, such as ones with a capital, and those are listed as they are.
    pub(super) async fn own_key(&self, service: &ServiceName, id: &EndpointId) -> Result<String, Error> {
        let client = self.opened()?;
        let (key, plain) = (encode_id(id), id.as_str());
        if key == plain || self.heartbeats.keeps(&key) || client.settings.local(plain).is_err() {
            return Ok(key);
        }
        if agent::local(client, &key).await?.is_some() {
            return Ok(key);
        }
        let foreign = agent::local(client, plain).await?;
        let is_it = foreign
            .is_some_and(|local| local.owner.is_none() && convert::is_service(service, &local.service));
        Ok(if is_it { plain.to_owned() } else { key })
    }

    /// Registers an endpoint as it was, if the agent has not got it again already.
    pub(super) async fn repair(
        &self,
        permit: &Permit,
        kept: &Registered,
        local: Option<&Local>,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let id = &kept.registration.id;
        match local {
            Some(local) if local.owner.as_deref() == Some(&self.owner) => {}
            Some(local) => {
                let message = format!(
                    "{}/{} belongs to {} since the agent lost it",
                    endpoint.service(),
                    endpoint.id(),
                    local.place()
                );
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            None => {
                let (to, kept) = (Arc::clone(self.opened()?), kept.clone());
                self.heartbeats.finish(permit, async move { restore(&to, &kept).await }).await?;
            }
        }
        self.heartbeats.is_repaired(id);
        Ok(())
    }

    /// Returns the agent's instance of an endpoint that is about to be changed. If the agent has
    /// lost an endpoint that is kept here, registers it again first.
    pub(super) async fn owned(
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
            if convert::is_service(service, &kept.registration.name) && self.heartbeats.keeps(key) {
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
            Some(local) if convert::is_service(service, &local.service) => Ok(local),
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

    /// Returns the other node on which this instance is alive, as far as is known.
    pub(super) async fn elsewhere(&self, service: &ServiceName, key: &str) -> Option<String> {
        let client = &self.client;
        let own = self.agent().await.ok()??.node_name?;
        let read = |mode| client.settings.health(service.as_str(), Some(key), Read::now(mode));
        // Without a leader this takes 7 s to fail; the nearest server's data must do then.
        let answer = match timeout(LEADER, client.done(read(Mode::Leader).ok()?)).await {
            Ok(Ok(answer)) => answer,
            _ => client.done(read(Mode::Stale).ok()?).await.ok()?,
        };
        let found = alive_beside(&answer.body, &own)?;
        // The agent may have restarted under another node name since it was asked.
        match self.ask_agent().await.ok().flatten().and_then(|agent| agent.node_name) {
            Some(now) if now != own => alive_beside(&answer.body, &now),
            _ => Some(found),
        }
    }

    /// Refuses another datacenter than the agent's own: an agent registers only there.
    pub(super) async fn own_datacenter(&self) -> Result<(), Error> {
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

/// Returns the first other node on which an instance is alive.
fn alive_beside(body: &[u8], own: &str) -> Option<String> {
    entries(body)
        .ok()?
        .into_iter()
        .filter_map(|raw| serde_json::from_str::<Instance<'_>>(raw.get()).ok())
        .find(|instance| !convert::node(instance).eq_ignore_ascii_case(own) && convert::is_alive(instance))
        .map(|instance| convert::node(&instance).to_owned())
}

/// Refuses an id of another service: ids are unique per agent in Consul, but per service here.
pub(super) fn own_service(local: &Local, service: &ServiceName, id: &str) -> Result<(), Error> {
    if convert::is_service(service, &local.service) {
        return Ok(());
    }
    let message = format!(
        "id {id} belongs to service {} on this agent: consul has an id once on each agent, whatever the service",
        local.service
    );
    Err(Error::new(ErrorKind::Conflict, message))
}

pub(super) fn not_owner(service: &ServiceName, id: &EndpointId, node: &str) -> Error {
    let message = format!("{service}/{id} belongs to the agent on node {node}: only there it can be changed");
    Error::new(ErrorKind::Conflict, message).with_code("NOT_OWNER")
}
