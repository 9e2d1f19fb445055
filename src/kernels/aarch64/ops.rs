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
