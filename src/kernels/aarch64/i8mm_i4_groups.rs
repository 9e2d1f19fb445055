//! Kernels of the i8mm tier for 4-bit weights in groups of 32.
//!
//! Vectors of bytes become pairs of byte rows as in [`i8mm_i4`](super::i8mm_i4). Sums run on from group to group, and
//! differences of multipliers scale them, as in [`dotprod_i4_groups`](super::dotprod_i4_groups).

use core::arch::aarch64::*;
use core::array::from_fn;

use super::super::layout::{Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod;
use super::i8mm::Run;
use super::i8mm_i4::{Cells, LAYOUT, byte_rows};
use super::instructions::{high_weights, mls, prefetch, sdot_lane};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::I8mm,
    format: WeightFormat::I4Group32,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s4gs8s32_16x4),
    extreme: None,
}];

const RUN: usize = 8;
const ROWS: usize = LAYOUT.panel_rows;
const BYTE_ROWS: usize = ROWS / 2;
/// Bytes of a group of a panel.
const GROUP_BYTES: usize = 2 * BYTE_ROWS * STEP;
const QUARTERS: usize = 4;
/// How far ahead a single column asks for lines of weights.
const HINT: usize = 1024;

/// Multiplies panels of 16 rows in runs of 4, with one multiplier per group of two steps.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s4gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4gs8s32_16x4`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4gs8s32_16x4`].
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    let weight_bytes = BYTE_ROWS * STEP * call.steps;
    let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(call.steps);
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            macro_rules! halves {
                ($pairs:literal, $single:literal) => {
                    for half in 0..2 {
                        let sums = tile::<$pairs, $single, 2, 0, HINTS>(call, panel, 2 * half);
                        store(call, panel, half, &sums[0], &sums[1]);
                    }
                };
            }
            macro_rules! quarters {
                ($pairs:literal, $single:literal) => {
                    for half in 0..2 {
                        let [first] = tile::<$pairs, $single, 1, 0, HINTS>(call, panel, 2 * half);
                        let [second] = tile::<$pairs, $single, 1, 1, HINTS>(call, panel, 2 * half + 1);
                        store(call, panel, half, &first, &second);
                    }
                };
            }
            // A tile has as many quarters of a panel as the registers have room for.
            match COLUMNS {
                1 => single::<HINTS>(call, panel),
                2 => {
                    let sums = tile::<1, 0, 4, 0, HINTS>(call, panel, 0);
                    store(call, panel, 0, &sums[0], &sums[1]);
                    store(call, panel, 1, &sums[2], &sums[3]);
                }
                3 => halves!(1, 1),
                4 => halves!(2, 0),
                5 => halves!(2, 1),
                6 => halves!(3, 0),
                7 => quarters!(3, 1),
                8 => quarters!(4, 0),
                9 => quarters!(4, 1),
                _ => quarters!(5, 0),
            }
            if HINTS {
                // Groups have hinted at as many lines as there are weights. The rest are as many as multipliers.
                let multipliers = call.weights.add(panel * panel_bytes + weight_bytes);
                let distance = if COLUMNS == 1 { HINT } else { panel_bytes };
                for at in (0..LAYOUT.multiplier_bytes(call.steps)).step_by(Line::BYTES) {
                    prefetch(multipliers.wrapping_add(distance + at));
                }
            }
        }
    }
}

/// What follows the multipliers of the last group.
static NO_MULTIPLIERS: [i8; 8] = [0; 8];

/// The multipliers of a group at `m` less those of the next one, for half a panel: four low rows, then four high rows.
///
/// # Safety
/// Eight multipliers must be readable at `m` and, unless the group is the last, `ROWS` behind.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn differences(m: *const i8, last: bool) -> int16x8_t {
    let next = if last { NO_MULTIPLIERS.as_ptr() } else { m.wrapping_add(ROWS) };
    // SAFETY: by this function's contract.
    unsafe { vsubl_s8(vld1_s8(m), vld1_s8(next)) }
}

/// Stores the sums of half a panel: those of low rows and of high rows, for each of its two quarters.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the panel must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const PAIRS: usize, const SINGLE: usize>(
    call: &Call,
    panel: usize,
    half: usize,
    [low, high]: &[Cells<PAIRS, SINGLE>; 2],
    [next_low, next_high]: &[Cells<PAIRS, SINGLE>; 2],
) {
    let row = panel * ROWS + 4 * half;
    // SAFETY: by this function's contract.
    unsafe {
        Cells::store_two([low, next_low], call, row);
        Cells::store_two([high, next_high], call, row + BYTE_ROWS);
    }
}

/// Takes `values` times the numbers of their rows from `totals`.
#[inline]
#[target_feature(enable = "neon")]
fn less_scaled<const PAIRS: usize, const SINGLE: usize>(
    totals: &mut Cells<PAIRS, SINGLE>,
    values: &Cells<PAIRS, SINGLE>,
    by: int32x4_t,
) {
    for c in 0..PAIRS {
        totals.pairs[c] = mls(totals.pairs[c], values.pairs[c], by);
    }
    for c in 0..SINGLE {
        totals.single[c] = mls(totals.single[c], values.single[c], by);
    }
}

/// Computes one tile: `COUNT` quarters of a panel, starting at `quarter`, and all columns. A quarter is two byte rows;
/// `ODD` is 1 for the second of a half. The result has the sums of low rows and of high rows. With `HINTS`, the tiles of a
/// panel ask for the lines of the next one.
///
/// # Safety
/// The contract of `call` must hold with `2 * PAIRS + SINGLE` columns, and the panel and quarters must lie inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize, const COUNT: usize, const ODD: usize, const HINTS: bool>(
    call: &Call,
    panel: usize,
    quarter: usize,
) -> [[Cells<PAIRS, SINGLE>; 2]; COUNT] {
    // SAFETY: by this function's contract.
    unsafe {
        let (groups, weight_bytes) = (call.steps / 2, BYTE_ROWS * STEP * call.steps);
        let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(call.steps);
        let weights = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut w = weights.add(quarter / 2 * 16);
        let mut multipliers = weights.add(weight_bytes + quarter / 2 * 8);
        let mut x = call.activations;
        // Of bytes and of high weights, running on from group to group.
        let mut bytes = [Cells::<PAIRS, SINGLE>::zero(); COUNT];
        let mut high = bytes;
        // Of low rows and of high rows, by their multipliers.
        let mut totals = [[Cells::zero(); 2]; COUNT];
        for groups_left in (0..groups).rev() {
            // In front, because no load moves across a hint.
            for line in 0..if HINTS { COUNT } else { 0 } {
                prefetch(w.wrapping_add(panel_bytes + (quarter + line) * Line::BYTES));
            }
            for run in 0..2 * STEP / RUN {
                let columns = Run::load(x);
                x = x.wrapping_add(Run::<PAIRS, SINGLE>::BYTES);
                for q in 0..COUNT {
                    let pair = byte_rows(w.add(run * BYTE_ROWS * RUN), ODD + q);
                    bytes[q].add(pair, &columns);
                    high[q].add(high_weights(pair), &columns);
                }
            }
            for q in 0..COUNT {
                let m = multipliers.add(q / 2 * 8);
                let differences = differences(m, groups_left == 0);
                let (low, upper) = (vzip1q_s16(differences, differences), vzip2q_s16(differences, differences));
                let (low, upper) = if (ODD + q).is_multiple_of(2) {
                    (vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_low_s16(upper)))
                } else {
                    (vmovl_high_s16(low), vmovl_high_s16(upper))
                };
                // Low sums are those of bytes less 16 times the high ones.
                let [low_rows, high_rows] = &mut totals[q];
                low_rows.add_scaled(&bytes[q], low);
                high_rows.add_scaled(&high[q], upper);
                less_scaled(low_rows, &high[q], vshlq_n_s32::<4>(low));
            }
            w = w.wrapping_add(GROUP_BYTES);
            multipliers = multipliers.wrapping_add(ROWS);
        }
        totals
    }
}

/// Computes a panel and one column, with hints if `HINTS`. `sdot` by element saves what `smmla` would need, pairs of rows and of columns.
///
/// # Safety
/// The contract of `call` must hold with one column, and the panel must lie inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn single<const HINTS: bool>(call: &Call, panel: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let (groups, weight_bytes) = (call.steps / 2, BYTE_ROWS * STEP * call.steps);
        let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(call.steps);
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut multipliers = w.add(weight_bytes);
        let mut x = call.activations;
        let zero = [vdupq_n_s32(0); 2];
        // As in `tile`, with four rows in a vector and two vectors.
        let (mut bytes, mut high, mut bytes_low, mut high_low, mut high_high) = (zero, zero, zero, zero, zero);
        for groups_left in (0..groups).rev() {
            for line in 0..if HINTS { QUARTERS } else { 0 } {
                prefetch(w.wrapping_add(HINT + line * Line::BYTES));
            }
            for step in 0..2 {
                let column = vld1q_s8(x.add(step * STEP));
                macro_rules! lane {
                    ($lane:literal) => {
                        for v in 0..2 {
                            let pair = vld1q_s8(w.add(((step * 4 + $lane) * 2 + v) * 16));
                            bytes[v] = sdot_lane::<$lane>(bytes[v], pair, column);
                            high[v] = sdot_lane::<$lane>(high[v], high_weights(pair), column);
                        }
                    };
                }
                lane!(0);
                lane!(1);
                lane!(2);
                lane!(3);
            }
            for v in 0..2 {
                let m = multipliers.add(8 * v);
                let differences = differences(m, groups_left == 0);
                let (low, upper) = (vmovl_s16(vget_low_s16(differences)), vmovl_high_s16(differences));
                bytes_low[v] = vmlaq_s32(bytes_low[v], bytes[v], low);
                high_low[v] = vmlaq_s32(high_low[v], high[v], low);
                high_high[v] = vmlaq_s32(high_high[v], high[v], upper);
            }
            w = w.wrapping_add(GROUP_BYTES);
            x = x.wrapping_add(2 * STEP);
            multipliers = multipliers.wrapping_add(ROWS);
        }
        let low: [int32x4_t; 2] = from_fn(|v| vsubq_s32(bytes_low[v], vshlq_n_s32::<4>(high_low[v])));
        dotprod::store(call, panel, 0, [[low[0], low[1], high_high[0], high_high[1]]]);
    }
}
