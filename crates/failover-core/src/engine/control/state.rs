//! The data that the control lock protects.

use std::sync::Arc;

use crate::config::FailoverConfig;
use crate::engine::control::source::Source;
use crate::engine::control_lock::ControlLock;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::slab::SlotAllocator;
use crate::model::endpoint::EndpointId;

/// The maximum number of endpoints or entries reported one by one per kind of change; the rest is
/// reported as a number.
pub(super) const MAX_EVENTS_PER_CHANGE: usize = 16;

#[derive(Debug)]
pub(crate) struct Control {
    pub(super) config: Arc<FailoverConfig>,
    pub(super) sources: Vec<Source>,
    /// The source tier that most calls went to at the last check.
    pub(super) serving: Option<u32>,
    /// For each slot of the current snapshot, whether it counts as closed.
    pub(super) closed: Vec<bool>,
    /// The states pinned by the floor.
    pub(super) pinned: Vec<u32>,
    /// Endpoints that have a configured weight but do not exist.
    pub(super) unmatched_weights: Vec<EndpointId>,
    pub(super) allocator: SlotAllocator<Snapshot>,
    /// The token required to write an endpoint's placement.
    pub(in crate::engine) lock: ControlLock,
}

impl Control {
    pub(crate) fn new(config: Arc<FailoverConfig>) -> Self {
        Self {
            config,
            sources: Vec::new(),
            serving: None,
            closed: Vec::new(),
            pinned: Vec::new(),
            unmatched_weights: Vec::new(),
            allocator: SlotAllocator::new(),
            lock: ControlLock::new(),
        }
    }

    /// Returns the source with this name.
    pub(super) fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| *source.name == *name)
    }
}
