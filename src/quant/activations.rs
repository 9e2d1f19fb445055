//! Dynamic quantization of activations, with one scale and, if wanted, one zero point per column of the batch.
//!
//! The range of a column is computed from the bits of its elements, read as integers. Magnitudes have the same order as
//! integers as they have as floats, and infinities and NaN lie above every finite number. An integer maximum vectorizes
//! on every target; a float maximum does not. Arithmetic is elementwise with one rounding per operation, so every
//! target gives the same bits.

use alloc::vec::Vec;

use crate::error::Result;
use crate::float::{LARGEST_BYTE, LARGEST_FINITE, round_to_i32};
use crate::kernels::bytes::{magnitude_bits, quotients, round_each};
use crate::matrix::{MatRef, grow};

/// Where the quantization range of a column lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ZeroPoint {
    /// Symmetric about 0: `x ~ scale * q`, with `q` in -127..=127 and `scale = max|x| / 127`. The sums need no
    /// correction.
    #[default]
    None,
    /// From the least to the greatest element, including 0: `x ~ scale * (q - z)`, with `q` in -128..=127 and
    /// `scale = (max - min) / 255`. It is slightly better for inputs of one sign, such as the outputs of a ReLU.
    PerColumn,
}

/// A batch of 8-bit activations and the memory that holds it. Refilling it allocates only to grow.
///
/// A column of the batch is a row of the `m x k` matrices that fill it. Each column has its own scale, so the result
/// for one vector does not depend on the others.
///
/// # Values that are not finite, and tiny values
/// A NaN counts as 0. An infinity counts as the largest finite magnitude of its column, or as the largest finite `f32`
/// if all others are 0. Scales are normal floats, at least `2^-126`. A column of zeros gets that scale.
///
/// # Example
/// ```
/// use skinny::{MatRef, quant::{QuantizedActivations, ZeroPoint}};
///
/// let x = [1.0, -0.5, 0.0, 0.0, 51.0, 2.0]; // batch of 2, depth 3
/// let mut quantized = QuantizedActivations::new();
/// quantized.quantize(MatRef::new(&x, 2, 3)?, ZeroPoint::None)?;
/// assert_eq!(quantized.values().row(0), [127, -64, 0]);
/// quantized.quantize(MatRef::new(&x, 2, 3)?, ZeroPoint::PerColumn)?;
/// assert_eq!(quantized.values().row(1), [-128, 127, -118]);
/// assert_eq!((quantized.scales()[1], quantized.zero_points()[1]), (0.2, -128));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct QuantizedActivations {
    /// `m x k`.
    values: Vec<i8>,
    m: usize,
    k: usize,
    zero_point: ZeroPoint,
    scales: Vec<f32>,
    zero_points: Vec<i32>,
    /// `-zero_points`. The product takes these and the zeros in `constants` as its offsets.
    row_sum_factors: Vec<i32>,
    constants: Vec<i32>,
}

impl QuantizedActivations {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the batch with `x` (`m x k`).
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation) if the memory cannot grow. The batch is then empty.
    pub fn quantize(&mut self, x: MatRef<'_, f32>, zero_point: ZeroPoint) -> Result<()> {
        let (m, k) = x.shape();
        (self.m, self.k, self.zero_point) = (0, 0, zero_point);
        grow(&mut self.values, m * k)?;
        // The last of the vectors with one element per column: the others are as long.
        if self.constants.len() < m {
            self.grow_columns(m)?;
        }
        for column in 0..m {
            let values = &mut self.values[column * k..][..k];
            let (scale, z) = match zero_point {
                ZeroPoint::None => (symmetric(x.row(column), values), 0),
                ZeroPoint::PerColumn => asymmetric(x.row(column), values),
            };
            self.scales[column] = scale;
            self.zero_points[column] = z;
            self.row_sum_factors[column] = -z;
        }
        (self.m, self.k) = (m, k);
        Ok(())
    }

    /// Makes room for the numbers of `m` columns.
    #[cold]
    fn grow_columns(&mut self, m: usize) -> Result<()> {
        grow(&mut self.scales, m)?;
        grow(&mut self.zero_points, m)?;
        grow(&mut self.row_sum_factors, m)?;
        grow(&mut self.constants, m)
    }

    /// The number of vectors in the batch.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The 8-bit values, `m x k`.
    #[inline]
    pub fn values(&self) -> MatRef<'_, i8> {
        MatRef::from_checked(&self.values[..self.m * self.k], self.m, self.k)
    }

    /// One scale per column.
    #[inline]
    pub fn scales(&self) -> &[f32] {
        &self.scales[..self.m]
    }

    /// One zero point per column, -128..=127. All are 0 for [`ZeroPoint::None`].
    pub fn zero_points(&self) -> &[i32] {
        &self.zero_points[..self.m]
    }

    /// How the batch was quantized.
    #[inline]
    pub fn zero_point(&self) -> ZeroPoint {
        self.zero_point
    }

    /// The factor that multiplies the sum of a row of weights, per column: `-z`.
    pub(crate) fn row_sum_factors(&self) -> &[i32] {
        &self.row_sum_factors[..self.m]
    }

    /// The constant that is added to the sums, per column: 0.
    pub(crate) fn constants(&self) -> &[i32] {
        &self.constants[..self.m]
    }
}

/// Fills `values` and returns the scale: the symmetric quantization of one column.
#[inline(never)]
pub(crate) fn symmetric(x: &[f32], values: &mut [i8]) -> f32 {
    let largest = magnitude_bits(x);
    if largest > LARGEST_FINITE {
        return symmetric_of_finite(x, values);
    }
    let (_, [scale, inverse]) = symmetric_range(largest);
    // Magnitudes exceed 127 by at most a rounding error, which rounding removes.
    round_each(x, inverse, values);
    scale
}

/// As [`symmetric`], for columns with values that are not finite.
#[cold]
fn symmetric_of_finite(x: &[f32], values: &mut [i8]) -> f32 {
    let (largest, [scale, inverse]) = symmetric_range(magnitude_bits_of_finite(x));
    for (value, &x) in values.iter_mut().zip(x) {
        *value = round_to_i32(finite_or(x, largest) * inverse) as i8;
    }
    scale
}

/// The magnitude that becomes 127, the scale and its inverse, from the bits of the greatest magnitude.
#[inline]
fn symmetric_range(largest: u32) -> (f32, [f32; 2]) {
    let largest = f32::from_bits(largest).max(LARGEST_BYTE * f32::MIN_POSITIVE);
    (largest, quotients(largest, LARGEST_BYTE))
}

/// Fills `values` and returns the scale and the zero point.
fn asymmetric(x: &[f32], values: &mut [i8]) -> (f32, i32) {
    let (low, high) = ordered_range(x);
    let finite = low >= order(f32::MIN.to_bits()) && high <= order(f32::MAX.to_bits());
    let (low, high, largest) = if finite {
        (unorder(low), unorder(high), 0.0)
    } else {
        let largest = f32::from_bits(magnitude_bits_of_finite(x));
        let bounds = x.iter().map(|&x| finite_or(x, largest));
        let (low, high) = bounds.fold((0.0f32, 0.0f32), |(low, high), x| (low.min(x), high.max(x)));
        (low, high, largest)
    };
    const STEPS: f32 = (i8::MAX as i32 - i8::MIN as i32) as f32;
    // Divide before subtracting: the difference may overflow.
    let scale = (high / STEPS - low / STEPS).max(f32::MIN_POSITIVE);
    let inverse = 1.0 / scale;
    let clamp = |q: i32| q.max(i8::MIN.into()).min(i8::MAX.into());
    let zero_point = clamp(i32::from(i8::MIN) - round_to_i32(low * inverse));
    if finite {
        for (value, &x) in values.iter_mut().zip(x) {
            *value = clamp(round_to_i32(x * inverse) + zero_point) as i8;
        }
    } else {
        for (value, &x) in values.iter_mut().zip(x) {
            *value = clamp(round_to_i32(finite_or(x, largest) * inverse) + zero_point) as i8;
        }
    }
    (scale, zero_point)
}

/// Maps the bits of a float to an integer with the same order as the floats.
fn order(bits: u32) -> i32 {
    let bits = bits as i32;
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The inverse of [`order`].
fn unorder(ordered: i32) -> f32 {
    f32::from_bits((ordered ^ ((ordered >> 31) & i32::MAX)) as u32)
}

/// The least and the greatest of the elements and 0, as mapped by [`order`]. A NaN lies beyond the infinity of its
/// sign.
fn ordered_range(x: &[f32]) -> (i32, i32) {
    x.iter().fold((0, 0), |(low, high): (i32, i32), x| {
        let ordered = order(x.to_bits());
        (low.min(ordered), high.max(ordered))
    })
}

/// The bits of the greatest magnitude among the finite elements, or of [`f32::MAX`] if it is 0 and there are
/// infinities. Only columns with non-finite values use it, so it need not be fast.
pub(super) fn magnitude_bits_of_finite(x: &[f32]) -> u32 {
    let magnitudes = x.iter().map(|x| x.to_bits() & i32::MAX as u32);
    let largest = magnitudes.filter(|&bits| bits <= LARGEST_FINITE).max().unwrap_or(0);
    if largest == 0 && x.iter().any(|x| x.is_infinite()) { LARGEST_FINITE } else { largest }
}

/// `x` if it is finite, 0 for a NaN, and `largest` with the sign of `x` for an infinity.
pub(super) fn finite_or(x: f32, largest: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.max(-largest).min(largest) }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const BOTH: [ZeroPoint; 2] = [ZeroPoint::None, ZeroPoint::PerColumn];

    fn back(x: &[f32], zero_point: ZeroPoint) -> (Vec<f64>, f64) {
        let mut quantized = QuantizedActivations::new();
        quantized.quantize(MatRef::row_vector(x), zero_point).unwrap();
        let (scale, z) = (f64::from(quantized.scales()[0]), quantized.zero_points()[0]);
        assert!(scale.is_normal() && (-128..=127).contains(&z));
        (quantized.values().as_slice().iter().map(|&q| scale * f64::from(i32::from(q) - z)).collect(), scale)
    }

    #[test]
    fn every_element_is_off_by_half_a_scale_at_most() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for shift in [0.0, 1.0, -1.0, 0.7, 30.0] {
            for magnitude in [1.0, 1e-30, 3e-38, 1e-40, 1e37, 3.4e38 / 31.0] {
                let x: Vec<f32> = (0..133).map(|_| (random() + shift) * magnitude).collect();
                for zero_point in BOTH {
                    let (back, scale) = back(&x, zero_point);
                    for (back, &x) in back.iter().zip(&x) {
                        let off = (back - f64::from(x)).abs();
                        assert!(off <= scale * 0.5001, "{x} became {back}, scale {scale}, {zero_point:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn zero_stays_zero() {
        for zero_point in BOTH {
            assert_eq!(back(&[0.0, -0.0], zero_point).0, [0.0, 0.0]);
            assert_eq!(back(&[0.0, 3.0], zero_point).0[0], 0.0);
            assert_eq!(back(&[-5.0, 0.0, 3.0], zero_point).0[1], 0.0);
            assert!(back(&[], zero_point).0.is_empty());
        }
    }

    #[test]
    fn nan_counts_as_zero_and_infinity_as_the_largest() {
        let (inf, nan, max) = (f32::INFINITY, f32::NAN, f32::MAX);
        for zero_point in BOTH {
            for (x, same) in [
                ([nan, 1.0, -2.0, -nan], [0.0, 1.0, -2.0, 0.0]),
                ([inf, 1.0, -2.0, 0.5], [2.0, 1.0, -2.0, 0.5]),
                ([-inf, 1.0, nan, 0.5], [-1.0, 1.0, 0.0, 0.5]),
                ([inf, -inf, nan, 0.0], [max, -max, 0.0, 0.0]),
                ([nan, nan, nan, nan], [0.0; 4]),
            ] {
                assert_eq!(back(&x, zero_point), back(&same, zero_point), "{x:?} {zero_point:?}");
            }
        }
    }

    /// The greatest floats are finite: they are what a column is scaled by, and take none of the paths for infinities.
    #[test]
    fn the_greatest_floats_count_as_finite() {
        let mut values = [0i8; 3];
        for largest in [f32::MAX, -f32::MAX] {
            let scale = symmetric(&[largest, largest / 2.0, 0.0], &mut values);
            let sign = largest.signum() as i8;
            assert_eq!((values, scale), ([127 * sign, 64 * sign, 0], f32::MAX / 127.0));
            let (scale, z) = asymmetric(&[largest, largest / 2.0, 0.0], &mut values);
            assert_eq!((scale, z), (f32::MAX / 255.0, if sign > 0 { -128 } else { 127 }));
            assert_eq!((values[0], values[2]), (if sign > 0 { 127 } else { -128 }, z as i8));
        }
    }

    #[test]
    fn magnitudes_reach_127_and_never_wrap() {
        // The rounded quotient 127 / max times max may lie on either side of 127.
        for i in 1..200_000u32 {
            let largest = f32::from_bits(0x3f80_0000 + i * 41);
            let mut values = [0i8; 2];
            symmetric(&[largest, -largest], &mut values);
            assert_eq!(values, [127, -127]);
            let (scale, z) = asymmetric(&[largest, -0.3 * largest], &mut values);
            assert!(values[0] >= 126 && values[1] <= -127, "{values:?} {scale} {z}");
        }
    }

    #[test]
    fn a_smaller_batch_uses_the_memory_of_a_larger_one() {
        let mut quantized = QuantizedActivations::new();
        let x = vec![1.0; 12];
        quantized.quantize(MatRef::new(&x, 4, 3).unwrap(), ZeroPoint::PerColumn).unwrap();
        quantized.quantize(MatRef::new(&x[..2], 1, 2).unwrap(), ZeroPoint::None).unwrap();
        assert_eq!((quantized.m(), quantized.k()), (1, 2));
        assert_eq!((quantized.values().as_slice(), quantized.zero_points()), (&[127i8, 127][..], &[0][..]));
    }
}
