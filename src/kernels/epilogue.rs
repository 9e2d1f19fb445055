//! Epilogues turn `i32` sums into outputs: scale, bias, activation, and requantization by a float scale or by an
//! integer formula of `rounding.rs`.
//!
//! They are plain loops over slices, which the compiler vectorizes; [`RequantizeFloat`] also has a vector form on
//! AArch64. The arithmetic is elementwise with one rounding per operation (never fused), so every target and tier gives
//! the same bits.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Range;

use cfg_if::cfg_if;
use vectors::Style;

use super::portable::epilogue::Operands;
use super::rounding::Rounding;
#[cfg(doc)]
use super::rounding::{DoubleRounding, FixedPoint, Shift, SingleRounding};
use crate::error::{Error, Result, expect_length};

cfg_if! {
    // Not under Miri, which does not support all of the intrinsics.
    if #[cfg(all(kernel_aarch64, not(miri)))] {
        use super::aarch64::epilogue as vectors;
    } else {
        use super::portable::epilogue as vectors;
    }
}

/// Turns the `i32` sums of a product into outputs.
///
/// Implement it for outputs of your own. The driver calls [`apply`](Self::apply) once per column and block of rows,
/// from several threads at once if the product is threaded.
pub trait Epilogue: Sync {
    /// The type of an output element.
    type Output: Copy + Send;

    /// Fails if this epilogue does not fit a product of `m` columns (the batch) and `n` rows (output features).
    ///
    /// # Errors
    /// [`Error::Length`], naming the parameter that does not fit.
    fn check(&self, m: usize, n: usize) -> Result<()>;

    /// Writes the outputs of rows `rows` in column `column`. `sums` and `out` have one element per row.
    ///
    /// # Panics
    /// May panic for a product that [`check`](Self::check) refuses. [`gemm`](super::gemm()) calls `check` first.
    fn apply(&self, sums: &[i32], rows: Range<usize>, column: usize, out: &mut [Self::Output]);
}

/// Outputs the sums unchanged.
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
    /// Applies the function to each value. A NaN becomes 0, except by [`Identity`](Self::Identity).
    #[inline]
    pub(crate) fn apply(self, values: &mut [f32]) {
        let limit = match self {
            Activation::Identity => return,
            Activation::Relu => f32::INFINITY,
            Activation::ClippedRelu(limit) => limit,
        };
        for y in values {
            // Adding 0 makes -0 a 0. Of those two, processors differ in which one is the maximum.
            *y = (*y + 0.0).max(0.0).min(limit);
        }
    }
}

/// Converts sums to `f32`: `activation(f32(sum) * row_scale * column_scale + bias)`, rounded after each operation in
/// that order.
#[derive(Clone, Copy, Debug)]
pub struct Dequantize<'a> {
    /// The weight scale of each output feature.
    pub row_scales: &'a [f32],
    /// The activation scale of each column of the batch.
    pub column_scales: &'a [f32],
    /// Added to each output feature.
    pub bias: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue for Dequantize<'_> {
    type Output = f32;

    #[inline]
    fn check(&self, m: usize, n: usize) -> Result<()> {
        let bias = self.bias.map_or(n, <[f32]>::len);
        // One branch for what nearly always fits.
        if self.row_scales.len() == n && self.column_scales.len() == m && bias == n {
            return Ok(());
        }
        expect_length("row scales", n, self.row_scales.len())
            .and(expect_length("column scales", m, self.column_scales.len()))
            .and(expect_length("bias", n, bias))
    }

    /// Never inlined, as [`RequantizeFloat`]'s.
    #[inline(never)]
    fn apply(&self, sums: &[i32], rows: Range<usize>, column: usize, out: &mut [f32]) {
        let (column_scale, row_scales) = (self.column_scales[column], &self.row_scales[rows.clone()]);
        dequantize(sums, row_scales, column_scale, self.bias.map(|bias| &bias[rows]), out);
        self.activation.apply(out);
    }
}

/// The number of outputs that [`dequantize`] computes at once: eight vectors, which hide each other's latency.
const WIDE: usize = 32;

/// The number of outputs that [`dequantize`] computes at once where fewer remain.
const NARROW: usize = 16;

/// Computes `f32(sum) * row_scale * column_scale + bias` for each row.
#[inline(always)]
fn dequantize(sums: &[i32], row_scales: &[f32], column_scale: f32, bias: Option<&[f32]>, out: &mut [f32]) {
    match bias {
        Some(bias) => dequantize_with(sums, row_scales, column_scale, bias, |v, bias| v + bias, out),
        None => dequantize_with(sums, row_scales, column_scale, row_scales, |v, _| v, out),
    }
}

/// Computes `finish(f32(sum) * row_scale * column_scale, bias)` for each row.
#[inline(always)]
fn dequantize_with(
    sums: &[i32],
    row_scales: &[f32],
    column_scale: f32,
    bias: &[f32],
    finish: impl Fn(f32, f32) -> f32,
    out: &mut [f32],
) {
    let n = out.len();
    let (sums, row_scales, bias) = (&sums[..n], &row_scales[..n], &bias[..n]);
    let one = |sum: i32, scale: f32, bias: f32| finish(sum as f32 * scale * column_scale, bias);
    let (wide, rest) = out.as_chunks_mut::<WIDE>();
    let first = n - rest.len();
    let operands = sums.as_chunks().0.iter().zip(row_scales.as_chunks().0).zip(bias.as_chunks().0);
    for (out, ((sums, scales), bias)) in wide.iter_mut().zip(operands) {
        block::<WIDE>(sums, scales, bias, one, out);
    }
    let (narrow, tail) = rest.as_chunks_mut::<NARROW>();
    let operands = sums[first..].as_chunks().0.iter().zip(row_scales[first..].as_chunks().0);
    for (out, ((sums, scales), bias)) in narrow.iter_mut().zip(operands.zip(bias[first..].as_chunks().0)) {
        block::<NARROW>(sums, scales, bias, one, out);
    }
    if tail.is_empty() {
        return;
    }
    // Where there are enough outputs, one more block ends where they end, and computes some of them again.
    let last = (sums.last_chunk(), row_scales.last_chunk(), bias.last_chunk(), out.last_chunk_mut());
    if let (Some(sums), Some(scales), Some(bias), Some(out)) = last {
        block::<NARROW>(sums, scales, bias, one, out);
        return;
    }
    for (i, out) in out.iter_mut().enumerate() {
        *out = one(sums[i], row_scales[i], bias[i]);
    }
}

/// Computes `one` for each of `N` rows.
#[inline(always)]
fn block<const N: usize>(
    sums: &[i32; N],
    scales: &[f32; N],
    bias: &[f32; N],
    one: impl Fn(i32, f32, f32) -> f32,
    out: &mut [f32; N],
) {
    for i in 0..N {
        out[i] = one(sums[i], scales[i], bias[i]);
    }
}

mod sealed {
    use super::{Operands, Style};

    pub trait Sealed: Sized {
        /// Applies the formula of [`RequantizeFloat`](super::RequantizeFloat).
        fn requantize(operands: Operands<'_>, zero_point: Self, style: Style, out: &mut [Self]);
    }
}

/// An 8-bit output type: `i8` or `u8`. No other type can implement this trait.
///
/// ```compile_fail,E0277
/// #[derive(Clone, Copy)]
/// struct Level(i8);
///
/// impl From<Level> for i32 {
///     fn from(level: Level) -> i32 {
///         level.0.into()
///     }
/// }
///
/// impl skinny::kernels::Byte for Level {
///     const LOW: i32 = -128;
///     const HIGH: i32 = 127;
///     fn from_clamped(value: i32) -> Self {
///         Level(value as i8)
///     }
/// }
/// ```
pub trait Byte: Copy + Send + Sync + Into<i32> + sealed::Sealed {
    /// The least value.
    const LOW: i32;
    /// The greatest value.
    const HIGH: i32;
    /// Converts a value that is within the range.
    fn from_clamped(value: i32) -> Self;
}

macro_rules! byte {
    ($byte:ty, $requantize:path) => {
        impl Byte for $byte {
            const LOW: i32 = <$byte>::MIN as i32;
            const HIGH: i32 = <$byte>::MAX as i32;
            #[inline]
            fn from_clamped(value: i32) -> Self {
                value as $byte
            }
        }

        impl sealed::Sealed for $byte {
            #[inline(always)]
            fn requantize(operands: Operands<'_>, zero_point: $byte, style: Style, out: &mut [$byte]) {
                $requantize(operands, zero_point, style, out);
            }
        }
    };
}

byte!(i8, vectors::requantize_i8);
byte!(u8, vectors::requantize_u8);

/// Requantization by a float scale, as in XNNPACK's `fp32` kernels:
/// `clamp(round(f32(sum + bias) * scale), LOW - zero_point, HIGH - zero_point) + zero_point`.
///
/// `round` rounds to nearest, ties to even.
#[derive(Clone, Copy, Debug)]
pub struct RequantizeFloat<'a, O> {
    scales: &'a [f32],
    bias: Option<&'a [i32]>,
    zero_point: O,
    style: Style,
}

/// Finite scales, one per output feature: weight scale x activation scale / output scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    values: Vec<f32>,
    /// Found out here, once, and not in each product.
    style: Style,
}

impl Scales {
    /// Checks the scales once, for all products that use them.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first scale that is infinite or NaN.
    pub fn new(scales: Vec<f32>) -> Result<Self> {
        match scales.iter().position(|scale| !scale.is_finite()) {
            None => Ok(Self { values: scales, style: Style::of_this_core() }),
            Some(index) => Err(Error::NotFinite { what: "scales", index, value: scales[index] }),
        }
    }

    /// The scales.
    #[inline]
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }
}

impl<'a, O: Byte> RequantizeFloat<'a, O> {
    /// Requantizes with `scales`. `zero_point` is the output that stands for 0.
    #[inline]
    pub fn new(scales: &'a Scales, zero_point: O) -> Self {
        Self { scales: &scales.values, bias: None, zero_point, style: scales.style }
    }

    /// Adds `bias` to the sums, modulo `2^32`. Its unit is weight scale x activation scale.
    pub fn with_bias(mut self, bias: &'a [i32]) -> Self {
        self.bias = Some(bias);
        self
    }
}

impl<O: Byte> Epilogue for RequantizeFloat<'_, O> {
    type Output = O;

    #[inline]
    fn check(&self, _m: usize, n: usize) -> Result<()> {
        let bias = self.bias.map_or(n, <[i32]>::len);
        // One branch for what nearly always fits.
        if self.scales.len() == n && bias == n {
            return Ok(());
        }
        expect_length("scales", n, self.scales.len()).and(expect_length("bias", n, bias))
    }

    /// A function of its own, which needs no registers that a caller expects unchanged: for a few outputs, saving these
    /// takes as long as the rest.
    #[inline(never)]
    fn apply(&self, sums: &[i32], rows: Range<usize>, _column: usize, out: &mut [O]) {
        let scales = &self.scales[rows.clone()];
        let bias = self.bias.map(|bias| &bias[rows]);
        O::requantize(Operands { sums, bias, scales }, self.zero_point, self.style, out);
    }
}

/// Requantization by an integer formula: `clamp(rounding(sum + bias))`. The formulas are [`Shift`], [`FixedPoint`],
/// [`DoubleRounding`] and [`SingleRounding`].
#[derive(Clone, Copy, Debug)]
pub struct Requantize<'a, O, R> {
    rounding: R,
    bias: Option<&'a [i32]>,
    low: i32,
    high: i32,
    output: PhantomData<O>,
}

impl<'a, O: Byte, R: Rounding> Requantize<'a, O, R> {
    /// Requantizes with `rounding` and clamps to the range of `O`.
    pub fn new(rounding: R) -> Self {
        Self { rounding, bias: None, low: O::LOW, high: O::HIGH, output: PhantomData }
    }

    /// Adds `bias` to the sums, modulo `2^32`.
    pub fn with_bias(mut self, bias: &'a [i32]) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Clamps to `low..=high` instead of the whole range of `O`: a fused activation.
    pub fn with_range(mut self, low: O, high: O) -> Self {
        (self.low, self.high) = (low.into(), high.into());
        self
    }
}

impl<O: Byte, R: Rounding> Epilogue for Requantize<'_, O, R> {
    type Output = O;

    fn check(&self, _m: usize, n: usize) -> Result<()> {
        self.rounding.check(n)?;
        expect_length("bias", n, self.bias.map_or(n, <[i32]>::len))
    }

    fn apply(&self, sums: &[i32], rows: Range<usize>, _column: usize, out: &mut [O]) {
        for ((y, &sum), row) in out.iter_mut().zip(sums).zip(rows) {
            let sum = sum.wrapping_add(self.bias.map_or(0, |bias| bias[row]));
            *y = O::from_clamped(self.rounding.round(sum, row).max(self.low).min(self.high));
        }
    }
}
