//! A read-only view of an engine at one moment, for statistics and explanations.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Algorithm;
use crate::engine::Engine;
use crate::engine::accounting::CallTotals;
use crate::engine::algorithm::Tried;
use crate::engine::availability::Availability;
use crate::engine::breaker::Breaker;
use crate::engine::control::SourceStatus;
use crate::engine::ejections::Ejections;
use crate::engine::policy::Policy;
use crate::engine::snapshot::{Slot, Snapshot};
use crate::engine::state::EndpointState;
use crate::engine::state::counters::Counters;
use crate::engine::state::last_failure::Noted;
use crate::engine::state::latency::Times;
use crate::model::endpoint::EndpointId;
use crate::runtime::clock::Time;

/// An engine with one of its snapshots.
pub(crate) struct EngineView<'a> {
    engine: &'a Engine,
    snapshot: Arc<Snapshot>,
    pub(crate) now: Time,
}

/// One endpoint of a view.
pub(crate) struct EndpointView<'a> {
    pub(crate) slot: &'a Slot,
    /// Source tier and priority.
    pub(crate) tier: (u32, u32),
    pub(crate) breaker: Breaker,
    pub(crate) availability: Availability,
    state: &'a EndpointState,
    now: Time,
}

/// The totals of removed endpoints: their counters, the latencies of their attempts, and the number
/// of attempts in flight.
pub(crate) struct Gone {
    pub(crate) counters: Counters,
    pub(crate) times: Times,
    pub(crate) in_flight: u64,
}

impl Engine {
    pub(crate) fn view(&self) -> EngineView<'_> {
        EngineView { engine: self, snapshot: self.snapshot(), now: self.clock.now() }
    }

    /// Returns a view, and the totals of the endpoints that are not in it any more.
    pub(crate) fn view_and_gone(&self) -> (EngineView<'_>, Gone) {
        let (snapshot, (counters, times, in_flight)) = self.snapshot_and_gone();
        let view = EngineView { engine: self, snapshot, now: self.clock.now() };
        (view, Gone { counters, times, in_flight })
    }
}

impl EngineView<'_> {
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = EndpointView<'_>> {
        self.snapshot.slots.iter().map(|slot| {
            let state = self.engine.slab.state(slot.state);
            let breaker = state.breaker().read();
            let placement = state.placement();
            let availability = Availability::derive(
                slot.claim,
                placement.probed(),
                &breaker,
                placement.is_pinned() || self.snapshot.is_all_out(),
                (placement.paused_until(), placement.forced_out_until()),
                self.now,
            );
            let tier = self.snapshot.tiers[slot.tier as usize].rank.place();
            EndpointView { slot, tier, breaker, availability, state, now: self.now }
        })
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.snapshot.policy
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.now.since(self.engine.began)
    }

    pub(crate) fn calls(&self) -> CallTotals {
        self.engine.accounts.totals()
    }

    pub(crate) fn retry_tokens(&self) -> u32 {
        self.engine.accounts.retry_tokens(self.policy().call.budget)
    }

    /// How often endpoints were taken out or left in use, by reason.
    pub(crate) fn ejections(&self) -> Ejections {
        self.engine.strain.ejections()
    }

    /// How often a suspect endpoint was left in use.
    pub(crate) fn unenforced(&self) -> u64 {
        self.engine.strain.unenforced()
    }

    /// How much longer timeouts and overload answers take no endpoint out.
    pub(crate) fn frozen_for(&self) -> Duration {
        self.engine.strain.frozen_for(self.now)
    }

    /// Whether calls go to all endpoints in turn.
    pub(crate) fn rotates(&self) -> bool {
        self.engine.rotates(&self.snapshot, Tried::NONE)
    }

    /// The lowest share of ambiguous failures among the latest attempts at a tier in use.
    pub(crate) fn ambiguous_share(&self) -> f32 {
        let slab = &self.engine.slab;
        let shares = self.snapshot.tiers.iter().map(|tier| tier.update_gate(false, slab, self.now));
        shares.reduce(f32::min).unwrap_or_default()
    }

    /// Whether the retry gates of all tiers are closed.
    pub(crate) fn gate_is_closed(&self) -> bool {
        let limit = self.policy().max_ambiguous;
        !self.snapshot.tiers.is_empty() && self.snapshot.tiers.iter().all(|tier| !tier.gate().admits(limit))
    }

    /// Whether the answers of some tier were slow at its last ambiguous failure.
    pub(crate) fn answers_are_slow(&self) -> bool {
        self.snapshot.tiers.iter().any(|tier| tier.gate().is_slow())
    }

    /// The endpoint that all calls go to, with the algorithm `first`.
    pub(crate) fn first(&self) -> Option<&EndpointId> {
        let first = self.engine.first_of(&self.snapshot).map(|slot| slot.endpoint.id());
        first.filter(|_| self.policy().algorithm == Algorithm::First)
    }

    pub(crate) fn sources(&self) -> Vec<SourceStatus> {
        self.engine.sources()
    }

    /// Returns the attempt counters and the number of attempts in flight, by the number of the
    /// source that named the endpoint.
    pub(crate) fn counters_by_source(&self) -> BTreeMap<u32, (Counters, u64)> {
        self.engine.counters_by_source()
    }

    /// Returns the recent attempts of each endpoint, by the number of its state, and the length of
    /// that period.
    pub(crate) fn recent_attempts(&self) -> (HashMap<u32, u64>, Duration) {
        let counts = self.endpoints().map(|of| (of.slot.state, of.attempts())).collect();
        self.engine.shares().since(self.now, self.engine.began, counts)
    }
}

impl EndpointView<'_> {
    pub(crate) fn counters(&self) -> Counters {
        self.state.counters()
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.state.in_flight()
    }

    /// Attempts that have begun and not ended.
    pub(crate) fn attempts_in_flight(&self) -> u32 {
        self.state.attempts_in_flight()
    }

    /// Attempts that have begun.
    pub(crate) fn attempts(&self) -> u64 {
        self.counters().ended.total() + u64::from(self.state.attempts_in_flight())
    }

    /// The number of times that the breaker opened.
    pub(crate) fn opened(&self) -> u64 {
        self.state.opened()
    }

    pub(crate) fn last_failure(&self) -> Option<Noted> {
        self.state.last_failure()
    }

    pub(crate) fn times(&self) -> Times {
        let mut times = Times::none();
        self.state.times_into(&mut times);
        times
    }

    /// How long the endpoint has been in or out of rotation.
    pub(crate) fn since(&self) -> Duration {
        self.now.since(self.state.placement().since(self.now))
    }
}
