//! Writes the metrics to the recorder of the `metrics` facade.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::inspect::{Durations, ServiceStats};
use failover_core::{Error, ErrorKind, FailoverManager, WeakManager};
use metrics::{Key, Label, Level, Metadata, with_recorder};
use tokio::task::AbortHandle;

use crate::families::{Family, Kind, Labels, Sink, Value, visit};
use crate::limits::Limits;

/// The time between two writes.
const INTERVAL: Duration = Duration::from_secs(5);
/// The number of endpoints that get series while a bridge runs. A recorder never removes a series, so
/// that without this limit its memory would grow with every endpoint that comes and goes.
const MAX_ENDPOINTS_EVER: usize = 10_000;
/// The most durations of one bucket that are recorded at once: recorders take time and memory for each.
const MAX_RECORDED: u64 = 10_000;

/// The bridges that run in this process, each with its manager.
static RUNNING: Mutex<Vec<(u64, WeakManager)>> = Mutex::new(Vec::new());

/// A running bridge to the `metrics` facade. Dropping it ends the bridge.
#[must_use = "the bridge ends when this is dropped"]
#[derive(Debug)]
pub struct Bridge {
    exporter: Arc<Mutex<Exporter>>,
    manager: WeakManager,
    task: AbortHandle,
    _claim: Claim,
}

/// Writes the manager's metrics to the recorder of the `metrics` facade, now and every 5 s.
///
/// The names and labels are those of [`render`](crate::render). The facade differs in this:
///
/// - A recorder cannot remove a series: those of an endpoint that has left keep their last value. A
///   bridge makes series for at most 10 000 endpoints in its life; `failover_series_left_out` counts the
///   others.
/// - The facade takes single durations instead of buckets. The bridge records what was added since its
///   last write, from its start on, each duration as the middle of its bucket: buckets of a recorder
///   with the same bounds are exact, the sum is an estimate. Of more than 10 000 in one bucket, it
///   records 10 000.
///
/// It writes to the recorder that is the global one at that moment. Before a program installs one,
/// writes have no effect; counters are totals, so that a later recorder gets all of them. `metrics`
/// itself refuses a second global recorder.
///
/// The bridge ends within 5 s of the end of its manager, by [`close`](FailoverManager::close) or by the
/// drop of its last clone, which it does not delay. What calls did after its last write is lost:
/// [`Bridge::write`] before the end writes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = failover_core::FailoverManager::builder().build().await?;
/// let _bridge = failover_metrics::install(&manager)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Returns `Conflict` if another bridge of this manager is running, because durations would be counted
/// twice; `Shutdown` if the manager is closed; and `Internal` outside of a tokio runtime.
pub fn install(manager: &FailoverManager) -> Result<Bridge, Error> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        let message = "failover_metrics::install must be called in a tokio runtime, which its task runs in";
        return Err(Error::new(ErrorKind::Internal, message));
    };
    if manager.is_closed() {
        let message = "the failover manager is closed, and has no metrics any more";
        return Err(Error::new(ErrorKind::Shutdown, message));
    }
    let weak = manager.downgrade();
    let claim = Claim::take(&weak)?;
    let exporter = Arc::new(Mutex::new(Exporter::default()));
    write(&exporter, &manager.stats());
    let (of_task, of_manager) = (Arc::clone(&exporter), weak.clone());
    let task = runtime.spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            // Not kept while it sleeps: the drop of the program's last clone ends discovery.
            let Some(manager) = of_manager.upgrade().filter(|manager| !manager.is_closed()) else { return };
            write(&of_task, &manager.stats());
        }
    });
    Ok(Bridge { exporter, manager: weak, task: task.abort_handle(), _claim: claim })
}

impl Bridge {
    /// Writes the metrics now, in addition to every 5 s: before the manager is closed, for example.
    ///
    /// Writes to the recorder that the facade uses on this thread. Has no effect after the end of the
    /// manager.
    pub fn write(&self) {
        if let Some(manager) = self.manager.upgrade().filter(|manager| !manager.is_closed()) {
            write(&self.exporter, &manager.stats());
        }
    }

    /// Returns whether the bridge has ended, because its manager has.
    pub fn is_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The right to be the manager's only bridge.
#[derive(Debug)]
struct Claim(u64);

impl Claim {
    fn take(manager: &WeakManager) -> Result<Self, Error> {
        let mut running = running();
        if running.iter().any(|(_, other)| other.is_same(manager)) {
            let message = "the metrics of this manager are already written to the metrics facade; \
                           drop that bridge first, or keep only that one";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let number = running.last().map_or(0, |(last, _)| last + 1);
        running.push((number, manager.clone()));
        Ok(Self(number))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        running().retain(|(number, _)| *number != self.0);
    }
}

fn running() -> MutexGuard<'static, Vec<(u64, WeakManager)>> {
    // No operation under the lock can leave it half updated.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(exporter: &Mutex<Exporter>, stats: &[ServiceStats]) {
    // A recorder that panicked has left the last durations as they were, or as they are now.
    exporter.lock().unwrap_or_else(PoisonError::into_inner).write(stats);
}

/// What a bridge remembers of its earlier writes.
#[derive(Debug, Default)]
struct Exporter {
    /// The endpoints that have series, as `service`, `query` and `endpoint`.
    endpoints: HashSet<(String, String, String)>,
    /// The durations at the last write, by their key.
    durations: HashMap<Key, Durations>,
    has_begun: bool,
}

impl Exporter {
    fn write(&mut self, stats: &[ServiceStats]) {
        let mut chosen = Limits::new().choose(stats);
        chosen.retain(|service, of| {
            let query = service.query.as_deref().unwrap_or_default().to_owned();
            let endpoint = (service.service.to_string(), query, of.name.clone());
            self.endpoints.contains(&endpoint)
                || (self.endpoints.len() < MAX_ENDPOINTS_EVER && self.endpoints.insert(endpoint))
        });
        let (before, has_begun) = (std::mem::take(&mut self.durations), self.has_begun);
        self.has_begun = true;
        visit(&chosen, &mut Recording { before, has_begun, now: &mut self.durations });
    }
}

/// Hands values to the facade's recorder.
struct Recording<'a> {
    before: HashMap<Key, Durations>,
    has_begun: bool,
    now: &'a mut HashMap<Key, Durations>,
}

const METADATA: Metadata<'_> = Metadata::new("failover", Level::INFO, Some("failover"));

fn key(family: &Family, labels: &Labels<'_>) -> Key {
    let labels: Vec<_> =
        labels.iter().map(|(label, value)| Label::new(*label, (*value).to_owned())).collect();
    Key::from_parts(family.name, labels)
}

impl Sink for Recording<'_> {
    fn family(&mut self, family: &Family) {
        let (name, help) = (family.name.into(), family.help.into());
        let seconds = family.name.ends_with("_seconds").then_some(metrics::Unit::Seconds);
        with_recorder(|recorder| match family.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, seconds, help),
            Kind::Histogram => recorder.describe_histogram(name, seconds, help),
        });
    }

    fn value(&mut self, family: &Family, labels: &Labels<'_>, value: Value<'_>) {
        let key = key(family, labels);
        match value {
            Value::Count(value) => {
                with_recorder(|recorder| recorder.register_counter(&key, &METADATA).absolute(value));
            }
            Value::Gauge(value) => {
                with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).set(value));
            }
            Value::Durations(value) => self.durations(key, value),
        }
    }
}

impl Recording<'_> {
    /// Records what was added to the durations.
    fn durations(&mut self, key: Key, value: &Durations) {
        let added = match self.before.get(&key) {
            // A service that was forgotten and asked for again counts from zero.
            Some(before) if before.count() <= value.count() => value.since(before),
            None if !self.has_begun => Durations::default(),
            _ => *value,
        };
        with_recorder(|recorder| {
            let histogram = recorder.register_histogram(&key, &METADATA);
            for (middle, count) in middles(&added) {
                histogram.record_many(middle, count.min(MAX_RECORDED) as usize);
            }
        });
        self.now.insert(key, *value);
    }
}

/// Returns the middle of each bucket in seconds, and the number of durations in it. What is longer than
/// the last bound counts as twice that.
fn middles(durations: &Durations) -> impl Iterator<Item = (f64, u64)> {
    let (mut from, mut below) = (0.0, 0);
    let mut single: Vec<_> = durations
        .buckets()
        .map(|bucket| {
            let to = bucket.at_most.as_secs_f64();
            let middle = (f64::midpoint(from, to), bucket.count - below);
            (from, below) = (to, bucket.count);
            middle
        })
        .collect();
    single.push((2.0 * from, durations.count() - below));
    single.into_iter().filter(|(_, count)| *count > 0)
}
