//! What one launch may access: the regions that were live when it started, found by address.

use std::sync::Arc;

use super::Region;

/// The regions live when a launch started, by address.
#[derive(Debug)]
pub(crate) struct View {
    regions: Vec<Arc<Region>>,
}

impl View {
    pub(super) fn new(regions: impl Iterator<Item = Arc<Region>>) -> Self {
        Self { regions: regions.collect() }
    }

    /// Index of the region that holds `len` bytes from `address`.
    pub(crate) fn find(&self, address: u64, len: u64) -> Option<usize> {
        let index = self.regions.partition_point(|region| region.base() <= address).checked_sub(1)?;
        address.checked_add(len).is_some_and(|end| end <= self.regions[index].end()).then_some(index)
    }

    #[inline(always)]
    pub(crate) fn regions(&self) -> &[Arc<Region>] {
        &self.regions
    }
}
