//! 2-bit kernels of the i8mm tier.
//!
//! The panels are the same as in the dotprod tier, whose kernel also takes a single column. For more columns a panel is
//! unpacked to two panels of the 8-bit kernels.

use core::arch::aarch64::*;

use super::super::layout::{Layout, STEPS_PER_GROUP_I2 as GROUP_STEPS};
use super::super::micro::{Call, Family, for_each_batch};
use super::dotprod_i2::Levels;
use super::unpacked::{Slice, Unpacking};
use super::{dotprod, dotprod_i2, i8mm};
use crate::format::WeightFormat;
use crate::tier::Tier;

/// The layout of these kernels.
pub(crate) const LAYOUT: Layout = Layout { activation_run: 8, ..dotprod::LAYOUT };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 1] = [Family {
    tier: Tier::I8mm,
    format: WeightFormat::I2Group64,
    layout: LAYOUT,
    kernels: for_each_batch!(gemm_s2gs8s32_16x4),
    extreme: None,
}];

const ROWS: usize = LAYOUT.panel_rows;

/// Multiplies panels of 16 rows in runs of 4.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s2gs8s32_16x4<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract; a single column has the same layout in both tiers.
    unsafe {
        if COLUMNS == 1 {
            return dotprod_i2::gemm_s2gs8s32_16x4::<1>(call);
        }
        let kernel = i8mm::gemm_s8s8s32_8x8::<COLUMNS>;
        let unpacking = Unpacking { rows: ROWS, unpacked_rows: i8mm::LAYOUT.panel_rows, unpack, kernel };
        unpacking.multiply(call, LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps), COLUMNS);
    }
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
        let mut levels = Levels::new();
        for (group, start) in (0..steps).step_by(GROUP_STEPS).enumerate() {
            levels.set(multipliers.add(group * ROWS));
            // Two runs of 4 make one of 8.
            for run in 2 * start..2 * steps.min(start + GROUP_STEPS) {
                let w = w.add(run * 32);
                let (first, second) = (levels.of(vld1q_u8(w)), levels.of(vld1q_u8(w.add(16))));
                for (part, (first, second)) in first.into_iter().zip(second).enumerate() {
                    let (first, second) = (vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second));
                    // Of the 8-bit panel's rows, the part has four: the first or the last.
                    let out = out.add(((part / 2 * 2 * steps + run) * 8 + part % 2 * 4) * 8);
                    vst1q_s8(out, vreinterpretq_s8_s32(vzip1q_s32(first, second)));
                    vst1q_s8(out.add(16), vreinterpretq_s8_s32(vzip2q_s32(first, second)));
                }
            }
        }
    }
}
