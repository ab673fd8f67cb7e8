//! What this process knows about registrations that are no longer its own.
//!
//! A slice that is gone was deleted by a user, and is restored, or deregistered by another process,
//! and stays gone. The latter leaves a note in the lease of the owner before it deletes the slice.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::{EndpointId, Error, ServiceName, Time};
use serde_json::{Value, json};

use crate::api::Kind;
use crate::cluster::Cluster;
use crate::{error, names};

/// What identifies a registration.
pub(crate) type Key = (ServiceName, EndpointId);

/// The maximum number of slices in a note; the oldest ones go first.
const MAX_NOTED: usize = 256;
/// The maximum number of keys that are remembered.
const MAX_TAKEN: usize = 100_000;
/// Attempts to write a note.
const TRIES: u32 = 5;

#[derive(Debug, Default)]
pub(crate) struct Ownership(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What another process has taken over from this one.
    taken: HashSet<Key>,
    /// What was gone and was registered again, and nobody has asked about since.
    restored: HashSet<Key>,
    /// Slices that another process deregistered, and when that was noticed.
    deregistered: HashMap<String, Time>,
}

impl Ownership {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that another process has taken over a registration.
    pub(crate) fn take_over(&self, key: Key) {
        let mut known = self.lock();
        if known.taken.len() < MAX_TAKEN {
            known.taken.insert(key);
        }
    }

    /// Returns whether this process registered it once and another has taken it over since.
    pub(crate) fn is_taken_over(&self, key: &Key) -> bool {
        self.lock().taken.contains(key)
    }

    /// Records that a registration was gone and was registered again.
    pub(crate) fn restore(&self, key: Key) {
        let mut known = self.lock();
        if known.restored.len() < MAX_TAKEN {
            known.restored.insert(key);
        }
    }

    /// Returns whether a registration was restored since the last call.
    pub(crate) fn take_restored(&self, key: &Key) -> bool {
        self.lock().restored.remove(key)
    }

    /// Records that this process registers it.
    pub(crate) fn register(&self, key: &Key, slice: &str) {
        let mut known = self.lock();
        known.taken.remove(key);
        known.restored.remove(key);
        known.deregistered.remove(slice);
    }

    /// Records slices that another process has deregistered.
    pub(crate) fn note(&self, slices: Vec<String>, now: Time) {
        let mut known = self.lock();
        known.deregistered.extend(slices.into_iter().map(|slice| (slice, now)));
    }

    /// Returns whether another process has deregistered a slice within this time.
    pub(crate) fn is_deregistered(&self, slice: &str, now: Time, valid: Duration) -> bool {
        let mut known = self.lock();
        known.deregistered.retain(|_, noted| now.since(*noted) <= valid);
        known.deregistered.contains_key(slice)
    }
}

/// Returns the slices in the note on a lease.
pub(crate) fn deregistered(lease: &Value) -> Vec<String> {
    let note = lease.pointer("/metadata/annotations").and_then(|all| all.get(names::DEREGISTERED));
    let note = note.and_then(Value::as_str).unwrap_or_default();
    let names = note.split(',').filter(|name| !name.is_empty());
    names.take(MAX_NOTED).map(str::to_owned).collect()
}

/// Leaves a note in a lease that a slice bound to it is about to be deregistered. Without it, the
/// owner would take the slice for one that was deleted by mistake. A failure is not reported: the
/// lease may be gone, or not be writable.
pub(crate) async fn leave_note(cluster: &Cluster, lease: &str, slice: &str) {
    if let Err(error) = write_note(cluster, lease, slice).await {
        tracing::debug!(target: "failover::k8s", %lease, "cannot note the deregistration of {slice}: {error}");
    }
}

async fn write_note(cluster: &Cluster, lease: &str, slice: &str) -> Result<(), Error> {
    let api = cluster.api();
    for _ in 0..TRIES {
        let Some(mut object) = api.get(Kind::Leases, lease).await? else { return Ok(()) };
        let mut all = deregistered(&object);
        all.retain(|name| name != slice);
        all.push(slice.to_owned());
        let from = all.len().saturating_sub(MAX_NOTED);
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return Err(Error::bad_answer("get a lease", "it is no lease"));
        };
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if !annotations.is_object() {
            *annotations = json!({});
        }
        annotations[names::DEREGISTERED] = all[from..].join(",").into();
        match api.replace(Kind::Leases, lease, object).await {
            Err(error) if error::status(&error) == Some(409) => {}
            written => return written.map(drop),
        }
    }
    Ok(())
}
