//! Symmetric 4-bit weights with one scale per output feature or per group of 32 along `k`.

use alloc::vec::Vec;

use super::weights::expect_scales;
use crate::error::{Error, Result};
use crate::float::{LARGEST_FINITE, round_to_i32};
use crate::format::{GROUP, MAX_I4, MAX_MULTIPLIER};
use crate::kernels::bytes::magnitude_bits;
use crate::matrix::{Mat, MatRef};

/// An `n x k` weight matrix in 4 bits: `w[j][i] ~ scales[j] * multiplier * values[j][i]`, with values in -7..=7.
///
/// Without groups, the multiplier is 1. With groups, each [`GROUP`] of weights along `k` has an integer multiplier in
/// 0..=127: the group's scale in units of the row's scale. An integer multiplier costs at most 1/127 of the range of
/// the row's largest group, and keeps sums exact in any order.
///
/// # Example
/// ```
/// use skinny::{MatRef, quant::QuantizedMatI4};
///
/// let mut w = [0.0; 64]; // one output feature of two groups
/// (w[0], w[1], w[63]) = (7.0, -3.2, 0.7);
/// let by_row = QuantizedMatI4::quantize(MatRef::row_vector(&w))?.dequantize()?;
/// let by_group = QuantizedMatI4::quantize_grouped(MatRef::row_vector(&w))?.dequantize()?;
/// assert_eq!((by_row.as_slice()[1], by_row.as_slice()[63]), (-3.0, 1.0));
/// assert!((by_group.as_slice()[63] - 0.7).abs() < 0.06);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatI4 {
    values: Mat<i8>,
    multipliers: Option<Mat<u8>>,
    scales: Vec<f32>,
}

const LARGEST: f32 = MAX_I4 as f32;

/// The scale with which `steps` stands for the largest magnitude. It is a normal float, so its inverse is finite.
fn scale(largest: f32, steps: f32) -> f32 {
    if largest == 0.0 { 1.0 } else { (largest / steps).max(f32::MIN_POSITIVE) }
}

fn largest(w: &[f32]) -> f32 {
    f32::from_bits(magnitude_bits(w))
}

fn quantize(w: &[f32], scale: f32, values: &mut [i8]) {
    for (value, &w) in values.iter_mut().zip(w) {
        // The quotient exceeds 7 by at most a rounding error. It is smaller if the scale was raised to the least normal
        // float.
        *value = round_to_i32((w / scale).clamp(-LARGEST, LARGEST)) as i8;
    }
}

impl QuantizedMatI4 {
    /// Quantizes each row of `w` (`n x k`) with one scale, `max|w| / 7`. A row of zeros gets the scale 1.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN; [`Error::Allocation`].
    pub fn quantize(w: MatRef<'_, f32>) -> Result<Self> {
        let (mut values, mut scales) = Self::empty(w)?;
        for row in 0..w.rows() {
            let scale = scale(largest(w.row(row)), LARGEST);
            quantize(w.row(row), scale, values.view_mut().row_mut(row));
            scales.push(scale);
        }
        Ok(Self { values, multipliers: None, scales })
    }

    /// Quantizes each [`GROUP`] of weights along `k` separately.
    ///
    /// The scale of a row is `max|w| / 7 / 127`. A group's multiplier is the least integer with which the group's
    /// weights fit.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn quantize_grouped(w: MatRef<'_, f32>) -> Result<Self> {
        let (mut values, mut scales) = Self::empty(w)?;
        let mut multipliers = Mat::zeros(w.rows(), w.cols().div_ceil(GROUP))?;
        for row in 0..w.rows() {
            let scale = scale(largest(w.row(row)), LARGEST * f32::from(MAX_MULTIPLIER));
            let (mut values, mut multipliers) = (values.view_mut(), multipliers.view_mut());
            let groups = w.row(row).chunks(GROUP).zip(values.row_mut(row).chunks_mut(GROUP));
            for ((w, values), multiplier) in groups.zip(multipliers.row_mut(row)) {
                let steps = largest(w) / scale / LARGEST;
                // The least integer that is not below `steps`. Casts saturate, and core has no `ceil`.
                let least = steps as u8 + u8::from(f32::from(steps as u8) < steps);
                *multiplier = least.min(MAX_MULTIPLIER);
                quantize(w, scale * f32::from((*multiplier).max(1)), values);
            }
            scales.push(scale);
        }
        Ok(Self { values, multipliers: Some(multipliers), scales })
    }

    /// Takes weights that were quantized elsewhere.
    ///
    /// `values` is `n x k`, each in -7..=7, and `scales` has one scale per row. If rows have groups, `multipliers` is
    /// `n x ceil(k / 32)`, each in 0..=127.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Shape`] for parts that do not fit each other, [`Error::Parameter`] for a value or
    /// multiplier outside its range and for a scale that is not finite or not positive.
    pub fn from_parts(values: Mat<i8>, multipliers: Option<Mat<u8>>, scales: Vec<f32>) -> Result<Self> {
        expect_scales(&scales, values.rows())?;
        if let Some(&value) = values.as_slice().iter().find(|value| value.unsigned_abs() > MAX_I4.unsigned_abs()) {
            return Err(Error::Parameter { what: "4-bit weight", value: value.into(), expected: "in -7..=7" });
        }
        if let Some(multipliers) = &multipliers {
            let groups = values.cols().div_ceil(GROUP);
            multipliers.view().expect_shape("group multipliers", values.rows(), groups)?;
            if let Some(&value) = multipliers.as_slice().iter().find(|&&m| m > MAX_MULTIPLIER) {
                return Err(Error::Parameter { what: "group multiplier", value: value.into(), expected: "in 0..=127" });
            }
        }
        Ok(Self { values, multipliers, scales })
    }

    /// Allocates values and scales for `w`, which must be finite.
    fn empty(w: MatRef<'_, f32>) -> Result<(Mat<i8>, Vec<f32>)> {
        if magnitude_bits(w.as_slice()) > LARGEST_FINITE {
            let index = w.as_slice().iter().position(|w| !w.is_finite()).unwrap_or(0);
            return Err(Error::NotFinite { what: "weights", index, value: w.as_slice()[index] });
        }
        let mut scales = Vec::new();
        let bytes = w.rows().saturating_mul(size_of::<f32>());
        scales.try_reserve_exact(w.rows()).map_err(|_| Error::Allocation { bytes })?;
        Ok((Mat::zeros(w.rows(), w.cols())?, scales))
    }

    /// The weights that the 4-bit values stand for, `n x k`.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn dequantize(&self) -> Result<Mat<f32>> {
        let mut w = Mat::zeros(self.values.rows(), self.values.cols())?;
        for (row, &scale) in self.scales.iter().enumerate() {
            let values = self.values.view().row(row);
            for (i, (w, &value)) in w.view_mut().row_mut(row).iter_mut().zip(values).enumerate() {
                let multiplier = self.multipliers().map_or(1, |multipliers| multipliers.row(row)[i / GROUP]);
                *w = f32::from(i16::from(value) * i16::from(multiplier)) * scale;
            }
        }
        Ok(w)
    }

    /// The 4-bit values, `n x k`, each in a byte.
    pub fn values(&self) -> MatRef<'_, i8> {
        self.values.view()
    }

    /// One multiplier per group, `n x ceil(k / 32)`; `None` if rows have one scale each.
    pub fn multipliers(&self) -> Option<MatRef<'_, u8>> {
        self.multipliers.as_ref().map(Mat::view)
    }

    /// One scale per output feature.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn weights_are_off_by_half_a_step_of_their_row_or_group() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for (n, k) in [(1, 1), (3, 31), (2, 32), (5, 100)] {
            for magnitude in [1.0, 1e-37, 1e-44, 3e38] {
                let w: Vec<f32> = (0..n * k).map(|i| random() * magnitude / (1 + i / 16) as f32).collect();
                let w = MatRef::new(&w, n, k).unwrap();
                for q in [QuantizedMatI4::quantize(w).unwrap(), QuantizedMatI4::quantize_grouped(w).unwrap()] {
                    assert!(q.values().as_slice().iter().all(|v| v.unsigned_abs() <= 7));
                    let back = q.dequantize().unwrap();
                    for (i, (&w, &back)) in w.as_slice().iter().zip(back.as_slice()).enumerate() {
                        let multiplier = q.multipliers().map_or(1, |m| m.row(i / k)[i % k / GROUP]);
                        let step = f64::from(q.scales()[i / k]) * f64::from(multiplier);
                        let off = (f64::from(w) - f64::from(back)).abs();
                        assert!(off <= 0.5001 * step, "{w} became {back}, step {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_not_finite_is_refused() {
        let zeros = vec![0.0; 70];
        let zeros = MatRef::new(&zeros, 2, 35).unwrap();
        for q in [QuantizedMatI4::quantize(zeros).unwrap(), QuantizedMatI4::quantize_grouped(zeros).unwrap()] {
            assert!(q.dequantize().unwrap().as_slice().iter().all(|&w| w == 0.0));
        }
        let w = [1.0, f32::NEG_INFINITY];
        let error = Error::NotFinite { what: "weights", index: 1, value: f32::NEG_INFINITY };
        assert_eq!(QuantizedMatI4::quantize(MatRef::row_vector(&w)), Err(error.clone()));
        assert_eq!(QuantizedMatI4::quantize_grouped(MatRef::row_vector(&w)), Err(error));
    }
}
