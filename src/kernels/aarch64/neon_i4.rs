//! 4-bit kernels of the NEON tier.
//!
//! A byte holds a weight of a step in its low half and one of the next step in its high half.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::micro::{Call, STEP};
use super::neon::LAYOUT;

const ROWS: usize = LAYOUT.panel_rows;

/// Panels of 4 rows in runs of 16.
///
/// A half byte in the high half of a byte is 16 times itself, so unpacking takes one instruction a half, and sums are
/// 16 times what they should be, which `sshr` mends in the end. No intermediate overflows: pairs of products are at
/// most `2 * 16 * 7 * 128 < 2^15`, and sums `16 * 7 * 128 * k < 2^31` up to the largest depth.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s4s8s32_4x16<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and the columns of its tiles are those of the kernel.
        unsafe {
            match COLUMNS {
                1 => tile::<1>(call, panel, COLUMNS, 0),
                2 => tile::<2>(call, panel, COLUMNS, 0),
                3 => tile::<3>(call, panel, COLUMNS, 0),
                4 => tile::<4>(call, panel, COLUMNS, 0),
                5 => (tile::<3>(call, panel, COLUMNS, 0), tile::<2>(call, panel, COLUMNS, 3)).0,
                6 => (0..2).for_each(|i| tile::<3>(call, panel, COLUMNS, 3 * i)),
                7 => (tile::<4>(call, panel, COLUMNS, 0), tile::<3>(call, panel, COLUMNS, 4)).0,
                8 => (0..2).for_each(|i| tile::<4>(call, panel, COLUMNS, 4 * i)),
                9 => (0..3).for_each(|i| tile::<3>(call, panel, COLUMNS, 3 * i)),
                _ => {
                    (0..2).for_each(|i| tile::<3>(call, panel, COLUMNS, 3 * i));
                    tile::<4>(call, panel, COLUMNS, 6);
                }
            }
        }
    }
}

/// # Safety
/// The contract of `call` must hold, panel and columns being inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile<const COLUMNS: usize>(call: &Call, panel: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); ROWS]; COLUMNS];
        let mut w = call.weights.add(panel * ROWS * STEP / 2 * call.steps).cast::<i8>();
        let mut x = call.activations.add(column * STEP);
        for _ in 0..call.steps / 2 {
            let x_low: [int8x16_t; COLUMNS] = core::array::from_fn(|c| vld1q_s8(x.add(c * STEP)));
            let x_high: [int8x16_t; COLUMNS] = core::array::from_fn(|c| vld1q_s8(x.add((columns + c) * STEP)));
            for row in 0..ROWS {
                let bytes = vld1q_s8(w.add(row * STEP));
                let (low, high) = (vshlq_n_s8::<4>(bytes), vandq_s8(bytes, vdupq_n_s8(0xf0u8 as i8)));
                for c in 0..COLUMNS {
                    let sum = &mut sums[c][row];
                    let pairs = vmull_s8(vget_low_s8(low), vget_low_s8(x_low[c]));
                    *sum = vpadalq_s16(*sum, vmlal_high_s8(pairs, low, x_low[c]));
                    let pairs = vmull_s8(vget_low_s8(high), vget_low_s8(x_high[c]));
                    *sum = vpadalq_s16(*sum, vmlal_high_s8(pairs, high, x_high[c]));
                }
            }
            w = w.add(ROWS * STEP);
            x = x.add(2 * columns * STEP);
        }
        for (c, [s0, s1, s2, s3]) in sums.into_iter().enumerate() {
            let sums = vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3));
            vst1q_s32(call.sums.add((column + c) * call.sums_stride + panel * ROWS), vshrq_n_s32::<4>(sums));
        }
    }
}

/// As [`gemm_s4s8s32_4x16`], with a multiplier for each group, which is what one load of a row holds.
///
/// # Safety
/// As [`gemm_s4s8s32_4x16`].
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s4gs8s32_4x16<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and the columns of its tiles are those of the kernel.
        unsafe {
            match COLUMNS {
                1 if call.steps > 0 => {
                    let weight_bytes = ROWS * STEP / 2 * call.steps;
                    let w = call.weights.add(panel * (weight_bytes + LAYOUT.multiplier_bytes(call.steps)));
                    let multipliers = w.add(weight_bytes).cast();
                    let sums = grouped_tile_4x1(w, call.activations, multipliers, call.steps / 2);
                    vst1q_s32(call.sums.add(panel * ROWS), sums);
                }
                1 => grouped_tile::<1>(call, panel, COLUMNS, 0),
                2 => grouped_tile::<2>(call, panel, COLUMNS, 0),
                3 => grouped_tile::<3>(call, panel, COLUMNS, 0),
                4 => grouped_tile::<4>(call, panel, COLUMNS, 0),
                5 => (grouped_tile::<3>(call, panel, COLUMNS, 0), grouped_tile::<2>(call, panel, COLUMNS, 3)).0,
                6 => (0..2).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i)),
                7 => (grouped_tile::<4>(call, panel, COLUMNS, 0), grouped_tile::<3>(call, panel, COLUMNS, 4)).0,
                8 => (0..2).for_each(|i| grouped_tile::<4>(call, panel, COLUMNS, 4 * i)),
                9 => (0..3).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i)),
                _ => {
                    (0..2).for_each(|i| grouped_tile::<3>(call, panel, COLUMNS, 3 * i));
                    grouped_tile::<4>(call, panel, COLUMNS, 6);
                }
            }
        }
    }
}

/// The sums of `groups >= 1` groups of 4 rows x 1 column, scheduled for the in-order Cortex-A53; `m` are the
/// multipliers.
///
/// The arithmetic is [`grouped_tile`]'s. Weights are in 4..7, their high halves in 16..19, activations in 2 and 3,
/// products in 20..23, multipliers in 25. A group's products are added up while the next group is unpacked, so that
/// nothing waits for them.
///
/// # Safety
/// The steps of the panel and of the column and the groups of multipliers must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_tile_4x1(w: *const u8, x: *const i8, m: *const i8, groups: usize) -> int32x4_t {
    let (low, high): (int32x4_t, int32x4_t);
    // SAFETY: reads the groups that the contract lets it read, and writes the registers named.
    unsafe {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0",
            "movi v20.2d, #0", "movi v21.2d, #0", "movi v22.2d, #0", "movi v23.2d, #0", "movi v25.2d, #0",
            "b 2f",
            ".p2align 8",
            "2:",
            "ldr q4, [{w}]", "ldr q5, [{w}, #16]", "ldr q6, [{w}, #32]", "ldr q7, [{w}, #48]",
            "ldr q3, [{x}, #16]", "ldr q2, [{x}]", "ldr s24, [{m}]",
            "prfm pldl1keep, [{w}, #640]",
            "add {w}, {w}, #64", "add {x}, {x}, #32", "add {m}, {m}, #4",
            "addp v26.8h, v20.8h, v21.8h", "addp v27.8h, v22.8h, v23.8h",
            "sshr v16.16b, v4.16b, #4", "sshr v17.16b, v5.16b, #4", "sshr v18.16b, v6.16b, #4", "sshr v19.16b, v7.16b, #4",
            "shl v4.16b, v4.16b, #4", "shl v5.16b, v5.16b, #4", "shl v6.16b, v6.16b, #4", "shl v7.16b, v7.16b, #4",
            "addp v26.8h, v26.8h, v27.8h",
            "smull v20.8h, v16.8b, v3.8b", "smull v21.8h, v17.8b, v3.8b", "smull v22.8h, v18.8b, v3.8b",
            "smull v23.8h, v19.8b, v3.8b",
            "smlal v0.4s, v26.4h, v25.4h", "smlal2 v1.4s, v26.8h, v25.8h",
            "sshr v4.16b, v4.16b, #4", "sshr v5.16b, v5.16b, #4", "sshr v6.16b, v6.16b, #4", "sshr v7.16b, v7.16b, #4",
            "smlal2 v20.8h, v16.16b, v3.16b", "smlal2 v21.8h, v17.16b, v3.16b", "smlal2 v22.8h, v18.16b, v3.16b",
            "smlal2 v23.8h, v19.16b, v3.16b",
            "zip1 v24.8b, v24.8b, v24.8b",
            "smlal v20.8h, v4.8b, v2.8b", "smlal v21.8h, v5.8b, v2.8b", "smlal v22.8h, v6.8b, v2.8b",
            "smlal v23.8h, v7.8b, v2.8b",
            "sshll v25.8h, v24.8b, #0",
            "smlal2 v20.8h, v4.16b, v2.16b", "smlal2 v21.8h, v5.16b, v2.16b", "smlal2 v22.8h, v6.16b, v2.16b",
            "smlal2 v23.8h, v7.16b, v2.16b",
            "subs {groups}, {groups}, #1",
            "b.ne 2b",
            "addp v26.8h, v20.8h, v21.8h", "addp v27.8h, v22.8h, v23.8h", "addp v26.8h, v26.8h, v27.8h",
            "smlal v0.4s, v26.4h, v25.4h", "smlal2 v1.4s, v26.8h, v25.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, groups = inout(reg) groups => _,
            out("v0") low, out("v1") high, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
            out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            options(readonly, nostack)
        );
    }
    vpaddq_s32(low, high)
}

/// The products of a group stay in `i16`: 4 in a lane, and 16 when lanes of four rows were added up, are at most
/// `16 * 7 * 128 < 2^15`. One `smlal` and one `smlal2` then apply the multipliers of four rows.
///
/// # Safety
/// The contract of `call` must hold, panel and columns being inside it.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn grouped_tile<const COLUMNS: usize>(call: &Call, panel: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let groups = call.steps / 2;
        let weight_bytes = ROWS * STEP * groups;
        let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(call.steps);
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut multipliers = w.add(weight_bytes).cast::<u32>();
        let mut x = call.activations.add(column * STEP);
        // Rows 0 and 1 in the first vector, 2 and 3 in the second, two sums a row.
        let mut sums = [[vdupq_n_s32(0); 2]; COLUMNS];
        for _ in 0..groups {
            let x_low: [int8x16_t; COLUMNS] = core::array::from_fn(|c| vld1q_s8(x.add(c * STEP)));
            let x_high: [int8x16_t; COLUMNS] = core::array::from_fn(|c| vld1q_s8(x.add((columns + c) * STEP)));
            let m = vcreate_s8(u64::from(multipliers.read_unaligned()));
            let m = vmovl_s8(vzip1_s8(m, m));
            let mut products = [[vdupq_n_s16(0); ROWS]; COLUMNS];
            for row in 0..ROWS {
                let bytes = vld1q_s8(w.add(row * STEP));
                let (low, high) = (vshrq_n_s8::<4>(vshlq_n_s8::<4>(bytes)), vshrq_n_s8::<4>(bytes));
                for c in 0..COLUMNS {
                    let p = vmull_s8(vget_low_s8(low), vget_low_s8(x_low[c]));
                    let p = vmlal_high_s8(p, low, x_low[c]);
                    let p = vmlal_s8(p, vget_low_s8(high), vget_low_s8(x_high[c]));
                    products[c][row] = vmlal_high_s8(p, high, x_high[c]);
                }
            }
            for (sums, [p0, p1, p2, p3]) in sums.iter_mut().zip(products) {
                let p = vpaddq_s16(vpaddq_s16(p0, p1), vpaddq_s16(p2, p3));
                sums[0] = vmlal_s16(sums[0], vget_low_s16(p), vget_low_s16(m));
                sums[1] = vmlal_high_s16(sums[1], p, m);
            }
            w = w.add(ROWS * STEP);
            x = x.add(2 * columns * STEP);
            multipliers = multipliers.add(1);
        }
        for (c, [low, high]) in sums.into_iter().enumerate() {
            vst1q_s32(call.sums.add((column + c) * call.sums_stride + panel * ROWS), vpaddq_s32(low, high));
        }
    }
}
