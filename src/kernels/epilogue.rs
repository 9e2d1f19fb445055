//! From `i32` sums to outputs: scale, bias, activation, and requantization with every rounding mode by its name.
//!
//! All are plain loops over slices, which the compiler vectorizes; the arithmetic is elementwise with one rounding an
//! operation (never fused), so every target and tier gives the same bits.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Range;

#[cfg(kernel_aarch64)]
use super::aarch64::epilogue as aarch64;
use crate::error::{Error, Result};
use crate::float::round_to_i32;

/// What a product does with its `i32` sums.
///
/// Implement it for an output of your own; the driver calls [`apply`](Self::apply) once for each column and block of
/// rows, from several threads at once if the product is threaded.
pub trait Epilogue: Sync {
    /// An element of the output.
    type Output: Copy + Send;

    /// Fails if this epilogue does not fit a product of `m` columns (the batch) and `n` rows (output features).
    ///
    /// # Errors
    /// [`Error::Length`], naming the parameter that does not fit.
    fn check(&self, m: usize, n: usize) -> Result<()>;

    /// Writes the outputs of rows `rows` of column `column`: `sums` and `out` have an element for each row.
    ///
    /// # Panics
    /// It may, for a product that [`check`](Self::check) refuses; [`gemm`](super::gemm()) asks it before.
    fn apply(&self, sums: &[i32], rows: Range<usize>, column: usize, out: &mut [Self::Output]);
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// The sums as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums;

impl Epilogue for Sums {
    type Output = i32;

    fn check(&self, _m: usize, _n: usize) -> Result<()> {
        Ok(())
    }

    fn apply(&self, sums: &[i32], _rows: Range<usize>, _column: usize, out: &mut [i32]) {
        out.copy_from_slice(sums);
    }
}

/// An activation function that the epilogue applies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `y`
    #[default]
    Identity,
    /// `max(y, 0)`
    Relu,
    /// `min(max(y, 0), limit)`; Deep Speech's clipped ReLU has limit 20.
    ClippedRelu(f32),
}

impl Activation {
    /// The bounds between which `y` is clamped. A NaN becomes the lower bound.
    pub(crate) fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Activation::Identity => None,
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::ClippedRelu(limit) => Some((0.0, limit)),
        }
    }
}

/// To `f32`: `activation(f32(sum) * row_scale * column_scale + bias)`, rounded after each operation in that order.
#[derive(Clone, Copy, Debug)]
pub struct Dequantize<'a> {
    /// The weights' scale of each output feature.
    pub row_scales: &'a [f32],
    /// The activations' scale of each column of the batch.
    pub column_scales: &'a [f32],
    /// Added to each output feature.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue for Dequantize<'_> {
    type Output = f32;

    fn check(&self, m: usize, n: usize) -> Result<()> {
        check_length("row scales", n, self.row_scales.len())?;
        check_length("column scales", m, self.column_scales.len())?;
        check_length("bias", n, self.bias.map_or(n, <[f32]>::len))
    }

    fn apply(&self, sums: &[i32], rows: Range<usize>, column: usize, out: &mut [f32]) {
        let column_scale = self.column_scales[column];
        let scaled =
            sums.iter().zip(&self.row_scales[rows.clone()]).map(|(&sum, &scale)| sum as f32 * scale * column_scale);
        match self.bias {
            Some(bias) => {
                for ((y, v), b) in out.iter_mut().zip(scaled).zip(&bias[rows]) {
                    *y = v + b;
                }
            }
            None => {
                for (y, v) in out.iter_mut().zip(scaled) {
                    *y = v;
                }
            }
        }
        if let Some((low, high)) = self.activation.bounds() {
            for y in out {
                *y = y.max(low).min(high);
            }
        }
    }
}

/// Outputs that are requantized at once.
const LANES: usize = 32;

mod sealed {
    use super::{LANES, Style};

    pub trait Sealed: Sized {
        /// [`RequantizeFloat`](super::RequantizeFloat)'s formula.
        fn requantize(
            sums: &[[i32; LANES]],
            scales: &[[f32; LANES]],
            zero_point: Self,
            style: Style,
            out: &mut [[Self; LANES]],
        );
    }
}

/// An 8-bit output type: `i8` or `u8`.
pub trait Byte: Copy + Send + Sync + Into<i32> + sealed::Sealed {
    /// The least value.
    const LOW: i32;
    /// The greatest value.
    const HIGH: i32;
    /// Takes a value that is within the range.
    fn from_clamped(value: i32) -> Self;
}

impl Byte for i8 {
    const LOW: i32 = i8::MIN as i32;
    const HIGH: i32 = i8::MAX as i32;
    fn from_clamped(value: i32) -> Self {
        value as i8
    }
}

impl Byte for u8 {
    const LOW: i32 = 0;
    const HIGH: i32 = u8::MAX as i32;
    fn from_clamped(value: i32) -> Self {
        value as u8
    }
}

#[cfg(kernel_aarch64)]
impl sealed::Sealed for i8 {
    #[inline(always)]
    fn requantize(
        sums: &[[i32; LANES]],
        scales: &[[f32; LANES]],
        zero_point: i8,
        style: Style,
        out: &mut [[i8; LANES]],
    ) {
        aarch64::requantize_i8(sums, scales, zero_point, style, out);
    }
}

#[cfg(kernel_aarch64)]
impl sealed::Sealed for u8 {
    #[inline(always)]
    fn requantize(
        sums: &[[i32; LANES]],
        scales: &[[f32; LANES]],
        zero_point: u8,
        style: Style,
        out: &mut [[u8; LANES]],
    ) {
        aarch64::requantize_u8(sums, scales, zero_point, style, out);
    }
}

#[cfg(kernel_aarch64)]
use super::aarch64::epilogue::Style;

/// Elsewhere the compiler chooses the instructions.
#[cfg(not(kernel_aarch64))]
#[derive(Clone, Copy, Debug)]
pub struct Style;

#[cfg(not(kernel_aarch64))]
impl Style {
    fn of_this_core() -> Self {
        Self
    }
}

#[cfg(not(kernel_aarch64))]
impl<O: Byte> sealed::Sealed for O {
    fn requantize(
        sums: &[[i32; LANES]],
        scales: &[[f32; LANES]],
        zero_point: O,
        _style: Style,
        out: &mut [[O; LANES]],
    ) {
        let zero_point = zero_point.into();
        for ((sums, scales), out) in sums.iter().zip(scales).zip(out) {
            *out = core::array::from_fn(|i| requantize_float(sums[i], scales[i], zero_point));
        }
    }
}

/// Requantization by a float scale, as XNNPACK's `fp32` kernels do it:
/// `clamp(round(f32(sum + bias) * scale), LOW - zero_point, HIGH - zero_point) + zero_point`,
/// `round` being to nearest, ties to even.
#[derive(Clone, Copy, Debug)]
pub struct RequantizeFloat<'a, O> {
    scales: &'a [f32],
    bias: Option<&'a [i32]>,
    zero_point: O,
    style: Style,
}

/// One finite scale for each output feature: weight scale x activation scale / output scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales(Vec<f32>);

impl Scales {
    /// Checks the scales, once for all products that use them.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first that is infinite or NaN.
    pub fn new(scales: Vec<f32>) -> Result<Self> {
        match scales.iter().position(|scale| !scale.is_finite()) {
            None => Ok(Self(scales)),
            Some(index) => Err(Error::NotFinite { what: "scales", index, value: scales[index] }),
        }
    }

    /// The scales.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

impl<'a, O: Byte> RequantizeFloat<'a, O> {
    /// `zero_point` is the output that stands for 0.
    pub fn new(scales: &'a Scales, zero_point: O) -> Self {
        Self { scales: &scales.0, bias: None, zero_point, style: Style::of_this_core() }
    }

    /// Adds `bias` to the sums (modulo `2^32`): in units of weight scale x activation scale.
    pub fn with_bias(mut self, bias: &'a [i32]) -> Self {
        self.bias = Some(bias);
        self
    }
}

impl<O: Byte> Epilogue for RequantizeFloat<'_, O> {
    type Output = O;

    fn check(&self, _m: usize, n: usize) -> Result<()> {
        check_length("scales", n, self.scales.len())?;
        check_length("bias", n, self.bias.map_or(n, <[i32]>::len))
    }

    #[inline(always)]
    fn apply(&self, sums: &[i32], rows: Range<usize>, _column: usize, out: &mut [O]) {
        let scales = &self.scales[rows.clone()];
        let Some(bias) = self.bias else { return self.requantize(sums, scales, out) };
        let bias = &bias[rows];
        for (((sums, scales), bias), out) in
            sums.chunks(LANES).zip(scales.chunks(LANES)).zip(bias.chunks(LANES)).zip(out.chunks_mut(LANES))
        {
            let mut biased = [0; LANES];
            for ((biased, sum), bias) in biased.iter_mut().zip(sums).zip(bias) {
                *biased = sum.wrapping_add(*bias);
            }
            self.requantize(&biased[..sums.len()], scales, out);
        }
    }
}

impl<O: Byte> RequantizeFloat<'_, O> {
    #[inline(always)]
    fn requantize(&self, sums: &[i32], scales: &[f32], out: &mut [O]) {
        let (sums, sums_tail) = sums.as_chunks();
        let (scales, scales_tail) = scales.as_chunks();
        let (out, out_tail) = out.as_chunks_mut();
        O::requantize(sums, scales, self.zero_point, self.style, out);
        for ((&sum, &scale), out) in sums_tail.iter().zip(scales_tail).zip(out_tail) {
            *out = requantize_float(sum, scale, self.zero_point.into());
        }
    }
}

/// [`RequantizeFloat`]'s formula, of a finite scale.
fn requantize_float<O: Byte>(sum: i32, scale: f32, zero_point: i32) -> O {
    // Clamping first is the same as clamping last, as the bounds are integers.
    let clamped = (sum as f32 * scale).max((O::LOW - zero_point) as f32).min((O::HIGH - zero_point) as f32);
    O::from_clamped(round_to_i32(clamped) + zero_point)
}

/// An integer requantization: a formula from an `i32` sum of an output feature to an `i32` before the clamp to bytes.
pub trait Rounding: Sync {
    /// Fails if there are not parameters for `n` output features, or one is out of range.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Parameter`].
    fn check(&self, n: usize) -> Result<()>;

    /// The requantized sum of output feature `row`.
    ///
    /// # Panics
    /// It may, for parameters that [`check`](Self::check) refuses; [`Requantize`] asks it before.
    fn round(&self, sum: i32, row: usize) -> i32;
}

/// `clamp(rounding(sum + bias))`, by one of the integer formulas: [`Shift`], [`FixedPoint`], [`DoubleRounding`],
/// [`SingleRounding`].
#[derive(Clone, Copy, Debug)]
pub struct Requantize<'a, O, R> {
    rounding: R,
    bias: Option<&'a [i32]>,
    low: i32,
    high: i32,
    output: PhantomData<O>,
}

impl<'a, O: Byte, R: Rounding> Requantize<'a, O, R> {
    /// Clamps to the range of `O`.
    pub fn new(rounding: R) -> Self {
        Self { rounding, bias: None, low: O::LOW, high: O::HIGH, output: PhantomData }
    }

    /// Adds `bias` to the sums, modulo `2^32`.
    pub fn with_bias(mut self, bias: &'a [i32]) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Clamps to `low..=high`, cut to the range of `O`: a fused activation.
    pub fn with_range(mut self, low: O, high: O) -> Self {
        (self.low, self.high) = (low.into(), high.into());
        self
    }
}

impl<O: Byte, R: Rounding> Epilogue for Requantize<'_, O, R> {
    type Output = O;

    fn check(&self, _m: usize, n: usize) -> Result<()> {
        self.rounding.check(n)?;
        check_length("bias", n, self.bias.map_or(n, <[i32]>::len))
    }

    fn apply(&self, sums: &[i32], rows: Range<usize>, _column: usize, out: &mut [O]) {
        for ((y, &sum), row) in out.iter_mut().zip(sums).zip(rows) {
            let sum = sum.wrapping_add(self.bias.map_or(0, |bias| bias[row]));
            *y = O::from_clamped(self.rounding.round(sum, row).max(self.low).min(self.high));
        }
    }
}

/// farm's and gemmlowp's `QuantizeDownInt32ToUint8Scale`: with `t = (sum + offset) * multiplier` modulo `2^32`,
/// `(t + (shift > 0 ? 2^(shift-1) : 0)) >> shift`, computed without overflow: ties toward plus infinity.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// gemmlowp's `result_offset`.
    pub offset: i32,
    /// gemmlowp's `result_mult_int`.
    pub multiplier: i32,
    /// gemmlowp's `result_shift`, 0..=31.
    pub shift: u32,
}

impl Rounding for Shift {
    fn check(&self, _n: usize) -> Result<()> {
        check_range("result_shift", i64::from(self.shift), 0, 31, "in 0..=31")
    }

    fn round(&self, sum: i32, _row: usize) -> i32 {
        let t = i64::from(sum.wrapping_add(self.offset).wrapping_mul(self.multiplier));
        // Fits: |t| <= 2^31, and for shift 0 nothing is added.
        ((t + ((1i64 << self.shift) >> 1)) >> self.shift) as i32
    }
}

/// gemmlowp's `QuantizeDownInt32ToUint8ScaleByFixedPoint`:
/// `RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(sum, multiplier), shift) + offset`.
#[derive(Clone, Copy, Debug)]
pub struct FixedPoint {
    /// gemmlowp's `result_fixedpoint_multiplier`.
    pub multiplier: i32,
    /// gemmlowp's `result_shift`, 0..=31.
    pub shift: u32,
    /// gemmlowp's `result_offset_after_shift`.
    pub offset: i32,
}

impl Rounding for FixedPoint {
    fn check(&self, _n: usize) -> Result<()> {
        check_range("result_shift", i64::from(self.shift), 0, 31, "in 0..=31")
    }

    fn round(&self, sum: i32, _row: usize) -> i32 {
        let scaled = saturating_rounding_doubling_high_mul(sum, self.multiplier);
        rounding_divide_by_pot(scaled, self.shift).saturating_add(self.offset)
    }
}

/// The per-channel fixed-point scales of TFLite: `2^(exponent - 31) * multiplier` for each output feature.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedMultipliers<'a> {
    /// Mantissas, usually in `2^30..2^31`.
    pub multipliers: &'a [i32],
    /// Exponents, -31..=30; positive shifts left.
    pub exponents: &'a [i32],
}

impl QuantizedMultipliers<'_> {
    fn check(&self, n: usize) -> Result<()> {
        check_length("multipliers", n, self.multipliers.len())?;
        check_length("exponents", n, self.exponents.len())?;
        self.exponents.iter().try_for_each(|&e| check_range("exponent", i64::from(e), -31, 30, "in -31..=30"))
    }
}

/// TFLite's `MultiplyByQuantizedMultiplier` with double rounding: with multiplier `m` and exponent `e` of the row,
/// `RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(sum << max(e, 0), m), max(-e, 0)) + zero_point`; the left
/// shift is modulo `2^32`.
#[derive(Clone, Copy, Debug)]
pub struct DoubleRounding<'a> {
    /// One for each output feature.
    pub scales: QuantizedMultipliers<'a>,
    /// The output's zero point.
    pub zero_point: i32,
}

impl Rounding for DoubleRounding<'_> {
    fn check(&self, n: usize) -> Result<()> {
        self.scales.check(n)
    }

    fn round(&self, sum: i32, row: usize) -> i32 {
        let (multiplier, exponent) = (self.scales.multipliers[row], self.scales.exponents[row]);
        let shifted = sum.wrapping_shl(exponent.max(0) as u32);
        let scaled = saturating_rounding_doubling_high_mul(shifted, multiplier);
        rounding_divide_by_pot(scaled, (-exponent).max(0) as u32).saturating_add(self.zero_point)
    }
}

/// TFLite's and ruy's `MultiplyByQuantizedMultiplier` with single rounding: with multiplier `m` and exponent `e` of
/// the row, `((sum * m + 2^(30-e)) >> (31-e)) + zero_point` in `i64`, ties toward plus infinity. It differs from
/// [`DoubleRounding`] by one in about 4% of random cases, which is why both have a name.
#[derive(Clone, Copy, Debug)]
pub struct SingleRounding<'a> {
    /// One for each output feature.
    pub scales: QuantizedMultipliers<'a>,
    /// The output's zero point.
    pub zero_point: i32,
}

impl Rounding for SingleRounding<'_> {
    fn check(&self, n: usize) -> Result<()> {
        self.scales.check(n)
    }

    fn round(&self, sum: i32, row: usize) -> i32 {
        let (multiplier, exponent) = (self.scales.multipliers[row], self.scales.exponents[row]);
        let shift = 31 - exponent;
        // |sum * multiplier| <= 2^62 and 2^(shift-1) <= 2^61: no overflow.
        let scaled = (i64::from(sum) * i64::from(multiplier) + (1i64 << (shift - 1))) >> shift;
        saturate(scaled + i64::from(self.zero_point))
    }
}

/// gemmlowp's `SaturatingRoundingDoublingHighMul`, as a formula: `(a * b + 2^30) >> 31`, ties toward plus infinity,
/// saturating (only `MIN * MIN` does); the instruction `sqrdmulh`.
pub(crate) fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    saturate((i64::from(a) * i64::from(b) + (1 << 30)) >> 31)
}

/// gemmlowp's `RoundingDivideByPOT`: `x / 2^exponent`, rounded to nearest, half away from zero. `exponent` is 0..=31.
pub(crate) fn rounding_divide_by_pot(x: i32, exponent: u32) -> i32 {
    let mask = (1i64 << exponent) - 1;
    let remainder = i64::from(x) & mask;
    let threshold = (mask >> 1) + i64::from(x < 0);
    ((i64::from(x) >> exponent) + i64::from(remainder > threshold)) as i32
}

fn saturate(x: i64) -> i32 {
    x.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

fn check_range(what: &'static str, value: i64, low: i64, high: i64, expected: &'static str) -> Result<()> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(Error::Parameter { what, value: value as f64, expected }) }
}
