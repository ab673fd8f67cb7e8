//! What the control lock protects.

use std::sync::Arc;

use crate::config::FailoverConfig;
use crate::engine::control::source::Source;
use crate::engine::control_lock::ControlLock;
use crate::engine::snapshot::Snapshot;
use crate::engine::state::slab::SlotAllocator;
use crate::model::endpoint::EndpointId;

/// How many endpoints or entries are told one by one of each kind of change; the rest is a number.
pub(super) const MAX_EVENTS_PER_CHANGE: usize = 16;

#[derive(Debug)]
pub(crate) struct Control {
    pub(super) config: Arc<FailoverConfig>,
    pub(super) sources: Vec<Source>,
    /// The tier of the sources that most calls went to, when it was last looked at.
    pub(super) serving: Option<u32>,
    /// For each slot of the current snapshot whether it counts as closed.
    pub(super) closed: Vec<bool>,
    /// Cells that the floor holds.
    pub(super) pinned: Vec<u32>,
    /// Endpoints that have a weight in the configuration and are not there.
    pub(super) unmatched_weights: Vec<EndpointId>,
    pub(super) allocator: SlotAllocator<Snapshot>,
    /// What writing the placement of an endpoint asks for.
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
}
