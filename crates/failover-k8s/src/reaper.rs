//! Removes registrations of processes that are gone.
//!
//! Any number of processes may do this concurrently: each write names the version that it replaces,
//! so at most one succeeds, and none if the process turns out to be alive. Few of them need to: see
//! [`election`](crate::election).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use failover_core::{Error, Time};
use serde_json::Value;

use crate::api::{Kind, Scope};
use crate::cluster::Cluster;
use crate::election::Election;
use crate::lease::ProcessLease;
use crate::settings::defaults;
use crate::slice_store::identity;
use crate::{convert, error, names};

/// A lease and its registrations are deleted after this many durations without a renewal.
const GONE: u32 = 3;
/// One in this many rounds looks for slices without a lease.
const ORPHANS: u32 = 10;
/// Pause after a verdict without effect, doubled each time: the deletion may be forbidden, or
/// blocked by a finalizer.
const FIRST_REST: Duration = Duration::from_millis(100);
const LAST_REST: Duration = Duration::from_secs(30);

/// A lease as read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    uid: String,
    /// Changes with each renewal. Only the change matters: clocks of other machines are not
    /// compared.
    mark: String,
    version: String,
    duration: Duration,
}

#[derive(Debug)]
struct Sighting {
    seen: Seen,
    since: Time,
    expired: bool,
    /// The number of verdicts, and the time until which there is no other.
    verdicts: u32,
    rests: Time,
    complained: bool,
}

impl Sighting {
    fn new(seen: Seen, now: Time) -> Self {
        Self { seen, since: now, expired: false, verdicts: 0, rests: now, complained: false }
    }

    /// Returns when the next verdict is due.
    fn due(&self) -> Time {
        (self.since + self.seen.duration * if self.expired { GONE } else { 1 }).max(self.rests)
    }

    fn verdict(&mut self, now: Time) -> Option<Verdict> {
        if now < self.due() {
            return None;
        }
        self.rests = now + (FIRST_REST * (1 << self.verdicts.min(9))).min(LAST_REST);
        self.verdicts = self.verdicts.saturating_add(1);
        let gone = now.since(self.since) >= self.seen.duration * GONE;
        let verdict = if gone { Verdict::Delete } else { Verdict::Expire };
        Some(verdict(self.seen.clone()))
    }
}

/// The action for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its registrations are marked as expired.
    Expire(Seen),
    /// The lease and its registrations are deleted.
    Delete(Seen),
}

/// When each lease last changed, by this machine's monotonic clock.
#[derive(Debug, Default)]
struct Sightings {
    leases: HashMap<String, Sighting>,
    last: Option<Time>,
}

impl Sightings {
    /// Records the leases read now and returns the verdicts. After an interruption longer than
    /// `patience`, because the API server was unreachable or this process was suspended, every
    /// lease has its full time again; otherwise the end of an outage would expire all
    /// registrations.
    fn look(&mut self, leases: Vec<Seen>, now: Time, patience: Duration) -> Vec<Verdict> {
        let blind = self.last.replace(now).is_some_and(|last| now.since(last) > patience);
        let mut before = std::mem::take(&mut self.leases);
        let mut verdicts = Vec::new();
        for seen in leases {
            let mut sighting = match before.remove(&seen.name) {
                Some(known) if (&known.seen.uid, &known.seen.mark) == (&seen.uid, &seen.mark) => {
                    Sighting { seen, since: if blind { now } else { known.since }, ..known }
                }
                _ => Sighting::new(seen, now),
            };
            verdicts.extend(sighting.verdict(now));
            self.leases.insert(sighting.seen.name.clone(), sighting);
        }
        verdicts
    }

    fn expired(&mut self, name: &str) {
        if let Some(sighting) = self.leases.get_mut(name) {
            (sighting.expired, sighting.verdicts) = (true, 0);
        }
    }

    /// Returns whether this is the first failure to carry out a verdict on this lease.
    fn complains(&mut self, name: &str) -> bool {
        self.leases.get_mut(name).is_some_and(|one| !std::mem::replace(&mut one.complained, true))
    }

    /// Returns when the next verdict can be due.
    fn due(&self) -> Option<Time> {
        self.leases.values().map(Sighting::due).min()
    }
}

/// Observes the leases of the namespace except this process's own until dropped.
pub(crate) async fn reap(cluster: &Cluster, lease: &ProcessLease) {
    let own = lease.name();
    let period = cluster.settings.lease.unwrap_or(defaults::LEASE) / 3;
    let mut sightings = Sightings::default();
    // A process that was told to reap does so in any case.
    let mut election = (cluster.settings.reaper != Some(true)).then(|| Election::new(own));
    let mut orphans: HashMap<String, Time> = HashMap::new();
    let (mut complained, mut refusals) = (false, 0_u32);
    for round in 1_u32.. {
        let next = cluster.client.timing.now() + period.mul_f64(0.8 + 0.2 * cluster.client.timing.unit());
        let elected = match &mut election {
            Some(election) => elect(cluster, election).await,
            None => Ok(true),
        };
        let looked = match elected {
            Ok(true) => look(cluster, own, &mut sightings, period * 2).await.map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        match looked {
            Ok(None) => {
                (complained, refusals) = (false, 0);
                orphans.clear();
                lease.reaps.store(true, Ordering::Relaxed);
                // Half a lease: it is not urgent, because another reaper lives.
                cluster.client.timing.sleep_until(next + period / 2).await;
                continue;
            }
            Ok(Some(names)) => {
                (complained, refusals) = (false, 0);
                lease.reaps.store(true, Ordering::Relaxed);
                if round % ORPHANS == 0 {
                    let found = look_for_orphans(cluster, own, &names, &mut orphans, period * 3).await;
                    if let Err(error) = found {
                        tracing::debug!(target: "failover::k8s", "cannot look for slices without a lease: {error}");
                    }
                }
            }
            Err(error) => {
                orphans.clear();
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(target: "failover::k8s", "cannot remove endpoints of processes that are gone: {error}");
                }
                // An API server refuses every request while it starts; only a refusal that persists
                // reduces the rate.
                refusals = if error::status(&error) == Some(403) { refusals.saturating_add(1) } else { 0 };
                let pause = if refusals > 4 { period * 10 } else { period };
                if refusals > 4 {
                    // Others must not rely on this process.
                    lease.reaps.store(false, Ordering::Relaxed);
                }
                cluster
                    .client
                    .timing
                    .sleep_until(cluster.client.timing.now() + cluster.client.timing.jittered(pause, 0.2))
                    .await;
                continue;
            }
        }
        // Wakes exactly when a lease expires, not up to a period later.
        let soonest = cluster.client.timing.now() + Duration::from_millis(50);
        let due = sightings.due().map(|due| due.max(soonest));
        cluster.client.timing.sleep_until(due.map_or(next, |due| due.min(next))).await;
    }
}

/// Reads the leases that stand for election and returns whether this process is elected.
async fn elect(cluster: &Cluster, election: &mut Election) -> Result<bool, Error> {
    let scope = Scope::labelled(Kind::Leases, format!("{0},{1}=true", names::REGISTRANT, names::REAPER));
    loop {
        let (leases, is_whole) =
            cluster.api().first(&scope, election.limit(), |object| seen(&object)).await?;
        let leases = leases.into_iter().flatten();
        let leases = leases.map(|seen| (seen.name, format!("{}/{}", seen.uid, seen.mark), seen.duration));
        if let Some(elected) = election.look(leases.collect(), is_whole, cluster.client.timing.now()) {
            return Ok(elected);
        }
    }
}

/// Reads all leases and carries out the verdicts. Returns the names of the leases.
async fn look(
    cluster: &Cluster,
    own: &str,
    sightings: &mut Sightings,
    patience: Duration,
) -> Result<Vec<String>, Error> {
    let api = cluster.api();
    let scope = Scope::labelled(Kind::Leases, names::REGISTRANT);
    let (leases, _) = api.list(&scope, |object| seen(&object)).await?;
    let mut leases: Vec<_> = leases.into_iter().flatten().collect();
    let all = leases.iter().map(|seen| seen.name.clone()).collect();
    leases.retain(|seen| seen.name != own);
    for verdict in sightings.look(leases, cluster.client.timing.now(), patience) {
        let (name, done) = match verdict {
            Verdict::Expire(lease) => {
                let expired = still_silent(cluster, &lease).await;
                if let Ok(true) = expired {
                    sightings.expired(&lease.name);
                }
                (lease.name, expired.map(drop))
            }
            Verdict::Delete(lease) => {
                let done = delete(cluster, &lease).await;
                (lease.name, done)
            }
        };
        // A failed verdict does not hold up the others.
        if let Err(error) = done
            && sightings.complains(&name)
        {
            tracing::warn!(target: "failover::k8s", lease = %name, "cannot remove endpoints of a process that is gone: {error}");
        }
    }
    Ok(all)
}

/// Marks the registrations of a lease if it has not changed since it was read: listing many pages
/// can take longer than a renewal. Returns whether all are marked.
async fn still_silent(cluster: &Cluster, lease: &Seen) -> Result<bool, Error> {
    let now = cluster.api().get(Kind::Leases, &lease.name).await?.as_ref().and_then(seen);
    let same = now.is_some_and(|now| (&now.uid, &now.mark) == (&lease.uid, &lease.mark));
    if same { expire(cluster, lease).await } else { Ok(false) }
}

fn seen(lease: &Value) -> Option<Seen> {
    // Registrations are found by a label, so a lease whose name is not a label value is not one of
    // these.
    let name = lease.pointer("/metadata/name")?.as_str().filter(|name| names::is_label(name))?.to_owned();
    let (uid, version) = identity(lease);
    let spec = |key: &str| lease.get("spec").and_then(|spec| spec.get(key));
    let text = |key: &str| spec(key).and_then(Value::as_str).unwrap_or_default();
    let seconds = spec("leaseDurationSeconds").and_then(Value::as_u64);
    Some(Seen {
        name,
        uid: uid.to_owned(),
        mark: format!("{}/{}", text("holderIdentity"), text("renewTime")),
        version: version.to_owned(),
        // An empty duration means the default, and an absurd one is limited to an hour.
        duration: Duration::from_secs(
            seconds.filter(|s| *s > 0).unwrap_or(defaults::LEASE.as_secs()).min(3600),
        ),
    })
}

fn bound_to(lease: &str) -> Scope {
    Scope::labelled(Kind::Slices, format!("{}={lease}", names::REGISTRANT))
}

/// Marks the registrations of a lease as expired. Returns false if any failed.
async fn expire(cluster: &Cluster, lease: &Seen) -> Result<bool, Error> {
    let api = cluster.api();
    let (slices, _) = api.list(&bound_to(&lease.name), |object| object).await?;
    let (mut all, mut failed) = (true, None);
    let mut marked = 0;
    for object in slices {
        if convert::is_expired(&object) {
            continue;
        }
        let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned) else {
            continue;
        };
        let entry = convert::read(&object, &cluster.settings.reading)
            .ok()
            .and_then(|slice| slice.candidates.into_iter().find(|one| one.managed))
            .map(|candidate| candidate.entry);
        let Some(object) = convert::expire(object, entry.as_ref()) else { continue };
        match api.replace(Kind::Slices, &name, object).await {
            Ok(Some(_)) => marked += 1,
            Ok(None) => {}
            Err(error) if error::status(&error) == Some(409) => all = false,
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if marked > 0 {
        tracing::warn!(target: "failover::k8s", lease = %lease.name, "{marked} endpoints marked unhealthy: their process no longer renews its lease");
    }
    failed.map_or(Ok(all), Err)
}

/// Deletes a lease that was not renewed since it was read, then its registrations.
async fn delete(cluster: &Cluster, lease: &Seen) -> Result<(), Error> {
    let api = cluster.api();
    match api.delete(Kind::Leases, &lease.name, &lease.uid, Some(&lease.version)).await {
        Ok(_) => {}
        // The lease was renewed, or another reaper was faster.
        Err(error) if error::status(&error) == Some(409) => return Ok(()),
        Err(error) => return Err(error),
    }
    let (mut slices, _) = api.list(&bound_to(&lease.name), |object| object).await?;
    slices.retain(|slice| !is_of_another(slice, lease));
    if !slices.is_empty() {
        tracing::warn!(target: "failover::k8s", lease = %lease.name, "deleting {} endpoints: the process that registered them is gone", slices.len());
    }
    let mut failed = None;
    for slice in slices {
        failed = failed.or(delete_slice(cluster, &slice).await.err());
    }
    failed.map_or(Ok(()), Err)
}

/// Returns whether a slice is bound to another lease of the same name: its process returned and
/// registered it again.
fn is_of_another(slice: &Value, lease: &Seen) -> bool {
    let owners = slice.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let text =
        |owner: &Value, key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    owners.into_iter().flatten().any(|owner| {
        text(owner, "kind") == "Lease" && text(owner, "name") == lease.name && text(owner, "uid") != lease.uid
    })
}

/// Deletes a slice in the version that was read: one that was registered again meanwhile stays.
async fn delete_slice(cluster: &Cluster, slice: &Value) -> Result<(), Error> {
    let name = slice.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let (uid, version) = identity(slice);
    match cluster.api().delete(Kind::Slices, name, uid, Some(version)).await {
        Ok(_) => Ok(()),
        Err(error) if error::status(&error) == Some(409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes slices whose lease has been missing for this long: a reaper deleted the lease, but not
/// all of its slices.
async fn look_for_orphans(
    cluster: &Cluster,
    own: &str,
    leases: &[String],
    orphans: &mut HashMap<String, Time>,
    patience: Duration,
) -> Result<(), Error> {
    let (slices, _) =
        cluster.api().list(&Scope::labelled(Kind::Slices, names::REGISTRANT), |object| object).await?;
    let now = cluster.client.timing.now();
    let mut still = HashMap::new();
    let mut failed = None;
    for slice in slices {
        let label =
            slice.get("metadata").and_then(|m| m.get("labels")).and_then(|all| all.get(names::REGISTRANT));
        let lease = label.and_then(Value::as_str).unwrap_or_default();
        if lease == own || leases.iter().any(|name| name == lease) {
            continue;
        }
        let (uid, version) = identity(&slice);
        let key = format!("{uid}/{version}");
        let since = orphans.get(&key).copied().unwrap_or(now);
        if now.since(since) >= patience {
            failed = failed.or(delete_slice(cluster, &slice).await.err());
        } else {
            still.insert(key, since);
        }
    }
    *orphans = still;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use failover_provider_kit::Timing;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn lease(mark: &str) -> Seen {
        Seen {
            name: "a".into(),
            uid: "1".into(),
            mark: mark.into(),
            version: "7".into(),
            duration: Duration::from_secs(30),
        }
    }

    #[test]
    fn a_lease_expires_when_it_has_not_changed_for_its_time_and_only_then() {
        let begin = Timing::tokio().now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut sightings = Sightings::default();
        assert_eq!(sightings.look(vec![lease("x")], at(0), PATIENCE), []);
        assert_eq!(sightings.due(), Some(at(30)));
        assert_eq!(sightings.look(vec![lease("x")], at(29), PATIENCE), []);
        assert_eq!(sightings.look(vec![lease("y")], at(29), PATIENCE), [], "a sign of life");
        assert_eq!(sightings.look(vec![lease("y")], at(58), PATIENCE), []);
        assert_eq!(sightings.look(vec![lease("y")], at(59), PATIENCE), [Verdict::Expire(lease("y"))]);
        sightings.expired("a");
        assert_eq!(sightings.look(vec![lease("y")], at(60), PATIENCE), [], "once");
        assert_eq!(sightings.due(), Some(at(29 + 90)));
        for seconds in [85, 110] {
            assert_eq!(sightings.look(vec![lease("y")], at(seconds), PATIENCE), []);
        }
        assert_eq!(sightings.look(vec![lease("y")], at(119), PATIENCE), [Verdict::Delete(lease("y"))]);
        assert_eq!(sightings.look(vec![lease("z")], at(120), PATIENCE), [], "it is back");
        assert_eq!(sightings.look(vec![], at(121), PATIENCE), []);
        assert_eq!(sightings.due(), None, "what is gone is forgotten");
    }

    /// An unreachable API server or a suspended reaper does not make other processes appear dead.
    #[test]
    fn a_time_in_which_nothing_could_be_seen_does_not_count() {
        let begin = Timing::tokio().now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut sightings = Sightings::default();
        sightings.look(vec![lease("x")], at(0), PATIENCE);
        sightings.look(vec![lease("x")], at(20), PATIENCE);
        assert_eq!(sightings.look(vec![lease("x")], at(300), PATIENCE), [], "ten leases later");
        assert_eq!(sightings.due(), Some(at(330)), "it has the whole time again");
        for seconds in [310, 320, 329] {
            assert_eq!(sightings.look(vec![lease("x")], at(seconds), PATIENCE), []);
        }
        assert_eq!(sightings.look(vec![lease("x")], at(330), PATIENCE), [Verdict::Expire(lease("x"))]);
        // The same holds between expiry and deletion.
        sightings.expired("a");
        assert_eq!(sightings.look(vec![lease("x")], at(600), PATIENCE), []);
    }

    /// The lease still exists after the deletion, because of a finalizer or missing permission:
    /// deletion is retried at a bounded rate.
    #[test]
    fn a_lease_that_stays_is_not_deleted_hotly() {
        let begin = Timing::tokio().now();
        let mut sightings = Sightings::default();
        let (mut now, mut deletions, mut looks) = (begin, 0, 0);
        while now < begin + Duration::from_secs(600) {
            let verdicts = sightings.look(vec![lease("x")], now, PATIENCE);
            looks += 1;
            for verdict in verdicts {
                match verdict {
                    Verdict::Expire(_) => sightings.expired("a"),
                    Verdict::Delete(_) => deletions += 1,
                }
            }
            // Waits like the reaper's loop.
            let soonest = now + Duration::from_millis(50);
            let due = sightings.due().expect("it is there");
            now = due.max(soonest).min(now + Duration::from_secs(10));
        }
        assert!((17..=30).contains(&deletions), "{deletions} deletions in 510 s");
        assert!(looks < 120, "{looks} looks in 600 s");
        assert!(sightings.complains("a") && !sightings.complains("a"), "once");
    }

    /// F24, for registrations: times written by other machines are not interpreted.
    #[test]
    fn a_time_from_the_past_or_the_future_is_only_a_mark() {
        let begin = Timing::tokio().now();
        for mark in ["p/1970-01-01T00:00:00.000000Z", "p/2999-01-01T00:00:00.000000Z", "p/", "/"] {
            let mut sightings = Sightings::default();
            assert_eq!(sightings.look(vec![lease(mark)], begin, PATIENCE), [], "{mark}");
            let later = begin + Duration::from_secs(29);
            assert_eq!(sightings.look(vec![lease(mark)], later, PATIENCE), [], "{mark}");
        }
    }

    /// F25, for registrations.
    #[test]
    fn a_lease_that_a_user_emptied_is_read_without_a_panic() {
        use serde_json::json;
        let base = |spec: Value| json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "7"}, "spec": spec});
        for spec in [
            json!(null),
            json!({}),
            json!({"leaseDurationSeconds": null, "renewTime": null}),
            json!({"leaseDurationSeconds": -1}),
            json!({"leaseDurationSeconds": 0}),
            json!([]),
        ] {
            assert_eq!(seen(&base(spec)).expect("it has a name").duration, Duration::from_secs(30));
        }
        let long = json!({"leaseDurationSeconds": 4_000_000_000_u64});
        assert_eq!(seen(&base(long)).expect("it has a name").duration, Duration::from_secs(3600));
        assert!(seen(&json!({"spec": {}})).is_none());
        let long = json!({"metadata": {"name": "x".repeat(64), "uid": "1"}, "spec": {}});
        assert!(seen(&long).is_none(), "no slice can be bound to it");
        assert!(seen(&json!(null)).is_none());
    }

    /// Its process returned after its lease expired and before its slices were deleted.
    #[test]
    fn what_is_bound_to_a_new_lease_of_the_same_name_is_not_deleted() {
        use serde_json::json;
        let bound = |uid: &str| json!({"metadata": {"ownerReferences": [{"kind": "Lease", "name": "a", "uid": uid}]}});
        assert!(!is_of_another(&bound("1"), &lease("x")));
        assert!(is_of_another(&bound("2"), &lease("x")));
        assert!(!is_of_another(&json!({"metadata": {"ownerReferences": null}}), &lease("x")));
    }
}
