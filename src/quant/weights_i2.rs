//! 2-bit weights with one multiplier per group of 64 along `k`.

use alloc::vec::Vec;

use super::weights::{LARGEST_SCALE, expect_scales};
use crate::error::{Error, Result, expect_i2};
use crate::float::{LARGEST_FINITE, round_to_i32};
use crate::format::{GROUP_I2, MAX_I2, MAX_MULTIPLIER_I2, MIN_I2};
use crate::kernels::bytes::magnitude_bits;
use crate::matrix::{Mat, MatRef};

/// An `n x k` weight matrix in 2 bits: `w[j][i] ~ scales[j] * multiplier * values[j][i]`, with values -2, -1, 0 and 1.
///
/// Each [`GROUP_I2`] of weights along `k` has an integer multiplier in -63..=63: the group's scale in units of the row's
/// scale. A negative multiplier turns the levels around, so that the group has two levels below zero or two above, as
/// suits its weights. Files and kernels take 2 bits for each value and a byte for each multiplier: 2.125 bits a weight,
/// and 4 bytes a row.
///
/// Four levels are few, and scales by the largest weight would waste them. Scales are therefore chosen by least squared
/// error ([`quantize`](Self::quantize)), and the largest weights of a group are clipped.
///
/// # Example
/// ```
/// use skinny::{MatRef, quant::QuantizedMatI2};
///
/// let mut w = [0.0; 128]; // one output feature of two groups
/// (w[0], w[1], w[64], w[65]) = (0.5, -1.0, 0.02, 0.01);
/// let quantized = QuantizedMatI2::quantize(MatRef::row_vector(&w))?;
/// assert_eq!(quantized.values().as_slice()[..3], [1, -2, 0]);
/// // Turned around: 0.02 is -2 times a negative multiplier.
/// assert_eq!(quantized.values().as_slice()[64..67], [-2, -1, 0]);
/// assert_eq!(quantized.multipliers().as_slice(), [63, -1]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedMatI2 {
    values: Mat<i8>,
    multipliers: Mat<i8>,
    scales: Vec<f32>,
}

const LOWEST: f32 = MIN_I2 as f32;
const HIGHEST: f32 = MAX_I2 as f32;
const LARGEST_MULTIPLIER: f32 = MAX_MULTIPLIER_I2 as f32;

/// The steps that are tried for a group, as shares of its largest magnitude: `i / TRIED_PER_LARGEST` for these `i`.
/// Half the largest magnitude clips nothing. Larger steps suit groups of which few weights are far from zero.
const TRIED: core::ops::RangeInclusive<u8> = 4..=32;
const TRIED_PER_LARGEST: f32 = 32.0;

/// Number of partial sums: enough for any vector width.
const LANES: usize = 16;

/// The level next to `w / step`.
fn level(w: f32, step: f32) -> f32 {
    // Rounds to nearest with ties to even. Clamping first keeps the quotient within the range of that rounding.
    round_to_i32((w / step).clamp(LOWEST, HIGHEST)) as f32
}

/// The sums that decide about a step: of `w * q`, of `q^2` and of the squared error. Each is computed in lanes that are
/// added in the same order everywhere.
#[derive(Clone, Copy, Default)]
struct Fit {
    cross: f32,
    square: f32,
    error: f32,
}

impl Fit {
    /// Of weights of magnitude up to 1. A step of 0 stands for zeros.
    fn new(w: &[f32], step: f32) -> Self {
        let (mut cross, mut square, mut error) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        let mut add = |lane: usize, w: f32| {
            let q = if step == 0.0 { 0.0 } else { level(w, step) };
            let off = w - q * step;
            cross[lane] += w * q;
            square[lane] += q * q;
            error[lane] += off * off;
        };
        let (whole, tail) = w.as_chunks::<LANES>();
        for w in whole {
            (0..LANES).for_each(|lane| add(lane, w[lane]));
        }
        tail.iter().enumerate().for_each(|(lane, &w)| add(lane, w));
        let sum = |lanes: [f32; LANES]| lanes.iter().fold(0.0, |sum, lane| sum + lane);
        Self { cross: sum(cross), square: sum(square), error: sum(error) }
    }
}

/// The step, with a sign, of nearly the least error for a group of magnitudes up to 1.
fn best_step(w: &[f32]) -> f32 {
    let largest = f32::from_bits(magnitude_bits(w));
    let (mut best, mut fit) = (0.0, Fit::new(w, 0.0));
    let consider = |step: f32, best: &mut f32, fit: &mut Fit| {
        let candidate = Fit::new(w, step);
        if candidate.error < fit.error {
            (*best, *fit) = (step, candidate);
        }
    };
    for share in TRIED {
        let step = largest * (f32::from(share) / TRIED_PER_LARGEST);
        consider(step, &mut best, &mut fit);
        consider(-step, &mut best, &mut fit);
    }
    // For the levels that it gave, the best step follows by least squares; other levels may then be nearest.
    for _ in 0..2 {
        if fit.square > 0.0 {
            consider(fit.cross / fit.square, &mut best, &mut fit);
        }
    }
    best
}

impl QuantizedMatI2 {
    /// Quantizes each group of weights of `w` (`n x k`) with the step of least squared error: of both signs, 29 shares
    /// of the largest magnitude are tried, and the best is refined by least squares.
    ///
    /// The scale of a row is its largest step divided by 63. A group's multiplier is the one of the two integers next to
    /// its step that has the smaller error.
    ///
    /// A row of zeros gets the scale 1. Scales are normal floats. Results are the same on every target.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN; [`Error::Allocation`].
    pub fn quantize(w: MatRef<'_, f32>) -> Result<Self> {
        if magnitude_bits(w.as_slice()) > LARGEST_FINITE {
            let index = w.as_slice().iter().position(|w| !w.is_finite()).unwrap_or(0);
            return Err(Error::NotFinite { what: "weights", index, value: w.as_slice()[index] });
        }
        let (n, k) = w.shape();
        let (mut values, mut multipliers) = (Mat::zeros(n, k)?, Mat::zeros(n, k.div_ceil(GROUP_I2))?);
        let mut scales = Vec::new();
        scales.try_reserve_exact(n).map_err(|_| Error::Allocation { bytes: n.saturating_mul(size_of::<f32>()) })?;
        let mut relative = Mat::zeros(n.min(1), k)?;
        let mut steps = Mat::zeros(n.min(1), multipliers.cols())?;
        for row in 0..n {
            let (mut values, mut multipliers) = (values.view_mut(), multipliers.view_mut());
            let (relative, steps) = (relative.as_mut_slice(), steps.as_mut_slice());
            scales.push(quantize_row(w.row(row), values.row_mut(row), multipliers.row_mut(row), relative, steps));
        }
        Ok(Self { values, multipliers, scales })
    }

    /// Takes weights that were quantized elsewhere.
    ///
    /// `values` is `n x k`, each in -2..=1, `multipliers` is `n x ceil(k / 64)`, each in -63..=63, and `scales` has one
    /// scale per row.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Shape`] for parts that do not fit each other, [`Error::Parameter`] for a value or
    /// multiplier outside its range and for a scale that is not finite or not positive.
    pub fn from_parts(values: Mat<i8>, multipliers: Mat<i8>, scales: Vec<f32>) -> Result<Self> {
        expect_scales(&scales, values.rows())?;
        multipliers.view().expect_shape("group multipliers", values.rows(), values.cols().div_ceil(GROUP_I2))?;
        expect_i2(values.as_slice(), multipliers.as_slice())?;
        Ok(Self { values, multipliers, scales })
    }

    /// The weights that the 2-bit values stand for, `n x k`.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn dequantize(&self) -> Result<Mat<f32>> {
        let mut w = Mat::zeros(self.values.rows(), self.values.cols())?;
        for (row, &scale) in self.scales.iter().enumerate() {
            let groups = self.values.view().row(row).chunks(GROUP_I2).zip(self.multipliers.view().row(row));
            for (w, (values, &multiplier)) in w.view_mut().row_mut(row).chunks_mut(GROUP_I2).zip(groups) {
                for (w, &value) in w.iter_mut().zip(values) {
                    *w = f32::from(value * multiplier) * scale;
                }
            }
        }
        Ok(w)
    }

    /// The 2-bit values, `n x k`, each in a byte.
    pub fn values(&self) -> MatRef<'_, i8> {
        self.values.view()
    }

    /// One multiplier per group, `n x ceil(k / 64)`.
    pub fn multipliers(&self) -> MatRef<'_, i8> {
        self.multipliers.view()
    }

    /// One scale per output feature.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}

/// Quantizes a row and returns its scale. `relative` and `steps` are memory for the row in units of its largest
/// magnitude, and for the steps of its groups.
fn quantize_row(w: &[f32], values: &mut [i8], multipliers: &mut [i8], relative: &mut [f32], steps: &mut [f32]) -> f32 {
    let largest = f32::from_bits(magnitude_bits(w));
    if largest == 0.0 {
        values.fill(0);
        multipliers.fill(0);
        return 1.0;
    }
    for (relative, w) in relative.iter_mut().zip(w) {
        *relative = w / largest;
    }
    for (step, w) in steps.iter_mut().zip(relative.chunks(GROUP_I2)) {
        *step = best_step(w);
    }
    let largest_step = f32::from_bits(magnitude_bits(steps));
    let scale = (largest_step / LARGEST_MULTIPLIER * largest).clamp(f32::MIN_POSITIVE, LARGEST_SCALE);
    // As it is after clamping.
    let relative_scale = scale / largest;
    let groups = w.chunks(GROUP_I2).zip(relative.chunks(GROUP_I2)).zip(values.chunks_mut(GROUP_I2));
    for (((w, relative), values), (&step, multiplier)) in groups.zip(steps.iter().zip(multipliers)) {
        *multiplier = best_multiplier(relative, step, relative_scale);
        let step = scale * f32::from(*multiplier);
        for (value, &w) in values.iter_mut().zip(w) {
            *value = if *multiplier == 0 { 0 } else { level(w, step) as i8 };
        }
    }
    scale
}

/// The one of the two multipliers next to `step / scale` that has the smaller error.
fn best_multiplier(w: &[f32], step: f32, scale: f32) -> i8 {
    // Casts truncate toward zero and saturate.
    let near = ((step / scale).clamp(-LARGEST_MULTIPLIER, LARGEST_MULTIPLIER)) as i8;
    let far = (near + if step < 0.0 { -1 } else { 1 }).clamp(-MAX_MULTIPLIER_I2, MAX_MULTIPLIER_I2);
    let error = |multiplier: i8| Fit::new(w, scale * f32::from(multiplier)).error;
    if error(far) < error(near) { far } else { near }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    struct Random(u32);

    impl Random {
        fn uniform(&mut self) -> f32 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as f32 / (1 << 24) as f32
        }

        /// Nearly Gaussian, of variance 1.
        fn gaussian(&mut self) -> f32 {
            (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
        }

        /// Of variance 2.
        fn laplace(&mut self) -> f32 {
            let magnitude = -(1.0 - self.uniform()).ln();
            if self.uniform() < 0.5 { magnitude } else { -magnitude }
        }
    }

    fn decibels(w: &[f32], n: usize) -> f64 {
        let w = MatRef::new(w, n, w.len() / n).unwrap();
        let back = QuantizedMatI2::quantize(w).unwrap().dequantize().unwrap();
        let square = |x: f64| x * x;
        let signal: f64 = w.as_slice().iter().map(|&w| square(w.into())).sum();
        let pairs = w.as_slice().iter().zip(back.as_slice());
        let noise: f64 = pairs.map(|(&w, &back)| square(f64::from(w) - f64::from(back))).sum();
        10.0 * (signal / noise).log10()
    }

    /// The best steps that a finer search finds, in reals, give 9.07 and 7.91 dB (numpy).
    #[test]
    fn scales_are_chosen_by_least_error() {
        let mut random = Random(1);
        let gaussian: Vec<f32> = (0..64 * 512).map(|_| random.gaussian()).collect();
        let laplace: Vec<f32> = (0..64 * 512).map(|_| random.laplace()).collect();
        let found = (decibels(&gaussian, 64), decibels(&laplace, 64));
        assert!(found.0 > 9.0 && found.1 > 7.8, "{found:?}");
    }

    /// The error of a step, in reals.
    fn error_of(w: &[f32], step: f64) -> f64 {
        let off = |w: f64| w - if step == 0.0 { 0.0 } else { (w / step).round().clamp(-2.0, 1.0) * step };
        w.iter().map(|&w| off(w.into()).powi(2)).sum()
    }

    /// The step of no group can be much better than the one that was found, whether groups are short, long or skewed.
    #[test]
    fn no_step_of_a_fine_search_is_much_better() {
        let mut random = Random(3);
        let (mut found, mut least) = (0.0, 0.0);
        for i in 0..300 {
            let shift = [0.0, 0.3, -0.8][i % 3];
            let len = [64, 1, 2, 5, 16, 17, 33, 63][i % 8];
            let mut w: Vec<f32> = (0..len).map(|_| random.gaussian() + shift).collect();
            let largest = f32::from_bits(magnitude_bits(&w));
            w.iter_mut().for_each(|w| *w /= largest);
            let of_group = error_of(&w, best_step(&w).into());
            let finest = (1..4000).map(|i| f64::from(i) / 2000.0).flat_map(|step| [step, -step]);
            let least_of_group = finest.map(|step| error_of(&w, step)).fold(error_of(&w, 0.0), f64::min);
            assert!(of_group <= least_of_group * 1.03 + 1e-6, "group {i}: {of_group}, {least_of_group}");
            found += of_group;
            least += least_of_group;
        }
        // Without the refinement by least squares it is off by 5e-3.
        assert!(found <= least * 1.0005, "{found}, {least}");
    }

    #[test]
    fn what_four_levels_can_represent_is_kept() {
        let mut random = Random(2);
        for (n, k) in [(1usize, 1usize), (3, 63), (2, 64), (4, 65), (5, 200)] {
            let groups = k.div_ceil(GROUP_I2);
            let mut values: Vec<i8> = (0..n * k).map(|_| (random.uniform() * 4.0) as i8 - 2).collect();
            // The full range of a group, or its step would not be known.
            (0..n * k).filter(|i| i % k % GROUP_I2 == 0).for_each(|i| values[i] = -2);
            // The largest multiplier of each row is 63, or its scale would be another.
            let multiplier = |i| if i % groups == 0 { [63, -63][i % 2] } else { [31, -40, 63][i % 3] };
            let multipliers: Vec<i8> = (0..n * groups).map(multiplier).collect();
            let scales = (0..n).map(|row| 0.5 + row as f32).collect();
            let mat = |values: Vec<i8>, cols| Mat::from_vec(values, n, cols).unwrap();
            let exact = QuantizedMatI2::from_parts(mat(values, k), mat(multipliers, groups), scales).unwrap();
            let w = exact.dequantize().unwrap();
            let back = QuantizedMatI2::quantize(w.view()).unwrap().dequantize().unwrap();
            for (w, back) in w.as_slice().iter().zip(back.as_slice()) {
                assert!((w - back).abs() <= 1e-5 * w.abs(), "{n} x {k}: {w} became {back}");
            }
        }
    }

    #[test]
    fn extremes_keep_a_normal_scale_and_finite_values() {
        for magnitude in [f32::from_bits(1), 1e-40, f32::MIN_POSITIVE, 1e-36, 1e36, f32::MAX] {
            for w in [[magnitude, -magnitude], [magnitude, 0.0], [-magnitude, magnitude / 2.0], [magnitude; 2]] {
                let q = QuantizedMatI2::quantize(MatRef::row_vector(&w)).unwrap();
                assert!(q.scales()[0].is_normal(), "{w:?}");
                assert!(q.multipliers().as_slice()[0].unsigned_abs() <= 63);
                for (back, w) in q.dequantize().unwrap().as_slice().iter().zip(w) {
                    let off = (f64::from(*back) - f64::from(w)).abs();
                    // Half the largest for a pair of opposite signs; and what a tiny row cannot resolve.
                    let bound = 0.51 * f64::from(magnitude) + f64::from(f32::MIN_POSITIVE);
                    assert!(back.is_finite() && off <= bound, "{w} became {back}");
                }
            }
        }
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_not_finite_is_refused() {
        let mut w = vec![0.0; 2 * 70];
        w[70] = 3.0;
        let q = QuantizedMatI2::quantize(MatRef::new(&w, 2, 70).unwrap()).unwrap();
        assert_eq!((q.scales()[0], q.multipliers().row(0)), (1.0, &[0, 0][..]));
        let back = q.dequantize().unwrap();
        assert!((back.as_slice()[70] - 3.0).abs() < 1e-5);
        assert!(back.as_slice().iter().enumerate().all(|(i, &w)| i == 70 || w == 0.0));
        // A group that the scale of its row cannot resolve becomes zeros, not levels of a step of zero.
        w[..64].fill(1e-9);
        w[64..70].fill(-1.0);
        let q = QuantizedMatI2::quantize(MatRef::new(&w[..70], 1, 70).unwrap()).unwrap();
        assert_eq!((q.multipliers().as_slice()[0], &q.values().as_slice()[..64]), (0, &[0; 64][..]));
        assert!(QuantizedMatI2::quantize(MatRef::new(&[], 0, 5).unwrap()).is_ok());
        assert!(QuantizedMatI2::quantize(MatRef::new(&[], 5, 0).unwrap()).is_ok());
        let error = Error::NotFinite { what: "weights", index: 1, value: f32::NEG_INFINITY };
        assert_eq!(QuantizedMatI2::quantize(MatRef::row_vector(&[1.0, f32::NEG_INFINITY])), Err(error));
    }

    #[test]
    fn parts_that_cannot_be_are_refused() {
        let mat = |values: &[i8], cols| Mat::from_vec(values.to_vec(), 1, cols).unwrap();
        let parts = |values: &[i8], multipliers: &[i8]| {
            QuantizedMatI2::from_parts(mat(values, values.len()), mat(multipliers, multipliers.len()), vec![1.0])
        };
        assert!(parts(&[-2, -1, 0, 1], &[-63]).is_ok());
        for bad in [-128, -3, 2, 127] {
            let error = Error::Parameter { what: "2-bit weight", value: bad.into(), expected: "in -2..=1" };
            assert_eq!(parts(&[0, bad], &[1]), Err(error));
        }
        for bad in [-128, -64, 64, 127] {
            let error = Error::Parameter { what: "group multiplier", value: bad.into(), expected: "in -63..=63" };
            assert_eq!(parts(&[0, 1], &[bad]), Err(error));
        }
        let error = Error::Shape { what: "group multipliers", expected: (1, 1), found: (1, 2) };
        assert_eq!(parts(&[0, 1], &[1, 1]), Err(error));
    }
}
