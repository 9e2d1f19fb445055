//! 4-bit kernels of the i8mm tier.
//!
//! The panels are the same as in the dotprod tier, whose kernels also take a single column. There, `smmla` has nothing
//! to gain, and `sdot` by element saves spreading activations over a register.
//!
//! For more columns, `zip1` and `zip2` turn two vectors into pairs of byte rows in runs of 8. These become pairs of
//! rows of weights when [`split`] separates the two weights of a byte.

use core::arch::aarch64::*;

use super::super::layout::{Layout, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::i8mm::{ROW_PAIRS, Run, Sums};
use super::ops::split;
use super::{dotprod, dotprod_i4};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of these kernels.
pub(crate) const LAYOUT: Layout = Layout { activation_run: RUN, ..dotprod::LAYOUT };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::I8mm,
    format: WeightFormat::I4,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s4s8s32_16x4),
    extreme: None,
}];

const RUN: usize = 8;
const ROWS: usize = LAYOUT.panel_rows;
const BYTE_ROWS: usize = ROWS / 2;

/// The sums of `HALVES` halves of a panel. A half is four byte rows. The sums of 16 times the low weights come first,
/// for two pairs of byte rows, then the sums of their bytes.
struct Halves<const PAIRS: usize, const SINGLE: usize, const HALVES: usize>([Sums<PAIRS, SINGLE>; HALVES]);

impl<const PAIRS: usize, const SINGLE: usize, const HALVES: usize> Halves<PAIRS, SINGLE, HALVES> {
    #[inline]
    #[target_feature(enable = "neon")]
    fn zero() -> Self {
        Self(core::array::from_fn(|_| Sums::zero()))
    }

    /// Adds the products of a step.
    ///
    /// # Safety
    /// A step of the halves must be readable at `w`, and a step of all columns at `x`.
    #[inline]
    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn step(&mut self, w: *const i8, x: *const i8) {
        for run in 0..STEP / RUN {
            // SAFETY: by this function's contract.
            let x = unsafe { Run::load(x.add(run * Run::<PAIRS, SINGLE>::BYTES)) };
            for (half, sums) in self.0.iter_mut().enumerate() {
                // SAFETY: by this function's contract. A run of 8 is two of the layout's runs, each with all byte rows.
                let (first, second) = unsafe {
                    let w = w.add(run * BYTE_ROWS * RUN + half * 16);
                    (vreinterpretq_s32_s8(vld1q_s8(w)), vreinterpretq_s32_s8(vld1q_s8(w.add(BYTE_ROWS * RUN / 2))))
                };
                for (r, bytes) in [vzip1q_s32(first, second), vzip2q_s32(first, second)].into_iter().enumerate() {
                    let bytes = vreinterpretq_s8_s32(bytes);
                    sums.add(r, vshlq_n_s8::<4>(bytes), &x);
                    sums.add(ROW_PAIRS / 2 + r, bytes, &x);
                }
            }
        }
    }

    /// Stores the row sums of the halves, starting at `half`.
    ///
    /// # Safety
    /// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the panel and halves must lie inside it.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(self, call: &Call, panel: usize, half: usize) {
        for (i, sums) in self.0.into_iter().enumerate() {
            let row = panel * ROWS + (half + i) * 4;
            // SAFETY: by this function's contract.
            unsafe { sums.store(call, [row, row + BYTE_ROWS]) };
        }
    }
}

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s4s8s32_16x4<const COLUMNS: usize>(call: &Call) {
    if COLUMNS == 1 {
        // SAFETY: by this function's contract; a single column has the same layout in both tiers.
        return unsafe { dotprod_i4::gemm_s4s8s32_16x4::<1>(call) };
    }
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            // A tile has as much of a panel as the registers have room for.
            match COLUMNS {
                2 => tile::<1, 0, 2>(call, panel, 0),
                3 => (0..2).for_each(|half| tile::<1, 1, 1>(call, panel, half)),
                4 => (0..2).for_each(|half| tile::<2, 0, 1>(call, panel, half)),
                5 => (0..2).for_each(|half| tile::<2, 1, 1>(call, panel, half)),
                6 => (0..2).for_each(|half| tile::<3, 0, 1>(call, panel, half)),
                7 => (0..2).for_each(|half| tile::<3, 1, 1>(call, panel, half)),
                8 => (0..2).for_each(|half| tile::<4, 0, 1>(call, panel, half)),
                9 => (0..2).for_each(|half| tile::<4, 1, 1>(call, panel, half)),
                _ => (0..2).for_each(|half| tile::<5, 0, 1>(call, panel, half)),
            }
        }
    }
}

/// Computes one tile: `HALVES` halves of a panel, starting at `half`, and all columns.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the panel and halves must lie inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize, const HALVES: usize>(call: &Call, panel: usize, half: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut w = call.weights.add(panel * BYTE_ROWS * STEP * call.steps + half * 16).cast::<i8>();
        let mut x = call.activations;
        let mut halves = Halves::<PAIRS, SINGLE, HALVES>::zero();
        for _ in 0..call.steps {
            halves.step(w, x);
            w = w.wrapping_add(BYTE_ROWS * STEP);
            x = x.wrapping_add(STEP / RUN * Run::<PAIRS, SINGLE>::BYTES);
        }
        for [s0, s1, s2, s3] in halves.0.iter_mut().flat_map(Sums::iter_mut) {
            ([*s0, *s2], [*s1, *s3]) = (split(*s0, *s2), split(*s1, *s3));
        }
        halves.store(call, panel, half);
    }
}
