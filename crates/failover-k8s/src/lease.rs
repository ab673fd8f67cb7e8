//! The lease of this process and its registrations.
//!
//! A process has one lease, not one heartbeat per endpoint, because every watcher of a slice would
//! receive each heartbeat.

mod mending;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_core::provider::EndpointEntry;
use failover_core::{Error, Time};
use failover_provider_kit::{KeyedLocks, Timing};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::api::Kind;
use crate::cluster::Cluster;
use crate::convert::Owner;
use crate::ownership::{self, Key, Ownership};
use crate::slice_store::{apply, identity};
use crate::{error, names, timestamp};

/// The longest pause after a renewal that failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The entries that this process has registered, by key. Each is locked while it is written, so
/// that a deregistration and the restoration after a lost lease exclude each other.
pub(crate) type Registrations = KeyedLocks<Key, Option<EndpointEntry>>;

pub(crate) struct ProcessLease {
    /// The lease's name and holder identity, unique to this process.
    name: String,
    duration: Option<Duration>,
    lease: tokio::sync::Mutex<Option<HeldLease>>,
    /// Whether a lease was deleted and its registrations are not restored yet.
    lost: AtomicBool,
    /// Notified after each renewal: registrations are checked, and restored if necessary.
    mends: Notify,
    /// Whether this process removes registrations of others; its lease tells.
    pub(crate) reaps: AtomicBool,
    pub(crate) registrations: Registrations,
    pub(crate) ownership: Ownership,
}

/// A lease that this process holds.
#[derive(Debug)]
struct HeldLease {
    /// The object as last returned by the server.
    object: Value,
    /// When the last successful renewal was sent.
    renewed: Time,
    behind: Behind,
    /// Until then another process that considered this one dead may still be marking its slices.
    marking: Time,
}

/// The repair that the slices need after the lease was not renewed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// The slices may be marked as expired.
    Restore,
    /// The lease and its slices were deleted.
    Register,
}

/// The entries already registered again under a lease, so that one refused entry does not make
/// every attempt rewrite the others.
#[derive(Default)]
struct Registered {
    owner: Option<Owner>,
    keys: HashSet<Key>,
}

impl ProcessLease {
    pub(crate) fn new(
        readable: Option<&str>,
        duration: Option<Duration>,
        reaps: bool,
        timing: &Timing,
    ) -> Self {
        let host = readable.map_or_else(host, str::to_owned);
        let name = format!("fo-{host}-{:016x}", timing.bits());
        Self {
            name,
            duration,
            lease: tokio::sync::Mutex::new(None),
            lost: AtomicBool::new(false),
            mends: Notify::new(),
            reaps: AtomicBool::new(reaps),
            registrations: KeyedLocks::new(Option::is_some),
            ownership: Ownership::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the lease to bind a registration to, creating it if necessary.
    pub(crate) async fn owner(&self, cluster: &Cluster) -> Result<Option<Owner>, Error> {
        let Some(duration) = self.duration else { return Ok(None) };
        let mut lease = cluster.client.wait_for("the lease", self.lease.lock()).await?;
        match lease.as_ref().map(|held| cluster.client.timing.now().since(held.renewed)) {
            None => *lease = Some(self.acquire(cluster, duration).await?),
            // Renewal starts with the first successful registration. Until then the lease may be
            // gone, and registrations bound to it would be deleted.
            Some(silent) if silent >= duration / 3 => self.renew_held(cluster, duration, &mut lease).await?,
            Some(_) => {}
        }
        let uid = lease.as_ref().map(|held| identity(&held.object).0.to_owned()).unwrap_or_default();
        Ok(Some(Owner { lease: self.name.clone(), uid }))
    }

    async fn acquire(&self, cluster: &Cluster, duration: Duration) -> Result<HeldLease, Error> {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "namespace": cluster.settings.namespace,
                "labels": {"app.kubernetes.io/managed-by": names::MANAGER},
            },
            "spec": {"acquireTime": timestamp::now()},
        });
        let object = self.renewed(object, duration)?;
        let mut sent = cluster.client.timing.now();
        let object = match cluster.api().create(Kind::Leases, &self.name, object).await {
            Ok(object) => object,
            // No other process has this name, so the response to an earlier attempt was lost. The
            // lease may be about to expire, so it is held only once it is written again.
            Err(error) if error::status(&error) == Some(409) => {
                let Some(found) = cluster.api().get(Kind::Leases, &self.name).await? else {
                    return Err(error);
                };
                sent = cluster.client.timing.now();
                let found = self.renewed(found, duration)?;
                cluster.api().replace(Kind::Leases, &self.name, found).await?.ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        let object = checked(object, "create a lease")?;
        // Registrations of the lost lease are restored whichever operation acquires the new one.
        let lost = self.lost.swap(false, Ordering::AcqRel);
        let behind = if lost { Behind::Register } else { Behind::Nothing };
        Ok(HeldLease { object, renewed: sent, behind, marking: sent })
    }

    /// Renews the lease while polled, and restores registrations. Both run concurrently, so that
    /// slow writes do not let the lease expire again.
    pub(crate) async fn keep(&self, cluster: &Cluster) {
        let Some(duration) = self.duration else { return };
        tokio::join!(self.keep_renewing(cluster, duration), self.keep_mending(cluster, duration));
    }

    async fn keep_renewing(&self, cluster: &Cluster, duration: Duration) {
        let mut failures = 0_u32;
        let renewed = self.lease.lock().await.as_ref().map(|held| held.renewed);
        // Immediate if the provider was closed for long or registered late.
        let silent = renewed.map_or(duration, |renewed| cluster.client.timing.now().since(renewed));
        let mut pause = (duration / 3).saturating_sub(silent);
        loop {
            sleep(cluster.client.timing.jittered(pause, 0.2)).await;
            match self.renew(cluster, duration).await {
                Ok(()) => {
                    failures = 0;
                    self.mends.notify_one();
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(target: "failover::k8s", lease = %self.name, "cannot renew the lease: {error}");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            // Shorter after a failure, so that several attempts fit into the lease.
            pause = if failures == 0 { duration / 3 } else { (duration / 12).min(LONGEST_PAUSE) };
        }
    }

    async fn keep_mending(&self, cluster: &Cluster, duration: Duration) {
        loop {
            self.mends.notified().await;
            let (mut registered, mut failures) = (Registered::default(), 0_u32);
            while let Err(error) = Box::pin(self.catch_up(cluster, &mut registered)).await {
                if failures == 0 {
                    tracing::warn!(target: "failover::k8s", lease = %self.name, "cannot restore the registrations: {error}");
                }
                let pause = (duration / 12 * (1 << failures.min(6))).min(duration);
                failures = failures.saturating_add(1);
                sleep(cluster.client.timing.jittered(pause, 0.2)).await;
            }
            if let Err(error) = Box::pin(self.verify(cluster)).await {
                // The next renewal is followed by another look.
                tracing::debug!(target: "failover::k8s", lease = %self.name, "cannot check the registrations: {error}");
            }
        }
    }

    /// Renews the lease, or creates another.
    async fn renew(&self, cluster: &Cluster, duration: Duration) -> Result<(), Error> {
        let mut lease = self.lease.lock().await;
        if lease.is_none() {
            if self.registrations.kept() == 0 {
                return Ok(());
            }
            // The lease was lost and creating a new one failed.
            self.lost.store(true, Ordering::Release);
            *lease = Some(self.acquire(cluster, duration).await?);
        } else {
            self.renew_held(cluster, duration, &mut lease).await?;
        }
        Ok(())
    }

    /// Renews the held lease, or creates another in its place.
    async fn renew_held(
        &self,
        cluster: &Cluster,
        duration: Duration,
        lease: &mut Option<HeldLease>,
    ) -> Result<(), Error> {
        let Some(held) = lease.as_mut() else { return Ok(()) };
        let sent = cluster.client.timing.now();
        // A late renewal is useless, and the next attempt needs time, too.
        let limit = cluster.client.deadline().min(duration / 3);
        let written = timeout(limit, self.write(cluster, held, duration)).await;
        match written.unwrap_or_else(|_| Err(Error::timed_out("renew the lease", limit)))? {
            Some((object, touched)) => {
                // Another process can have considered this one dead only if no renewal arrived for
                // that long: at most from sending the previous one until this response.
                let silent = cluster.client.timing.now().since(held.renewed);
                // Its clock may be faster than this one; and if another process wrote into the
                // lease, its duration may have been shorter meanwhile.
                if touched || silent >= duration / 10 * 9 {
                    held.marking = cluster.client.timing.now() + duration;
                    if held.behind == Behind::Nothing {
                        tracing::warn!(target: "failover::k8s", lease = %self.name, "the lease may have expired; checking the registrations");
                        held.behind = Behind::Restore;
                    }
                }
                // An invalid object is not stored, because the next renewal would be based on it.
                (held.object, held.renewed) = (checked(object, "renew the lease")?, sent);
            }
            None => {
                tracing::warn!(target: "failover::k8s", lease = %self.name, "the lease was deleted; registering everything again");
                *lease = None;
                self.lost.store(true, Ordering::Release);
                *lease = Some(self.acquire(cluster, duration).await?);
            }
        }
        Ok(())
    }

    /// Writes the current time into the lease. Returns the object and whether another process had
    /// written into it, or `None` if it is gone.
    async fn write(
        &self,
        cluster: &Cluster,
        held: &HeldLease,
        duration: Duration,
    ) -> Result<Option<(Value, bool)>, Error> {
        let api = cluster.api();
        match api.replace(Kind::Leases, &self.name, self.renewed(held.object.clone(), duration)?).await {
            Err(error) if error::status(&error) == Some(409) => {
                // Another process has written into it, or the name belongs to another object now.
                let Some(object) = api.get(Kind::Leases, &self.name).await? else { return Ok(None) };
                if identity(&object).0 != identity(&held.object).0 {
                    return Ok(None);
                }
                // Removed by the write, and therefore remembered before it.
                self.ownership.note(ownership::deregistered(&object), cluster.client.timing.now());
                // A note of a deregistration leaves what others go by as it was.
                let parts = ["/spec", "/metadata/labels"];
                let touched = parts.iter().any(|part| object.pointer(part) != held.object.pointer(part));
                let written = api.replace(Kind::Leases, &self.name, self.renewed(object, duration)?).await?;
                Ok(written.map(|object| (object, touched)))
            }
            other => Ok(other?.map(|object| (object, false))),
        }
    }

    /// Returns the lease with the current time and all fields that other processes rely on,
    /// whatever was changed in it.
    fn renewed(&self, mut object: Value, duration: Duration) -> Result<Value, Error> {
        let no_lease = || Error::bad_answer("renew the lease", "it is no lease");
        let fields = object.as_object_mut().ok_or_else(no_lease)?;
        let spec = fields.entry("spec").or_insert_with(|| json!({})).as_object_mut().ok_or_else(no_lease)?;
        spec.insert("holderIdentity".to_owned(), self.name.as_str().into());
        // Rounded up: with a shorter duration, others could consider this process dead without it
        // noticing.
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        spec.insert("leaseDurationSeconds".to_owned(), seconds.into());
        spec.insert("renewTime".to_owned(), timestamp::now().into());
        let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(no_lease)?;
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if !labels.is_object() {
            *labels = json!({});
        }
        labels[names::REGISTRANT] = self.name.as_str().into();
        if self.reaps.load(Ordering::Relaxed) {
            labels[names::REAPER] = "true".into();
        } else if let Some(labels) = labels.as_object_mut() {
            labels.remove(names::REAPER);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(names::DEREGISTERED);
        }
        Ok(object)
    }

    /// Restores the slices after the lease was lost or expired.
    async fn catch_up(&self, cluster: &Cluster, registered: &mut Registered) -> Result<(), Error> {
        let (owner, behind) = {
            let lease = self.lease.lock().await;
            let Some(held) = lease.as_ref() else { return Ok(()) };
            let owner = Owner { lease: self.name.clone(), uid: identity(&held.object).0.to_owned() };
            (owner, held.behind)
        };
        if registered.owner.as_ref() != Some(&owner) {
            *registered = Registered { owner: Some(owner.clone()), keys: HashSet::new() };
        }
        let mut failed = None;
        for place in self.registrations.all() {
            let mut slot = place.lock().await;
            let Some(entry) = slot.clone() else { continue };
            let mended = match behind {
                Behind::Nothing => return Ok(()),
                Behind::Register if registered.keys.contains(place.key()) => Ok(()),
                Behind::Register => {
                    let done = match self.is_taken_over(cluster, &entry).await {
                        Ok(false) => {
                            let applied = apply(cluster, &entry, Some(&owner)).await;
                            applied.inspect(|()| self.ownership.restore(place.key().clone()))
                        }
                        Ok(true) => {
                            self.give_up(place.key(), &mut slot);
                            Ok(())
                        }
                        Err(error) => Err(error),
                    };
                    if done.is_ok() {
                        registered.keys.insert(place.key().clone());
                    }
                    done
                }
                Behind::Restore => self.mend(cluster, &owner, place.key(), &mut slot, &entry).await,
            };
            if let Err(error) = mended {
                failed = Some(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                if let Some(held) = self.lease.lock().await.as_mut() {
                    // The repair is complete unless the lease was lost again; marks may arrive
                    // until `marking`, so later renewals check again.
                    let is_same = held.behind == behind && identity(&held.object).0 == owner.uid;
                    if is_same && (behind == Behind::Register || cluster.client.timing.now() >= held.marking)
                    {
                        held.behind = Behind::Nothing;
                    }
                }
                Ok(())
            }
        }
    }

    /// Deletes the lease, if no registration is bound to it once operations in progress have ended.
    pub(crate) async fn leave(&self, cluster: &Cluster) -> Result<(), Error> {
        for place in self.registrations.all() {
            drop(place.lock().await);
        }
        if self.registrations.kept() > 0 {
            return Ok(());
        }
        self.release(cluster).await
    }

    /// Deletes the lease unless a registration is bound to it or about to be.
    pub(crate) async fn release(&self, cluster: &Cluster) -> Result<(), Error> {
        let mut lease = self.lease.lock().await;
        // A registration in progress counts: its slot is locked.
        if self.registrations.kept() > 0 {
            return Ok(());
        }
        let Some(held) = lease.take() else { return Ok(()) };
        let uid = identity(&held.object).0;
        match cluster.api().delete(Kind::Leases, &self.name, uid, None).await {
            Ok(_) => Ok(()),
            Err(error) if error::status(&error) == Some(409) => Ok(()),
            Err(error) => {
                // It is still there, for the next registration or the next attempt.
                *lease = Some(held);
                Err(error)
            }
        }
    }
}

/// Returns a response if it is a lease.
fn checked(object: Value, what: &str) -> Result<Value, Error> {
    let is_lease = !identity(&object).0.is_empty() && object.get("spec").is_some_and(Value::is_object);
    if is_lease { Ok(object) } else { Err(Error::bad_answer(what, "it is no lease")) }
}

/// Returns the host's name, usable in an object's name.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let kept: String = name
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    let trimmed = kept.trim_matches('-');
    if trimmed.is_empty() { "process".to_owned() } else { trimmed.to_owned() }
}
