//! Random draws of the endpoints in rotation in proportion to their weights, in O(log n).

use std::sync::Arc;

use crate::engine::snapshot::fenwick::FenwickTree;

#[derive(Debug)]
pub(crate) struct WeightedDraw {
    /// State number and weight of each endpoint of the tier; the weight is 0 for endpoints that are
    /// not eligible.
    members: Arc<[(u32, u32)]>,
    /// The weights of the endpoints in rotation.
    sums: FenwickTree,
}

impl WeightedDraw {
    /// Creates a draw of these members, none of which is in rotation yet.
    pub(crate) fn new(members: Arc<[(u32, u32)]>) -> Self {
        Self { sums: FenwickTree::new(members.len()), members }
    }

    /// Returns state number and weight of each endpoint of the tier.
    pub(super) fn members(&self) -> &Arc<[(u32, u32)]> {
        &self.members
    }

    /// Returns the endpoint in rotation that these 64 random bits select.
    #[inline]
    pub(crate) fn draw(&self, bits: u64) -> Option<u32> {
        self.sums.draw(bits).map(|index| self.members[index].0)
    }

    /// Sets whether the endpoint at this index of the tier is in rotation. Requires the control
    /// lock.
    pub(crate) fn put(&self, index: usize, is_in: bool) {
        if let Some((_, weight)) = self.members.get(index) {
            self.sums.set(index, if is_in { *weight } else { 0 });
        }
    }
}
