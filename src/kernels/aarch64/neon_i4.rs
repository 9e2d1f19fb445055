//! 4-bit kernels of the NEON tier.
//!
//! A vector holds a run of 16 bytes of a byte row. A byte row is two rows of weights, four rows apart; [`split`]
//! separates them. Loops are scheduled as in [`neon`](super::neon).

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Layout, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::instructions::prefetch;
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

/// How many bytes ahead a step of the tiles of several columns hints. A step fills a cache line, of which each half of a
/// panel loads half; the first half of the first tile hints.
const HINT: usize = 640;

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

/// Runs `$tiles` over all columns of a panel, two to four at a time. Only the first pass hints: it takes longer than memory
/// does, and further ones find the panel in L1.
macro_rules! in_tiles {
    (@ $tiles:ident, $call:ident, $panel:ident, $first:literal $(, $more:literal at $column:literal)*) => {{
        $tiles::<$first, HINTS>($call, $panel, COLUMNS, 0);
        $($tiles::<$more, false>($call, $panel, COLUMNS, $column);)*
    }};
    ($tiles:ident, $call:ident, $panel:ident) => {
        match COLUMNS {
            1 => in_tiles!(@ $tiles, $call, $panel, 1),
            2 => in_tiles!(@ $tiles, $call, $panel, 2),
            3 => in_tiles!(@ $tiles, $call, $panel, 3),
            4 => in_tiles!(@ $tiles, $call, $panel, 4),
            5 => in_tiles!(@ $tiles, $call, $panel, 3, 2 at 3),
            6 => in_tiles!(@ $tiles, $call, $panel, 3, 3 at 3),
            7 => in_tiles!(@ $tiles, $call, $panel, 4, 3 at 4),
            8 => in_tiles!(@ $tiles, $call, $panel, 4, 4 at 4),
            9 => in_tiles!(@ $tiles, $call, $panel, 3, 3 at 3, 3 at 6),
            _ => in_tiles!(@ $tiles, $call, $panel, 3, 3 at 3, 4 at 6),
        }
    };
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
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let w = call.weights.add(panel * BYTE_ROWS * STEP * call.steps);
                    let [sixteen_low, bytes] = tile_8x1(w, call.activations, STEP, call.steps, Hints::of(HINTS));
                    let [low, high] = split(across(sixteen_low), across(bytes));
                    let out = call.sums.add(panel * ROWS);
                    vst1q_s32(out, low);
                    vst1q_s32(out.add(BYTE_ROWS), high);
                }
                _ => in_tiles!(tiles, call, panel),
            }
        }
    }
}

/// Computes both halves of a panel, two byte rows at a time. With all four at once, the sums would not fit the
/// registers.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tiles<const COLUMNS: usize, const HINTS: bool>(call: &Call, panel: usize, columns: usize, column: usize) {
    for first in (0..BYTE_ROWS).step_by(2) {
        // SAFETY: by this function's contract.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; COLUMNS];
            let mut w = call.weights.add((panel * call.steps * BYTE_ROWS + first) * STEP).cast::<i8>();
            let mut x = call.activations.add(column * STEP);
            for _ in 0..call.steps {
                if HINTS && first == 0 {
                    prefetch(w.wrapping_add(HINT));
                }
                let columns_x: [int8x16_t; COLUMNS] = core::array::from_fn(|c| vld1q_s8(x.add(c * STEP)));
                for row in 0..2 {
                    let bytes = vld1q_s8(w.add(row * STEP));
                    for (i, w) in [vshlq_n_s8::<4>(bytes), bytes].into_iter().enumerate() {
                        for c in 0..COLUMNS {
                            let pairs = vmull_s8(vget_low_s8(w), vget_low_s8(columns_x[c]));
                            let sum = &mut sums[c][2 * i + row];
                            *sum = vpadalq_s16(*sum, vmlal_high_s8(pairs, w, columns_x[c]));
                        }
                    }
                }
                w = w.wrapping_add(BYTE_ROWS * STEP);
                x = x.wrapping_add(columns * STEP);
            }
            for (c, sums) in sums.into_iter().enumerate() {
                // The sums of 16 times the low weights of two byte rows, then the sums of their bytes.
                let sums = across(sums);
                let [low, high] = split(sums, vextq_s32::<2>(sums, sums));
                let out = call.sums.add((column + c) * call.sums_stride + panel * ROWS + first);
                vst1_s32(out, vget_low_s32(low));
                vst1_s32(out.add(BYTE_ROWS), vget_low_s32(high));
            }
        }
    }
}
