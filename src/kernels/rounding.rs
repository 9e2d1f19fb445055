//! Integer requantization. Every rounding mode has a name and is bit-exact to its formula.

use crate::error::{Error, Result, expect_length};

/// An integer requantization: a formula that turns the `i32` sum of an output feature into an `i32`, before the clamp
/// to bytes.
pub trait Rounding: Sync {
    /// Fails unless there are parameters for `n` output features and all are in range.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Parameter`].
    fn check(&self, n: usize) -> Result<()>;

    /// The requantized sum of output feature `row`.
    ///
    /// # Panics
    /// May panic for parameters that [`check`](Self::check) refuses. [`Requantize`](super::Requantize) calls `check`
    /// first.
    fn round(&self, sum: i32, row: usize) -> i32;
}

/// `QuantizeDownInt32ToUint8Scale` of farm and gemmlowp, with ties toward plus infinity.
///
/// With `t = (sum + offset) * multiplier` modulo `2^32`, the result is `(t + (shift > 0 ? 2^(shift-1) : 0)) >> shift`,
/// computed without overflow.
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
        // This fits: |t| <= 2^31, and nothing is added if the shift is 0.
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

/// TFLite's per-channel fixed-point scales: `2^(exponent - 31) * multiplier` per output feature.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedMultipliers<'a> {
    /// Mantissas, usually in `2^30..2^31`.
    pub multipliers: &'a [i32],
    /// Exponents, -31..=30. Positive exponents shift left.
    pub exponents: &'a [i32],
}

impl QuantizedMultipliers<'_> {
    fn check(&self, n: usize) -> Result<()> {
        expect_length("multipliers", n, self.multipliers.len())?;
        expect_length("exponents", n, self.exponents.len())?;
        self.exponents.iter().try_for_each(|&e| check_range("exponent", i64::from(e), -31, 30, "in -31..=30"))
    }
}

/// TFLite's `MultiplyByQuantizedMultiplier` with double rounding.
///
/// With the row's multiplier `m` and exponent `e`, the result is
/// `RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(sum << max(e, 0), m), max(-e, 0)) + zero_point`. The left
/// shift is modulo `2^32`.
#[derive(Clone, Copy, Debug)]
pub struct DoubleRounding<'a> {
    /// One per output feature.
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

/// TFLite's and ruy's `MultiplyByQuantizedMultiplier` with single rounding, ties toward plus infinity.
///
/// With the row's multiplier `m` and exponent `e`, the result is `((sum * m + 2^(30-e)) >> (31-e)) + zero_point` in
/// `i64`. It differs from [`DoubleRounding`] by one in about 4% of random cases, so both have a name.
#[derive(Clone, Copy, Debug)]
pub struct SingleRounding<'a> {
    /// One per output feature.
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

/// gemmlowp's `SaturatingRoundingDoublingHighMul`, which is the instruction `sqrdmulh`: `(a * b + 2^30) >> 31`, ties
/// toward plus infinity. Only `MIN * MIN` saturates.
fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    saturate((i64::from(a) * i64::from(b) + (1 << 30)) >> 31)
}

/// gemmlowp's `RoundingDivideByPOT`: `x / 2^exponent`, rounded to nearest, half away from zero. `exponent` is 0..=31.
fn rounding_divide_by_pot(x: i32, exponent: u32) -> i32 {
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
