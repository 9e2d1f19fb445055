//! Where the weights and the multipliers of a slice of a panel of 2-bit weights lie.

use super::super::layout::{Layout, STEPS_PER_GROUP_I2};
use crate::format::WeightFormat;

/// Steps of a packed panel.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    /// The panel.
    pub panel: *const u8,
    /// The depth of the whole panel in steps.
    pub all_steps: usize,
    /// The first step of the slice, a multiple of four.
    pub first: usize,
    /// The number of steps in the slice.
    pub steps: usize,
}

impl Slice {
    /// The weights of the slice, and the multipliers of its first group.
    ///
    /// # Safety
    /// The slice must lie in a panel of 2-bit weights with this layout.
    #[inline(always)]
    pub unsafe fn operands(self, layout: &Layout) -> (*const u8, *const i8) {
        let weights = |steps| layout.weight_bytes(WeightFormat::I2Group64, steps);
        let multipliers = weights(self.all_steps) + self.first / STEPS_PER_GROUP_I2 * layout.panel_rows;
        // SAFETY: the multipliers lie behind the weights of all steps.
        unsafe { (self.panel.add(weights(self.first)), self.panel.add(multipliers).cast()) }
    }
}
