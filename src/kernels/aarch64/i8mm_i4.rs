//! 4-bit kernels of the i8mm tier.
//!
//! The panels are the same as in the dotprod tier, whose kernels also take a single column. There, `smmla` has nothing
//! to gain, and `sdot` by element saves spreading activations over a register.
//!
//! For more columns, `zip1` and `zip2` turn two vectors into pairs of byte rows in runs of 8. These become pairs of
//! rows of weights when [`split`] separates the two weights of a byte.

use core::arch::aarch64::*;
use core::array::from_fn;

use super::super::layout::{Layout, Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::i8mm::Run;
use super::instructions::{prefetch, sdot, smmla};
use super::ops::split;
use super::tile::Hints;
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
const STEP_BYTES: usize = BYTE_ROWS * STEP;
const STEP_LINES: usize = STEP_BYTES / Line::BYTES;

/// How many bytes ahead a step hints, where one tile computes a panel or where a panel is long.
const HINT: usize = 768;

/// One number for each pair of rows and each column of `PAIRS` pairs of columns and `SINGLE` more, in the order of
/// [`Sums`](super::i8mm::Sums).
#[derive(Clone, Copy)]
pub(super) struct Cells<const PAIRS: usize, const SINGLE: usize> {
    pub(super) pairs: [int32x4_t; PAIRS],
    pub(super) single: [int32x4_t; SINGLE],
}

impl<const PAIRS: usize, const SINGLE: usize> Cells<PAIRS, SINGLE> {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn zero() -> Self {
        Self { pairs: [vdupq_n_s32(0); PAIRS], single: [vdupq_n_s32(0); SINGLE] }
    }

    /// Adds the products of a pair of rows and a run of the columns.
    #[inline]
    #[target_feature(enable = "neon,dotprod,i8mm")]
    pub(super) fn add(&mut self, w: int8x16_t, x: &Run<PAIRS, SINGLE>) {
        for (sums, &x) in self.pairs.iter_mut().zip(&x.pairs) {
            *sums = smmla(*sums, w, x);
        }
        for (sums, &x) in self.single.iter_mut().zip(&x.single) {
            *sums = sdot(*sums, w, x);
        }
    }

    /// Adds `values` times the numbers of their rows.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn add_scaled(&mut self, values: &Self, by: int32x4_t) {
        for c in 0..PAIRS {
            self.pairs[c] = vmlaq_s32(self.pairs[c], values.pairs[c], by);
        }
        for c in 0..SINGLE {
            self.single[c] = vmlaq_s32(self.single[c], values.single[c], by);
        }
    }

    /// The sums of low weights and of high weights, from those of 16 times the low weights and those of bytes.
    #[inline]
    #[target_feature(enable = "neon")]
    fn split(sixteen_low: &Self, bytes: &Self) -> [Self; 2] {
        let pairs: [_; PAIRS] = from_fn(|c| split(sixteen_low.pairs[c], bytes.pairs[c]));
        let single: [_; SINGLE] = from_fn(|c| split(sixteen_low.single[c], bytes.single[c]));
        from_fn(|i| Self { pairs: pairs.map(|sums| sums[i]), single: single.map(|sums| sums[i]) })
    }

    /// Stores the sums of the two pairs of rows that start at `row`.
    ///
    /// # Safety
    /// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the rows must lie inside it.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn store_two([first, second]: [&Self; 2], call: &Call, row: usize) {
        // SAFETY: by this function's contract.
        unsafe {
            let out = |column| call.sums.add(column * call.sums_stride + row);
            for c in 0..PAIRS {
                vst1q_s32(out(2 * c), vuzp1q_s32(first.pairs[c], second.pairs[c]));
                vst1q_s32(out(2 * c + 1), vuzp2q_s32(first.pairs[c], second.pairs[c]));
            }
            for c in 0..SINGLE {
                vst1q_s32(out(2 * PAIRS + c), vpaddq_s32(first.single[c], second.single[c]));
            }
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
    let [first, _] = Hints::of_two(call.from_memory, STEP_BYTES * call.steps, STEP_BYTES);
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            macro_rules! whole {
                ($pairs:literal, $single:literal) => {
                    match call.from_memory {
                        true => tile::<$pairs, $single, 4, STEP_LINES>(call, panel, 0, HINT),
                        false => tile::<$pairs, $single, 4, 0>(call, panel, 0, 0),
                    }
                };
            }
            // Each half of a panel asks for half the lines of the next one, as in dotprod.
            macro_rules! halves {
                ($pairs:literal, $single:literal) => {
                    match first {
                        Hints::None => (0..2).for_each(|half| tile::<$pairs, $single, 2, 0>(call, panel, half, 0)),
                        Hints::All => {
                            tile::<$pairs, $single, 2, STEP_LINES>(call, panel, 0, HINT);
                            tile::<$pairs, $single, 2, 0>(call, panel, 1, 0);
                        }
                        Hints::Half(_) => (0..2).for_each(|half| {
                            let next = STEP_BYTES * call.steps + half * Line::BYTES;
                            tile::<$pairs, $single, 2, { STEP_LINES / 2 }>(call, panel, half, next)
                        }),
                    }
                };
            }
            // A tile has as much of a panel as the registers have room for.
            match COLUMNS {
                2 => whole!(1, 0),
                3 => whole!(1, 1),
                4 => whole!(2, 0),
                5 => halves!(2, 1),
                6 => halves!(3, 0),
                7 => halves!(3, 1),
                8 => halves!(4, 0),
                9 => halves!(4, 1),
                _ => halves!(5, 0),
            }
        }
    }
}

/// Computes one tile: `QUARTERS` quarters of a panel, starting at a half, and all columns. A quarter is two byte rows. Each
/// step hints at `LINES` lines, `ahead` bytes ahead.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the panel and quarters must lie inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize, const QUARTERS: usize, const LINES: usize>(
    call: &Call,
    panel: usize,
    half: usize,
    ahead: usize,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut w = call.weights.add(panel * STEP_BYTES * call.steps + half * 16).cast::<i8>();
        let mut x = call.activations;
        // Of 16 times the low weights, and of bytes.
        let mut sixteen_low = [Cells::<PAIRS, SINGLE>::zero(); QUARTERS];
        let mut bytes = sixteen_low;
        for _ in 0..call.steps {
            for line in 0..LINES {
                prefetch(w.wrapping_add(ahead + line * Line::BYTES));
            }
            for run in 0..STEP / RUN {
                let columns = Run::load(x);
                x = x.wrapping_add(Run::<PAIRS, SINGLE>::BYTES);
                for q in 0..QUARTERS {
                    let pair = byte_rows(w.add(run * BYTE_ROWS * RUN), q);
                    sixteen_low[q].add(vshlq_n_s8::<4>(pair), &columns);
                    bytes[q].add(pair, &columns);
                }
            }
            w = w.wrapping_add(STEP_BYTES);
        }
        for q in (0..QUARTERS).step_by(2) {
            let [low, high] = Cells::split(&sixteen_low[q], &bytes[q]);
            let [next_low, next_high] = Cells::split(&sixteen_low[q + 1], &bytes[q + 1]);
            let row = panel * ROWS + 4 * half + 2 * q;
            Cells::store_two([&low, &next_low], call, row);
            Cells::store_two([&high, &next_high], call, row + BYTE_ROWS);
        }
    }
}

/// Quarter `quarter` of the byte rows at `w`, a pair of them, in a run of 8. That is two of the layout's runs, each with the
/// byte rows of half a panel in a vector.
///
/// # Safety
/// A run of 8 of the quarter's half must be readable at `w`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn byte_rows(w: *const i8, quarter: usize) -> int8x16_t {
    // SAFETY: by this function's contract.
    let [first, second] = unsafe {
        let w = w.add(quarter / 2 * 16);
        [vreinterpretq_s32_s8(vld1q_s8(w)), vreinterpretq_s32_s8(vld1q_s8(w.add(BYTE_ROWS * RUN / 2)))]
    };
    let even = quarter.is_multiple_of(2);
    vreinterpretq_s8_s32(if even { vzip1q_s32(first, second) } else { vzip2q_s32(first, second) })
}
