//! 4-bit kernels of the dotprod tier.
//!
//! A byte holds a weight of an even run of four in its low half and one of the next run in its high half.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::micro::{Call, STEP};
use super::dotprod::{LAYOUT, store};
use super::ops::sdot_lane;
use super::tile::{tile, tile_loop};

const ROWS: usize = LAYOUT.panel_rows;
const VECTORS: usize = ROWS / 4;

/// Unpacks four vectors of weights, loads their registers again unless this step is `last` or `single`, and multiplies
/// the low halves with lane `$low` of the activations in 8, the high halves with lane `$high`. The mask is in 9.
macro_rules! lanes_16x1 {
    ($mode:ident, [$w0:literal, $w1:literal, $w2:literal, $w3:literal], $low:literal, $high:literal,
     [$a0:literal, $a1:literal, $a2:literal, $a3:literal], [$b0:literal, $b1:literal, $b2:literal, $b3:literal],
     [$($load:literal),*]) => {
        concat!(
            "shl v24.16b, v", $w0, ".16b, #4\n", "shl v25.16b, v", $w1, ".16b, #4\n",
            "shl v26.16b, v", $w2, ".16b, #4\n", "shl v27.16b, v", $w3, ".16b, #4\n",
            "and v28.16b, v", $w0, ".16b, v9.16b\n", "and v29.16b, v", $w1, ".16b, v9.16b\n",
            "and v30.16b, v", $w2, ".16b, v9.16b\n", "and v31.16b, v", $w3, ".16b, v9.16b\n",
            "sdot v", $a0, ".4s, v24.16b, v8.4b[", $low, "]\n", "sdot v", $a1, ".4s, v25.16b, v8.4b[", $low, "]\n",
            "sdot v", $a2, ".4s, v26.16b, v8.4b[", $low, "]\n", "sdot v", $a3, ".4s, v27.16b, v8.4b[", $low, "]\n",
            $(lanes_16x1!(@$mode $load),)*
            "sdot v", $b0, ".4s, v28.16b, v8.4b[", $high, "]\n", "sdot v", $b1, ".4s, v29.16b, v8.4b[", $high, "]\n",
            "sdot v", $b2, ".4s, v30.16b, v8.4b[", $high, "]\n", "sdot v", $b3, ".4s, v31.16b, v8.4b[", $high, "]\n",
        )
    };
    (@first $load:literal) => { concat!($load, "\n") };
    (@next $load:literal) => { concat!($load, "\n") };
    (@last $load:literal) => { "" };
    (@single $load:literal) => { "" };
}

/// A step of 16 rows x 1 column: weights 16..23, activations 8, sums of low halves 0..3 and of high halves 4..7.
macro_rules! step_16x1 {
    ($mode:ident) => {
        concat!(
            lanes_16x1!($mode, [16, 17, 18, 19], 0, 1, [0, 1, 2, 3], [4, 5, 6, 7],
                ["ldur q16, [{w}]", "ldur q17, [{w}, #16]", "ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]"]),
            lanes_16x1!($mode, [20, 21, 22, 23], 2, 3, [0, 1, 2, 3], [4, 5, 6, 7],
                ["ldur q20, [{w}, #64]", "ldur q21, [{w}, #80]", "ldur q22, [{w}, #96]", "ldur q23, [{w}, #112]"]),
            lanes_16x1!(@$mode "ldur q8, [{x}]"),
        )
    };
}

tile! { "neon,dotprod", tile_16x1, 2, step_16x1, w_step: 128, align: 8,
    load: [
        "ldur q16, [{w}]", "ldur q8, [{x}]", "ldur q17, [{w}, #16]", "ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]",
        "ldur q20, [{w}, #64]", "ldur q21, [{w}, #80]", "ldur q22, [{w}, #96]", "ldur q23, [{w}, #112]",
        "movi v9.16b, #0xf0"
    ],
    prefetch: ["prfm pldl1keep, [{w}, #768]", "prfm pldl1keep, [{w}, #832]"],
    sums: zeroed [
        [a0 = "v0", a1 = "v1", a2 = "v2", a3 = "v3"], [b0 = "v4", b1 = "v5", b2 = "v6", b3 = "v7"]
    ],
    scratch: [
        "v8", "v9", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
        "v30", "v31"
    ]
}

/// The sums of `groups >= 1` groups of two steps, of 16 rows x 1 column, `m` being the multipliers.
///
/// The registers are those of [`tile_16x1`]; the sums of a group are in 4..7. What a group needs is loaded at its
/// start: there are enough loads that none is waited for.
///
/// # Safety
/// The steps of the panel and of the column and the groups of multipliers must be readable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn grouped_tile_16x1(w: *const u8, x: *const i8, m: *const i8, groups: usize) -> [int32x4_t; VECTORS] {
    let (a0, a1, a2, a3): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: reads the groups that the contract lets it read, and writes the registers named.
    unsafe {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0", "movi v9.16b, #0xf0",
            "b 2f",
            ".p2align 9",
            "2:",
            "ldur q16, [{w}]", "ldur q17, [{w}, #16]", "ldur q18, [{w}, #32]", "ldur q19, [{w}, #48]",
            "ldur q8, [{x}]", "ldur q11, [{x}, #16]", "ldur q10, [{m}]",
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
            "add {w}, {w}, #256", "add {x}, {x}, #32", "add {m}, {m}, #16",
            lanes_16x1!(next, [16, 17, 18, 19], 0, 1, [4, 5, 6, 7], [4, 5, 6, 7],
                ["ldur q20, [{w}, #-192]", "ldur q21, [{w}, #-176]", "ldur q22, [{w}, #-160]", "ldur q23, [{w}, #-144]"]),
            lanes_16x1!(next, [20, 21, 22, 23], 2, 3, [4, 5, 6, 7], [4, 5, 6, 7],
                ["ldur q16, [{w}, #-128]", "ldur q17, [{w}, #-112]", "ldur q18, [{w}, #-96]", "ldur q19, [{w}, #-80]"]),
            "mov v8.16b, v11.16b",
            lanes_16x1!(next, [16, 17, 18, 19], 0, 1, [4, 5, 6, 7], [4, 5, 6, 7],
                ["ldur q20, [{w}, #-64]", "ldur q21, [{w}, #-48]", "ldur q22, [{w}, #-32]", "ldur q23, [{w}, #-16]"]),
            "sshll v11.8h, v10.8b, #0", "sshll2 v10.8h, v10.16b, #0",
            lanes_16x1!(last, [20, 21, 22, 23], 2, 3, [4, 5, 6, 7], [4, 5, 6, 7], []),
            "subs {groups}, {groups}, #1",
            "shrn v4.4h, v4.4s, #4", "shrn v6.4h, v6.4s, #4", "shrn2 v4.8h, v5.4s, #4", "shrn2 v6.8h, v7.4s, #4",
            "smlal v0.4s, v4.4h, v11.4h", "smlal v2.4s, v6.4h, v10.4h",
            "smlal2 v1.4s, v4.8h, v11.8h", "smlal2 v3.4s, v6.8h, v10.8h",
            "b.ne 2b",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
            out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(readonly, nostack)
        );
    }
    [a0, a1, a2, a3]
}

/// Adds 16 times the products of a step of 16 rows: a half byte in the high half of a byte is 16 times itself, so
/// unpacking takes one instruction a half.
///
/// # Safety
/// `w` must have a step of a panel to read.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn step<const COLUMNS: usize>(
    sums: &mut [[int32x4_t; VECTORS]; COLUMNS],
    w: *const i8,
    x: [int8x16_t; COLUMNS],
) {
    // SAFETY: by this function's contract.
    unsafe {
        macro_rules! lanes {
            ($first:literal, $low:literal, $high:literal) => {
                for v in 0..VECTORS {
                    let bytes = vld1q_s8(w.add(($first * VECTORS + v) * 16));
                    let (low, high) = (vshlq_n_s8::<4>(bytes), vandq_s8(bytes, vdupq_n_s8(0xf0u8 as i8)));
                    for c in 0..COLUMNS {
                        sums[c][v] = sdot_lane::<$low>(sums[c][v], low, x[c]);
                    }
                    for c in 0..COLUMNS {
                        sums[c][v] = sdot_lane::<$high>(sums[c][v], high, x[c]);
                    }
                }
            };
        }
        lanes!(0, 0, 1);
        lanes!(1, 2, 3);
    }
}

/// Panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s4s8s32_16x4<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and the columns of its tiles are those of the kernel.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let w = call.weights.add(panel * ROWS * STEP / 2 * call.steps);
                    let [low, high] = tile_16x1(w, call.activations, STEP, call.steps);
                    let sums = core::array::from_fn(|v| vshrq_n_s32::<4>(vaddq_s32(low[v], high[v])));
                    store(call, panel, 0, [sums]);
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

/// # Safety
/// The contract of `call` must hold, panel and columns being inside it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const COLUMNS: usize>(call: &Call, panel: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut w = call.weights.add(panel * ROWS * STEP / 2 * call.steps).cast::<i8>();
        let mut x = call.activations.add(column * STEP);
        let mut sums = [[vdupq_n_s32(0); VECTORS]; COLUMNS];
        for _ in 0..call.steps {
            step(&mut sums, w, core::array::from_fn(|c| vld1q_s8(x.add(c * STEP))));
            w = w.add(ROWS * STEP / 2);
            x = x.add(columns * STEP);
        }
        for sums in &mut sums {
            for sum in sums {
                *sum = vshrq_n_s32::<4>(*sum);
            }
        }
        store(call, panel, column, sums);
    }
}

/// As [`gemm_s4s8s32_16x4`], with a multiplier for each group of two steps.
///
/// # Safety
/// As [`gemm_s4s8s32_16x4`].
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s4gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and the columns of its tiles are those of the kernel.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let weight_bytes = ROWS * STEP / 2 * call.steps;
                    let w = call.weights.add(panel * (weight_bytes + LAYOUT.multiplier_bytes(call.steps)));
                    let multipliers = w.add(weight_bytes).cast();
                    let sums = grouped_tile_16x1(w, call.activations, multipliers, call.steps / 2);
                    store(call, panel, 0, [sums]);
                }
                1 => grouped_tile::<1>(call, panel, COLUMNS, 0),
                2 => grouped_tile::<2>(call, panel, COLUMNS, 0),
                3 => grouped_tile::<3>(call, panel, COLUMNS, 0),
                4 => (0..2).for_each(|i| grouped_tile::<2>(call, panel, COLUMNS, 2 * i)),
                5 => (grouped_tile::<3>(call, panel, COLUMNS, 0), grouped_tile::<2>(call, panel, COLUMNS, 3)).0,
                6 => (0..2).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i)),
                7 => {
                    grouped_tile::<3>(call, panel, COLUMNS, 0);
                    (0..2).for_each(|i| grouped_tile::<2>(call, panel, COLUMNS, 3 + 2 * i));
                }
                8 => {
                    (0..2).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i));
                    grouped_tile::<2>(call, panel, COLUMNS, 6);
                }
                9 => (0..3).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i)),
                _ => {
                    (0..2).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i));
                    (0..2).for_each(|i| grouped_tile::<2>(call, panel, COLUMNS, 6 + 2 * i));
                }
            }
        }
    }
}

/// The sum of a group fits `i16`, `32 * 7 * 128 < 2^15`, so narrowing (which takes the factor 16 off) lets one `smlal`
/// apply the multipliers of four rows.
///
/// # Safety
/// The contract of `call` must hold, panel and columns being inside it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn grouped_tile<const COLUMNS: usize>(call: &Call, panel: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let weight_bytes = ROWS * STEP / 2 * call.steps;
        let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(call.steps);
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut multipliers = w.add(weight_bytes);
        let mut x = call.activations.add(column * STEP);
        let mut sums = [[vdupq_n_s32(0); VECTORS]; COLUMNS];
        for _ in 0..call.steps / 2 {
            let mut group = [[vdupq_n_s32(0); VECTORS]; COLUMNS];
            for _ in 0..2 {
                step(&mut group, w, core::array::from_fn(|c| vld1q_s8(x.add(c * STEP))));
                w = w.add(ROWS * STEP / 2);
                x = x.add(columns * STEP);
            }
            let m = vld1q_s8(multipliers);
            let (m_low, m_high) = (vmovl_s8(vget_low_s8(m)), vmovl_high_s8(m));
            for (sums, group) in sums.iter_mut().zip(group) {
                let low = vshrn_high_n_s32::<4>(vshrn_n_s32::<4>(group[0]), group[1]);
                let high = vshrn_high_n_s32::<4>(vshrn_n_s32::<4>(group[2]), group[3]);
                sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(m_low));
                sums[1] = vmlal_high_s16(sums[1], low, m_low);
                sums[2] = vmlal_s16(sums[2], vget_low_s16(high), vget_low_s16(m_high));
                sums[3] = vmlal_high_s16(sums[3], high, m_high);
            }
            multipliers = multipliers.add(ROWS);
        }
        store(call, panel, column, sums);
    }
}
