//! 2-bit kernels of the dotprod tier.
//!
//! A vector holds runs of 4 bytes of 4 byte rows: all 16 rows of the panel at 4 depths. As in the NEON tier
//! ([`neon_i2`](super::neon_i2)), `sshr` by 2, 4 and 6 takes off the lower rows of each byte, so with the bytes as they
//! are, four vectors are multiplied. Their sums start at `-42 X`, `-10 X`, `-2 X` and 0, where `X` is the sum of the
//! activations of the group. Then each sum less four times the next is the sum of four rows.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::super::layout::{STEP, STEPS_PER_GROUP_I2 as GROUP_STEPS};
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod::{self, LAYOUT};
use super::instructions::{insert_top, sdot, sdot_lane};
use super::unpacked::{Slice, Unpacking};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::Dotprod,
    format: WeightFormat::I2Group64,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s2gs8s32_16x4),
    extreme: None,
}];

const ROWS: usize = LAYOUT.panel_rows;
const STEP_BYTES: usize = ROWS / 4 * STEP;
const VECTORS: usize = ROWS / 4;

/// The most groups of which one pass over the panels takes the sums of activations.
const MOST_GROUPS: usize = 32;

/// Where the sums of a group start, but for the last, which starts at 0.
type Starts = [int32x4_t; VECTORS - 1];

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s2gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe {
        if COLUMNS == 1 {
            return single(call);
        }
        let kernel = dotprod::gemm_s8s8s32_16x4::<COLUMNS>;
        let unpacking = Unpacking { rows: ROWS, unpacked_rows: ROWS, unpack, kernel };
        unpacking.multiply(call, LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps), COLUMNS);
    }
}

/// Multiplies the panels with one column.
///
/// # Safety
/// The contract of `call` must hold with one column.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn single(call: &Call) {
    let panel_bytes = LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps);
    let mut starts = [const { MaybeUninit::<Starts>::uninit() }; MOST_GROUPS];
    // One pass, unless there are very many groups. Later passes add to the sums of earlier ones.
    let mut first = 0;
    loop {
        let steps = (call.steps - first).min(MOST_GROUPS * GROUP_STEPS);
        // SAFETY: the pass reads steps that the contract lets it read: `steps` of each panel and of the column, and the
        // multipliers of their groups. It writes the rows of each panel.
        unsafe {
            let x = call.activations.add(first * STEP);
            for (group, start) in starts.iter_mut().enumerate().take(steps.div_ceil(GROUP_STEPS)) {
                let taken = group * GROUP_STEPS;
                start.write(start_sums(x.add(taken * STEP), GROUP_STEPS.min(steps - taken)));
            }
            for panel in 0..call.panels {
                let slice = Slice { panel: call.weights.add(panel * panel_bytes), all_steps: call.steps, first, steps };
                let (w, multipliers) = slice.operands_i2(&LAYOUT);
                let mut sums = [vdupq_n_s32(0); VECTORS];
                let groups = steps / GROUP_STEPS;
                if groups > 0 {
                    sums = tile_16x1(w, x, multipliers, starts.as_ptr().cast(), groups);
                }
                if groups * GROUP_STEPS < steps {
                    let taken = groups * GROUP_STEPS;
                    let m = vld1q_s8(multipliers.add(groups * ROWS));
                    let (w, x) = (w.add(taken * STEP_BYTES).cast(), x.add(taken * STEP));
                    short_group(&mut sums, w, x, m, starts[groups].assume_init(), steps - taken);
                }
                for (v, sums) in sums.into_iter().enumerate() {
                    let out = call.sums.add(panel * ROWS + 4 * v);
                    vst1q_s32(out, if first > 0 { vaddq_s32(sums, vld1q_s32(out)) } else { sums });
                }
            }
        }
        first += steps;
        if first >= call.steps {
            return;
        }
    }
}

/// Where the sums of a group start.
///
/// # Safety
/// `steps <= 4` steps of activations must be readable at `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn start_sums(x: *const i8, steps: usize) -> Starts {
    let mut sums = vdupq_n_s32(0);
    for step in 0..steps {
        // SAFETY: by this function's contract.
        sums = sdot(sums, unsafe { vld1q_s8(x.add(step * STEP)) }, vdupq_n_s8(1));
    }
    let x = vaddvq_s32(sums);
    [vdupq_n_s32(-42 * x), vdupq_n_s32(-10 * x), vdupq_n_s32(-2 * x)]
}

/// The bytes in 22..25 without their lowest rows: shifted by 2, 4 and 6.
macro_rules! shifts {
    () => {
        concat!(
            "sshr v26.16b, v22.16b, #2\n",
            "sshr v29.16b, v23.16b, #2\n",
            "sshr v12.16b, v24.16b, #2\n",
            "sshr v17.16b, v25.16b, #2\n",
            "sshr v27.16b, v22.16b, #4\n",
            "sshr v30.16b, v23.16b, #4\n",
            "sshr v13.16b, v24.16b, #4\n",
            "sshr v18.16b, v25.16b, #4\n",
            "sshr v28.16b, v22.16b, #6\n",
            "sshr v31.16b, v23.16b, #6\n",
            "sshr v16.16b, v24.16b, #6\n",
            "sshr v21.16b, v25.16b, #6\n",
        )
    };
}

/// A run of 4 in depth: bytes in `$b` and shifted bytes in `$s2`, `$s4` and `$s6`, times lane `$lane` of `$x`. `$load`
/// loads the bytes that are to follow in `$b`; the rest is other work to do meanwhile.
macro_rules! lane {
    ($lane:literal, $x:literal, $b:literal, [$s2:literal, $s4:literal, $s6:literal], $load:literal $(, $work:literal)*) => {
        concat!(
            "sdot v0.4s, v", $b, ".16b, v", $x, ".4b[", $lane, "]\n", $load, "\n",
            "sdot v1.4s, v", $s2, ".16b, v", $x, ".4b[", $lane, "]\n",
            "sdot v2.4s, v", $s4, ".16b, v", $x, ".4b[", $lane, "]\n",
            $($work, "\n",)*
            "sdot v3.4s, v", $s6, ".16b, v", $x, ".4b[", $lane, "]\n",
        )
    };
}

/// A step: the bytes in 22..25 and those shifted, times `$x`. `$loads` load the bytes of the next step.
macro_rules! step_16x1 {
    ($x:literal, [$l0:literal, $l1:literal, $l2:literal, $l3:literal],
     [$($w0:literal),*], [$($w1:literal),*], [$($w2:literal),*], [$($w3:literal),*]) => {
        concat!(
            lane!(0, $x, 22, [26, 27, 28], $l0 $(, $w0)*),
            lane!(1, $x, 23, [29, 30, 31], $l1 $(, $w1)*),
            lane!(2, $x, 24, [12, 13, 16], $l2 $(, $w2)*),
            lane!(3, $x, 25, [17, 18, 21], $l3 $(, $w3)*),
        )
    };
}

/// The sums of `groups >= 1` whole groups of 16 rows x 1 column. `m` points to the multipliers and `starts` to what
/// [`start_sums`] makes of each group.
///
/// Registers: sums of a group in 0..3, of the panel in 4..7, activations in 19 and 20. The sums of a group become those
/// of its rows in 9..11 and are multiplied, by 14 and 15, while the next group is on. In-order cores wait between a
/// `sdot` and an instruction that takes less time, so all shifts of a step come before its `sdot`s.
///
/// # Safety
/// The groups of the panel, of the column, of multipliers and of starts must be readable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile_16x1(
    w: *const u8,
    x: *const i8,
    m: *const i8,
    starts: *const Starts,
    groups: usize,
) -> [int32x4_t; VECTORS] {
    let (s0, s1, s2, s3): (int32x4_t, int32x4_t, int32x4_t, int32x4_t);
    // SAFETY: reads only groups that the contract lets it read, and writes the registers named.
    unsafe {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0",
            "movi v4.2d, #0", "movi v5.2d, #0", "movi v6.2d, #0", "movi v7.2d, #0",
            "movi v14.2d, #0", "movi v15.2d, #0",
            "b 2f",
            ".p2align 10",
            "2:",
            "ldur q22, [{w}]", "ldur q23, [{w}, #16]", "ldur q24, [{w}, #32]", "ldur q25, [{w}, #48]", "ldur q19, [{x}]",
            "shl v9.4s, v1.4s, #2", "shl v10.4s, v2.4s, #2", "shl v11.4s, v3.4s, #2",
            "sub v9.4s, v0.4s, v9.4s", "sub v10.4s, v1.4s, v10.4s", "sub v11.4s, v2.4s, v11.4s",
            shifts!(),
            // The sums fit 16 bits: rows 0..7 and rows 8..15.
            "uzp1 v9.8h, v9.8h, v10.8h", "uzp1 v11.8h, v11.8h, v3.8h",
            "ldur q0, [{s}]", "ldur q1, [{s}, #16]", "ldur q2, [{s}, #32]", "movi v3.2d, #0",
            step_16x1!(19,
                ["ldur q22, [{w}, #64]", "ldur q23, [{w}, #80]", "ldur q24, [{w}, #96]", "ldur q25, [{w}, #112]"],
                ["smlal v4.4s, v9.4h, v14.4h", "smlal2 v5.4s, v9.8h, v14.8h"],
                ["smlal v6.4s, v11.4h, v15.4h", "smlal2 v7.4s, v11.8h, v15.8h"],
                ["ldur q15, [{m}]", "ldur q20, [{x}, #16]"], ["prfm pldl1keep, [{w}, #768]"]),
            shifts!(),
            step_16x1!(20,
                ["ldur q22, [{w}, #128]", "ldur q23, [{w}, #144]", "ldur q24, [{w}, #160]", "ldur q25, [{w}, #176]"],
                ["ldur q19, [{x}, #32]"], ["prfm pldl1keep, [{w}, #832]"], [], []),
            shifts!(),
            "sshll v14.8h, v15.8b, #0", "sshll2 v15.8h, v15.16b, #0",
            step_16x1!(19,
                ["ldur q22, [{w}, #192]", "ldur q23, [{w}, #208]", "ldur q24, [{w}, #224]", "ldur q25, [{w}, #240]"],
                ["ldur q20, [{x}, #48]"], ["prfm pldl1keep, [{w}, #896]"], ["prfm pldl1keep, [{w}, #960]"], []),
            shifts!(),
            step_16x1!(20, ["", "", "", ""], ["add {w}, {w}, #256"], ["add {x}, {x}, #64"], ["add {m}, {m}, #16"],
                ["add {s}, {s}, #48"]),
            "subs {groups}, {groups}, #1",
            "b.ne 2b",
            "shl v9.4s, v1.4s, #2", "shl v10.4s, v2.4s, #2", "shl v11.4s, v3.4s, #2",
            "sub v9.4s, v0.4s, v9.4s", "sub v10.4s, v1.4s, v10.4s", "sub v11.4s, v2.4s, v11.4s",
            "uzp1 v9.8h, v9.8h, v10.8h", "uzp1 v11.8h, v11.8h, v3.8h",
            "smlal v4.4s, v9.4h, v14.4h", "smlal2 v5.4s, v9.8h, v14.8h",
            "smlal v6.4s, v11.4h, v15.4h", "smlal2 v7.4s, v11.8h, v15.8h",
            w = inout(reg) w => _, x = inout(reg) x => _, m = inout(reg) m => _, s = inout(reg) starts => _,
            groups = inout(reg) groups => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") s0, out("v5") s1, out("v6") s2, out("v7") s3,
            out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(readonly, nostack)
        );
    }
    [s0, s1, s2, s3]
}

/// Adds the sums of a group that has only `steps` steps.
///
/// # Safety
/// The steps must be readable at `w` and at `x`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn short_group(
    totals: &mut [int32x4_t; VECTORS],
    w: *const i8,
    x: *const i8,
    m: int8x16_t,
    [s0, s1, s2]: Starts,
    steps: usize,
) {
    let mut sums = [s0, s1, s2, vdupq_n_s32(0)];
    for step in 0..steps {
        // SAFETY: by this function's contract.
        let (w, x) = unsafe { (w.add(step * STEP_BYTES), vld1q_s8(x.add(step * STEP))) };
        macro_rules! lane {
            ($lane:literal) => {
                // SAFETY: by this function's contract.
                let bytes = unsafe { vld1q_s8(w.add($lane * 16)) };
                let shifted = [bytes, vshrq_n_s8::<2>(bytes), vshrq_n_s8::<4>(bytes), vshrq_n_s8::<6>(bytes)];
                for (sum, bytes) in sums.iter_mut().zip(shifted) {
                    *sum = sdot_lane::<$lane>(*sum, bytes, x);
                }
            };
        }
        lane!(0);
        lane!(1);
        lane!(2);
        lane!(3);
    }
    let [s0, s1, s2, s3] = sums;
    let less = |sum, above| vsubq_s32(sum, vshlq_n_s32::<2>(above));
    let narrow = |low, high| vmovn_high_s32(vmovn_s32(low), high);
    let (ab, cd) = (narrow(less(s0, s1), less(s1, s2)), narrow(less(s2, s3), s3));
    let (m_ab, m_cd) = (vmovl_s8(vget_low_s8(m)), vmovl_high_s8(m));
    totals[0] = vmlal_s16(totals[0], vget_low_s16(ab), vget_low_s16(m_ab));
    totals[1] = vmlal_high_s16(totals[1], ab, m_ab);
    totals[2] = vmlal_s16(totals[2], vget_low_s16(cd), vget_low_s16(m_cd));
    totals[3] = vmlal_high_s16(totals[3], cd, m_cd);
}

/// Looks up weights times multipliers: a table has the four levels of each of four rows.
pub(super) struct Levels {
    /// For each part of the bytes, indices into its table. The lowest two bits are those of the weight, the others those
    /// of the row.
    indices: [uint8x16_t; 4],
    tables: [int8x16_t; 4],
}

impl Levels {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new() -> Self {
        let rows = vreinterpretq_u8_u32(vmulq_n_u32(
            vcombine_u32(vcreate_u32(1 << 32), vcreate_u32(3 << 32 | 2)),
            0x0404_0404,
        ));
        Self { indices: [rows; 4], tables: [vdupq_n_s8(0); 4] }
    }

    /// Takes the multipliers of a group's 16 rows.
    ///
    /// # Safety
    /// 16 bytes must be readable at `m`.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn set(&mut self, m: *const i8) {
        // SAFETY: by this function's contract.
        let m = unsafe { vld1q_s8(m) };
        let (low, high) = (vzip1q_s8(m, m), vzip2q_s8(m, m));
        let m = [vzip1q_s8(low, low), vzip2q_s8(low, low), vzip1q_s8(high, high), vzip2q_s8(high, high)];
        let levels = |bytes: u32| vreinterpretq_s8_u32(vdupq_n_u32(bytes));
        // -2, -1, 0, 1; in the topmost part, whose sign bit is inverted, 0, 1, -2, -1.
        let levels = [levels(0x0100_fffe), levels(0xfffe_0100)];
        self.tables = core::array::from_fn(|part| vmulq_s8(levels[part / 3], m[part]));
    }

    /// The weights of 16 bytes: rows 0..3 of the panel, 4..7, 8..11, 12..15, at the same depths.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn of(&mut self, bytes: uint8x16_t) -> [int8x16_t; 4] {
        // The two bits of each part come to the top, and from there to the low end of its index.
        let shifted = [vshlq_n_u8::<6>(bytes), vshlq_n_u8::<4>(bytes), vshlq_n_u8::<2>(bytes), bytes];
        core::array::from_fn(|part| {
            self.indices[part] = insert_top(self.indices[part], shifted[part]);
            vqtbl1q_s8(self.tables[part], self.indices[part])
        })
    }
}

/// Unpacks a slice of a panel to a panel of the 8-bit kernels.
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
        let mut levels = Levels::new();
        for (group, start) in (0..steps).step_by(GROUP_STEPS).enumerate() {
            levels.set(multipliers.add(group * ROWS));
            for run in 4 * start..4 * steps.min(start + GROUP_STEPS) {
                for (part, weights) in levels.of(vld1q_u8(w.add(run * 16))).into_iter().enumerate() {
                    vst1q_s8(out.add((4 * run + part) * 16), weights);
                }
            }
        }
    }
}
