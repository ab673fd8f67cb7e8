//! Writing endpoints: each one is a slice of its own.

use std::sync::Arc;
use std::time::Duration;

use failover_core::{
    Endpoint, EndpointEntry, EndpointId, Error, ErrorKind, Health, Lifecycle, Query, Registry, ServiceName,
    async_trait,
};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::api::Kind;
use crate::provider::{Inner, KubernetesProvider};
use crate::{clock, convert, error, names};

/// How often a change is made again on what somebody else has changed meanwhile.
const TRIES: u32 = 5;

#[async_trait]
impl Registry for KubernetesProvider {
    /// Writes the slice of an endpoint, by server-side apply: the newest registration of an id stands, in service and of
    /// unknown health.
    ///
    /// Where it moves from an IPv4 to an IPv6 address or back the slice is made anew: dropped in between, it is not there.
    ///
    /// # Cancel safety
    ///
    /// Dropped, or with no answer in time, it may have been written all the same; then it is there for as long as this
    /// process renews its lease. Register it again, or deregister it.
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.origin.ensure_open()?;
        inner.ensure_ours(endpoint.service()).await?;
        let place = inner.registrant.places.of(endpoint.service(), endpoint.id());
        let mut slot = wait_for(inner, &place, endpoint.id()).await?;
        let owner = inner.registrant.owner(inner).await?;
        let entry = EndpointEntry::new(endpoint.clone());
        apply(inner, &entry, owner.as_ref()).await?;
        if owner.is_some() {
            *slot = Some(entry);
            self.start_keeping();
        }
        Ok(())
    }

    /// Replaces what is there, by compare-and-swap, tried up to five times. What others have written into the slice stays.
    ///
    /// Where the address changes its family, as [`register`](Self::register).
    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.inner.origin.ensure_open()?;
        names::check_service(endpoint.service())?;
        let replacement = Arc::new(endpoint.clone());
        let secrets = self.inner.settings.secrets;
        change(&self.inner, endpoint.service(), endpoint.id(), secrets, |before| {
            EndpointEntry::new(Arc::clone(&replacement))
                .with_health(before.health())
                .with_lifecycle(before.lifecycle())
        })
        .await
    }

    /// Shows it as draining for [`drain_time`](crate::KubernetesProviderBuilder::drain_time), and deletes this very slice.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it drains, the slice stays, as draining; do it again.
    ///
    /// What another process has registered under the same id since this provider did is left alone, and that is false: a
    /// program that ends takes away nothing of its next release. Whoever has not registered it deregisters it whoever did.
    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        self.inner.origin.ensure_open()?;
        if names::check_service(service).is_err() {
            return Ok(false);
        }
        let inner = &*self.inner;
        let place = inner.registrant.places.of(service, id);
        remove(inner, service, id, &place).await
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.inner.origin.ensure_open()?;
        if names::check_service(service).is_err() {
            return Err(missing(service, id));
        }
        let inner = &*self.inner;
        let name = names::slice(&inner.settings.namespace, service, id);
        if let Some(object) = inner.api().get(Kind::Slices, &name).await?
            && let Some(entry) = entry_of(inner, &object, id)
        {
            return Ok(entry);
        }
        // It may be one that Kubernetes itself wrote.
        let set = inner.list(Query::service(service).service_name()).await?;
        let found = set.into_entries().into_iter().find(|entry| entry.endpoint().id() == id);
        found.ok_or_else(|| missing(service, id))
    }

    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        self.inner.origin.ensure_open()?;
        change(&self.inner, service, id, true, |entry| entry.with_health(health)).await
    }

    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.inner.origin.ensure_open()?;
        change(&self.inner, service, id, true, |entry| entry.with_lifecycle(lifecycle)).await
    }
}

/// Waits until nobody else changes an endpoint. No longer than for a request, or many that wait for a server which does not
/// answer would do so one after the other.
async fn wait_for<'a>(
    inner: &Inner,
    slot: &'a Mutex<Option<EndpointEntry>>,
    id: &EndpointId,
) -> Result<MutexGuard<'a, Option<EndpointEntry>>, Error> {
    inner.origin.wait_for(&format!("endpoint {id}"), slot.lock()).await
}

/// Writes the slice of an entry, whether or not it is there.
pub(crate) async fn apply(
    inner: &Inner,
    entry: &EndpointEntry,
    owner: Option<&convert::Owner>,
) -> Result<(), Error> {
    let endpoint = entry.endpoint();
    let namespace = &inner.settings.namespace;
    let name = names::slice(namespace, endpoint.service(), endpoint.id());
    let object = convert::slice(namespace, entry, owner, inner.settings.secrets)?;
    let api = inner.api();
    match api.apply(Kind::Slices, &name, object.clone()).await {
        Ok(_) => Ok(()),
        Err(error) if error::status(&error) == Some(422) => {
            // The type of its addresses cannot be changed; only a new slice can have another one.
            let before = api.get(Kind::Slices, &name).await?;
            let Some(before) = before.filter(|before| has_other_type(before, endpoint)) else {
                return Err(error);
            };
            let (uid, version) = identity(&before);
            api.delete(Kind::Slices, &name, uid, Some(version)).await?;
            api.apply(Kind::Slices, &name, object).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Changes an entry that is there. `secrets`: those that are in it then are stored; what is only marked has none but
/// those that were put there on purpose, by whoever registered it.
async fn change(
    inner: &Inner,
    service: &ServiceName,
    id: &EndpointId,
    secrets: bool,
    changed: impl Fn(EndpointEntry) -> EndpointEntry,
) -> Result<(), Error> {
    if names::check_service(service).is_err() {
        return Err(missing(service, id));
    }
    let place = inner.registrant.places.known(service, id);
    let mut own = match &place {
        Some(place) => Some(wait_for(inner, place, id).await?),
        None => None,
    };
    let name = names::slice(&inner.settings.namespace, service, id);
    let api = inner.api();
    let mut last = None;
    for number in 0..TRIES {
        if number > 0 {
            inner.origin.pause(clock::jittered(Duration::from_millis(20) * number, 0.5)).await?;
        }
        let Some(object) = api.get(Kind::Slices, &name).await? else { return Err(missing(service, id)) };
        let Some(before) = entry_of(inner, &object, id) else { return Err(missing(service, id)) };
        let expired = convert::is_expired(&object);
        let before = match convert::claims(&object) {
            // The mark makes it unhealthy to readers; written as its health it would stay when its process is back.
            Some((health, lifecycle)) if expired => before.with_health(health).with_lifecycle(lifecycle),
            _ => before,
        };
        let entry = changed(before.clone());
        let is_own = own.as_ref().is_some_and(|slot| slot.is_some())
            && registrant(&object) == Some(inner.registrant.name());
        // Whoever does not say how it is knows no more of its process than the mark does.
        let stays_marked = expired && !is_own && entry.health() == before.health();
        if entry == before && stays_marked == expired {
            // Each write is sent to everybody who watches.
            return Ok(());
        }
        let written = if has_other_type(&object, entry.endpoint()) {
            replace_by_new(inner, &name, &object, &entry, secrets).await
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
        format!("{service}/{id}: somebody else changes it all the time; {TRIES} tries were too few");
    let error = Error::new(ErrorKind::Conflict, message);
    Err(match last {
        Some(last) => error.with_source(last),
        None => error,
    })
}

/// Puts a new slice in the place of one whose type of addresses is another. Whose it is stays.
async fn replace_by_new(
    inner: &Inner,
    name: &str,
    before: &Value,
    entry: &EndpointEntry,
    secrets: bool,
) -> Result<Option<Value>, Error> {
    let mut object = convert::slice(&inner.settings.namespace, entry, None, secrets)?;
    if let (Some(old), Some(new)) = (before.get("metadata"), object.get_mut("metadata")) {
        for key in ["labels", "ownerReferences"] {
            if let Some(kept) = old.get(key) {
                new[key] = kept.clone();
            }
        }
    }
    let (uid, version) = identity(before);
    if !inner.api().delete(Kind::Slices, name, uid, Some(version)).await? {
        return Ok(None);
    }
    // Applied as registrations are, so that the next one can change all of it.
    inner.api().apply(Kind::Slices, name, object).await.map(Some)
}

async fn remove(
    inner: &Inner,
    service: &ServiceName,
    id: &EndpointId,
    slot: &Mutex<Option<EndpointEntry>>,
) -> Result<bool, Error> {
    let name = names::slice(&inner.settings.namespace, service, id);
    let api = inner.api();
    let mut own = wait_for(inner, slot, id).await?;
    // First of all, so that nothing brings it back.
    let was_ours = own.take().is_some();
    let Some(mut object) = api.get(Kind::Slices, &name).await? else { return Ok(false) };
    if was_ours && inner.registrant.is_anothers(&object) {
        tracing::info!(target: "failover", "{service}/{id} was registered by another process since and stays so");
        return Ok(false);
    }
    let drain = inner.settings.drain;
    let mut drains = false;
    for _ in 0..TRIES {
        if drain.is_zero() {
            break;
        }
        let Some(entry) = entry_of(inner, &object, id) else { break };
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
        return gone(api.delete(Kind::Slices, &name, &uid, None).await).map(|_| true);
    }
    // Not held while it drains: registrations, and the return of a lost lease, would wait for it.
    drop(own);
    inner.origin.pause(drain).await?;
    let own = wait_for(inner, slot, id).await?;
    for _ in 0..TRIES {
        let Some(now) = api.get(Kind::Slices, &name).await? else { return Ok(true) };
        // A registration keeps the object, and takes it over.
        let is_draining =
            entry_of(inner, &now, id).is_none_or(|entry| entry.lifecycle() == Lifecycle::Draining);
        let is_anew = registrant(&now) != registrant(&object) || registrant(&now).is_none() && !is_draining;
        if own.is_some() || is_anew || identity(&now).0 != uid {
            return Ok(true);
        }
        if gone(api.delete(Kind::Slices, &name, &uid, Some(identity(&now).1)).await)? {
            return Ok(true);
        }
    }
    let message = format!("{service}/{id}: somebody else changes it all the time; it stays, as draining");
    Err(Error::new(ErrorKind::Conflict, message))
}

/// Whether what was to be deleted is gone; false when it is another one by now.
fn gone(deleted: Result<bool, Error>) -> Result<bool, Error> {
    match deleted {
        Ok(_) => Ok(true),
        Err(error) if error::status(&error) == Some(409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The process that registered a slice.
pub(crate) fn registrant(slice: &Value) -> Option<&str> {
    slice.get("metadata")?.get("labels")?.get(names::REGISTRANT)?.as_str()
}

/// The entry of one of this crate's slices.
pub(crate) fn entry_of(inner: &Inner, object: &Value, id: &EndpointId) -> Option<EndpointEntry> {
    let slice = convert::read(object, &inner.settings.reading).ok()?;
    let mut candidates = slice.candidates.into_iter().map(|candidate| candidate.entry);
    candidates.find(|entry| entry.endpoint().id() == id)
}

/// The identity of an object: which one it is, and in what version.
pub(crate) fn identity(object: &Value) -> (&str, &str) {
    let text = |key: &str| {
        object.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    (text("uid"), text("resourceVersion"))
}

fn has_other_type(object: &Value, endpoint: &Endpoint) -> bool {
    object
        .get("addressType")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind != convert::address_type(endpoint))
}

fn missing(service: &ServiceName, id: &EndpointId) -> Error {
    let message = format!("{service}/{id}: there is no such endpoint; register it first");
    Error::new(ErrorKind::NotFound, message)
        .with_detail("service", service.as_str())
        .with_detail("id", id.as_str())
}
