//! Instructions whose intrinsics are not stable yet, one function each, and what 4-bit kernels of all tiers share.
//!
//! `pure, nomem, nostack, preserves_flags` tell the compiler that they are functions of their operands, so that it
//! schedules them and allocates their registers like any intrinsic's.

use core::arch::aarch64::*;
use core::arch::asm;

/// `sdot acc.4s, a.16b, b.4b[LANE]`: to each of four sums, the dot product of its four bytes of `a` with the four
/// bytes of lane `LANE` of `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot_lane<const LANE: i32>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `dotprod`, which the caller must have enabled.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `sdot acc.4s, a.16b, b.16b`: to each of four sums, the dot product of its four bytes of `a` and `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `dotprod`, which the caller must have enabled.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `smmla acc.4s, a.16b, b.16b`: adds the 2 x 2 product of two 2 x 8 matrices, `a` times `b` transposed, row by row.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(super) fn smmla(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction belongs to `i8mm`, which the caller must have enabled.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// The sums of low weights and of high ones, from the sums of `16 * low` and of whole bytes, `16 * high + low`.
///
/// So two rows of 4-bit weights take one instruction to unpack: `shl #4`, which leaves 16 times the low weight, sign and
/// all, as an `i8`. Nothing is rounded, as both differences are multiples of 16, and none overflows: the sum of bytes is
/// at most `119 * 128 * k < 2^31` up to the largest depth.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split(sixteen_low: int32x4_t, bytes: int32x4_t) -> [int32x4_t; 2] {
    let low = vshrq_n_s32::<4>(sixteen_low);
    [low, vshrq_n_s32::<4>(vsubq_s32(bytes, low))]
}

/// As [`split`], for the sums of a group of 32, which fit an `i16`: `32 * 7 * 128 < 2^15`. Eight of each.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split_group(sixteen_low: [int32x4_t; 2], bytes: [int32x4_t; 2]) -> [int16x8_t; 2] {
    let low = vshrn_high_n_s32::<4>(vshrn_n_s32::<4>(sixteen_low[0]), sixteen_low[1]);
    let sixteen_high = [vsubw_s16(bytes[0], vget_low_s16(low)), vsubw_high_s16(bytes[1], low)];
    [low, vshrn_high_n_s32::<4>(vshrn_n_s32::<4>(sixteen_high[0]), sixteen_high[1])]
}

/// Adds eight values times their multipliers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add_scaled(sums: [&mut int32x4_t; 2], values: int16x8_t, multipliers: int16x8_t) {
    let [low, high] = sums;
    *low = vmlal_s16(*low, vget_low_s16(values), vget_low_s16(multipliers));
    *high = vmlal_high_s16(*high, values, multipliers);
}
