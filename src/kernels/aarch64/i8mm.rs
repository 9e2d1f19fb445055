//! Kernels of the i8mm tier: `smmla` on pairs of rows and pairs of columns.

use core::arch::aarch64::*;

use super::super::layout::{Layout, Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::instructions::{prefetch, sdot, smmla};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of this tier's kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: RUN, activation_run: RUN };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::I8mm,
    format: WeightFormat::I8,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s8s8s32_8x8),
    extreme: None,
}];

const ROWS: usize = 8;
const RUN: usize = 8;
pub(super) const ROW_PAIRS: usize = ROWS / 2;

/// How many bytes ahead a step hints.
const HINT: usize = 768;

/// The sums of four pairs of rows with `PAIRS` pairs of columns and, if `SINGLE` is 1, with one more column.
pub(super) struct Sums<const PAIRS: usize, const SINGLE: usize> {
    /// In each vector: (row 0, column 0), (row 0, column 1), (row 1, column 0), (row 1, column 1).
    pub(super) pairs: [[int32x4_t; ROW_PAIRS]; PAIRS],
    /// In each vector: two partial sums of row 0, two of row 1.
    pub(super) single: [[int32x4_t; ROW_PAIRS]; SINGLE],
}

impl<const PAIRS: usize, const SINGLE: usize> Sums<PAIRS, SINGLE> {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn zero() -> Self {
        let zero = [vdupq_n_s32(0); ROW_PAIRS];
        Self { pairs: [zero; PAIRS], single: [zero; SINGLE] }
    }

    /// Adds the products of the row pair `w` and a run of the columns.
    #[inline]
    #[target_feature(enable = "neon,dotprod,i8mm")]
    pub(super) fn add(&mut self, row_pair: usize, w: int8x16_t, x: &Run<PAIRS, SINGLE>) {
        for (sums, &x) in self.pairs.iter_mut().zip(&x.pairs) {
            sums[row_pair] = smmla(sums[row_pair], w, x);
        }
        for (sums, &x) in self.single.iter_mut().zip(&x.single) {
            sums[row_pair] = sdot(sums[row_pair], w, x);
        }
    }

    /// Stores all sums. Two pairs of rows start at each of `rows`.
    ///
    /// # Safety
    /// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the rows must lie inside it.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn store(self, call: &Call, rows: [usize; 2]) {
        for (half, row) in rows.into_iter().enumerate() {
            // SAFETY: by this function's contract.
            unsafe {
                let out = |column| call.sums.add(column * call.sums_stride + row);
                for (c, sums) in self.pairs.iter().enumerate() {
                    let (low, high) = (sums[2 * half], sums[2 * half + 1]);
                    vst1q_s32(out(2 * c), vuzp1q_s32(low, high));
                    vst1q_s32(out(2 * c + 1), vuzp2q_s32(low, high));
                }
                for sums in &self.single {
                    vst1q_s32(out(2 * PAIRS), vpaddq_s32(sums[2 * half], sums[2 * half + 1]));
                }
            }
        }
    }
}

/// One run of activations from each column.
pub(super) struct Run<const PAIRS: usize, const SINGLE: usize> {
    pub(super) pairs: [int8x16_t; PAIRS],
    /// The run twice, for both rows of a pair.
    pub(super) single: [int8x16_t; SINGLE],
}

impl<const PAIRS: usize, const SINGLE: usize> Run<PAIRS, SINGLE> {
    pub(super) const BYTES: usize = (2 * PAIRS + SINGLE) * RUN;

    /// Loads one run of each column.
    ///
    /// # Safety
    /// A run of all columns must be readable at `x`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn load(x: *const i8) -> Self {
        // SAFETY: by this function's contract.
        unsafe {
            Self {
                pairs: core::array::from_fn(|c| vld1q_s8(x.add(c * 2 * RUN))),
                // Bytes may lie anywhere; `vld1q_dup_s64` would need the alignment of its element.
                single: core::array::from_fn(|_| {
                    let run = vld1_s8(x.add(PAIRS * 2 * RUN));
                    vcombine_s8(run, run)
                }),
            }
        }
    }
}

/// Multiplies panels of 8 rows in runs of 8.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s8s8s32_8x8<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract; the pairs and the single column are the kernel's columns.
    unsafe {
        match COLUMNS {
            1 => panels::<0, 1>(call),
            2 => panels::<1, 0>(call),
            3 => panels::<1, 1>(call),
            4 => panels::<2, 0>(call),
            5 => panels::<2, 1>(call),
            6 => panels::<3, 0>(call),
            7 => panels::<3, 1>(call),
            8 => panels::<4, 0>(call),
            9 => panels::<4, 1>(call),
            _ => panels::<5, 0>(call),
        }
    }
}

/// Multiplies all panels.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn panels<const PAIRS: usize, const SINGLE: usize>(call: &Call) {
    // SAFETY: by this function's contract, each panel lies inside the call.
    unsafe {
        match call.from_memory {
            true => (0..call.panels).for_each(|panel| tile::<PAIRS, SINGLE, true>(call, panel)),
            false => (0..call.panels).for_each(|panel| tile::<PAIRS, SINGLE, false>(call, panel)),
        }
    }
}

/// Computes the sums of one panel and all columns. With `HINTS`, asks for each line of weights ahead of its use.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the panel must lie inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize, const HINTS: bool>(call: &Call, panel: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = Sums::<PAIRS, SINGLE>::zero();
        let mut w = call.weights.add(panel * ROWS * STEP * call.steps).cast::<i8>();
        let mut x = call.activations;
        for _ in 0..call.steps {
            for half in 0..STEP / RUN {
                // A half is one line.
                if HINTS {
                    prefetch(w.wrapping_add(HINT + half * Line::BYTES));
                }
                let run = Run::load(x.add(half * Run::<PAIRS, SINGLE>::BYTES));
                for r in 0..ROW_PAIRS {
                    sums.add(r, vld1q_s8(w.add((half * ROW_PAIRS + r) * 2 * RUN)), &run);
                }
            }
            w = w.add(ROWS * STEP);
            x = x.add(STEP / RUN * Run::<PAIRS, SINGLE>::BYTES);
        }
        sums.store(call, [panel * ROWS, panel * ROWS + ROWS / 2]);
    }
}
