//! `f32` bit tricks shared by quantization and the epilogue.

/// Rounds a float by addition. Added to a float of magnitude up to `2^22`, it leaves the float, rounded to nearest with
/// ties to even, in the low bits of the sum: the sum lies between `2^23` and `2^24`, where one unit in the last place
/// is 1. Unlike a call of `round_ties_even`, this is one addition on every target.
pub(crate) const ROUNDING_MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23

/// `value`, of magnitude up to `2^22`, rounded to nearest with ties to even.
#[inline(always)]
pub(crate) fn round_to_i32(value: f32) -> i32 {
    ((value + ROUNDING_MAGIC).to_bits() as i32).wrapping_sub(ROUNDING_MAGIC.to_bits() as i32)
}

/// The largest magnitude of a symmetric 8-bit value.
pub(crate) const LARGEST_BYTE: f32 = 127.0;

/// The bits of [`f32::MAX`]: magnitudes with greater bits are infinite or NaN.
pub(crate) const LARGEST_FINITE: u32 = f32::MAX.to_bits();
