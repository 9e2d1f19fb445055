//! Operations that the 4-bit kernels of all tiers share.

use core::arch::aarch64::*;

/// The sums of low weights and of high weights, from the sums of `16 * low` and of whole bytes (`16 * high + low`).
///
/// This way, two rows of 4-bit weights take one instruction to unpack: `shl #4`, which leaves 16 times the low weight,
/// with its sign, as an `i8`. Nothing is rounded, because both differences are multiples of 16. Nothing overflows: the
/// sum of bytes is at most `119 * 128 * k < 2^31` up to the largest depth.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split(sixteen_low: int32x4_t, bytes: int32x4_t) -> [int32x4_t; 2] {
    let low = vshrq_n_s32::<4>(sixteen_low);
    [low, vshrq_n_s32::<4>(vsubq_s32(bytes, low))]
}

/// As [`split`], for eight sums of each kind over a group of 32. These fit an `i16`: `32 * 7 * 128 < 2^15`.
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
