//! Applies the verdicts of active probes, beside the evidence of calls and the claims of sources.

use std::sync::Arc;

use crate::config::ProbePolicy;
use crate::contract::address_policy::AddressPolicy;
use crate::contract::probe::ProbeTarget;
use crate::engine::Engine;
use crate::engine::control::active_source::{self, shares_event};
use crate::engine::control::state::Control;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::events::{Event, EventKind};
use crate::model::endpoint::Endpoint;
use crate::model::health::Health;

/// An endpoint that this process should probe.
pub(crate) struct Probed {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) state: u32,
    /// The addresses that its source may name.
    pub(crate) addresses: AddressPolicy,
}

impl Engine {
    /// Returns the endpoints to probe under the current configuration. There are none unless
    /// probing is configured. Endpoints whose registry already checks them are included only if the
    /// configuration requires it. The addresses are those that the source of the entry that counts
    /// may name.
    pub(crate) fn to_probe(&self) -> Vec<Probed> {
        let snapshot = self.snapshot();
        let config = &snapshot.config;
        if !config.probe_endpoints() || config.probe() == ProbePolicy::Never {
            return Vec::new();
        }
        let control = self.control();
        let auto = config.probe() == ProbePolicy::Auto;
        // Where several entries name a place, a registry that checks one of them has checked it.
        let is_checked = |slot: &Slot| {
            let own = (snapshot.source(slot), slot.claim.health);
            let mut claims = slot.others.iter().map(|other| (&other.source, other.health)).chain([own]);
            auto && claims.any(|(source, health)| {
                health != Health::Unknown
                    && control.source(source).is_some_and(|source| source.description.checks_health)
            })
        };
        let probed = |slot: &Slot| {
            let addresses = control.source(snapshot.source(slot)).map(|source| source.description.addresses);
            let addresses = addresses.unwrap_or(AddressPolicy::IN_PROCESS);
            Probed { endpoint: Arc::clone(&slot.endpoint), state: slot.state, addresses }
        };
        let slots = snapshot.slots.iter().filter(|slot| slot.endpoint.health_check().is_some());
        slots.filter(|slot| !is_checked(slot)).map(probed).collect()
    }

    /// Records the result of a probe; `changed` is the new verdict if it differs from the previous
    /// one.
    pub(crate) fn probe_found(
        &self,
        number: u32,
        target: &ProbeTarget,
        changed: Option<Health>,
        evidence: &str,
    ) {
        self.slab.state(number).count_probe();
        let Some(verdict) = changed else { return };
        let mut events = Vec::new();
        {
            let mut control = self.control();
            let snapshot = self.snapshot.load_full();
            let state = self.slab.state(number);
            let index = state.placement().slot();
            // The endpoint may have been removed, its state may have been reused, or its probing
            // may have ended.
            let theirs = |slot: &&Slot| {
                slot.state == number
                    && slot.endpoint.place() == target.endpoint().place()
                    && state.placement().is_probing()
            };
            let Some(slot) = snapshot.slots.get(index as usize).filter(theirs) else { return };
            let before = state.placement().set_probed(verdict, &control.lock);
            let event = |kind, reason: String| {
                snapshot.about(slot, Event::new(kind, reason)).detail("health", verdict.as_str())
            };
            events.push(event(EventKind::HealthCheck, format!("its probe says {verdict}: {evidence}")));
            if (before == Health::Unhealthy) != (verdict == Health::Unhealthy) {
                self.reconcile(&mut control, &snapshot, index);
                if verdict == Health::Unhealthy {
                    events.push(event(EventKind::EndpointDown, format!("its probe says: {evidence}")));
                } else if before == Health::Unhealthy {
                    events.push(event(EventKind::EndpointUp, format!("its probe says: {evidence}")));
                }
                if snapshot.recompute_shares() {
                    events.push(shares_event(&snapshot));
                    active_source::emit(&mut control, &snapshot, &mut events);
                }
            }
        }
        self.emit_all(events);
    }

    /// Records that an endpoint is probed from now on.
    pub(crate) fn probe_begun(&self, state: u32) {
        let control = self.control();
        self.slab.state(state).placement().set_probing(true, &control.lock);
    }

    /// Records that an endpoint is no longer probed, and discards the verdict.
    pub(crate) fn probe_ended(&self, state: u32) {
        let mut control = self.control();
        let snapshot = self.snapshot.load_full();
        self.forget_probe(&mut control, &snapshot, state);
    }

    /// Discards all verdicts because nothing is probed any more. Endpoints that were out only
    /// because of a probe return to being judged by calls.
    pub(super) fn forget_probes(&self, control: &mut Control) {
        let snapshot = self.snapshot.load_full();
        for slot in &snapshot.slots {
            self.forget_probe(control, &snapshot, slot.state);
        }
    }

    fn forget_probe(&self, control: &mut Control, snapshot: &Snapshot, number: u32) {
        let state = self.slab.state(number);
        state.placement().set_probing(false, &control.lock);
        let index = state.placement().slot();
        if snapshot.slots.get(index as usize).is_some_and(|slot| slot.state == number)
            && state.placement().set_probed(Health::Unknown, &control.lock) == Health::Unhealthy
        {
            self.reconcile(control, snapshot, index);
            snapshot.recompute_shares();
        }
    }
}
