//! Tricks of `f32` that quantization and the epilogue share.

/// Adding this to a float of magnitude up to `2^22` leaves, in the low bits of the sum, the float rounded to nearest
/// with ties to even: the sum lies between `2^23` and `2^24`, where one unit in the last place is 1. Unlike a call of
/// `round_ties_even` it becomes one addition on every target.
pub(crate) const ROUNDING_MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23

/// `value`, of magnitude up to `2^22`, rounded to nearest with ties to even.
#[inline(always)]
pub(crate) fn round_to_i32(value: f32) -> i32 {
    ((value + ROUNDING_MAGIC).to_bits() as i32).wrapping_sub(ROUNDING_MAGIC.to_bits() as i32)
}
