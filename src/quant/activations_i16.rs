//! Dynamic quantization of activations to 16 bits, in two parts of 8.

use alloc::vec::Vec;

use super::activations::{finite_or, magnitude_bits_of_finite};
use crate::error::Result;
use crate::float::{LARGEST_FINITE, round_to_i32};
use crate::format::{MAX_I16_ACTIVATION, split_i16};
use crate::kernels::bytes::magnitude_bits;
use crate::matrix::{MatRef, grow};

/// A batch of 16-bit activations and the memory that holds it. Refilling it allocates only to grow.
///
/// A column of the batch is a row of the `m x k` matrices that fill it. It is quantized on its own, symmetrically: `x ~
/// scale * q`, with `q` in -32639..=32639 and `scale = max|x| / 32639`. Each `q` is kept in two parts of 8 bits, `q = 256 *
/// high + low`, for the 8-bit kernels. Values that are not finite are replaced as in
/// [`QuantizedActivations`](super::QuantizedActivations).
///
/// # Example
/// ```
/// use skinny::{MatRef, quant::QuantizedActivationsI16};
///
/// let x = [1.0, -0.5, 1e-4]; // batch of 1, depth 3
/// let mut quantized = QuantizedActivationsI16::new();
/// quantized.quantize(MatRef::row_vector(&x))?;
/// assert_eq!(quantized.parts().row(0), [127, -64, 0]); // high
/// assert_eq!(quantized.parts().row(1), [127, 64, 3]); // low: 32639, -16320, 3
/// assert_eq!(quantized.scales(), [1.0 / 32639.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct QuantizedActivationsI16 {
    /// `2 m x k`: for each column its high parts, then its low parts.
    parts: Vec<i8>,
    m: usize,
    k: usize,
    scales: Vec<f32>,
}

/// The largest magnitude.
const LARGEST: f32 = MAX_I16_ACTIVATION as f32;

impl QuantizedActivationsI16 {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the batch with `x` (`m x k`).
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation) if the memory cannot grow. The batch is then empty.
    pub fn quantize(&mut self, x: MatRef<'_, f32>) -> Result<()> {
        let (m, k) = x.shape();
        (self.m, self.k) = (0, 0);
        grow(&mut self.parts, (m * k).saturating_mul(2))?;
        grow(&mut self.scales, m)?;
        for column in 0..m {
            let (high, low) = self.parts[2 * column * k..][..2 * k].split_at_mut(k);
            self.scales[column] = symmetric_i16(x.row(column), high, low);
        }
        (self.m, self.k) = (m, k);
        Ok(())
    }

    /// The number of vectors in the batch.
    pub fn m(&self) -> usize {
        self.m
    }

    /// Depth.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The two parts of each column, `2 m x k`: row `2 c` has the high parts of column `c`, row `2 c + 1` the low ones.
    #[inline]
    pub fn parts(&self) -> MatRef<'_, i8> {
        MatRef::from_checked(&self.parts[..2 * self.m * self.k], 2 * self.m, self.k)
    }

    /// One scale per column.
    #[inline]
    pub fn scales(&self) -> &[f32] {
        &self.scales[..self.m]
    }
}

/// Fills both parts and returns the scale: the symmetric quantization of one column.
fn symmetric_i16(x: &[f32], high: &mut [i8], low: &mut [i8]) -> f32 {
    let bits = magnitude_bits(x);
    let finite = bits <= LARGEST_FINITE;
    let bits = if finite { bits } else { magnitude_bits_of_finite(x) };
    let largest = f32::from_bits(bits).max(LARGEST * f32::MIN_POSITIVE);
    let inverse = LARGEST / largest;
    for ((high, low), &x) in high.iter_mut().zip(low).zip(x) {
        let x = if finite { x } else { finite_or(x, largest) };
        // Magnitudes exceed the largest by less than half, which rounding removes.
        [*high, *low] = split_i16(round_to_i32(x * inverse));
    }
    largest / LARGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that a vector's parts stand for, in wide integers, and the scale.
    fn values(x: &[f32]) -> (Vec<i64>, f64) {
        let mut quantized = QuantizedActivationsI16::new();
        quantized.quantize(MatRef::row_vector(x)).unwrap();
        let parts = quantized.parts();
        let value = |(&high, &low): (&i8, &i8)| 256 * i64::from(high) + i64::from(low);
        (parts.row(0).iter().zip(parts.row(1)).map(value).collect(), quantized.scales()[0].into())
    }

    #[test]
    fn every_element_is_off_by_half_a_scale_at_most() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for magnitude in [1.0, 1e-20, 1e20, 3e-35, 1e-40, 3.4e38] {
            for spread in [1.0f32, 1e3, 1e6] {
                let x: Vec<f32> =
                    (0..133).map(|i| random() * magnitude / if i % 2 == 0 { 1.0 } else { spread }).collect();
                let (q, scale) = values(&x);
                assert!(scale.is_finite() && scale >= f64::from(f32::MIN_POSITIVE));
                for (&q, &x) in q.iter().zip(&x) {
                    let off = (scale * q as f64 - f64::from(x)).abs();
                    // The quotient in f32 is off by a few units in its last place.
                    assert!(off <= scale * 0.51 && q.abs() <= 32639, "{x} became {q}, scale {scale}");
                }
            }
        }
    }

    #[test]
    fn magnitudes_reach_the_largest_and_never_wrap() {
        for i in 1..100_000u32 {
            let largest = f32::from_bits(0x3f80_0000 + i * 83);
            assert_eq!(values(&[largest, -largest, 0.0, -0.0]).0, [32639, -32639, 0, 0], "{largest}");
        }
        assert_eq!(values(&[f32::MAX, -f32::MAX]).0, [32639, -32639]);
        assert_eq!(values(&[0.0, -0.0]).0, [0, 0]);
        assert!(values(&[]).0.is_empty());
    }

    #[test]
    fn nan_counts_as_zero_and_infinity_as_the_largest() {
        let (inf, nan, max) = (f32::INFINITY, f32::NAN, f32::MAX);
        for (x, same) in [
            ([nan, 1.0, -2.0, -nan], [0.0, 1.0, -2.0, 0.0]),
            ([inf, 1.0, -2.0, 0.5], [2.0, 1.0, -2.0, 0.5]),
            ([inf, -inf, nan, 0.0], [max, -max, 0.0, 0.0]),
            ([nan; 4], [0.0; 4]),
        ] {
            assert_eq!(values(&x), values(&same), "{x:?}");
        }
    }
}
