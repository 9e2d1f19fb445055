//! Kernels of the dotprod tier: `sdot` by element.
//!
//! A panel's vector holds runs of 4 weights of 4 rows. `sdot` with one lane of an activation vector therefore adds 4
//! terms to the sums of 4 rows, and no sums need adding up at the end.
//!
//! The inner loops are scheduled by hand for the in-order Cortex-A55. A register is loaded again right after its last
//! use, many products before its next one. Pointers are stepped by separate instructions. Loads are `ldur`, which is
//! the same to a core as `ldr`. LLVM's model of the Neoverse N1 counts one micro-operation for `ldur` and two for
//! `ldr`.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Layout, Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::tile::{Hints, hints, tile, tile_loop};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of this tier's kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: 4, activation_run: 16 };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Dotprod,
    format: WeightFormat::I8,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s8s8s32_16x4),
    extreme: None,
}];

const ROWS: usize = 16;
const VECTORS: usize = ROWS / 4;

/// One vector of weights times lane `$lane` of each column's activations, `sum += weights * activations` by register
/// number, then the load of that register's next weights.
///
/// `$mode` selects what is written: everything for `first` or `next`, no loads for `last` or `single`, only the loads
/// for `load`, nothing for `none`. `@work` is for other work.
macro_rules! dots {
    ($mode:ident, $lane:literal, $($acc:literal += $w:literal * $x:literal $(, $x_load:expr)?;)* => $w_load:expr) => {
        concat!(
            $(
                dots!(@work $mode concat!("sdot v", $acc, ".4s, v", $w, ".16b, v", $x, ".4b[", $lane, "]\n")),
                $(dots!(@load $mode $x_load),)?
            )*
            dots!(@load $mode $w_load)
        )
    };
    (@work load $work:expr) => { "" };
    (@work none $work:expr) => { "" };
    (@work $mode:ident $work:expr) => { $work };
    (@load last $load:expr) => { "" };
    (@load single $load:expr) => { "" };
    (@load none $load:expr) => { "" };
    (@load $mode:ident $load:expr) => { concat!($load, "\n") };
}

pub(super) use dots;

/// The four vectors of lane `$lane` times one column.
macro_rules! lane_16x1 {
    ($mode:ident, $lane:literal, [$a:literal, $b:literal, $c:literal, $d:literal],
     [$w0:literal, $w1:literal, $w2:literal, $w3:literal], [$l0:literal, $l1:literal, $l2:literal, $l3:literal]) => {
        concat!(
            dots! { $mode, $lane, $a += $w0 * 8; => $l0 },
            dots! { $mode, $lane, $b += $w1 * 8; => $l1 },
            dots! { $mode, $lane, $c += $w2 * 8; => $l2 },
            dots! { $mode, $lane, $d += $w3 * 8; => $l3 },
        )
    };
}

/// A step of 16 rows x 1 column. Weights are in 16..31, activations in 8.
///
/// There are eight sums, four for even lanes and four for odd ones: a chain of `sdot` on one sum would stall.
macro_rules! step_16x1 {
    ($mode:ident) => {
        concat!(
            lane_16x1!(
                $mode,
                0,
                [0, 1, 2, 3],
                [16, 17, 18, 19],
                ["ldur q16, [{w}]", "ldur q17, [{w}, #16]", "ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]"]
            ),
            lane_16x1!(
                $mode,
                1,
                [4, 5, 6, 7],
                [20, 21, 22, 23],
                ["ldur q20, [{w}, #64]", "ldur q21, [{w}, #80]", "ldur q22, [{w}, #96]", "ldur q23, [{w}, #112]"]
            ),
            lane_16x1!(
                $mode,
                2,
                [0, 1, 2, 3],
                [24, 25, 26, 27],
                ["ldur q24, [{w}, #128]", "ldur q25, [{w}, #144]", "ldur q26, [{w}, #160]", "ldur q27, [{w}, #176]"]
            ),
            lane_16x1!(
                $mode,
                3,
                [4, 5, 6, 7],
                [28, 29, 30, 31],
                ["ldur q28, [{w}, #192]", "ldur q29, [{w}, #208]", "ldur q30, [{w}, #224]", "ldur q31, [{w}, #240]"]
            ),
            dots! { $mode, 0, => "ldur q8, [{x}]" },
        )
    };
}

/// The four vectors of lane `$lane` times two columns. `$x` is the mode of the last vector, which also loads the
/// columns' next activations.
macro_rules! lane_16x2 {
    ($mode:ident, $x:ident, $lane:literal, [$w0:literal, $w1:literal, $w2:literal, $w3:literal],
     [$l0:literal, $l1:literal, $l2:literal, $l3:literal]) => {
        concat!(
            dots! { $mode, $lane, 0 += $w0 * 24; 4 += $w0 * 25; => $l0 },
            dots! { $mode, $lane, 1 += $w1 * 24; 5 += $w1 * 25; => $l1 },
            dots! { $mode, $lane, 2 += $w2 * 24; 6 += $w2 * 25; => $l2 },
            dots! { $x, $lane, 3 += $w3 * 24, "ldur q24, [{x}]"; 7 += $w3 * 25, "ldur q25, [{x}, #16]"; => "" },
            dots! { $mode, $lane, => $l3 },
        )
    };
}

/// As [`lane_16x2`], for three columns.
macro_rules! lane_16x3 {
    ($mode:ident, $x:ident, $lane:literal, [$w0:literal, $w1:literal, $w2:literal, $w3:literal],
     [$l0:literal, $l1:literal, $l2:literal, $l3:literal]) => {
        concat!(
            dots! { $mode, $lane, 0 += $w0 * 24; 4 += $w0 * 25; 8 += $w0 * 26; => $l0 },
            dots! { $mode, $lane, 1 += $w1 * 24; 5 += $w1 * 25; 9 += $w1 * 26; => $l1 },
            dots! { $mode, $lane, 2 += $w2 * 24; 6 += $w2 * 25; 10 += $w2 * 26; => $l2 },
            dots! { $x, $lane, 3 += $w3 * 24, "ldur q24, [{x}]"; 7 += $w3 * 25, "ldur q25, [{x}, #16]";
            11 += $w3 * 26, "ldur q26, [{x}, #32]"; => "" },
            dots! { $mode, $lane, => $l3 },
        )
    };
}

/// As [`lane_16x2`], for four columns.
macro_rules! lane_16x4 {
    ($mode:ident, $x:ident, $lane:literal, [$w0:literal, $w1:literal, $w2:literal, $w3:literal],
     [$l0:literal, $l1:literal, $l2:literal, $l3:literal]) => {
        concat!(
            dots! { $mode, $lane, 0 += $w0 * 24; 4 += $w0 * 25; 8 += $w0 * 26; 12 += $w0 * 27; => $l0 },
            dots! { $mode, $lane, 1 += $w1 * 24; 5 += $w1 * 25; 9 += $w1 * 26; 13 += $w1 * 27; => $l1 },
            dots! { $mode, $lane, 2 += $w2 * 24; 6 += $w2 * 25; 10 += $w2 * 26; 14 += $w2 * 27; => $l2 },
            dots! { $x, $lane, 3 += $w3 * 24, "ldur q24, [{x}]"; 7 += $w3 * 25, "ldur q25, [{x}, #16]";
            11 += $w3 * 26, "ldur q26, [{x}, #32]"; 15 += $w3 * 27, "ldur q27, [{x}, #48]"; => "" },
            dots! { $mode, $lane, => $l3 },
        )
    };
}

/// As [`lane_16x2`], for five columns. Activations start at 20.
macro_rules! lane_16x5 {
    ($mode:ident, $x:ident, $lane:literal, [$l0:literal, $l1:literal, $l2:literal, $l3:literal]) => {
        concat!(
            dots! { $mode, $lane, 0 += 25 * 20; 4 += 25 * 21; 8 += 25 * 22; 12 += 25 * 23; 16 += 25 * 24; => $l0 },
            dots! { $mode, $lane, 1 += 26 * 20; 5 += 26 * 21; 9 += 26 * 22; 13 += 26 * 23; 17 += 26 * 24; => $l1 },
            dots! { $mode, $lane, 2 += 27 * 20; 6 += 27 * 21; 10 += 27 * 22; 14 += 27 * 23; 18 += 27 * 24; => $l2 },
            dots! { $x, $lane, 3 += 28 * 20, "ldur q20, [{x}]"; 7 += 28 * 21, "ldur q21, [{x}, #16]";
            11 += 28 * 22, "ldur q22, [{x}, #32]"; 15 += 28 * 23, "ldur q23, [{x}, #48]";
            19 += 28 * 24, "ldur q24, [{x}, #64]"; => "" },
            dots! { $mode, $lane, => $l3 },
        )
    };
}

/// A step of 16 rows and two to four columns. Weights are in two sets of registers, 16..19 for even lanes and 20..23
/// for odd lanes, each loaded two lanes ahead. Activations start at 24.
macro_rules! step_two_sets {
    ($lane:ident, load) => { step_two_sets!($lane, none none, load load) };
    ($lane:ident, $mode:ident) => { step_two_sets!($lane, next last, $mode $mode) };
    // Lanes 0 and 1 load weights for lanes 2 and 3 of the same step. Lanes 2 and 3 load weights for the next step.
    ($lane:ident, $w_early:ident $x_early:ident, $w_late:ident $x_late:ident) => {
        concat!(
            $lane!(
                $w_early,
                $x_early,
                0,
                [16, 17, 18, 19],
                ["ldur q16, [{w}, #-128]", "ldur q17, [{w}, #-112]", "ldur q18, [{w}, #-96]", "ldur q19, [{w}, #-80]"]
            ),
            $lane!(
                $w_early,
                $x_early,
                1,
                [20, 21, 22, 23],
                ["ldur q20, [{w}, #-64]", "ldur q21, [{w}, #-48]", "ldur q22, [{w}, #-32]", "ldur q23, [{w}, #-16]"]
            ),
            $lane!(
                $w_late,
                $x_early,
                2,
                [16, 17, 18, 19],
                ["ldur q16, [{w}]", "ldur q17, [{w}, #16]", "ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]"]
            ),
            $lane!(
                $w_late,
                $x_late,
                3,
                [20, 21, 22, 23],
                ["ldur q20, [{w}, #64]", "ldur q21, [{w}, #80]", "ldur q22, [{w}, #96]", "ldur q23, [{w}, #112]"]
            ),
        )
    };
}

macro_rules! step_16x2 {
    ($mode:ident) => {
        step_two_sets!(lane_16x2, $mode)
    };
}

macro_rules! step_16x3 {
    ($mode:ident) => {
        step_two_sets!(lane_16x3, $mode)
    };
}

macro_rules! step_16x4 {
    ($mode:ident) => {
        step_two_sets!(lane_16x4, $mode)
    };
}

/// A step of 16 rows and five columns. Weights are in one set of registers, 25..28, loaded one lane ahead.
macro_rules! step_16x5 {
    (load) => { step_16x5!(none none, load load) };
    ($mode:ident) => { step_16x5!(next last, $mode $mode) };
    ($w_early:ident $x_early:ident, $w_late:ident $x_late:ident) => {
        concat!(
            lane_16x5!(
                $w_early,
                $x_early,
                0,
                [
                    "ldur q25, [{w}, #-192]",
                    "ldur q26, [{w}, #-176]",
                    "ldur q27, [{w}, #-160]",
                    "ldur q28, [{w}, #-144]"
                ]
            ),
            lane_16x5!(
                $w_early,
                $x_early,
                1,
                ["ldur q25, [{w}, #-128]", "ldur q26, [{w}, #-112]", "ldur q27, [{w}, #-96]", "ldur q28, [{w}, #-80]"]
            ),
            lane_16x5!(
                $w_early,
                $x_early,
                2,
                ["ldur q25, [{w}, #-64]", "ldur q26, [{w}, #-48]", "ldur q27, [{w}, #-32]", "ldur q28, [{w}, #-16]"]
            ),
            lane_16x5!(
                $w_late,
                $x_late,
                3,
                ["ldur q25, [{w}]", "ldur q26, [{w}, #16]", "ldur q27, [{w}, #32]", "ldur q28, [{w}, #48]"]
            ),
        )
    };
}

tile! { "neon,dotprod", tile_16x1, 2, step_16x1, w_step: 256, align: 9,
    all: [768 832 896 960], last: [768 832 896 960 1024 1088 1152 1216],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]
    ],
    scratch: [
        "v8", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",
        "v31"
    ]
}

tile! { "neon,dotprod", tile_16x2, 2, step_16x2, w_step: 256, align: 9,
    all: [768 832 896 960], last: [768 832 896 960 1024 1088 1152 1216],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]
    ],
    scratch: [
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25"
    ]
}

tile! { "neon,dotprod", tile_16x3, 3, step_16x3, w_step: 256, align: 9,
    all: [768 832 896 960], last: [768 832 896 960 1024 1088 1152 1216],
    half: ["{ahead}" "{behind}"] [ahead = 0, behind = Line::BYTES],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"]
    ],
    scratch: [
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26"
    ]
}

tile! { "neon,dotprod", tile_16x4, 4, step_16x4, w_step: 256, align: 9,
    all: [768 832 896 960], last: [768 832 896 960 1024 1088 1152 1216],
    half: ["{ahead}" "{behind}"] [ahead = 0, behind = Line::BYTES],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"], [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"]
    ],
    scratch: [
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27"
    ]
}

tile! { "neon,dotprod", tile_16x5, 5, step_16x5, w_step: 256, align: 9,
    all: [768 832 896 960], last: [768 832 896 960 1024 1088 1152 1216],
    half: ["{ahead}" "{behind}"] [ahead = 0, behind = Line::BYTES],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"], [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"],
        [e0 = "v16", e1 = "v17", e2 = "v18", e3 = "v19"]
    ],
    scratch: [
        "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28"
    ]
}

/// Stores the sums of `COLUMNS` columns, starting at `column`.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn store<const COLUMNS: usize>(
    call: &Call,
    panel: usize,
    column: usize,
    sums: [[int32x4_t; VECTORS]; COLUMNS],
) {
    for (c, sums) in sums.into_iter().enumerate() {
        for (v, sums) in sums.into_iter().enumerate() {
            // SAFETY: by this function's contract.
            unsafe { vst1q_s32(call.sums.add((column + c) * call.sums_stride + panel * ROWS + 4 * v), sums) };
        }
    }
}

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s8s8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        match call.from_memory {
            true => panels::<COLUMNS, true>(call),
            false => panels::<COLUMNS, false>(call),
        }
    }
}

/// As [`gemm_s8s8s32_16x4`], for one value of `call.from_memory`.
///
/// # Safety
/// As [`gemm_s8s8s32_16x4`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn panels<const COLUMNS: usize, const FROM_MEMORY: bool>(call: &Call) {
    let &Call { panels, steps, .. } = call;
    let x_step = COLUMNS * STEP;
    let panel_bytes = ROWS * STEP * steps;
    let hints = Hints::of(FROM_MEMORY);
    let [first, second] = Hints::of_two(FROM_MEMORY, panel_bytes, ROWS * STEP);
    for panel in 0..panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            let w = call.weights.add(panel * panel_bytes);
            let x = |column| call.activations.add(column * STEP);
            let one = || {
                let [even, odd] = tile_16x1(w, x(0), x_step, steps, hints);
                let sums = core::array::from_fn(|v| vaddq_s32(even[v], odd[v]));
                store(call, panel, 0, [sums]);
            };
            let two = |column, hints| store(call, panel, column, tile_16x2(w, x(column), x_step, steps, hints));
            let three = |column, hints| store(call, panel, column, tile_16x3(w, x(column), x_step, steps, hints));
            let four = |column, hints| store(call, panel, column, tile_16x4(w, x(column), x_step, steps, hints));
            let five = |column, hints| store(call, panel, column, tile_16x5(w, x(column), x_step, steps, hints));
            match COLUMNS {
                _ if steps == 0 => (0..COLUMNS).for_each(|c| store(call, panel, c, [[vdupq_n_s32(0); VECTORS]])),
                1 => one(),
                2 => two(0, hints),
                3 => three(0, hints),
                4 => four(0, hints),
                5 => five(0, hints),
                6 => (three(0, first), three(3, second)).0,
                7 => (four(0, first), three(4, second)).0,
                8 => (four(0, first), four(4, second)).0,
                9 => (five(0, first), four(5, second)).0,
                _ => (five(0, first), five(5, second)).0,
            }
        }
    }
}
