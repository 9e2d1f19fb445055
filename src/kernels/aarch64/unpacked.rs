//! Products whose weights are unpacked to 8 bits first, panel by panel, and multiplied by the kernels of the 8-bit
//! weights. The unpacked panel stays in the nearest cache, and unpacking it once serves all columns.

use core::mem::MaybeUninit;

use super::super::layout::{Layout, MAX_COLUMNS, STEP, STEPS_PER_GROUP_I2};
use super::super::micro::{Call, MicroKernel};
use crate::format::WeightFormat;

/// The most steps of depth that are unpacked at once. A deeper panel is multiplied slice by slice.
const MOST_STEPS: usize = 32;

/// The most rows of a panel.
const MOST_ROWS: usize = 16;

/// Room for the unpacked weights of a slice: 8 KB.
#[repr(C, align(64))]
struct Buffer([MaybeUninit<i8>; MOST_ROWS * MOST_STEPS * STEP]);

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
    pub unsafe fn operands_i2(self, layout: &Layout) -> (*const u8, *const i8) {
        let weights = |steps| layout.weight_bytes(WeightFormat::I2Group64, steps);
        let multipliers = weights(self.all_steps) + self.first / STEPS_PER_GROUP_I2 * layout.panel_rows;
        // SAFETY: the multipliers lie behind the weights of all steps.
        unsafe { (self.panel.add(weights(self.first)), self.panel.add(multipliers).cast()) }
    }
}

/// How the panels of a format become panels of 8-bit weights.
pub(super) struct Unpacking {
    /// Rows of a packed panel, at most [`MOST_ROWS`]. They become one or more 8-bit panels.
    pub rows: usize,
    /// Rows of an 8-bit panel.
    pub unpacked_rows: usize,
    /// Writes the weights of a slice as 8-bit panels of that depth.
    ///
    /// # Safety
    /// The slice must be readable, and there must be room for `rows * steps * STEP` bytes at the second pointer. The
    /// processor must have the instructions of the tier.
    pub unpack: unsafe fn(Slice, *mut i8),
    /// The 8-bit kernel for the batch. No unpacked weight is -128.
    pub kernel: MicroKernel,
}

impl Unpacking {
    /// Multiplies the panels of `call`, of `panel_bytes` bytes each, with `columns` columns.
    ///
    /// # Safety
    /// As [`MicroKernel`], for the format and the batch of this unpacking.
    pub(super) unsafe fn multiply(&self, call: &Call, panel_bytes: usize, columns: usize) {
        let mut buffer = Buffer([const { MaybeUninit::uninit() }; MOST_ROWS * MOST_STEPS * STEP]);
        let buffer = buffer.0.as_mut_ptr().cast::<i8>();
        for panel in 0..call.panels {
            // SAFETY: the contract makes `panels` panels readable and the sums of their rows writable.
            let (packed, sums) = unsafe { (call.weights.add(panel * panel_bytes), call.sums.add(panel * self.rows)) };
            let product = |first: usize, sums, sums_stride| {
                let steps = MOST_STEPS.min(call.steps - first);
                // SAFETY: the slice lies inside the panel and fits the buffer. The activations of a step follow those of
                // the steps before it. The caller gives room for the sums of `rows` rows and all columns.
                unsafe {
                    (self.unpack)(Slice { panel: packed, all_steps: call.steps, first, steps }, buffer);
                    (self.kernel)(&Call {
                        weights: buffer.cast(),
                        panels: self.rows / self.unpacked_rows,
                        steps,
                        activations: call.activations.add(first * STEP * columns),
                        sums,
                        sums_stride,
                        // The buffer is in L1.
                        from_memory: false,
                    });
                }
            };
            product(0, sums, call.sums_stride);
            for first in (MOST_STEPS..call.steps).step_by(MOST_STEPS) {
                let mut more = [0i32; MOST_ROWS * MAX_COLUMNS];
                product(first, more.as_mut_ptr(), MOST_ROWS);
                for (column, more) in more.chunks(MOST_ROWS).take(columns).enumerate() {
                    for (row, more) in more.iter().enumerate().take(self.rows) {
                        // SAFETY: the first slice has written this sum.
                        unsafe { *sums.add(column * call.sums_stride + row) += more };
                    }
                }
            }
        }
    }
}
