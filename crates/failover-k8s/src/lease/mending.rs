//! Looks after the registrations under the lease: restores those that are marked or gone, and gives up
//! those that another process has taken over.

use std::collections::HashSet;

use failover_core::provider::EndpointEntry;
use failover_core::{Error, ErrorKind};
use serde_json::Value;

use super::{Behind, ProcessLease};
use crate::api::{Kind, Scope};
use crate::cluster::Cluster;
use crate::convert::{self, Owner};
use crate::ownership::{self, Key};
use crate::slice_store::{apply, entry_of, identity, registrant};
use crate::{error, names};

/// Up to this many registrations are read one by one.
const FEW: usize = 3;
/// What became of the slice of a registration.
enum Found {
    /// It is there, and not marked.
    Whole,
    Gone,
    /// It is bound to another lease.
    TakenOver,
}

impl ProcessLease {
    /// Checks that the registrations are there, and restores those that are not: somebody may have
    /// deleted a slice. Reads each of a few, and lists many at once.
    pub(super) async fn verify(&self, cluster: &Cluster) -> Result<(), Error> {
        let owner = match self.lease.lock().await.as_ref() {
            Some(held) if held.behind == Behind::Nothing && self.registrations.kept() > 0 => {
                Owner { lease: self.name.clone(), uid: identity(&held.object).0.to_owned() }
            }
            _ => return Ok(()),
        };
        let all = self.registrations.all();
        let slice = |key: &Key| names::slice(&cluster.settings.namespace, &key.0, &key.1);
        let mut found = HashSet::new();
        if all.len() <= FEW {
            for place in &all {
                let name = slice(place.key());
                let object = cluster.api().get(Kind::Slices, &name).await?;
                if object.is_some_and(|object| registrant(&object) == Some(&self.name)) {
                    found.insert(name);
                }
            }
        } else {
            let bound = Scope::labelled(Kind::Slices, format!("{}={}", names::REGISTRANT, self.name));
            let name =
                |object: Value| object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
            let (listed, _) = cluster.api().list(&bound, name).await?;
            found.extend(listed.into_iter().flatten());
        }
        let mut failed = None;
        for place in all {
            if found.contains(&slice(place.key())) {
                continue;
            }
            let mut slot = place.lock().await;
            let Some(entry) = slot.clone() else { continue };
            failed = failed.or(self.mend(cluster, &owner, place.key(), &mut slot, &entry).await.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Restores a registration whose slice is marked or gone. One that another process has taken
    /// over or deregistered is given up.
    pub(super) async fn mend(
        &self,
        cluster: &Cluster,
        owner: &Owner,
        key: &Key,
        slot: &mut Option<EndpointEntry>,
        entry: &EndpointEntry,
    ) -> Result<(), Error> {
        let (service, id) = key;
        match self.restore(cluster, entry).await? {
            Found::Whole => {}
            Found::TakenOver => self.give_up(key, slot),
            Found::Gone => {
                let lease = self.ensure_held(cluster, owner).await?;
                let now = cluster.client.timing.now();
                self.ownership.note(ownership::deregistered(&lease), now);
                let name = names::slice(&cluster.settings.namespace, service, id);
                let valid = self.duration.unwrap_or_default();
                if self.ownership.is_deregistered(&name, now, valid) {
                    tracing::warn!(target: "failover::k8s", "{service}/{id} was deregistered by another process; leaving it");
                    *slot = None;
                } else {
                    apply(cluster, entry, Some(owner)).await?;
                    self.ownership.restore(key.clone());
                    tracing::warn!(target: "failover::k8s", "{service}/{id} was deleted in the cluster; registered it again");
                }
            }
        }
        Ok(())
    }

    /// Leaves a registration to the process that has taken it over.
    pub(crate) fn give_up(&self, key: &Key, slot: &mut Option<EndpointEntry>) {
        let (service, id) = key;
        tracing::warn!(target: "failover::k8s", "{service}/{id} was registered by another process; leaving it");
        *slot = None;
        self.ownership.take_over(key.clone());
    }

    /// Returns the lease, and an error if it is gone. Read from the server, because this process may
    /// have been suspended.
    async fn ensure_held(&self, cluster: &Cluster, owner: &Owner) -> Result<Value, Error> {
        let found = cluster.api().get(Kind::Leases, &self.name).await?;
        if let Some(lease) = found.filter(|lease| identity(lease).0 == owner.uid) {
            return Ok(lease);
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the lease is gone; what it bound is registered under the next one",
        ))
    }

    /// Returns whether another process has registered the endpoint since. This process's own
    /// registrations were deleted with its lease.
    pub(super) async fn is_taken_over(
        &self,
        cluster: &Cluster,
        entry: &EndpointEntry,
    ) -> Result<bool, Error> {
        let endpoint = entry.endpoint();
        let name = names::slice(&cluster.settings.namespace, endpoint.service(), endpoint.id());
        let found = cluster.api().get(Kind::Slices, &name).await?;
        // A value that is not an object has no owner.
        let found = found.filter(|slice| !identity(slice).0.is_empty());
        Ok(found.is_some_and(|slice| self.is_anothers(&slice)))
    }

    /// Returns whether a slice is bound to another lease, or to none although this process uses
    /// one.
    pub(crate) fn is_anothers(&self, slice: &Value) -> bool {
        registrant(slice) != self.duration.map(|_| self.name())
    }

    /// Removes the expired mark from a slice.
    async fn restore(&self, cluster: &Cluster, entry: &EndpointEntry) -> Result<Found, Error> {
        let (service, id) = (entry.endpoint().service(), entry.endpoint().id());
        let name = names::slice(&cluster.settings.namespace, service, id);
        for _ in 0..3 {
            let Some(object) = cluster.api().get(Kind::Slices, &name).await? else { return Ok(Found::Gone) };
            if identity(&object).0.is_empty() {
                return Err(Error::bad_answer(format!("get the slice of {service}/{id}"), "it is no slice"));
            }
            if registrant(&object) != Some(self.name()) {
                return Ok(Found::TakenOver);
            }
            if !convert::is_expired(&object) {
                return Ok(Found::Whole);
            }
            // Health and lifecycle are restored; other changes of the endpoint are kept.
            let (now, secrets) = match entry_of(cluster, &object, id) {
                Some(found) => (found.with_health(entry.health()).with_lifecycle(entry.lifecycle()), true),
                // This process's entry contains secrets that were not stored.
                None => (entry.clone(), cluster.settings.secrets),
            };
            let amended = convert::amend(object, &now, secrets, false)?;
            match cluster.api().replace(Kind::Slices, &name, amended).await {
                Ok(written) => return Ok(if written.is_some() { Found::Whole } else { Found::Gone }),
                Err(error) if error::status(&error) == Some(409) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Conflict, format!("{service}/{id}: concurrent changes kept replacing it")))
    }
}
