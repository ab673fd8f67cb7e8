//! What active probes have found, beside what calls have shown and what sources claim.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::ProbePolicy;
use crate::contract::address_policy::AddressPolicy;
use crate::contract::probe::ProbeTarget;
use crate::engine::Engine;
use crate::engine::control::active_source::{self, shares_event};
use crate::engine::control::source::SourceId;
use crate::engine::control::state::Control;
use crate::engine::snapshot::Snapshot;
use crate::events::{Event, EventKind};
use crate::model::endpoint::{Endpoint, EndpointId};
use crate::model::health::Health;

/// An endpoint that this process is to probe.
pub(crate) struct Probed {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) state: u32,
    /// Which addresses its source may lead to.
    pub(crate) addresses: AddressPolicy,
}

impl Engine {
    /// Says which addresses a source may name, and whether it checks the health of its endpoints itself.
    pub(crate) fn describe_source(&self, id: SourceId, addresses: AddressPolicy, checks_health: bool) {
        let source = &mut self.control().sources[id.0];
        (source.addresses, source.checks_health) = (addresses, checks_health);
    }

    /// The endpoints that are to be probed as things are: none unless the configuration says so, and not those that
    /// their registry probes already, unless it is asked for.
    pub(crate) fn to_probe(&self) -> Vec<Probed> {
        let snapshot = self.snapshot();
        let config = &snapshot.config;
        if !config.probe_endpoints() || config.probe() == ProbePolicy::Never {
            return Vec::new();
        }
        let control = self.control();
        let checked: HashSet<&EndpointId> = control
            .sources
            .iter()
            .filter(|source| source.checks_health && config.probe() == ProbePolicy::Auto)
            .flat_map(|source| &source.entries)
            .filter(|entry| entry.health() != Health::Unknown)
            .map(|entry| entry.endpoint().id())
            .collect();
        let addresses = |tier: u32| {
            let of_tier = control.sources.iter().filter(|source| source.tier == tier);
            // Several sources in one tier: what the least trusted of them may name.
            of_tier.map(|source| source.addresses).reduce(AddressPolicy::stricter)
        };
        let tiers: Vec<_> = snapshot.tiers.iter().map(|tier| addresses(tier.rank.source)).collect();
        let probed = |slot: &crate::engine::snapshot::Slot| {
            let addresses = tiers[slot.tier as usize].unwrap_or(AddressPolicy::IN_PROCESS);
            Probed { endpoint: Arc::clone(&slot.endpoint), state: slot.state, addresses }
        };
        let slots = snapshot.slots.iter().filter(|slot| slot.endpoint.health_check().is_some());
        slots.filter(|slot| !checked.contains(slot.endpoint.id())).map(probed).collect()
    }

    /// A probe has answered; `changed` is the new verdict, if it is another one than before.
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
            let id = target.endpoint().id();
            // It may be gone, another one may have its cell, or nobody may ask any more.
            let theirs = |slot: &crate::engine::snapshot::Slot| {
                let (now, then) = (&slot.endpoint, target.endpoint());
                slot.state == number
                    && now.id() == id
                    && (now.address(), now.port()) == (then.address(), then.port())
                    && state.placement().is_probing()
            };
            if !snapshot.slots.get(index as usize).is_some_and(theirs) {
                return;
            }
            let before = state.placement().set_probed(verdict, &control.lock);
            let event = |kind, reason: String| {
                Event::new(kind, reason).endpoint(id).detail("health", verdict.as_str())
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

    /// An endpoint is probed from now on.
    pub(crate) fn probe_begun(&self, state: u32) {
        let control = self.control();
        self.slab.state(state).placement().set_probing(true, &control.lock);
    }

    /// An endpoint is not probed any more: what was found counts no longer.
    pub(crate) fn probe_ended(&self, state: u32) {
        let mut control = self.control();
        let snapshot = self.snapshot.load_full();
        self.forget_probe(&mut control, &snapshot, state);
    }

    /// Nothing is probed any more: who was out for its probe alone is found out about by calls again.
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
