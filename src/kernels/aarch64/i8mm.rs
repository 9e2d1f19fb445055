//! Kernels of the i8mm tier: `smmla` on pairs of rows and pairs of columns.

use core::arch::aarch64::*;

use super::super::micro::{Call, STEP};
use super::super::pack::Layout;
use super::ops::{sdot, smmla};

/// The layout of this tier's kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: RUN, activation_run: RUN };

const ROWS: usize = 8;
const RUN: usize = 8;
pub(super) const ROW_PAIRS: usize = ROWS / 2;

/// The sums of one panel: for each pair of rows, those of `PAIRS` pairs of columns and, if `SINGLE` is 1, of one more.
pub(super) struct Sums<const PAIRS: usize, const SINGLE: usize> {
    /// (row 0, column 0), (row 0, column 1), (row 1, column 0), (row 1, column 1)
    pub(super) pairs: [[int32x4_t; PAIRS]; ROW_PAIRS],
    /// Two partial sums of row 0, two of row 1.
    pub(super) single: [[int32x4_t; SINGLE]; ROW_PAIRS],
}

impl<const PAIRS: usize, const SINGLE: usize> Sums<PAIRS, SINGLE> {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn zero() -> Self {
        let zero = vdupq_n_s32(0);
        Self { pairs: [[zero; PAIRS]; ROW_PAIRS], single: [[zero; SINGLE]; ROW_PAIRS] }
    }

    /// Stores all sums of the panel.
    ///
    /// # Safety
    /// The contract of `call` must hold, the panel being inside it and its columns `2 * PAIRS + SINGLE`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn store(self, call: &Call, panel: usize) {
        // SAFETY: by this function's contract.
        unsafe {
            let out = call.sums.add(panel * ROWS);
            for c in 0..PAIRS {
                for r in 0..ROW_PAIRS / 2 {
                    let (low, high) = (self.pairs[2 * r][c], self.pairs[2 * r + 1][c]);
                    vst1q_s32(out.add(2 * c * call.sums_stride + 4 * r), vuzp1q_s32(low, high));
                    vst1q_s32(out.add((2 * c + 1) * call.sums_stride + 4 * r), vuzp2q_s32(low, high));
                }
            }
            for c in 0..SINGLE {
                for r in 0..ROW_PAIRS / 2 {
                    let sums = vpaddq_s32(self.single[2 * r][c], self.single[2 * r + 1][c]);
                    vst1q_s32(out.add(2 * PAIRS * call.sums_stride + 4 * r), sums);
                }
            }
        }
    }
}

/// Panels of 8 rows in runs of 8.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s8s8s32_8x8<const COLUMNS: usize>(call: &Call) {
    let panel_bytes = ROWS * call.steps * STEP;
    for panel in 0..call.panels {
        // SAFETY: the panel is below `call.panels`, and the columns of the tile are those of the kernel.
        unsafe {
            match COLUMNS {
                1 => tile::<0, 1>(call, panel, panel_bytes, COLUMNS),
                2 => tile::<1, 0>(call, panel, panel_bytes, COLUMNS),
                3 => tile::<1, 1>(call, panel, panel_bytes, COLUMNS),
                4 => tile::<2, 0>(call, panel, panel_bytes, COLUMNS),
                5 => tile::<2, 1>(call, panel, panel_bytes, COLUMNS),
                6 => tile::<3, 0>(call, panel, panel_bytes, COLUMNS),
                7 => tile::<3, 1>(call, panel, panel_bytes, COLUMNS),
                8 => tile::<4, 0>(call, panel, panel_bytes, COLUMNS),
                9 => tile::<4, 1>(call, panel, panel_bytes, COLUMNS),
                _ => tile::<5, 0>(call, panel, panel_bytes, COLUMNS),
            }
        }
    }
}

/// The sums of one panel and all `columns = 2 * PAIRS + SINGLE` columns.
///
/// # Safety
/// The contract of `call` must hold, the panel being inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize>(call: &Call, panel: usize, panel_bytes: usize, columns: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = Sums::<PAIRS, SINGLE>::zero();
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut x = call.activations;
        for _ in 0..call.steps {
            for half in 0..STEP / RUN {
                let w = w.add(half * ROWS * RUN);
                let x = x.add(half * columns * RUN);
                let xs: [int8x16_t; PAIRS] = core::array::from_fn(|c| vld1q_s8(x.add(c * 2 * RUN)));
                let x1: [int8x16_t; SINGLE] =
                    core::array::from_fn(|_| vreinterpretq_s8_s64(vld1q_dup_s64(x.add(PAIRS * 2 * RUN).cast())));
                for r in 0..ROW_PAIRS {
                    let weights = vld1q_s8(w.add(r * 16));
                    for c in 0..PAIRS {
                        sums.pairs[r][c] = smmla(sums.pairs[r][c], weights, xs[c]);
                    }
                    for c in 0..SINGLE {
                        sums.single[r][c] = sdot(sums.single[r][c], weights, x1[c]);
                    }
                }
            }
            w = w.add(ROWS * STEP);
            x = x.add(columns * STEP);
        }
        sums.store(call, panel);
    }
}
