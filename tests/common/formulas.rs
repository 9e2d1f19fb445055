//! Requantization, written a second time: from the definitions, in types that are too wide to overflow.

#![allow(dead_code, reason = "each test uses some of it")]

use skinny::kernels::Activation;

pub fn wrap(x: i128) -> i128 {
    i128::from(x as i32)
}

pub fn saturate(x: i128) -> i128 {
    x.clamp(i128::from(i32::MIN), i128::from(i32::MAX))
}

/// `a / b` to nearest, ties toward plus infinity; `b > 0`.
pub fn divide_ties_up(a: i128, b: i128) -> i128 {
    (2 * a + b).div_euclid(2 * b)
}

/// `a / b` to nearest, ties away from zero; `b > 0`.
pub fn divide_ties_away(a: i128, b: i128) -> i128 {
    a.signum() * ((2 * a.abs() + b) / (2 * b))
}

/// The high half of `2 * a * b`, rounded: `sqrdmulh`.
pub fn high_mul(a: i128, b: i128) -> i128 {
    saturate(divide_ties_up(2 * a * b, 1 << 32))
}

pub fn shift(sum: i32, offset: i32, multiplier: i32, shift: u32) -> i32 {
    let t = wrap(wrap(i128::from(sum) + i128::from(offset)) * i128::from(multiplier));
    divide_ties_up(t, 1 << shift) as i32
}

pub fn fixed_point(sum: i32, multiplier: i32, shift: u32, offset: i32) -> i32 {
    let scaled = divide_ties_away(high_mul(sum.into(), multiplier.into()), 1 << shift);
    saturate(scaled + i128::from(offset)) as i32
}

pub fn double_rounding(sum: i32, multiplier: i32, exponent: i32, zero_point: i32) -> i32 {
    let left = wrap(i128::from(sum) << exponent.max(0));
    let scaled = divide_ties_away(high_mul(left, multiplier.into()), 1 << (-exponent).max(0));
    saturate(scaled + i128::from(zero_point)) as i32
}

pub fn single_rounding(sum: i32, multiplier: i32, exponent: i32, zero_point: i32) -> i32 {
    let scaled = divide_ties_up(i128::from(sum) * i128::from(multiplier), 1 << (31 - exponent));
    saturate(scaled + i128::from(zero_point)) as i32
}

/// The result before the caller converts it to a byte; `low..=high` is the byte's range.
pub fn requantize_float(sum: i32, scale: f32, zero_point: i32, low: i32, high: i32) -> i32 {
    let rounded = f64::from(sum as f32 * scale).round_ties_even();
    (rounded + f64::from(zero_point)).clamp(low.into(), high.into()) as i32
}

pub fn dequantize(sum: i32, row_scale: f32, column_scale: f32, bias: Option<f32>, activation: Activation) -> f32 {
    let mut y = sum as f32;
    y *= row_scale;
    y *= column_scale;
    if let Some(bias) = bias {
        y += bias;
    }
    match activation {
        Activation::Relu if y > 0.0 => y,
        Activation::ClippedRelu(limit) if y > limit => limit,
        Activation::ClippedRelu(_) if y > 0.0 => y,
        Activation::Relu | Activation::ClippedRelu(_) => 0.0,
        _ => y,
    }
}
