//! The vector part of the epilogue where the compiler chooses the instructions, and the formula that all targets share.

use crate::float::round_to_i32;

/// The number of outputs computed at once.
const LANES: usize = 32;

/// The operands of the vector part, one element per output.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    pub sums: &'a [i32],
    /// Added to the sums, modulo `2^32`.
    pub bias: Option<&'a [i32]>,
    pub scales: &'a [f32],
}

/// How a core best rounds and narrows. There is no choice here; other targets have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub(crate) fn requantize_i8(operands: Operands<'_>, zero_point: i8, _style: Style, out: &mut [i8]) {
    each(operands, out, |sum, scale| requantize(sum, scale, zero_point.into(), i8::MIN.into(), i8::MAX.into()) as i8);
}

/// Applies [`requantize`], to `u8`.
#[inline(always)]
pub(crate) fn requantize_u8(operands: Operands<'_>, zero_point: u8, _style: Style, out: &mut [u8]) {
    each(operands, out, |sum, scale| requantize(sum, scale, zero_point.into(), 0, u8::MAX.into()) as u8);
}

/// Applies `one` to each sum, plus its bias, and scale.
#[inline(always)]
fn each<T>(operands: Operands<'_>, out: &mut [T], one: impl Fn(i32, f32) -> T) {
    let Operands { sums, bias, scales } = operands;
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let (sums, scales) = (&sums[block * LANES..][..out.len()], &scales[block * LANES..][..out.len()]);
        match bias {
            None => {
                for ((out, &sum), &scale) in out.iter_mut().zip(sums).zip(scales) {
                    *out = one(sum, scale);
                }
            }
            Some(bias) => {
                for (((out, sum), &scale), &bias) in out.iter_mut().zip(sums).zip(scales).zip(&bias[block * LANES..]) {
                    *out = one(sum.wrapping_add(bias), scale);
                }
            }
        }
    }
}
