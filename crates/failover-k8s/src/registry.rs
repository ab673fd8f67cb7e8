//! Writes of endpoints; each endpoint is a slice.

use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::{EndpointEntry, RegistrationStatus, Registry};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait};
use tokio::sync::{Mutex, MutexGuard};

use crate::api::Kind;
use crate::cluster::Cluster;
use crate::provider::KubernetesProvider;
use crate::settings::Target;
use crate::slice_store::{
    apply, entry_of, gone, has_other_type, identity, missing, registrant, replace_by_new,
};
use crate::{convert, error, names, ownership};

/// The code of a change of what another process has taken over.
const TAKEN_OVER: &str = "TAKEN_OVER";
/// Attempts of a change if there are concurrent changes.
const TRIES: u32 = 5;

#[async_trait]
impl Registry for KubernetesProvider {
    /// Registers an endpoint by applying its slice (server-side apply): the newest registration of
    /// an id wins, in service and with unknown health.
    ///
    /// A change between IPv4 and IPv6 replaces the slice; a future dropped in between leaves none.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped or times out, the endpoint may still have been registered; it then
    /// stays as long as this process renews its lease. Register or deregister it again. A registration
    /// that the server refuses leaves nothing, not even the lease of this process.
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let cluster = &*self.cluster;
        cluster.client.ensure_open()?;
        cluster.ensure_ours(endpoint.service()).await?;
        let place = self.lease.registrations.slot((endpoint.service().clone(), endpoint.id().clone()));
        let mut slot = wait_for(cluster, &place, endpoint.id()).await?;
        let entry = EndpointEntry::new(endpoint.clone());
        let registered = match self.lease.owner(cluster).await {
            Ok(owner) => apply(cluster, &entry, owner.as_ref()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = registered {
            drop(slot);
            // A lease to which nothing is bound is left by nobody. A server that did not answer
            // would only be waited for again.
            if error::status(&error).is_some() || error.kind() == ErrorKind::Unsupported {
                let _ = self.lease.release(cluster).await;
            }
            return Err(error);
        }
        let name = names::slice(&cluster.settings.namespace, endpoint.service(), endpoint.id());
        self.lease.ownership.register(place.key(), &name);
        *slot = Some(entry);
        self.start_renewing();
        Ok(())
    }

    /// Replaces an endpoint by compare-and-swap, with up to five attempts. Fields that others wrote
    /// into the slice are kept.
    ///
    /// Like `set_health`, it returns `Conflict` (`TAKEN_OVER`), and changes nothing, if another process
    /// has registered the endpoint since this provider did.
    ///
    /// If the address changes between IPv4 and IPv6, see [`register`](Self::register).
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.cluster.client.ensure_open()?;
        names::check_service(endpoint.service())?;
        let replacement = Arc::new(endpoint.clone());
        let secrets = self.cluster.settings.secrets;
        self.change(endpoint.service(), endpoint.id(), secrets, |before| {
            EndpointEntry::new(Arc::clone(&replacement))
                .with_health(before.health())
                .with_lifecycle(before.lifecycle())
        })
        .await
    }

    /// Shows the endpoint as draining for
    /// [`drain_time`](crate::KubernetesProviderBuilder::drain_time), then deletes its slice.
    ///
    /// Returns false, and leaves the registration alone, if another process has registered the id
    /// since this provider did: a process that ends does not remove the registration of its next
    /// release. A provider that has not registered the endpoint deregisters it in any case, and
    /// leaves a note in the owner's lease, so that the owner does not restore it.
    ///
    /// # Cancel safety
    ///
    /// A future dropped while the endpoint drains leaves its slice, as draining. Deregister it
    /// again.
    ///
    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        self.cluster.client.ensure_open()?;
        if names::check_service(service).is_err() {
            return Ok(false);
        }
        let place = self.lease.registrations.slot((service.clone(), id.clone()));
        self.remove(service, id, &place).await
    }

    /// The renewal of the lease restores registrations; this reports each restored one once.
    async fn registration(&self, endpoint: &Endpoint) -> Result<RegistrationStatus, Error> {
        let found = self.get(endpoint.service(), endpoint.id()).await;
        let status = RegistrationStatus::of_read(endpoint, found)?;
        let key = (endpoint.service().clone(), endpoint.id().clone());
        if status == RegistrationStatus::Registered && self.lease.ownership.take_restored(&key) {
            let after = "its slice or its lease was deleted in the cluster".to_owned();
            return Ok(RegistrationStatus::Restored { after });
        }
        Ok(status)
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.cluster.client.ensure_open()?;
        if names::check_service(service).is_err() {
            return Err(missing(service, id));
        }
        let cluster = &*self.cluster;
        let name = names::slice(&cluster.settings.namespace, service, id);
        if let Some(object) = cluster.api().get(Kind::Slices, &name).await?
            && let Some(entry) = entry_of(cluster, &object, id)
        {
            return Ok(entry);
        }
        // It may be an endpoint written by Kubernetes itself.
        let set = cluster.list(Some(&Target::plain(service))).await?;
        let found = set.into_entries().into_iter().find(|entry| entry.endpoint().id() == id);
        found.ok_or_else(|| missing(service, id))
    }

    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        self.cluster.client.ensure_open()?;
        self.change(service, id, true, |entry| entry.with_health(health)).await
    }

    /// Sets whether the endpoint is in service. Succeeds without effect if another process has
    /// registered it since this provider did: a process that drains before it ends has nothing to
    /// drain then.
    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.cluster.client.ensure_open()?;
        match self.change(service, id, true, |entry| entry.with_lifecycle(lifecycle)).await {
            Err(error) if error.code() == TAKEN_OVER => Ok(()),
            changed => changed,
        }
    }
}

/// Waits until no other operation changes the endpoint, at most for the deadline of a request;
/// otherwise operations waiting for an unresponsive server would time out one after the other.
async fn wait_for<'a>(
    cluster: &Cluster,
    slot: &'a Mutex<Option<EndpointEntry>>,
    id: &EndpointId,
) -> Result<MutexGuard<'a, Option<EndpointEntry>>, Error> {
    cluster.client.wait_for(&format!("endpoint {id}"), slot.lock()).await
}

fn taken_over(service: &ServiceName, id: &EndpointId) -> Error {
    let message = format!(
        "{service}/{id}: another process has registered it since this one did; register it again to take it back"
    );
    Error::new(ErrorKind::Conflict, message).with_code(TAKEN_OVER)
}

impl KubernetesProvider {
    /// Changes an existing entry. One that another process has taken over from this one is left
    /// alone.
    /// `secrets` states whether the secrets of the new entry are stored;
    /// an entry read from a slice contains only secrets that the registering process stored
    /// intentionally.
    async fn change(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        secrets: bool,
        changed: impl Fn(EndpointEntry) -> EndpointEntry,
    ) -> Result<(), Error> {
        let cluster = &*self.cluster;
        if names::check_service(service).is_err() {
            return Err(missing(service, id));
        }
        let place = self.lease.registrations.existing((service.clone(), id.clone()));
        let mut own = match &place {
            Some(place) => Some(wait_for(cluster, place, id).await?),
            None => None,
        };
        let name = names::slice(&cluster.settings.namespace, service, id);
        let api = cluster.api();
        let mut last = None;
        for number in 0..TRIES {
            if number > 0 {
                cluster
                    .client
                    .pause(cluster.client.timing.jittered(Duration::from_millis(20) * number, 0.5))
                    .await?;
            }
            let Some(object) = api.get(Kind::Slices, &name).await? else { return Err(missing(service, id)) };
            let Some(before) = entry_of(cluster, &object, id) else { return Err(missing(service, id)) };
            if self.lease.is_anothers(&object) {
                let key = (service.clone(), id.clone());
                if let Some(slot) = own.as_deref_mut().filter(|slot| slot.is_some()) {
                    self.lease.give_up(&key, slot);
                }
                if self.lease.ownership.is_taken_over(&key) {
                    return Err(taken_over(service, id));
                }
            }
            let expired = convert::is_expired(&object);
            let before = match convert::claims(&object) {
                // The expired mark makes the endpoint unhealthy to readers; storing that as its
                // health would outlast the return of its process.
                Some((health, lifecycle)) if expired => before.with_health(health).with_lifecycle(lifecycle),
                _ => before,
            };
            let entry = changed(before.clone());
            let is_own = own.as_ref().is_some_and(|slot| slot.is_some()) && !self.lease.is_anothers(&object);
            // A change that does not affect the health does not show that the process is alive.
            let stays_marked = expired && !is_own && entry.health() == before.health();
            if entry == before && stays_marked == expired {
                // Each write is sent to all watchers.
                return Ok(());
            }
            let written = if has_other_type(&object, entry.endpoint()) {
                replace_by_new(cluster, &name, &object, &entry, secrets).await
            } else {
                let amended = convert::amend(object, &entry, secrets, stays_marked)?;
                api.replace(Kind::Slices, &name, amended).await
            };
            match written {
                Ok(Some(_)) => {
                    if let Some(own) = own.as_mut().filter(|_| is_own).and_then(|slot| slot.as_mut()) {
                        *own = entry;
                    }
                    return Ok(());
                }
                Ok(None) => return Err(missing(service, id)),
                Err(error) if error::status(&error) == Some(409) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let message =
            format!("{service}/{id}: concurrent changes kept replacing it; {TRIES} tries were too few");
        let error = Error::new(ErrorKind::Conflict, message);
        Err(match last {
            Some(last) => error.with_source(last),
            None => error,
        })
    }

    async fn remove(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        slot: &Mutex<Option<EndpointEntry>>,
    ) -> Result<bool, Error> {
        let cluster = &*self.cluster;
        let name = names::slice(&cluster.settings.namespace, service, id);
        let api = cluster.api();
        let mut own = wait_for(cluster, slot, id).await?;
        // First, so that no repair restores it.
        let key = (service.clone(), id.clone());
        let was_ours = own.take().is_some() || self.lease.ownership.is_taken_over(&key);
        let Some(mut object) = api.get(Kind::Slices, &name).await? else { return Ok(false) };
        let is_anothers = self.lease.is_anothers(&object);
        if was_ours && is_anothers {
            self.lease.give_up(&key, &mut own);
            return Ok(false);
        }
        let of_another = registrant(&object).filter(|_| is_anothers).map(str::to_owned);
        let deregisters = async || {
            if let Some(lease) = &of_another {
                ownership::leave_note(cluster, lease, &name).await;
            }
        };
        let drain = cluster.settings.drain;
        let mut drains = false;
        for _ in 0..TRIES {
            if drain.is_zero() {
                break;
            }
            let Some(entry) = entry_of(cluster, &object, id) else { break };
            let amended =
                convert::amend(object.clone(), &entry.with_lifecycle(Lifecycle::Draining), true, false)?;
            match api.replace(Kind::Slices, &name, amended).await {
                Ok(Some(_)) => {
                    drains = true;
                    break;
                }
                Ok(None) => return Ok(true),
                Err(error) if error::status(&error) == Some(409) => {}
                Err(error) => return Err(error),
            }
            let Some(newer) = api.get(Kind::Slices, &name).await? else { return Ok(true) };
            object = newer;
        }
        let uid = identity(&object).0.to_owned();
        if !drains {
            deregisters().await;
            return gone(api.delete(Kind::Slices, &name, &uid, None).await).map(|_| true);
        }
        // Released while it drains: registrations and the restoration after a lost lease would wait
        // for it.
        drop(own);
        cluster.client.pause(drain).await?;
        let own = wait_for(cluster, slot, id).await?;
        deregisters().await;
        for _ in 0..TRIES {
            let Some(now) = api.get(Kind::Slices, &name).await? else { return Ok(true) };
            // A new registration keeps the object and takes it over.
            let is_draining =
                entry_of(cluster, &now, id).is_none_or(|entry| entry.lifecycle() == Lifecycle::Draining);
            let is_reregistered =
                registrant(&now) != registrant(&object) || registrant(&now).is_none() && !is_draining;
            if own.is_some() || is_reregistered || identity(&now).0 != uid {
                return Ok(true);
            }
            if gone(api.delete(Kind::Slices, &name, &uid, Some(identity(&now).1)).await)? {
                return Ok(true);
            }
        }
        let message = format!("{service}/{id}: concurrent changes kept replacing it; it stays, as draining");
        Err(Error::new(ErrorKind::Conflict, message))
    }
}
