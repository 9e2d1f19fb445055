//! Symmetric 8-bit weights with one scale per output feature.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::float::{LARGEST_BYTE, round_to_i32};
use crate::kernels::bytes::magnitude_bits;
use crate::matrix::{Mat, MatRef};

/// An `n x k` weight matrix in 8 bits: `w[j][i] ~ scales[j] * values[j][i]`, with one scale per output feature.
///
/// Files hold weights in this form, and [`pack`](Self::pack) lays them out for a processor.
///
/// # Example
/// ```
/// use skinny::{MatRef, quant::QuantizedMat};
///
/// let w = [1.0, -0.5, 0.25, 254.0, 0.0, 2.0]; // 2 output features, depth 3
/// let quantized = QuantizedMat::quantize(MatRef::new(&w, 2, 3)?)?;
/// assert_eq!(quantized.values().row(1), [127, 0, 1]);
/// assert_eq!(quantized.scales(), [1.0 / 127.0, 2.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMat {
    values: Mat<i8>,
    scales: Vec<f32>,
}

/// The largest scale. Times 127, it must not round to infinity.
pub(super) const LARGEST_SCALE: f32 = (f32::MAX / LARGEST_BYTE).next_down();

impl QuantizedMat {
    /// Quantizes each row of `w` (`n x k`) to -127..=127.
    ///
    /// The scale is `max|w| / 127`, and the value is `w / scale`, rounded to nearest with ties to even. Each weight is
    /// off by at most half a scale.
    ///
    /// A row of zeros gets the scale 1. Scales are normal floats: a row whose largest magnitude is below `127 * 2^-126`
    /// gets the scale `2^-126`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN; [`Error::Allocation`].
    pub fn quantize(w: MatRef<'_, f32>) -> Result<Self> {
        let (n, k) = w.shape();
        let mut values = Mat::zeros(n, k)?;
        let mut scales = Vec::new();
        scales.try_reserve_exact(n).map_err(|_| Error::Allocation { bytes: n.saturating_mul(size_of::<f32>()) })?;
        for row in 0..n {
            let weights = w.row(row);
            let largest = f32::from_bits(magnitude_bits(weights));
            if !largest.is_finite() {
                // NaN has the largest bits, so `largest` shows any bad weight. The search ends at the first one,
                // whatever it is.
                let column = weights.iter().position(|w| !w.is_finite()).unwrap_or(0);
                return Err(Error::NotFinite { what: "weights", index: row * k + column, value: weights[column] });
            }
            let scale = (largest / LARGEST_BYTE).clamp(f32::MIN_POSITIVE, LARGEST_SCALE);
            let scale = if largest == 0.0 { 1.0 } else { scale };
            for (value, &weight) in values.view_mut().row_mut(row).iter_mut().zip(weights) {
                // The quotient exceeds 127 by at most a rounding error, which rounding removes.
                *value = round_to_i32(weight / scale) as i8;
            }
            scales.push(scale);
        }
        Ok(Self { values, scales })
    }

    /// Takes weights that were quantized elsewhere. `values` is `n x k`, and `scales` has one scale per row.
    ///
    /// # Errors
    /// [`Error::Length`] if there are not `n` scales, [`Error::Parameter`] for a scale that is not finite or not
    /// positive.
    pub fn from_parts(values: Mat<i8>, scales: Vec<f32>) -> Result<Self> {
        expect_scales(&scales, values.rows())?;
        Ok(Self { values, scales })
    }

    /// The weights that the 8-bit values stand for, `n x k`.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn dequantize(&self) -> Result<Mat<f32>> {
        let mut w = Mat::zeros(self.n(), self.k())?;
        for (row, &scale) in self.scales.iter().enumerate() {
            for (w, &value) in w.view_mut().row_mut(row).iter_mut().zip(self.values.view().row(row)) {
                *w = f32::from(value) * scale;
            }
        }
        Ok(w)
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.values.rows()
    }

    /// Depth: input features.
    pub fn k(&self) -> usize {
        self.values.cols()
    }

    /// The 8-bit values, `n x k`.
    pub fn values(&self) -> MatRef<'_, i8> {
        self.values.view()
    }

    /// One scale per output feature.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Splits into the values and the scales.
    pub fn into_parts(self) -> (Mat<i8>, Vec<f32>) {
        (self.values, self.scales)
    }
}

/// Fails unless there are `n` scales, all finite and positive.
pub(super) fn expect_scales(scales: &[f32], n: usize) -> Result<()> {
    if scales.len() != n {
        return Err(Error::Length { what: "weight scales", expected: n, found: scales.len() });
    }
    match scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
        None => Ok(()),
        Some(&scale) => {
            Err(Error::Parameter { what: "weight scale", value: scale.into(), expected: "finite and positive" })
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn quantize(w: &[f32]) -> QuantizedMat {
        QuantizedMat::quantize(MatRef::row_vector(w)).unwrap()
    }

    #[test]
    fn extremes_keep_a_normal_scale_and_a_finite_value() {
        for (w, values, scale) in [
            ([0.0, -0.0], [0, 0], 1.0),
            ([f32::MAX, -f32::MAX], [127, -127], LARGEST_SCALE),
            ([f32::from_bits(1), 0.0], [0, 0], f32::MIN_POSITIVE),
            ([f32::MIN_POSITIVE, -127.0 * f32::MIN_POSITIVE], [1, -127], f32::MIN_POSITIVE),
        ] {
            let quantized = quantize(&w);
            assert_eq!(quantized.values().as_slice(), values);
            assert_eq!(quantized.scales(), [scale]);
            let back = quantized.dequantize().unwrap();
            for (back, w) in back.as_slice().iter().zip(w) {
                assert!(back.is_finite() && (f64::from(*back) - f64::from(w)).abs() <= f64::from(scale) / 2.0);
            }
        }
    }

    #[test]
    fn ties_go_to_even() {
        assert_eq!(quantize(&[127.0, 0.5, 1.5, -2.5, 3.5]).values().as_slice(), [127, 0, 2, -2, 4]);
    }

    #[test]
    fn the_first_weight_that_is_not_finite_is_named() {
        let w = [1.0, 2.0, 3.0, f32::NEG_INFINITY, f32::NAN, 0.0];
        let error = QuantizedMat::quantize(MatRef::new(&w, 2, 3).unwrap()).unwrap_err();
        assert_eq!(error, Error::NotFinite { what: "weights", index: 3, value: f32::NEG_INFINITY });
    }

    #[test]
    fn parts_that_cannot_be_are_refused() {
        let values = || Mat::from_vec(vec![1i8, 2], 2, 1).unwrap();
        assert!(QuantizedMat::from_parts(values(), vec![1.0, 0.5]).is_ok());
        assert_eq!(
            QuantizedMat::from_parts(values(), vec![1.0]),
            Err(Error::Length { what: "weight scales", expected: 2, found: 1 })
        );
        for bad in [0.0, -1.0, f32::INFINITY, f32::NAN] {
            let refused = QuantizedMat::from_parts(values(), vec![1.0, bad]);
            assert!(matches!(refused, Err(Error::Parameter { what: "weight scale", .. })), "{bad}");
        }
    }
}
