//! Products, and what becomes of their sums.

use crate::quantize::Quantized;
use crate::rounding::{Rounding, modulo};

/// The sums of a row of `x` with each row of weights, modulo `2^32`.
pub fn sums(w: &Quantized, x: &[i8]) -> Vec<i32> {
    let terms = |row| (0..x.len()).map(move |i| i128::from(w.integer(row, i)) * i128::from(x[i]));
    (0..w.values.len()).map(|row| modulo(terms(row).sum())).collect()
}

/// Adds `constant + factor * (sum of the row's weights)` to the sum of each row of weights.
pub fn add_offsets(sums: &mut [i32], w: &Quantized, constant: i32, factor: i32) {
    for (row, sum) in sums.iter_mut().enumerate() {
        let of_row: i128 = (0..w.values[row].len()).map(|i| i128::from(w.integer(row, i))).sum();
        *sum = modulo(i128::from(*sum) + i128::from(constant) + i128::from(factor) * of_row);
    }
}

/// The sum of a row `l` of unsigned weights with a row `r` of unsigned activations.
pub fn unsigned(l: &[u8], l_offset: i32, r: &[u8], r_offset: i32) -> i32 {
    let term = |(&l, &r)| (i128::from(l) + i128::from(l_offset)) * (i128::from(r) + i128::from(r_offset));
    modulo(l.iter().zip(r).map(term).sum())
}

/// The product of floats.
pub fn of_floats(w: &[f32], x: &[f32]) -> f32 {
    let mut s = [0.0; 16];
    for (i, (w, x)) in w.iter().zip(x).enumerate() {
        s[i % 16] += w * x;
    }
    for width in [8, 4, 2, 1] {
        for l in 0..width {
            s[l] += s[l + width];
        }
    }
    s[0]
}

/// The epilogue `Dequantize` of one sum.
pub fn dequantize(sum: i32, row_scale: f32, column_scale: f32, bias: Option<f32>, activation: Activation) -> f32 {
    finish((sum as f32 * row_scale) * column_scale, bias, activation)
}

/// Adds the bias, if there is one, and applies the activation.
pub fn finish(product: f32, bias: Option<f32>, activation: Activation) -> f32 {
    activation.of(bias.map_or(product, |bias| product + bias))
}

/// The epilogue `RequantizeFloat` of one sum. `range` has the ends of the output type.
pub fn requantize_float(sum: i32, bias: i32, scale: f32, zero_point: i32, range: (i32, i32)) -> i32 {
    let [low, high] = [range.0, range.1].map(|end| (end - zero_point) as f32);
    (sum.wrapping_add(bias) as f32 * scale).max(low).min(high).round_ties_even() as i32 + zero_point
}

/// The epilogue `Requantize` of one sum.
pub fn requantize(sum: i32, bias: i32, rounding: Rounding, range: (i32, i32)) -> i32 {
    rounding.round(sum.wrapping_add(bias)).clamp(range.0, range.1)
}

/// An activation of an epilogue.
#[derive(Clone, Copy, Debug)]
pub enum Activation {
    /// `y`
    Identity,
    /// `max(y + 0, 0)`
    Relu,
    /// `min(max(y + 0, 0), limit)`
    ClippedRelu(f32),
}

impl Activation {
    /// Its value.
    pub fn of(self, y: f32) -> f32 {
        match self {
            Self::Identity => y,
            Self::Relu => (y + 0.0).max(0.0),
            Self::ClippedRelu(limit) => (y + 0.0).max(0.0).min(limit),
        }
    }
}
