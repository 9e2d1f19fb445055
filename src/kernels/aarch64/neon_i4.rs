//! 4-bit kernels of the NEON tier.
//!
//! A vector holds a run of 16 bytes of a byte row. A byte row is two rows of weights, four rows apart; [`split`]
//! separates them. Loops are scheduled as in [`neon`](super::neon).

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Layout, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::neon::products;
use super::ops::split;
use super::tile::{Hints, hints, tile, tile_loop};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of these kernels. A step of a panel fills a cache line, as in the 4-row panels of the 8-bit kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: STEP, activation_run: STEP };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Neon,
    format: WeightFormat::I4,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s4s8s32_8x16),
    extreme: None,
}];

const ROWS: usize = 8;
const BYTE_ROWS: usize = ROWS / 2;

/// A step of 8 rows x 1 column.
///
/// Registers: sums of 16 times the low weights in 0..3, sums of bytes in 4..7, activations in 8, bytes in 24..27, 16
/// times the low weights in 28..31.
///
/// No pair of products overflows an `i16`: a pair is at most `2 * 119 * 128 < 2^15`.
macro_rules! step_8x1 {
    ($mode:ident) => {
        concat!(
            products!(@work $mode "shl v28.16b, v24.16b, #4\n"),
            products!(@work $mode "shl v29.16b, v25.16b, #4\n"),
            products!(@work $mode "shl v30.16b, v26.16b, #4\n"),
            products!(@work $mode "shl v31.16b, v27.16b, #4\n"),
            products! { $mode:
                4 += 24 * 8 => 16, "ldr q24, [{w}]";
                5 += 25 * 8 => 17, "ldr q25, [{w}, #16]";
                6 += 26 * 8 => 18, "ldr q26, [{w}, #32]";
                7 += 27 * 8 => 19, "ldr q27, [{w}, #48]";
                0 += 28 * 8 => 20, "ldr q8, [{x}]";
                1 += 29 * 8 => 21;
                2 += 30 * 8 => 22;
                3 += 31 * 8 => 23;
            }
        )
    };
}

tile! { "neon", tile_8x1, 2, step_8x1, w_step: 64, align: 8,
    all: [640], last: [640 704],
    sums: assigned [[a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]],
    scratch: [
        "v8", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
        "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
    ]
}

/// The sums of four vectors, each over its lanes, in one vector.
#[inline]
#[target_feature(enable = "neon")]
fn across([s0, s1, s2, s3]: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3))
}

/// A step of 8 rows x 2 columns, in two groups. The bytes are multiplied first, then `shl` makes them 16 times the low
/// weights in place.
///
/// Registers: sums of 16 times the low weights in 0..3 and 8..11, sums of bytes in 4..7 and 12..15, bytes in 24..27,
/// activations in 28 and 29.
macro_rules! step_8x2 {
    ($mode:ident) => {
        concat!(
            products! { $mode:
                4 += 24 * 28 => 16; 5 += 25 * 28 => 17; 6 += 26 * 28 => 18; 7 += 27 * 28 => 19;
                12 += 24 * 29 => 20; 13 += 25 * 29 => 21; 14 += 26 * 29 => 22; 15 += 27 * 29 => 23;
            },
            products!(@work $mode "shl v24.16b, v24.16b, #4\n"),
            products!(@work $mode "shl v25.16b, v25.16b, #4\n"),
            products!(@work $mode "shl v26.16b, v26.16b, #4\n"),
            products!(@work $mode "shl v27.16b, v27.16b, #4\n"),
            products! { $mode:
                0 += 24 * 28 => 16, "ldr q24, [{w}]";
                1 += 25 * 28 => 17, "ldr q25, [{w}, #16]";
                2 += 26 * 28 => 18, "ldr q26, [{w}, #32]";
                3 += 27 * 28 => 19, "ldr q28, [{x}]";
                8 += 24 * 29 => 20, "ldr q27, [{w}, #48]";
                9 += 25 * 29 => 21, "ldr q29, [{x}, #16]";
                10 += 26 * 29 => 22;
                11 += 27 * 29 => 23;
            }
        )
    };
}

tile! { "neon", tile_8x2, 4, step_8x2, w_step: 64, align: 9,
    all: [640], last: [640 704],
    sums: assigned [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"], [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"]
    ],
    scratch: [
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29"
    ]
}

/// Multiplies panels of 8 rows in runs of 16.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s4s8s32_8x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4s8s32_8x16`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4s8s32_8x16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn panels<const COLUMNS: usize, const HINTS: bool>(call: &Call) {
    let &Call { steps, .. } = call;
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            let w = call.weights.add(panel * BYTE_ROWS * STEP * steps);
            let store = |column, sixteen_low, bytes| {
                let [low, high] = split(across(sixteen_low), across(bytes));
                let out = call.sums.add(column * call.sums_stride + panel * ROWS);
                vst1q_s32(out, low);
                vst1q_s32(out.add(BYTE_ROWS), high);
            };
            // Only the first tile hints: it takes as long as memory does, and further ones find the panel in L1.
            let hints = |column| Hints::of(HINTS && column == 0);
            for column in 0..COLUMNS {
                let x = call.activations.add(column * STEP);
                match column {
                    _ if steps == 0 => store(column, [vdupq_n_s32(0); 4], [vdupq_n_s32(0); 4]),
                    _ if column % 2 == 1 => {}
                    _ if column + 1 == COLUMNS => {
                        let [sixteen_low, bytes] = tile_8x1(w, x, COLUMNS * STEP, steps, hints(column));
                        store(column, sixteen_low, bytes);
                    }
                    _ => {
                        let [l0, b0, l1, b1] = tile_8x2(w, x, COLUMNS * STEP, steps, hints(column));
                        store(column, l0, b0);
                        store(column + 1, l1, b1);
                    }
                }
            }
        }
    }
}
