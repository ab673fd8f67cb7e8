//! Schedules probes: one task per service, and one per probed endpoint.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::contract::probe::{Probe, ProbeTarget};
use crate::engine::{Engine, Probed};
use crate::error::Error;
use crate::model::health::Health;
use crate::probing::probes::Probes;
use crate::probing::thresholds::{Streak, Thresholds};
use crate::runtime::task::Task;

/// The longest random delay before the first probe of an endpoint, so that many endpoints are not
/// probed at once.
const FIRST: Duration = Duration::from_secs(1);
/// The minimum interval between two reads of the endpoint list; changes in between are processed
/// together.
const SPACING: Duration = Duration::from_millis(10);

/// Probes the endpoints of a service while it runs.
pub(crate) struct Scheduler {
    pub(crate) engine: Arc<Engine>,
    pub(crate) probes: Arc<Probes>,
}

/// A probed endpoint. Dropping this value ends its task.
struct Running {
    target: ProbeTarget,
    _task: Task,
}

impl Scheduler {
    /// Runs until the task is aborted.
    pub(crate) async fn run(self) -> Infallible {
        let mut changes = self.engine.changes();
        let mut running: HashMap<u32, Running> = HashMap::new();
        loop {
            changes.borrow_and_update();
            self.reconcile(&mut running);
            // The engine, which `self` holds, owns the sender, so this cannot fail.
            let _ = changes.changed().await;
            tokio::time::sleep(SPACING).await;
        }
    }

    /// Starts probing new endpoints, and stops probing those that were removed, changed their
    /// address, or changed their health check. The keys are the numbers of the endpoints' states.
    fn reconcile(&self, running: &mut HashMap<u32, Running>) {
        let mut wanted: HashMap<u32, Probed> = self
            .engine
            .to_probe()
            .into_iter()
            .filter(|probed| self.probes.for_endpoint(&probed.endpoint).is_some())
            .map(|probed| (probed.state, probed))
            .collect();
        running.retain(|state, running| {
            let before = running.target.endpoint();
            let same = |probed: &Probed| {
                probed.endpoint.place() == before.place()
                    && probed.addresses == running.target.addresses()
                    && probed.endpoint.protocol() == before.protocol()
                    && probed.endpoint.server_name() == before.server_name()
                    && probed.endpoint.health_check() == Some(running.target.health_check())
            };
            match wanted.get(state) {
                Some(probed) if same(probed) => {
                    wanted.remove(state);
                    true
                }
                Some(_) => false,
                None => {
                    // The endpoint is no longer probed, so its verdict no longer applies.
                    self.engine.probe_ended(*state);
                    false
                }
            }
        });
        for (state, probed) in wanted {
            let target = ProbeTarget::within(probed.endpoint, probed.addresses);
            let Some(probe) = self.probes.for_endpoint(target.endpoint()) else { continue };
            let task = Asking {
                engine: Arc::clone(&self.engine),
                probes: Arc::clone(&self.probes),
                probe: Arc::clone(probe),
                target: target.clone(),
                state,
            };
            let task = Task::spawn(&Handle::current(), async move { match task.run().await {} });
            self.engine.probe_begun(state);
            running.insert(state, Running { target, _task: task });
        }
    }
}

/// Probes one endpoint repeatedly.
struct Asking {
    engine: Arc<Engine>,
    probes: Arc<Probes>,
    probe: Arc<dyn Probe>,
    target: ProbeTarget,
    state: u32,
}

impl Asking {
    async fn run(self) -> Infallible {
        let check = self.target.health_check();
        let thresholds =
            Thresholds { healthy: check.healthy_threshold(), unhealthy: check.unhealthy_threshold() };
        let mut streak = Streak::default();
        tokio::time::sleep(FIRST.min(check.interval() / 10).mul_f64(self.engine.random().unit())).await;
        loop {
            let found = self.probes.ask(&*self.probe, &self.target).await;
            let (health, evidence) = match &found {
                Ok(finding) => (finding.health(), finding.evidence().to_owned()),
                Err(error) => (Health::Unhealthy, Error::to_string(error)),
            };
            let before = streak.verdict;
            streak = streak.after(health, thresholds);
            let changed = streak.verdict != before;
            self.engine.probe_found(self.state, &self.target, changed.then_some(streak.verdict), &evidence);
            let jitter = 0.9 + 0.2 * self.engine.random().unit();
            tokio::time::sleep(check.interval().mul_f64(jitter)).await;
        }
    }
}
