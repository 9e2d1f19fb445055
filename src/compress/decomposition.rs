//! Singular values and factors of a weight, plain or weighted by its inputs.

use alloc::vec::Vec;

use super::Moment;
use crate::error::{Error, Result};
use crate::factored::{LowRank, Svd, expect_finite};
use crate::linalg::Cholesky;
use crate::matrix::MatRef;

/// The singular value decomposition of a weight, `W = U S V^T`: computed once, truncated to any rank.
///
/// With a moment of the inputs, the decomposition is weighted. It is the SVD of `W L`, where `C = L L^T` is the
/// Cholesky factorization of the inputs' covariance, and `W ~ (U S) (V^T L^-1)`. The error on the data,
/// `E |(W - W_r) (x - E[x])|^2`, is then the sum of the squared singular values that are cut, and no other matrix of
/// that rank has a smaller one. (See DRONE, Chen et al. 2021, and SVD-LLM, arXiv 2403.07378; both use `E[x x^T]`.) The
/// mean of the error is left out because the bias can absorb it.
///
/// `C` is singular if the inputs are few or linearly dependent. So a thousandth of the mean of its diagonal is added to
/// the diagonal, and the sum above holds for this damped `C`. If inputs vary by only a millionth of their magnitude,
/// rounding may leave no factor `L` even so; the damping is then raised tenfold until there is one.
///
/// All arithmetic is in `f64`, on one thread.
///
/// # Example
/// ```
/// use skinny::{MatRef, compress::{Decomposition, Moment}};
///
/// let w = MatRef::new(&[1.0, 0.0, 0.0, 2.0], 2, 2)?;
/// let plain = Decomposition::new(w, None)?;
/// assert!((plain.truncate(1)?.product()?.as_slice()[3] - 2.0).abs() < 1e-5);
///
/// // If the inputs lie along the first axis, the first column is what counts.
/// let mut moment = Moment::new(2)?;
/// moment.add(MatRef::new(&[5.0, 0.1, -5.0, -0.1], 2, 2)?)?;
/// let weighted = Decomposition::new(w, Some(&moment))?;
/// assert!((weighted.truncate(1)?.product()?.as_slice()[0] - 1.0).abs() < 1e-2);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decomposition {
    svd: Svd,
    /// The singular values of `svd`, times the number that the inputs were divided by.
    singular_values: Vec<f64>,
}

/// What is added to the diagonal of `C`, as a share of the diagonal's mean.
const DAMPING: f64 = 1e-3;

impl Decomposition {
    /// Decomposes `w` (`n x k`), weighted by the covariance of its inputs if a moment is given.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN, [`Error::Shape`] if the moment is not of `k`
    /// inputs, [`Error::Rank`] for weights without elements, [`Error::Allocation`].
    pub fn new(w: MatRef<'_, f32>, moment: Option<&Moment>) -> Result<Self> {
        expect_finite("weights", w.as_slice())?;
        let Some((magnitude, cholesky)) = moment.map(|moment| weighting(w.cols(), moment)).transpose()?.flatten()
        else {
            let svd = Svd::new(w, None)?;
            return Ok(Self { singular_values: svd.singular_values().to_vec(), svd });
        };
        let svd = Svd::new(w, Some(cholesky))?;
        Ok(Self { singular_values: svd.singular_values().iter().map(|sigma| sigma * magnitude).collect(), svd })
    }

    /// The `min(n, k)` singular values in descending order; with a moment, those of `W L`. They may exceed the range of
    /// `f32`.
    pub fn singular_values(&self) -> &[f64] {
        &self.singular_values
    }

    /// The best approximation of this rank, with balanced factors. Each column of `U` is as long as its row of `V`.
    /// With a moment, its length is instead the standard deviation of the element of `V x` that it multiplies, since
    /// quantization sees those values.
    ///
    /// # Errors
    /// [`Error::Rank`] unless it is in `1..=min(n, k)`.
    pub fn truncate(&self, rank: usize) -> Result<LowRank> {
        self.svd.truncate(rank)
    }

    /// The squared error at each rank from 0 to `min(n, k)`: in the Frobenius norm, or with a moment, on the data.
    pub fn squared_errors(&self) -> Vec<f64> {
        let mut errors = Vec::from([0.0]);
        let mut sum = 0.0;
        for &sigma in self.singular_values().iter().rev() {
            sum += sigma * sigma;
            errors.push(sum);
        }
        errors.reverse();
        errors
    }
}

/// The root of the mean variance of `k` inputs, and `L` for inputs divided by it; `None` if the inputs do not vary.
fn weighting(k: usize, moment: &Moment) -> Result<Option<(f64, Cholesky)>> {
    if moment.k() != k {
        let (expected, found) = ((k, k), (moment.k(), moment.k()));
        return Err(Error::Shape { what: "second moment", expected, found });
    }
    let c = moment.covariance();
    let variance = (0..k).map(|i| c[(i, i)]).sum::<f64>();
    // Less than this, relative to the squares it was computed from, is rounding.
    let squares = (0..k).map(|i| moment.get(i, i)).sum::<f64>();
    if variance <= squares * 1e-12 {
        return Ok(None);
    }
    // Normalized to variance 1: the inputs' magnitude, however large or small, only scales the singular values.
    let variance = variance / k as f64;
    Ok(damped_factor(&(c * faer::Scale(variance.recip()))).map(|cholesky| (variance.sqrt(), cholesky)))
}

/// The Cholesky factor of `C`, with as little added to its diagonal as it takes; `None` if `C` is not finite.
fn damped_factor(c: &faer::Mat<f64>) -> Option<Cholesky> {
    let damped = |damping: f64| {
        let mut damped = c.clone();
        (0..c.nrows()).for_each(|i| damped[(i, i)] += damping);
        damped
    };
    let dampings = core::iter::successors(Some(DAMPING), |damping| Some(damping * 10.0)).take(8);
    dampings.map(damped).find_map(Cholesky::new)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::compress::signal_to_noise;
    use crate::factored::tests::weight;
    use crate::matrix::Mat;

    /// Vectors whose elements have very different magnitudes and are mixed.
    fn inputs(k: usize, count: usize) -> Mat<f32> {
        let (independent, mix) = (weight(count, k), weight(k, k));
        let mut x = Mat::zeros(count, k).unwrap();
        for row in 0..count {
            for column in 0..k {
                let mixed: f32 = (0..k)
                    .map(|i| independent.view().row(row)[i] * mix.view().row(column)[i] / (1 + i * i) as f32)
                    .sum();
                x.view_mut().row_mut(row)[column] = mixed;
            }
        }
        x
    }

    /// `E |(W - A) (x - E[x])|^2`.
    fn squared_error(w: &Mat<f32>, a: &Mat<f32>, x: &Mat<f32>) -> f64 {
        let product = |w: &Mat<f32>, row: usize, x: &[f32]| -> f64 {
            w.view().row(row).iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum()
        };
        let count = x.rows() as f64;
        let of_row = |row: usize| {
            let errors = (0..x.rows()).map(|t| product(w, row, x.view().row(t)) - product(a, row, x.view().row(t)));
            let errors: Vec<f64> = errors.collect();
            let mean = errors.iter().sum::<f64>() / count;
            errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / count
        };
        (0..w.rows()).map(of_row).sum()
    }

    #[test]
    fn the_error_on_the_data_is_the_sum_of_the_cut_squared_singular_values() {
        for (n, k) in [(12, 20), (20, 12)] {
            let (w, x) = (weight(n, k), inputs(k, 500));
            let mut moment = Moment::new(k).unwrap();
            moment.add(x.view()).unwrap();
            let weighted = Decomposition::new(w.view(), Some(&moment)).unwrap();
            let plain = Decomposition::new(w.view(), None).unwrap();
            for rank in 1..n.min(k) {
                let expected = weighted.squared_errors()[rank];
                let error = |d: &Decomposition| squared_error(&w, &d.truncate(rank).unwrap().product().unwrap(), &x);
                let (of_weighted, of_plain) = (error(&weighted), error(&plain));
                // The damping adds to what is expected.
                assert!(of_weighted <= expected * 1.001 + 1e-9, "{rank}: {of_weighted} for {expected}");
                assert!(of_weighted <= of_plain, "{rank}: {of_weighted}, plain {of_plain}");
                if rank == 3 {
                    assert!(of_weighted < of_plain / 4.0, "not clearly better: {of_weighted}, plain {of_plain}");
                }
            }
        }
    }

    #[test]
    fn with_the_damping_the_error_is_exactly_what_was_cut() {
        let (n, k) = (14, 10);
        let (w, x) = (weight(n, k), inputs(k, 300));
        let mut moment = Moment::new(k).unwrap();
        moment.add(x.view()).unwrap();
        let c = moment.covariance();
        let variance = (0..k).map(|i| c[(i, i)]).sum::<f64>() / k as f64;
        let decomposition = Decomposition::new(w.view(), Some(&moment)).unwrap();
        for rank in 1..k {
            let cut = decomposition.truncate(rank).unwrap().product().unwrap();
            let difference: f64 =
                w.as_slice().iter().zip(cut.as_slice()).map(|(&w, &a)| (f64::from(w) - f64::from(a)).powi(2)).sum();
            let error = squared_error(&w, &cut, &x) + DAMPING * variance * difference;
            let expected = decomposition.squared_errors()[rank];
            assert!((error / expected - 1.0).abs() < 1e-3, "{rank}: {error} for {expected}");
        }
    }

    #[test]
    fn the_magnitude_of_the_inputs_changes_nothing_but_the_singular_values() {
        let (w, k) = (weight(8, 12), 12);
        let reference = inputs(k, 100);
        let mut products: Vec<Mat<f32>> = Vec::new();
        for magnitude in [1.0, 1e-18, 1e18] {
            let x: Vec<f32> = reference.as_slice().iter().map(|x| x * magnitude).collect();
            let mut moment = Moment::new(k).unwrap();
            moment.add(MatRef::new(&x, 100, k).unwrap()).unwrap();
            let decomposition = Decomposition::new(w.view(), Some(&moment)).unwrap();
            let low_rank = decomposition.truncate(5).unwrap();
            let scaled = decomposition.singular_values()[0] / f64::from(magnitude);
            assert!((0.1..100.0).contains(&scaled), "{scaled}");
            products.push(low_rank.product().unwrap());
        }
        for other in &products[1..] {
            let pairs = products[0].as_slice().iter().zip(other.as_slice());
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }

    #[test]
    fn weights_and_inputs_at_the_ends_of_the_range_are_decomposed_like_others() {
        let at = |w: &Mat<f32>, scale: f32| {
            Mat::from_vec(w.as_slice().iter().map(|w| w * scale).collect(), w.rows(), w.cols()).unwrap()
        };
        for (n, k) in [(9, 6), (4, 6)] {
            let (w, x) = (weight(n, k), inputs(k, 50));
            let x = at(&x, 1.0 / x.as_slice().iter().fold(0.0f32, |greatest, x| greatest.max(x.abs())));
            for (of_w, of_x) in [(1e-44, 1.0), (1e-30, 1e-30), (1e30, 3e38), (3e38, 3e38), (3e38, 1e-40), (1e-40, 3e38)]
            {
                let (w, x) = (at(&w, of_w), at(&x, of_x));
                let mut moment = Moment::new(k).unwrap();
                moment.add(x.view()).unwrap();
                for moment in [None, Some(&moment)] {
                    let decomposition = Decomposition::new(w.view(), moment).unwrap();
                    let errors = decomposition.squared_errors();
                    assert!(
                        errors.iter().all(|error| error.is_finite()) && errors[0] > 0.0,
                        "{of_w}, {of_x}: {errors:?}"
                    );
                    // At full rank it is the weight, up to the rounding of numbers that may be subnormal.
                    let full = decomposition.truncate(n.min(k)).unwrap().product().unwrap();
                    let pairs = w.as_slice().iter().zip(full.as_slice());
                    let off = pairs.map(|(w, a)| (f64::from(*w) - f64::from(*a)).abs()).fold(0.0, f64::max);
                    assert!(off <= 1e-6 * f64::from(of_w) + 3e-45, "{n} x {k}, {of_w}, {of_x}: off by {off}");
                }
            }
        }
    }

    #[test]
    fn inputs_that_hardly_vary_relative_to_their_mean_do_not_fail() {
        // The covariance is a difference of numbers 1e11 times as large: what is left has eigenvalues below zero.
        for k in [40, 200] {
            let direction = weight(1, k);
            for variation in [1e-4, 1e-5, 4e-6, 2e-6, 1e-6] {
                let noise = weight(300, k);
                let x = (0..300 * k).map(|i| direction.as_slice()[i % k] * (1.0 + variation * noise.as_slice()[i]));
                let mut moment = Moment::new(k).unwrap();
                moment.add(Mat::from_vec(x.collect(), 300, k).unwrap().view()).unwrap();
                let w = weight(9, k);
                let low_rank = Decomposition::new(w.view(), Some(&moment)).unwrap().truncate(9).unwrap();
                assert!(crate::compress::relative_error(w.view(), low_rank.product().unwrap().view()).unwrap() < 1e-5);
            }
        }
        // The eigenvalues are 2.02 and -0.02.
        let c = faer::Mat::from_fn(2, 2, |i, j| if i == j { 1.0 } else { 1.02 });
        let l = damped_factor(&c).unwrap();
        assert!((l.l()[(0, 0)].powi(2) - 1.1).abs() < 1e-12);
    }

    #[test]
    fn inputs_that_say_little_do_no_harm() {
        let w = weight(7, 9);
        let mut moment = Moment::new(9).unwrap();
        let plain = Decomposition::new(w.view(), None).unwrap();
        // Without inputs, with zeros, and with constant inputs it is the plain decomposition.
        for x in [0.0, 0.0, 0.3] {
            let weighted = Decomposition::new(w.view(), Some(&moment)).unwrap();
            assert_eq!(weighted.singular_values(), plain.singular_values());
            moment = Moment::new(9).unwrap();
            moment.add(MatRef::new(&[x; 27], 3, 9).unwrap()).unwrap();
        }
        // If the inputs lie in one direction, that direction is kept.
        let x: Vec<f32> = (0..9).map(|i| i as f32 - 3.0).collect();
        moment.add(MatRef::row_vector(&x)).unwrap();
        let rank_one = Decomposition::new(w.view(), Some(&moment)).unwrap().truncate(1).unwrap().product().unwrap();
        assert!(signal_to_noise(w.view(), rank_one.view(), &moment).unwrap() > 25.0);
        let other = Moment::new(4).unwrap();
        assert!(matches!(Decomposition::new(w.view(), Some(&other)), Err(Error::Shape { .. })));
        assert!(matches!(Decomposition::new(MatRef::row_vector(&[f32::NAN; 3]), None), Err(Error::NotFinite { .. })));
    }
}
