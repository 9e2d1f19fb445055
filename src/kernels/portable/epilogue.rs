//! The vector part of the epilogue where the compiler chooses the instructions, and the formula that all targets share.

use crate::float::round_to_i32;

/// The number of outputs computed at once.
pub(crate) const LANES: usize = 32;

/// How a core best rounds and narrows. There is no choice here; other targets have one.
#[derive(Clone, Copy, Debug)]
pub struct Style;

impl Style {
    pub(crate) fn of_this_core() -> Self {
        Self
    }
}

/// Computes `clamp(round(f32(sum) * scale) + zero_point)`, clamped to `low..=high`. The scale must be finite.
#[inline(always)]
pub(crate) fn requantize(sum: i32, scale: f32, zero_point: i32, low: i32, high: i32) -> i32 {
    // Clamping first gives the same result as clamping last, because the bounds are integers.
    let clamped = (sum as f32 * scale).max((low - zero_point) as f32).min((high - zero_point) as f32);
    round_to_i32(clamped) + zero_point
}

/// Applies [`requantize`], to `i8`.
#[inline(always)]
pub(crate) fn requantize_i8(
    sums: &[[i32; LANES]],
    scales: &[[f32; LANES]],
    zero_point: i8,
    _style: Style,
    out: &mut [[i8; LANES]],
) {
    for ((sums, scales), out) in sums.iter().zip(scales).zip(out) {
        let byte = |i| requantize(sums[i], scales[i], zero_point.into(), i8::MIN.into(), i8::MAX.into()) as i8;
        *out = core::array::from_fn(byte);
    }
}

/// Applies [`requantize`], to `u8`.
#[inline(always)]
pub(crate) fn requantize_u8(
    sums: &[[i32; LANES]],
    scales: &[[f32; LANES]],
    zero_point: u8,
    _style: Style,
    out: &mut [[u8; LANES]],
) {
    for ((sums, scales), out) in sums.iter().zip(scales).zip(out) {
        let byte = |i| requantize(sums[i], scales[i], zero_point.into(), 0, u8::MAX.into()) as u8;
        *out = core::array::from_fn(byte);
    }
}
