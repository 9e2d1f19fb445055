//! 2-bit kernels of the i8mm tier.
//!
//! The panels are the same as in the dotprod tier, whose kernel also takes a single column. For more columns `zip1` and
//! `zip2` turn two vectors of bytes into pairs of byte rows in runs of 8, as in [`i8mm_i4`](super::i8mm_i4). A pair of byte
//! rows is four pairs of rows of weights. As in dotprod, `sshr` takes off the lower rows of each byte, and sums start at
//! `-42 X`, `-10 X`, `-2 X` and 0, where `X` is the sum of a column's activations in the group.

use core::arch::aarch64::*;
use core::array::from_fn;
use core::mem::MaybeUninit;

use super::super::layout::{Layout, Line, MAX_COLUMNS, STEP, STEPS_PER_GROUP_I2 as GROUP_STEPS};
use super::super::micro::{Call, Family, for_each_batch};
use super::i8mm::Run;
use super::i8mm_i4::Cells;
use super::instructions::prefetch;
use super::slice_i2::Slice;
use super::{dotprod, dotprod_i2};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of these kernels.
pub(crate) const LAYOUT: Layout = Layout { activation_run: RUN, ..dotprod::LAYOUT };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::I8mm,
    format: WeightFormat::I2Group64,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s2gs8s32_16x4),
    extreme: None,
}];

const RUN: usize = 8;
const ROWS: usize = LAYOUT.panel_rows;
/// The rows of a byte, which lie as many rows apart.
const PARTS: usize = 4;
const STEP_BYTES: usize = ROWS / PARTS * STEP;

/// The most groups of which one pass over the panels takes the sums of activations.
const MOST_GROUPS: usize = 32;

/// How many bytes ahead a step hints at its line.
const HINT: usize = 768;

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s2gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract; a single column has the same layout in both tiers.
    unsafe {
        match COLUMNS {
            1 => dotprod_i2::gemm_s2gs8s32_16x4::<1>(call),
            2 => passes::<1, 0>(call),
            3 => passes::<1, 1>(call),
            4 => passes::<2, 0>(call),
            5 => passes::<2, 1>(call),
            6 => passes::<3, 0>(call),
            7 => passes::<3, 1>(call),
            8 => passes::<4, 0>(call),
            9 => passes::<4, 1>(call),
            _ => passes::<5, 0>(call),
        }
    }
}

/// Multiplies all panels: in one pass, unless there are very many groups. Later passes add to the sums of earlier ones.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn passes<const PAIRS: usize, const SINGLE: usize>(call: &Call) {
    let panel_bytes = LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps);
    let columns = 2 * PAIRS + SINGLE;
    let mut starts = [const { MaybeUninit::<Starts<PAIRS, SINGLE>>::uninit() }; MOST_GROUPS];
    let mut first = 0;
    loop {
        let steps = (call.steps - first).min(MOST_GROUPS * GROUP_STEPS);
        // SAFETY: the pass reads steps that the contract lets it read: `steps` of each panel and of the columns, and the
        // multipliers of their groups. It writes the rows of each panel.
        unsafe {
            let x = call.activations.add(first * STEP * columns);
            for (group, start) in starts.iter_mut().enumerate().take(steps.div_ceil(GROUP_STEPS)) {
                let taken = group * GROUP_STEPS;
                start.write(start_sums(x.add(taken * STEP * columns), GROUP_STEPS.min(steps - taken)));
            }
            let starts = starts.as_ptr().cast();
            for panel in 0..call.panels {
                let slice = Slice { panel: call.weights.add(panel * panel_bytes), all_steps: call.steps, first, steps };
                let sums = if call.from_memory {
                    let even = tile::<PAIRS, SINGLE, 0, true>(slice, x, starts);
                    [even, tile::<PAIRS, SINGLE, 1, false>(slice, x, starts)]
                } else {
                    let even = tile::<PAIRS, SINGLE, 0, false>(slice, x, starts);
                    [even, tile::<PAIRS, SINGLE, 1, false>(slice, x, starts)]
                };
                let mut more = [0i32; ROWS * MAX_COLUMNS];
                let into = match first {
                    0 => Call { sums: call.sums.add(panel * ROWS), ..*call },
                    _ => Call { sums: more.as_mut_ptr(), sums_stride: ROWS, ..*call },
                };
                for part in 0..PARTS {
                    Cells::store_two([&sums[0][part], &sums[1][part]], &into, part * ROWS / PARTS);
                }
                if first > 0 {
                    for (column, more) in more.chunks(ROWS).take(columns).enumerate() {
                        for (row, more) in more.iter().enumerate() {
                            // SAFETY: the first pass has written this sum.
                            *call.sums.add(column * call.sums_stride + panel * ROWS + row) += more;
                        }
                    }
                }
            }
        }
        first += steps;
        if first >= call.steps {
            return;
        }
    }
}

/// Where the sums of a group start, but for the topmost, which starts at 0.
type Starts<const PAIRS: usize, const SINGLE: usize> = [Cells<PAIRS, SINGLE>; PARTS - 1];

/// Where the sums of a group start.
///
/// # Safety
/// `steps` steps of all columns must be readable at `x`.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn start_sums<const PAIRS: usize, const SINGLE: usize>(x: *const i8, steps: usize) -> Starts<PAIRS, SINGLE> {
    let mut sums = Cells::<PAIRS, SINGLE>::zero();
    for run in 0..steps * STEP / RUN {
        // SAFETY: by this function's contract.
        let columns = unsafe { Run::load(x.add(run * Run::<PAIRS, SINGLE>::BYTES)) };
        sums.add(vdupq_n_s8(1), &columns);
    }
    [-42, -10, -2].map(|factor| Cells {
        pairs: from_fn(|c| vmulq_n_s32(sums.pairs[c], factor)),
        single: from_fn(|c| vmulq_n_s32(sums.single[c], factor)),
    })
}

/// The sums of two byte rows of a slice, those of `zip1` or, if `ODD` is 1, of `zip2`, with all columns: for each part of the
/// bytes those of a pair of rows. With `HINTS`, asks for each line of weights ahead of its use.
///
/// # Safety
/// The slice, the columns and the starts of the groups must be readable.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize, const ODD: usize, const HINTS: bool>(
    slice: Slice,
    mut x: *const i8,
    starts: *const Starts<PAIRS, SINGLE>,
) -> [Cells<PAIRS, SINGLE>; PARTS] {
    // SAFETY: by this function's contract.
    unsafe {
        let (w, m) = slice.operands(&LAYOUT);
        let mut w = w.cast::<i8>();
        let mut totals = [Cells::zero(); PARTS];
        for (group, taken) in (0..slice.steps).step_by(GROUP_STEPS).enumerate() {
            let [s0, s1, s2] = *starts.add(group);
            let mut sums = [s0, s1, s2, Cells::zero()];
            for _ in 0..GROUP_STEPS.min(slice.steps - taken) {
                if HINTS {
                    prefetch(w.wrapping_add(HINT));
                }
                for run in 0..STEP / RUN {
                    let columns = Run::load(x);
                    x = x.wrapping_add(Run::<PAIRS, SINGLE>::BYTES);
                    let vector = |i: usize| vreinterpretq_s32_s8(vld1q_s8(w.add((2 * run + i) * 16)));
                    let (first, second) = (vector(0), vector(1));
                    let bytes = if ODD == 0 { vzip1q_s32(first, second) } else { vzip2q_s32(first, second) };
                    let bytes = vreinterpretq_s8_s32(bytes);
                    sums[0].add(bytes, &columns);
                    sums[1].add(vshrq_n_s8::<2>(bytes), &columns);
                    sums[2].add(vshrq_n_s8::<4>(bytes), &columns);
                    sums[3].add(vshrq_n_s8::<6>(bytes), &columns);
                }
                w = w.wrapping_add(STEP_BYTES);
            }
            // Each sum less four times the next is that of the rows of one part.
            for part in 0..PARTS - 1 {
                for c in 0..PAIRS {
                    let above = vshlq_n_s32::<2>(sums[part + 1].pairs[c]);
                    sums[part].pairs[c] = vsubq_s32(sums[part].pairs[c], above);
                }
                for c in 0..SINGLE {
                    let above = vshlq_n_s32::<2>(sums[part + 1].single[c]);
                    sums[part].single[c] = vsubq_s32(sums[part].single[c], above);
                }
            }
            // Of each part's four rows, the multipliers of two, each twice.
            let m = vld1q_s8(m.add(group * ROWS));
            let (low, high) = (vzip1q_s8(m, m), vzip2q_s8(m, m));
            let m = [vmovl_s8(vget_low_s8(low)), vmovl_high_s8(low), vmovl_s8(vget_low_s8(high)), vmovl_high_s8(high)];
            for part in 0..PARTS {
                let m = if ODD == 0 { vmovl_s16(vget_low_s16(m[part])) } else { vmovl_high_s16(m[part]) };
                totals[part].add_scaled(&sums[part], m);
            }
        }
        if HINTS {
            // Steps have hinted as far ahead as there are weights. The multipliers' lines are left.
            for at in (0..ROWS * slice.steps.div_ceil(GROUP_STEPS)).step_by(Line::BYTES) {
                prefetch(m.wrapping_add(HINT + at));
            }
        }
        totals
    }
}
