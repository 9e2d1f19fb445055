//! 4-bit kernels of the dotprod tier.
//!
//! A vector holds runs of 4 bytes of 4 byte rows. A byte row is two rows of weights, so the vector has rows 0..3 and
//! 8..11, or 4..7 and 12..15. [`split`] separates the two.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::STEP;
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod::{LAYOUT, dots, store};
use super::ops::split;
use super::tile::{Hints, hints, tile, tile_loop};
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
    all: [768 832], last: [768 832 896 960],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]
    ],
    scratch: [
        "v8", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25"
    ]
}

/// A run of 4 in depth times several columns: two vectors of bytes (`$w`), or one where the tile is half a panel.
///
/// `$shift` puts 16 times the low weights of a vector into `$t`. Each column has sums of these, `$l`, and of the bytes, `$b`.
/// Bytes and, by `$x_mode`, activations are loaded again right after their last use.
macro_rules! lane {
    ($shift:literal, $mode:ident, $x_mode:ident, $lane:literal, $([$w:literal $t:literal $load:expr; $($l:literal $b:literal $x:literal $($x_load:literal)?),*]),*) => {
        concat!(
            $(dots!(@work $mode concat!($shift, " v", $t, ".16b, v", $w, ".16b, #4\n")),)*
            $(
                $(dots! { $mode, $lane, $b += $w * $x; => "" },)*
                dots! { $mode, $lane, => $load },
                $(dots! { $x_mode, $lane, $l += $t * $x $(, $x_load)?; => "" },)*
            )*
        )
    };
}

/// A step of 16 rows. `$w` and `$t` are the registers of bytes and of low weights. Lanes 0 and 1 load bytes for lanes 2
/// and 3, which load them for the next step.
macro_rules! full_step {
    (load, $($registers:tt)*) => { full_step!(@ none none, load load, $($registers)*) };
    ($mode:ident, $($registers:tt)*) => { full_step!(@ next last, $mode $mode, $($registers)*) };
    (@ $early:ident $x_early:ident, $late:ident $x_late:ident, [$w0:literal $w1:literal $w2:literal $w3:literal] [$t0:literal $t1:literal]
     [$($first:tt)*] [$($second:tt)*]) => {
        concat!(
            lane!("shl", $early, $x_early, 0, [$w0 $t0 full_step!(@load $w0 "-64"); $($first)*], [$w1 $t1 full_step!(@load $w1 "-48"); $($second)*]),
            lane!("shl", $early, $x_early, 1, [$w2 $t0 full_step!(@load $w2 "-32"); $($first)*], [$w3 $t1 full_step!(@load $w3 "-16"); $($second)*]),
            lane!("shl", $late, $x_early, 2, [$w0 $t0 full_step!(@load $w0 "0"); $($first)*], [$w1 $t1 full_step!(@load $w1 "16"); $($second)*]),
            lane!("shl", $late, $x_late, 3, [$w2 $t0 full_step!(@load $w2 "32"); $($first)*], [$w3 $t1 full_step!(@load $w3 "48"); $($second)*]),
        )
    };
    (@load $w:literal $at:literal) => { concat!("ldur q", $w, ", [{w}, #", $at, "]") };
}

/// A step of 8 rows, half a panel. Each lane loads the next one's bytes.
///
/// `sli` is `shl` that keeps the low bits of its destination, which are zero from the start. In-order cores start it as they
/// do a `sdot`, where they wait to start a `shl`.
macro_rules! half_step {
    (load, $w:literal $t:literal $columns:tt) => {
        concat!("movi v", $t, ".2d, #0\n", half_step!(@ none none, load load, $w $t $columns))
    };
    ($mode:ident, $($registers:tt)*) => { half_step!(@ next last, $mode $mode, $($registers)*) };
    (@ $early:ident $x_early:ident, $late:ident $x_late:ident, $w:literal $t:literal [$($columns:tt)*]) => {
        concat!(
            lane!("sli", $early, $x_early, 0, [$w $t full_step!(@load $w "-96"); $($columns)*]),
            lane!("sli", $early, $x_early, 1, [$w $t full_step!(@load $w "-64"); $($columns)*]),
            lane!("sli", $early, $x_early, 2, [$w $t full_step!(@load $w "-32"); $($columns)*]),
            lane!("sli", $late, $x_late, 3, [$w $t full_step!(@load $w "0"); $($columns)*]),
        )
    };
}

macro_rules! step_16x2 {
    ($mode:ident) => {
        full_step!($mode, [16 17 18 19] [20 21]
            [0 2 24, 4 6 25]
            [1 3 24 "ldur q24, [{x}]", 5 7 25 "ldur q25, [{x}, #16]"])
    };
}

tile! { "neon,dotprod", tile_16x2, 2, step_16x2, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]
    ],
    scratch: ["v16", "v17", "v18", "v19", "v20", "v21", "v24", "v25"]
}

macro_rules! step_16x3 {
    ($mode:ident) => {
        full_step!($mode, [16 17 18 19] [20 21]
            [0 2 24, 4 6 25, 8 10 26]
            [1 3 24 "ldur q24, [{x}]", 5 7 25 "ldur q25, [{x}, #16]", 9 11 26 "ldur q26, [{x}, #32]"])
    };
}

tile! { "neon,dotprod", tile_16x3, 3, step_16x3, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960], half: ["{ahead}"] [ahead = 0],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"]
    ],
    scratch: ["v16", "v17", "v18", "v19", "v20", "v21", "v24", "v25", "v26"]
}

macro_rules! step_16x4 {
    ($mode:ident) => {
        full_step!($mode, [16 17 18 19] [20 21]
            [0 2 24, 4 6 25, 8 10 26, 12 14 27]
            [1 3 24 "ldur q24, [{x}]", 5 7 25 "ldur q25, [{x}, #16]", 9 11 26 "ldur q26, [{x}, #32]", 13 15 27 "ldur q27, [{x}, #48]"])
    };
}

tile! { "neon,dotprod", tile_16x4, 4, step_16x4, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960], half: ["{ahead}"] [ahead = 0],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"],
        [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"]
    ],
    scratch: ["v16", "v17", "v18", "v19", "v20", "v21", "v24", "v25", "v26", "v27"]
}

macro_rules! step_16x5 {
    ($mode:ident) => {
        full_step!($mode, [20 21 22 23] [24 25]
            [0 2 26, 4 6 27, 8 10 28, 12 14 29, 16 18 30]
            [1 3 26 "ldur q26, [{x}]", 5 7 27 "ldur q27, [{x}, #16]", 9 11 28 "ldur q28, [{x}, #32]", 13 15 29 "ldur q29, [{x}, #48]", 17 19 30 "ldur q30, [{x}, #64]"])
    };
}

tile! { "neon,dotprod", tile_16x5, 5, step_16x5, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960], half: ["{ahead}"] [ahead = 0],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"],
        [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"],
        [e0 = "v16", e1 = "v17", e2 = "v18", e3 = "v19"]
    ],
    scratch: ["v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30"]
}

// Tiles of half a panel. Their columns go in pairs: two vectors of sums each.
macro_rules! step_8x6 {
    ($mode:ident) => {
        half_step!($mode, 30 31 [0 1 12 "ldur q12, [{x}]", 2 3 13 "ldur q13, [{x}, #16]", 4 5 14 "ldur q14, [{x}, #32]", 6 7 15 "ldur q15, [{x}, #48]", 8 9 16 "ldur q16, [{x}, #64]", 10 11 17 "ldur q17, [{x}, #80]"])
    };
}

tile! { "neon,dotprod", tile_8x6, 3, step_8x6, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960], half: ["{ahead}"] [ahead = 0],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"]
    ],
    scratch: ["v12", "v13", "v14", "v15", "v16", "v17", "v30", "v31"]
}

macro_rules! step_8x8 {
    ($mode:ident) => {
        half_step!($mode, 30 31 [0 1 16 "ldur q16, [{x}]", 2 3 17 "ldur q17, [{x}, #16]", 4 5 18 "ldur q18, [{x}, #32]", 6 7 19 "ldur q19, [{x}, #48]", 8 9 20 "ldur q20, [{x}, #64]", 10 11 21 "ldur q21, [{x}, #80]", 12 13 22 "ldur q22, [{x}, #96]", 14 15 23 "ldur q23, [{x}, #112]"])
    };
}

tile! { "neon,dotprod", tile_8x8, 4, step_8x8, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960], half: ["{ahead}"] [ahead = 0],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"],
        [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"]
    ],
    scratch: ["v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31"]
}

macro_rules! step_8x10 {
    ($mode:ident) => {
        half_step!($mode, 30 31 [0 1 20 "ldur q20, [{x}]", 2 3 21 "ldur q21, [{x}, #16]", 4 5 22 "ldur q22, [{x}, #32]", 6 7 23 "ldur q23, [{x}, #48]", 8 9 24 "ldur q24, [{x}, #64]", 10 11 25 "ldur q25, [{x}, #80]", 12 13 26 "ldur q26, [{x}, #96]", 14 15 27 "ldur q27, [{x}, #112]", 16 17 28 "ldur q28, [{x}, #128]", 18 19 29 "ldur q29, [{x}, #144]"])
    };
}

tile! { "neon,dotprod", tile_8x10, 5, step_8x10, w_step: 128, align: 9,
    all: [768 832], last: [768 832 896 960], half: ["{ahead}"] [ahead = 0],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"],
        [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"],
        [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"],
        [e0 = "v16", e1 = "v17", e2 = "v18", e3 = "v19"]
    ],
    scratch: ["v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"]
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
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s4s8s32_16x4`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s4s8s32_16x4`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn panels<const COLUMNS: usize, const FROM_MEMORY: bool>(call: &Call) {
    let &Call { panels, steps, .. } = call;
    let x_step = COLUMNS * STEP;
    let panel_bytes = BYTE_ROWS * STEP * steps;
    let hints = Hints::of(FROM_MEMORY);
    let [first, second] = Hints::of_two(FROM_MEMORY, panel_bytes, BYTE_ROWS * STEP);
    for panel in 0..panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            let w = call.weights.add(panel * panel_bytes);
            let x = |column| call.activations.add(column * STEP);
            let one = || {
                let [even, odd] = tile_16x1(w, x(0), x_step, steps, hints);
                store(call, panel, 0, [rows(core::array::from_fn(|v| vaddq_s32(even[v], odd[v])))]);
            };
            macro_rules! full {
                ($tile:ident at $column:literal, $hints:expr) => {
                    store(call, panel, $column, $tile(w, x($column), x_step, steps, $hints).map(|sums| rows(sums)))
                };
            }
            macro_rules! halves {
                ($tile:ident) => {
                    for (half, hints) in [first, second].into_iter().enumerate() {
                        let pairs = $tile(w.add(16 * half), x(0), x_step, steps, hints);
                        store_half(
                            call,
                            panel,
                            half,
                            0,
                            pairs.map(|[l0, b0, l1, b1]| [split(l0, b0), split(l1, b1)]).as_flattened(),
                        );
                    }
                };
            }
            match COLUMNS {
                _ if steps == 0 => (0..COLUMNS).for_each(|c| store(call, panel, c, [[vdupq_n_s32(0); VECTORS]])),
                1 => one(),
                2 => full!(tile_16x2 at 0, hints),
                3 => full!(tile_16x3 at 0, hints),
                4 => full!(tile_16x4 at 0, hints),
                5 => full!(tile_16x5 at 0, hints),
                6 => halves!(tile_8x6),
                7 => (full!(tile_16x4 at 0, first), full!(tile_16x3 at 4, second)).0,
                8 => halves!(tile_8x8),
                9 => (full!(tile_16x5 at 0, first), full!(tile_16x4 at 5, second)).0,
                _ => halves!(tile_8x10),
            }
        }
    }
}

/// Stores the low and the high rows of half a panel for some columns, starting at `column`.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn store_half(call: &Call, panel: usize, half: usize, column: usize, sums: &[[int32x4_t; 2]]) {
    for (c, &[low, high]) in sums.iter().enumerate() {
        // SAFETY: by this function's contract.
        unsafe {
            let out = call.sums.add((column + c) * call.sums_stride + panel * ROWS + 4 * half);
            vst1q_s32(out, low);
            vst1q_s32(out.add(BYTE_ROWS), high);
        }
    }
}
