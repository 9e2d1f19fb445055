//! The vector part of quantizing activations where the compiler chooses the instructions.

use crate::float::round_to_i32;

/// The bits of the largest magnitude among `values`, 0 if there are none; above
/// [`LARGEST_FINITE`](crate::float::LARGEST_FINITE) if any value is infinite or NaN. The maximum is of signed integers
/// because baseline vector instruction sets have no unsigned one.
#[inline]
pub(crate) fn magnitude_bits(values: &[f32]) -> u32 {
    values.iter().fold(0, |largest, value| largest.max(value.to_bits() as i32 & i32::MAX)) as u32
}

/// `a / b` and `b / a`.
#[inline]
pub(crate) fn quotients(a: f32, b: f32) -> [f32; 2] {
    [a / b, b / a]
}

/// Rounds each `x * factor`, of magnitude up to 127.5, to a byte, ties to even.
#[inline]
pub(crate) fn round_each(x: &[f32], factor: f32, values: &mut [i8]) {
    for (value, &x) in values.iter_mut().zip(x) {
        *value = round_to_i32(x * factor) as i8;
    }
}
