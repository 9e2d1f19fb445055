//! 4-bit kernels of the dotprod tier.
//!
//! A vector holds runs of 4 bytes of 4 byte rows. A byte row is two rows of weights, so the vector has rows 0..3 and
//! 8..11, or 4..7 and 12..15. [`split`] separates the two.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::STEP;
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod::{LAYOUT, dots, store};
use super::instructions::sdot_lane;
use super::ops::split;
use super::tile::{tile, tile_loop};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Dotprod,
    format: WeightFormat::I4,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s4s8s32_16x4),
    extreme: None,
}];

const ROWS: usize = LAYOUT.panel_rows;
const BYTE_ROWS: usize = ROWS / 2;
/// The number of sum vectors per column: two for rows in low halves, two for rows in high halves.
const VECTORS: usize = ROWS / 4;

/// A run of 4 in depth: two vectors of bytes times lane `$lane` of the activations in `$x`.
///
/// It adds the products of 16 times the low weights to `$l` and the products of the bytes to `$b`. Unless this step is
/// `last` or `single`, it then loads the next bytes into the same registers.
macro_rules! lane_16x1 {
    ($mode:ident, $lane:literal, $x:literal, [$w0:literal, $w1:literal], [$l0:literal, $l1:literal, $b0:literal, $b1:literal],
     [$load0:literal, $load1:literal]) => {
        concat!(
            dots!(@work $mode concat!("shl v24.16b, v", $w0, ".16b, #4\n")),
            dots!(@work $mode concat!("shl v25.16b, v", $w1, ".16b, #4\n")),
            dots! { $mode, $lane, $b0 += $w0 * $x; $b1 += $w1 * $x; $l0 += 24 * $x, $load0; $l1 += 25 * $x, $load1; => "" },
        )
    };
}

pub(super) use lane_16x1;

/// A step of 16 rows x 1 column.
///
/// Registers: sums of even lanes in 0..3 and of odd lanes in 4..7, activations in 8, bytes in 16..23.
macro_rules! step_16x1 {
    ($mode:ident) => {
        concat!(
            lane_16x1!($mode, 0, 8, [16, 17], [0, 1, 2, 3], ["ldur q16, [{w}]", "ldur q17, [{w}, #16]"]),
            lane_16x1!($mode, 1, 8, [18, 19], [4, 5, 6, 7], ["ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]"]),
            lane_16x1!($mode, 2, 8, [20, 21], [0, 1, 2, 3], ["ldur q20, [{w}, #64]", "ldur q21, [{w}, #80]"]),
            lane_16x1!($mode, 3, 8, [22, 23], [4, 5, 6, 7], ["ldur q22, [{w}, #96]", "ldur q23, [{w}, #112]"]),
            dots! { $mode, 0, => "ldur q8, [{x}]" },
        )
    };
}

tile! { "neon,dotprod", tile_16x1, 2, step_16x1, w_step: 128, align: 8,
    prefetch: ["prfm pldl1keep, [{w}, #768]", "prfm pldl1keep, [{w}, #832]"],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]
    ],
    scratch: [
        "v8", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25"
    ]
}

/// Adds the products of a step of 16 rows. Each column has two vectors for 16 times the low weights and two for bytes.
///
/// # Safety
/// A step of a panel must be readable at `w`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn step<const COLUMNS: usize>(
    sums: &mut [[int32x4_t; VECTORS]; COLUMNS],
    w: *const i8,
    x: [int8x16_t; COLUMNS],
) {
    // SAFETY: by this function's contract.
    unsafe {
        macro_rules! lane {
            ($lane:literal) => {
                for v in 0..VECTORS / 2 {
                    let bytes = vld1q_s8(w.add(($lane * VECTORS / 2 + v) * 16));
                    let sixteen_low = vshlq_n_s8::<4>(bytes);
                    for c in 0..COLUMNS {
                        sums[c][v] = sdot_lane::<$lane>(sums[c][v], sixteen_low, x[c]);
                    }
                    for c in 0..COLUMNS {
                        sums[c][VECTORS / 2 + v] = sdot_lane::<$lane>(sums[c][VECTORS / 2 + v], bytes, x[c]);
                    }
                }
            };
        }
        lane!(0);
        lane!(1);
        lane!(2);
        lane!(3);
    }
}

/// The sums of all rows, in order.
#[inline]
#[target_feature(enable = "neon")]
fn rows([l0, l1, b0, b1]: [int32x4_t; VECTORS]) -> [int32x4_t; VECTORS] {
    let ([low0, high0], [low1, high1]) = (split(l0, b0), split(l1, b1));
    [low0, low1, high0, high1]
}

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s4s8s32_16x4<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let w = call.weights.add(panel * BYTE_ROWS * STEP * call.steps);
                    let [even, odd] = tile_16x1(w, call.activations, STEP, call.steps);
                    store(call, panel, 0, [rows(core::array::from_fn(|v| vaddq_s32(even[v], odd[v])))]);
                }
                1 => tile::<1>(call, panel, COLUMNS, 0),
                2 => tile::<2>(call, panel, COLUMNS, 0),
                3 => tile::<3>(call, panel, COLUMNS, 0),
                4 => tile::<4>(call, panel, COLUMNS, 0),
                5 => tile::<5>(call, panel, COLUMNS, 0),
                6 => (0..2).for_each(|i| tile::<3>(call, panel, COLUMNS, 3 * i)),
                7 => (tile::<4>(call, panel, COLUMNS, 0), tile::<3>(call, panel, COLUMNS, 4)).0,
                8 => (0..2).for_each(|i| tile::<4>(call, panel, COLUMNS, 4 * i)),
                9 => (tile::<5>(call, panel, COLUMNS, 0), tile::<4>(call, panel, COLUMNS, 5)).0,
                _ => (0..2).for_each(|i| tile::<5>(call, panel, COLUMNS, 5 * i)),
            }
        }
    }
}

/// Computes one tile: a panel and `COLUMNS` columns.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const COLUMNS: usize>(call: &Call, panel: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut w = call.weights.add(panel * BYTE_ROWS * STEP * call.steps).cast::<i8>();
        let mut x = call.activations.add(column * STEP);
        let mut sums = [[vdupq_n_s32(0); VECTORS]; COLUMNS];
        for _ in 0..call.steps {
            step(&mut sums, w, core::array::from_fn(|c| vld1q_s8(x.add(c * STEP))));
            w = w.wrapping_add(BYTE_ROWS * STEP);
            x = x.wrapping_add(columns * STEP);
        }
        store(call, panel, column, sums.map(|sums| rows(sums)));
    }
}
