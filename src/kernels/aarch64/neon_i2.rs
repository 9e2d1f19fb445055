//! 2-bit kernels of the NEON tier.
//!
//! A vector holds a run of 16 bytes of a byte row, which is four rows of weights, two rows apart. `sshr` by 2, 4 and 6
//! takes off the lower rows, so with the bytes as they are, four vectors are multiplied:
//!
//! ```text
//! bytes:    64 d + 16 c' + 4 b' + a'      of sums:  H = 4 G + A'
//! sshr #2:         16 d  + 4 c' + b'                G = 4 E + B'
//! sshr #4:                 4 d  + c'                E = 4 D + C'
//! sshr #6:                        d                 D
//! ```
//!
//! `d` is a weight; `a'`, `b'` and `c'` are digits 0..=3, which are weights plus 2, so the row's sum is `A' - 2 X` where
//! `X` is the sum of the activations. All this is computed modulo `2^16`. What the larger sums lose does not matter: the
//! row's sum of a group is at most `64 * 2 * 128`, which fits an `i16`. So products are added in `i16`, without the
//! `sadalp` that 8-bit weights need.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::super::layout::{Layout, STEP, STEPS_PER_GROUP_I2 as GROUP_STEPS};
use super::super::micro::{Call, Family, for_each_batch};
use super::neon;
use super::unpacked::{Slice, Unpacking};
use crate::format::{MIN_I2, WeightFormat};
use crate::tier::Tier;

/// The layout of these kernels. Two steps of a panel fill a cache line.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: STEP, activation_run: STEP };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Neon,
    format: WeightFormat::I2Group64,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s2gs8s32_8x16),
    extreme: None,
}];

const ROWS: usize = 8;
const BYTE_ROWS: usize = ROWS / 4;
const STEP_BYTES: usize = BYTE_ROWS * STEP;

/// The most groups of which one pass over the panels takes the sums of activations.
const MOST_GROUPS: usize = 64;

/// Multiplies panels of 8 rows in runs of 16.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn gemm_s2gs8s32_8x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        if COLUMNS == 1 {
            return single(call);
        }
        let kernel = neon::gemm_s8s8s32_4x16::<COLUMNS>;
        let unpacking = Unpacking { rows: ROWS, unpacked_rows: neon::LAYOUT.panel_rows, unpack, kernel };
        unpacking.multiply(call, LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps), COLUMNS);
    }
}

/// Multiplies the panels with one column.
///
/// # Safety
/// The contract of `call` must hold with one column.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn single(call: &Call) {
    let panel_bytes = LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps);
    let mut corrections = [const { MaybeUninit::<int16x8_t>::uninit() }; MOST_GROUPS];
    // One pass, unless there are very many groups. Later passes add to the sums of earlier ones.
    let mut first = 0;
    loop {
        let steps = (call.steps - first).min(MOST_GROUPS * GROUP_STEPS);
        // SAFETY: the pass reads steps that the contract lets it read: `steps` of each panel and of the column, and the
        // multipliers of their groups. It writes the rows of each panel.
        unsafe {
            let x = call.activations.add(first * STEP);
            for (group, correction) in corrections.iter_mut().enumerate().take(steps.div_ceil(GROUP_STEPS)) {
                let taken = group * GROUP_STEPS;
                correction.write(correct(x.add(taken * STEP), GROUP_STEPS.min(steps - taken)));
            }
            for panel in 0..call.panels {
                let slice = Slice { panel: call.weights.add(panel * panel_bytes), all_steps: call.steps, first, steps };
                let (w, multipliers) = slice.operands_i2(&LAYOUT);
                let mut sums = [vdupq_n_s32(0); 2];
                let groups = steps / GROUP_STEPS;
                if groups > 0 {
                    sums = tile_8x1(w, x, multipliers, corrections.as_ptr().cast(), groups);
                }
                if groups * GROUP_STEPS < steps {
                    let taken = groups * GROUP_STEPS;
                    let m = vmovl_s8(vld1_s8(multipliers.add(groups * ROWS)));
                    let (w, x) = (w.add(taken * STEP_BYTES).cast(), x.add(taken * STEP));
                    short_group(&mut sums, w, x, m, corrections[groups].assume_init(), steps - taken);
                }
                let out = call.sums.add(panel * ROWS);
                if first > 0 {
                    sums = [vaddq_s32(sums[0], vld1q_s32(out)), vaddq_s32(sums[1], vld1q_s32(out.add(4)))];
                }
                vst1q_s32(out, sums[0]);
                vst1q_s32(out.add(4), sums[1]);
            }
        }
        first += steps;
        if first >= call.steps {
            return;
        }
    }
}

/// What is added to the sums of a group: `-2 X` for the rows whose digits are weights plus 2.
///
/// # Safety
/// `steps <= 4` steps of activations must be readable at `x`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn correct(x: *const i8, steps: usize) -> int16x8_t {
    let mut sums = vdupq_n_s16(0);
    for step in 0..steps {
        // SAFETY: by this function's contract.
        sums = vpadalq_s8(sums, unsafe { vld1q_s8(x.add(step * STEP)) });
    }
    let twice = vdupq_n_s16(-2 * vaddvq_s16(sums));
    vextq_s16::<2>(twice, vdupq_n_s16(0))
}

/// A step of a group of 8 rows x 1 column.
///
/// Registers: bytes in `$b0` and `$b1`, activations in `$x`, shifted bytes in 26..31, sums of the two byte rows in 0 and
/// 1 (of the bytes), 2 and 3 (of those shifted by 2), 4 and 5, 6 and 7. `$smull` sets the sums or adds to them. `$early`,
/// `$middle` and `$late` are other work to do meanwhile.
macro_rules! step_8x1 {
    ($smull:literal, $x:literal, [$b0:literal, $b1:literal], early: [$($early:literal),*], middle: [$($middle:literal),*],
     late: [$($late:literal),*]) => {
        concat!(
            "sshr v26.16b, v", $b0, ".16b, #2\n", "sshr v27.16b, v", $b1, ".16b, #2\n",
            "sshr v28.16b, v", $b0, ".16b, #4\n", "sshr v29.16b, v", $b1, ".16b, #4\n",
            "sshr v30.16b, v", $b0, ".16b, #6\n", "sshr v31.16b, v", $b1, ".16b, #6\n",
            $($early, "\n",)*
            $smull, " v0.8h, v", $b0, ".8b, v", $x, ".8b\n", $smull, " v1.8h, v", $b1, ".8b, v", $x, ".8b\n",
            $smull, " v2.8h, v26.8b, v", $x, ".8b\n", $smull, " v3.8h, v27.8b, v", $x, ".8b\n",
            $smull, " v4.8h, v28.8b, v", $x, ".8b\n", $smull, " v5.8h, v29.8b, v", $x, ".8b\n",
            $smull, " v6.8h, v30.8b, v", $x, ".8b\n", $smull, " v7.8h, v31.8b, v", $x, ".8b\n",
            $($middle, "\n",)*
            "smlal2 v0.8h, v", $b0, ".16b, v", $x, ".16b\n", "smlal2 v1.8h, v", $b1, ".16b, v", $x, ".16b\n",
            "smlal2 v2.8h, v26.16b, v", $x, ".16b\n", "smlal2 v3.8h, v27.16b, v", $x, ".16b\n",
            "smlal2 v4.8h, v28.16b, v", $x, ".16b\n", "smlal2 v5.8h, v29.16b, v", $x, ".16b\n",
            "smlal2 v6.8h, v30.16b, v", $x, ".16b\n", "smlal2 v7.8h, v31.16b, v", $x, ".16b\n",
            $($late, "\n",)*
        )
    };
}

/// The sums of `groups >= 1` whole groups of 8 rows x 1 column. `m` points to the multipliers and `corrections` to
/// what [`correct`] makes of each group.
///
/// The arithmetic is the same as in [`short_group`]. The sums of a group are added up while the next group is
/// multiplied, so nothing waits for them: by `addp` into register 8, then as in the table above. Multipliers are in
/// register 12, corrections in 19, zeros in 18.
///
/// # Safety
/// The groups of the panel, of the column, of multipliers and of corrections must be readable.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_8x1(
    w: *const u8,
    x: *const i8,
    m: *const i8,
    corrections: *const int16x8_t,
    groups: usize,
) -> [int32x4_t; 2] {
    let (low, high): (int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        asm!(
            "movi v16.2d, #0", "movi v17.2d, #0", "movi v18.2d, #0", "movi v19.2d, #0", "movi v12.2d, #0",
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0",
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
            "b 2f",
            ".p2align 9",
            "2:",
            "ldr q22, [{w}]", "ldr q23, [{w}, #16]", "ldr q20, [{x}]",
            "prfm pldl1keep, [{w}, #640]", "prfm pldl1keep, [{w}, #704]",
            "addp v8.8h, v0.8h, v1.8h", "addp v9.8h, v2.8h, v3.8h",
            "addp v10.8h, v4.8h, v5.8h", "addp v11.8h, v6.8h, v7.8h",
            step_8x1!("smull", 20, [22, 23],
                early: ["addp v8.8h, v8.8h, v9.8h", "addp v10.8h, v10.8h, v11.8h", "ldr q24, [{w}, #32]"],
                middle: ["addp v8.8h, v8.8h, v10.8h", "ldr q25, [{w}, #48]", "ldr q21, [{x}, #16]"],
                late: ["ext v9.16b, v8.16b, v18.16b, #4", "add v8.8h, v8.8h, v19.8h"]),
            step_8x1!("smlal", 21, [24, 25],
                early: ["shl v9.8h, v9.8h, #2", "ldr q22, [{w}, #64]", "ldr q23, [{w}, #80]"],
                middle: ["sub v8.8h, v8.8h, v9.8h", "ldr q20, [{x}, #32]", "ldr d13, [{m}]"],
                late: ["smlal v16.4s, v8.4h, v12.4h", "smlal2 v17.4s, v8.8h, v12.8h", "ldr q19, [{c}]"]),
            step_8x1!("smlal", 20, [22, 23],
                early: ["ldr q24, [{w}, #96]", "ldr q25, [{w}, #112]", "ldr q21, [{x}, #48]"],
                middle: ["sshll v12.8h, v13.8b, #0", "add {w}, {w}, #128", "add {x}, {x}, #64"],
                late: ["add {m}, {m}, #8", "add {c}, {c}, #16"]),
            step_8x1!("smlal", 21, [24, 25], early: [], middle: ["subs {groups}, {groups}, #1"], late: []),
            "b.ne 2b",
            "addp v8.8h, v0.8h, v1.8h", "addp v9.8h, v2.8h, v3.8h",
            "addp v10.8h, v4.8h, v5.8h", "addp v11.8h, v6.8h, v7.8h",
            "addp v8.8h, v8.8h, v9.8h", "addp v10.8h, v10.8h, v11.8h",
            "addp v8.8h, v8.8h, v10.8h",
            "ext v9.16b, v8.16b, v18.16b, #4", "add v8.8h, v8.8h, v19.8h",
            "shl v9.8h, v9.8h, #2",
            "sub v8.8h, v8.8h, v9.8h",
            "smlal v16.4s, v8.4h, v12.4h", "smlal2 v17.4s, v8.8h, v12.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, c = inout(reg) corrections => _,
            groups = inout(reg) groups => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
            out("v16") low, out("v17") high, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(readonly, nostack)
        );
    }
    [low, high]
}

/// Adds the sums of a group that has only `steps` steps.
///
/// # Safety
/// The steps must be readable at `w` and at `x`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn short_group(
    [low, high]: &mut [int32x4_t; 2],
    w: *const i8,
    x: *const i8,
    m: int16x8_t,
    correction: int16x8_t,
    steps: usize,
) {
    // Of the bytes of both byte rows, of those shifted by 2, by 4, and by 6.
    let mut sums = [vdupq_n_s16(0); 4 * BYTE_ROWS];
    for step in 0..steps {
        // SAFETY: by this function's contract.
        let (w, x) = unsafe { (w.add(step * STEP_BYTES), vld1q_s8(x.add(step * STEP))) };
        for row in 0..BYTE_ROWS {
            // SAFETY: by this function's contract.
            let bytes = unsafe { vld1q_s8(w.add(row * STEP)) };
            let shifted = [bytes, vshrq_n_s8::<2>(bytes), vshrq_n_s8::<4>(bytes), vshrq_n_s8::<6>(bytes)];
            for (i, w) in shifted.into_iter().enumerate() {
                let sum = &mut sums[BYTE_ROWS * i + row];
                *sum = vmlal_high_s8(vmlal_s8(*sum, vget_low_s8(w), vget_low_s8(x)), w, x);
            }
        }
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    let (s01, s23, s45, s67) = (vpaddq_s16(s0, s1), vpaddq_s16(s2, s3), vpaddq_s16(s4, s5), vpaddq_s16(s6, s7));
    let sums = vpaddq_s16(vpaddq_s16(s01, s23), vpaddq_s16(s45, s67));
    // Each row's sum is the sum of its byte's part and all above it, less four times the sum of what is above it.
    let above = vextq_s16::<2>(sums, vdupq_n_s16(0));
    let rows = vsubq_s16(vaddq_s16(sums, correction), vshlq_n_s16::<2>(above));
    *low = vmlal_s16(*low, vget_low_s16(rows), vget_low_s16(m));
    *high = vmlal_high_s16(*high, rows, m);
}

/// Unpacks a slice of a panel to two panels of the 8-bit kernels.
///
/// # Safety
/// As [`Unpacking::unpack`].
#[target_feature(enable = "neon")]
unsafe fn unpack(slice: Slice, out: *mut i8) {
    let steps = slice.steps;
    // SAFETY: the contract makes the steps of the slice and their multipliers readable, and the output has room for the
    // same steps of four times as many rows.
    unsafe {
        let (w, multipliers) = slice.operands_i2(&LAYOUT);
        let nibbles = vld1q_u8([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].as_ptr());
        let least = vdupq_n_s8(MIN_I2);
        // The weights that a half of a byte stands for. In the upper half, the top bit is inverted.
        let first_digit = vaddq_s8(vreinterpretq_s8_u8(vandq_u8(nibbles, vdupq_n_u8(3))), least);
        let second_digit = vaddq_s8(vreinterpretq_s8_u8(vshrq_n_u8::<2>(nibbles)), least);
        let top_digit = vreinterpretq_s8_u8(vshlq_n_u8::<4>(nibbles));
        let top_digit = vshrq_n_s8::<6>(top_digit);
        let digits = [first_digit, second_digit, first_digit, top_digit];
        for (group, start) in (0..steps).step_by(GROUP_STEPS).enumerate() {
            for row in 0..BYTE_ROWS {
                let table: [int8x16_t; 4] = core::array::from_fn(|part| {
                    let m = multipliers.add(group * ROWS + part * BYTE_ROWS + row);
                    vmulq_s8(digits[part], vld1q_dup_s8(m))
                });
                for step in start..steps.min(start + GROUP_STEPS) {
                    let bytes = vld1q_u8(w.add(step * STEP_BYTES + row * STEP));
                    let (low, high) = (vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes));
                    for part in 0..4 {
                        let row = part * BYTE_ROWS + row;
                        let (panel, row) = (row / neon::LAYOUT.panel_rows, row % neon::LAYOUT.panel_rows);
                        let at = ((panel * steps + step) * neon::LAYOUT.panel_rows + row) * STEP;
                        vst1q_s8(out.add(at), vqtbl1q_s8(table[part], if part < 2 { low } else { high }));
                    }
                }
            }
        }
    }
}
