//! Kernels of the NEON tier, which is base AArch64: `smull`, `smlal2`, `sadalp`.
//!
//! The inner loops are scheduled by hand for the in-order Cortex-A53; out-of-order cores do not mind. Products go in
//! groups of eight or more that do not depend on each other. A group is ordered by kind: all `smull`, then all
//! `smlal2`, then all `sadalp`. The next step's operands are loaded between the `sadalp`s, into registers that the
//! group no longer needs. No instruction therefore waits for the one before it or for a load. Pointers are stepped by
//! separate instructions, because a load that steps its pointer is issued alone on such cores.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::layout::{Layout, Line, STEP};
use super::super::micro::{Call, Family, for_each_batch};
use super::instructions::prefetch;
use super::tile::{Hints, hints, tile, tile_loop};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of this tier's kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: 16, activation_run: 16 };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Neon,
    format: WeightFormat::I8,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s8s8s32_4x16),
    extreme: Some(for_each_batch!(gemm_s8s8s32_4x16_extreme)),
}];

const ROWS: usize = 4;

/// How many bytes behind the step after it a step hints: the immediate operand of the tiles' prefetches.
const HINT: usize = 640;

/// The products of a group, `acc += w * x => temporary` by register number, each followed by its loads.
///
/// `$mode` selects what is written: no loads for `last` or `single`, only the loads for `load`. `@work` is for other
/// work.
macro_rules! products {
    (load: $($acc:literal += $w:literal * $x:literal => $t:literal $(, $load:literal)*;)*) => {
        concat!($($($load, "\n",)*)*)
    };
    ($mode:ident: $($acc:literal += $w:literal * $x:literal => $t:literal $(, $load:literal)*;)*) => {
        concat!(
            $("smull v", $t, ".8h, v", $w, ".8b, v", $x, ".8b\n",)*
            $("smlal2 v", $t, ".8h, v", $w, ".16b, v", $x, ".16b\n",)*
            $(products!(@add $mode), " v", $acc, ".4s, v", $t, ".8h\n", $(products!(@load $mode $load),)*)*
        )
    };
    (@add first) => { "saddlp" };
    (@add single) => { "saddlp" };
    (@add $mode:ident) => { "sadalp" };
    (@load last $load:literal) => { "" };
    (@load single $load:literal) => { "" };
    (@load $mode:ident $load:literal) => { concat!($load, "\n") };
    (@work load $work:literal) => { "" };
    (@work $mode:ident $work:literal) => { $work };
}

pub(super) use products;

/// Two steps of 4 rows x 1 column, with eight sums: four for even steps, four for odd ones. `w` is in 24..31, `x` in 16
/// and 17.
macro_rules! step_4x1 {
    ($mode:ident) => {
        products! { $mode:
            0 += 24 * 16 => 18, "ldr q24, [{w}]";
            1 += 25 * 16 => 19, "ldr q25, [{w}, #16]";
            2 += 26 * 16 => 20, "ldr q26, [{w}, #32]";
            3 += 27 * 16 => 21, "ldr q27, [{w}, #48]", "ldr q16, [{x}]";
            4 += 28 * 17 => 22, "ldr q28, [{w}, #64]";
            5 += 29 * 17 => 23, "ldr q29, [{w}, #80]";
            6 += 30 * 17 => 8, "ldr q30, [{w}, #96]";
            7 += 31 * 17 => 9, "ldr q31, [{w}, #112]", "ldr q17, [{x}, #16]";
        }
    };
}

/// A step of 4 rows x 2 columns. `w` is in 24..27, `x` in 28 and 29.
macro_rules! step_4x2 {
    ($mode:ident) => {
        products! { $mode:
            0 += 24 * 28 => 16, "ldr q24, [{w}]";
            1 += 25 * 28 => 17, "ldr q25, [{w}, #16]";
            2 += 26 * 28 => 18, "ldr q26, [{w}, #32]";
            3 += 27 * 28 => 19, "ldr q28, [{x}]";
            4 += 24 * 29 => 20, "ldr q27, [{w}, #48]";
            5 += 25 * 29 => 21, "ldr q29, [{x}, #16]";
            6 += 26 * 29 => 22;
            7 += 27 * 29 => 23;
        }
    };
}

/// A step of 4 rows x 3 columns. `w` is in 24..27, `x` in 28..30.
macro_rules! step_4x3 {
    ($mode:ident) => {
        products! { $mode:
            0 += 24 * 28 => 12, "ldr q24, [{w}]";
            1 += 25 * 28 => 13, "ldr q25, [{w}, #16]";
            2 += 26 * 28 => 14, "ldr q26, [{w}, #32]";
            3 += 27 * 28 => 15, "ldr q28, [{x}]";
            4 += 24 * 29 => 16, "ldr q27, [{w}, #48]";
            5 += 25 * 29 => 17, "ldr q29, [{x}, #16]";
            6 += 26 * 29 => 18;
            7 += 27 * 29 => 19, "ldr q30, [{x}, #32]";
            8 += 24 * 30 => 20;
            9 += 25 * 30 => 21;
            10 += 26 * 30 => 22;
            11 += 27 * 30 => 23;
        }
    };
}

/// A step of 4 rows x 4 columns, in two groups. `w` is in 24..27, `x` in 28..31. The eight temporaries serve both
/// groups.
macro_rules! step_4x4 {
    ($mode:ident) => {
        concat!(
            products! { $mode:
                0 += 24 * 28 => 16, "ldr q24, [{w}]";
                1 += 25 * 28 => 17;
                4 += 24 * 29 => 18, "ldr q25, [{w}, #16]";
                5 += 25 * 29 => 19;
                8 += 24 * 30 => 20;
                9 += 25 * 30 => 21;
                12 += 24 * 31 => 22;
                13 += 25 * 31 => 23;
            },
            products! { $mode:
                2 += 26 * 28 => 16, "ldr q28, [{x}]";
                3 += 27 * 28 => 17, "ldr q26, [{w}, #32]";
                6 += 26 * 29 => 18, "ldr q29, [{x}, #16]";
                7 += 27 * 29 => 19, "ldr q27, [{w}, #48]";
                10 += 26 * 30 => 20, "ldr q30, [{x}, #32]";
                11 += 27 * 30 => 21;
                14 += 26 * 31 => 22, "ldr q31, [{x}, #48]";
                15 += 27 * 31 => 23;
            }
        )
    };
}

/// The sums of one panel as the loops leave them: four partial sums per column and row.
type Partial<const COLUMNS: usize> = [[int32x4_t; ROWS]; COLUMNS];

// Two sets of sums, for even steps and for odd ones, where other tiles have two columns.
tile! { "neon", tile_4x1_pairs, 2, step_4x1, w_step: 128, align: 8,
    all: [640 704], first: [640 704], last: [640 704],
    sums: assigned [[a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]],
    scratch: [
        "v8", "v9", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
        "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
    ]
}

tile! { "neon", tile_4x2, 2, step_4x2, w_step: 64, align: 8,
    all: [640], first: [640], last: [640],
    sums: assigned [[a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]],
    scratch: [
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
        "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
    ]
}

tile! { "neon", tile_4x3, 3, step_4x3, w_step: 64, align: 8,
    all: [640], first: [640], last: [640],
    sums: assigned [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"]
    ],
    scratch: [
        "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21",
        "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
    ]
}

tile! { "neon", tile_4x4, 4, step_4x4, w_step: 64, align: 8,
    all: [640], first: [640], last: [640],
    sums: assigned [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"],
        [c0 = "v8", c1 = "v9", c2 = "v10", c3 = "v11"], [d0 = "v12", d1 = "v13", d2 = "v14", d3 = "v15"]
    ],
    scratch: [
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
        "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
    ]
}

/// As the tiles above, for one column. It takes two steps at a time, which gives eight independent products. `ODD` says
/// whether the number of steps is odd.
///
/// # Safety
/// As the tiles above.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_4x1<const ODD: bool>(w: *const u8, x: *const i8, steps: usize, hints: Hints) -> Partial<1> {
    let mut sums = [vdupq_n_s32(0); ROWS];
    if !ODD || steps > 1 {
        // SAFETY: reads only pairs of steps that the contract lets it read.
        let [even, odd] = unsafe { tile_4x1_pairs(w, x, 2 * STEP, steps / 2, hints) };
        sums = core::array::from_fn(|r| vaddq_s32(even[r], odd[r]));
    }
    if ODD {
        // SAFETY: the contract makes the last step readable.
        unsafe {
            let w = w.add((steps - 1) * ROWS * STEP);
            if let Hints::All = hints {
                // The next line after the two that the last pair has asked for.
                prefetch(w.wrapping_add(HINT + 2 * Line::BYTES));
            }
            let w = w.cast::<i8>();
            let x = vld1q_s8(x.add((steps - 1) * STEP));
            for (r, sum) in sums.iter_mut().enumerate() {
                let w = vld1q_s8(w.add(r * STEP));
                *sum = vpadalq_s16(*sum, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
            }
        }
    }
    [sums]
}

/// Computes one column of two panels of few steps. Where panels are short, what a panel costs beside its steps counts:
/// the sums of two are added up together, and there are eight chains from the first step on.
///
/// # Safety
/// As the tiles above, for both panels.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_8x1<const STEPS: usize>(w: [*const u8; 2], x: *const i8) -> [Partial<1>; 2] {
    // SAFETY: the contract makes the step readable.
    let products = |step: usize| unsafe {
        let x = vld1q_s8(x.add(step * STEP));
        let w: [int8x16_t; 2 * ROWS] =
            core::array::from_fn(|r| vld1q_s8(w[r / ROWS].add((step * ROWS + r % ROWS) * STEP).cast::<i8>()));
        let low = w.map(|w| vmull_s8(vget_low_s8(w), vget_low_s8(x)));
        let both: [int16x8_t; 2 * ROWS] = core::array::from_fn(|r| vmlal_high_s8(low[r], w[r], x));
        both
    };
    let mut sums = products(0).map(|product| vpaddlq_s16(product));
    for step in 1..STEPS {
        let products = products(step);
        sums = core::array::from_fn(|r| vpadalq_s16(sums[r], products[r]));
    }
    let [a0, a1, a2, a3, b0, b1, b2, b3] = sums;
    [[[a0, a1, a2, a3]], [[b0, b1, b2, b3]]]
}

/// Computes one column of a panel that may hold extreme pairs. Each product is added to an `i32` separately, which is
/// exact for all operands.
///
/// # Safety
/// As the tiles above.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_4x1_extreme(w: *const u8, x: *const i8, x_step: usize, steps: usize) -> Partial<1> {
    let mut sums = [vdupq_n_s32(0); ROWS];
    for step in 0..steps {
        // SAFETY: the contract makes the step readable.
        unsafe {
            let w = w.add(step * ROWS * STEP).cast::<i8>();
            let x = vld1q_s8(x.add(step * x_step));
            for (r, sum) in sums.iter_mut().enumerate() {
                let w = vld1q_s8(w.add(r * STEP));
                *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
                *sum = vpadalq_s16(*sum, vmull_high_s8(w, x));
            }
        }
    }
    [sums]
}

/// Computes one column of panels of `STEPS` steps, two panels at a time. The weights are in a cache: there are no hints.
/// For a few panels, saving registers takes as long as the products, so the function is one that needs to save none.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel), with `STEPS` steps.
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn short_panels<const STEPS: usize>(call: &Call) {
    let panel_bytes = ROWS * STEP * STEPS;
    for first in (0..call.panels).step_by(2) {
        // The last of an odd number is computed twice.
        let second = (first + 1).min(call.panels - 1);
        let weights = |panel: usize| call.weights.wrapping_add(panel * panel_bytes);
        // SAFETY: both panels are among the call's.
        unsafe {
            let [a, b] = tile_8x1::<STEPS>([weights(first), weights(second)], call.activations);
            store(call, first, 0, a);
            store(call, second, 0, b);
        }
    }
}

/// Stores the sums of `COLUMNS` columns, starting at `column`.
///
/// # Safety
/// The contract of `call` must hold, and the panel and columns must lie inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const COLUMNS: usize>(call: &Call, panel: usize, column: usize, partial: Partial<COLUMNS>) {
    for (c, [s0, s1, s2, s3]) in partial.into_iter().enumerate() {
        // SAFETY: by this function's contract.
        unsafe {
            let sums = vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3));
            vst1q_s32(call.sums.add((column + c) * call.sums_stride + panel * ROWS), sums);
        }
    }
}

/// Multiplies panels of 4 rows in runs of 16. The panels must not have an extreme pair.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s8s8s32_4x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        if COLUMNS == 1 && !call.from_memory {
            match call.steps {
                1 => return short_panels::<1>(call),
                2 => return short_panels::<2>(call),
                3 => return short_panels::<3>(call),
                4 => return short_panels::<4>(call),
                _ => {}
            }
        }
        match (call.from_memory, call.steps % 2 == 1) {
            (true, true) if COLUMNS == 1 => panels::<COLUMNS, true, true>(call),
            (false, true) if COLUMNS == 1 => panels::<COLUMNS, false, true>(call),
            (true, _) => panels::<COLUMNS, true, false>(call),
            (false, _) => panels::<COLUMNS, false, false>(call),
        }
    }
}

/// As [`gemm_s8s8s32_4x16`], for one value of `call.from_memory`. For one column, `ODD` says whether the number of steps
/// is odd.
///
/// # Safety
/// As [`gemm_s8s8s32_4x16`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn panels<const COLUMNS: usize, const FROM_MEMORY: bool, const ODD: bool>(call: &Call) {
    let &Call { panels, steps, .. } = call;
    // The first tile takes longer than memory does; further ones find the panel in L1.
    let (hints, none) = (Hints::of(FROM_MEMORY), Hints::None);
    let x_step = COLUMNS * STEP;
    let panel_bytes = ROWS * STEP * steps;
    for panel in 0..panels {
        // SAFETY: the panel is one of the call's, and its tiles have the kernel's columns.
        unsafe {
            let w = call.weights.add(panel * panel_bytes);
            let x = |column| call.activations.add(column * STEP);
            let two = |column, hints| store(call, panel, column, tile_4x2(w, x(column), x_step, steps, hints));
            let three = |column, hints| store(call, panel, column, tile_4x3(w, x(column), x_step, steps, hints));
            let four = |column, hints| store(call, panel, column, tile_4x4(w, x(column), x_step, steps, hints));
            match COLUMNS {
                _ if steps == 0 => (0..COLUMNS).for_each(|c| store(call, panel, c, [[vdupq_n_s32(0); ROWS]])),
                1 => store(call, panel, 0, tile_4x1::<ODD>(w, x(0), steps, hints)),
                2 => two(0, hints),
                3 => three(0, hints),
                4 => four(0, hints),
                5 => (three(0, hints), two(3, none)).0,
                6 => (three(0, hints), three(3, none)).0,
                7 => (four(0, hints), three(4, none)).0,
                8 => (four(0, hints), four(4, none)).0,
                9 => (three(0, hints), three(3, none), three(6, none)).0,
                _ => (four(0, hints), three(4, none), three(7, none)).0,
            }
        }
    }
}

/// As [`gemm_s8s8s32_4x16`], for panels with an extreme pair.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s8s8s32_4x16_extreme<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        for column in 0..COLUMNS {
            // SAFETY: the panel is one of the call's, and the column is one of the kernel's.
            unsafe {
                let w = call.weights.add(panel * ROWS * STEP * call.steps);
                let x = call.activations.add(column * STEP);
                store(call, panel, column, tile_4x1_extreme(w, x, COLUMNS * STEP, call.steps));
            }
        }
    }
}
