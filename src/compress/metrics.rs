//! Measures of an approximation's loss, and of how low a weight's rank already is.

use super::Moment;
use crate::error::Result;
use crate::linalg::{product, to_f64};
use crate::matrix::MatRef;

/// The nondimensional trace norm coefficient of Kliegl et al., arXiv 1710.09026:
/// `(|sigma|_1 / |sigma|_2 - 1) / (sqrt(d) - 1)` for all `d` singular values. It is 0 at rank one and 1 if all values
/// are equal. It is also 0 if all are zero or there are fewer than two.
///
/// # Example
/// ```
/// use skinny::compress::nu;
///
/// assert_eq!(nu(&[3.0, 0.0, 0.0]), 0.0);
/// assert!((nu(&[2.0, 2.0, 2.0]) - 1.0).abs() < 1e-6);
/// ```
pub fn nu(singular_values: &[f64]) -> f64 {
    let sum: f64 = singular_values.iter().sum();
    let norm = squares(singular_values).sqrt();
    let d = singular_values.len() as f64;
    if d < 2.0 || norm == 0.0 { 0.0 } else { ((sum / norm - 1.0) / (d.sqrt() - 1.0)).max(0.0) }
}

/// The share of the variance that the first `rank` singular values explain: the sum of their squares divided by the sum
/// over all. It is 1 if all are zero.
///
/// # Example
/// ```
/// use skinny::compress::explained_variance;
///
/// assert_eq!(explained_variance(&[3.0, 1.0], 1), 0.9);
/// ```
pub fn explained_variance(singular_values: &[f64], rank: usize) -> f64 {
    let all = squares(singular_values);
    if all == 0.0 { 1.0 } else { squares(&singular_values[..rank.min(singular_values.len())]) / all }
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// The relative error `|W - A|_F / |W|_F` of an approximation; 0 if both are zero, infinite if only `W` is.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for matrices of different shapes.
///
/// # Example
/// ```
/// use skinny::{MatRef, compress::relative_error};
///
/// assert_eq!(relative_error(MatRef::row_vector(&[3.0, 4.0]), MatRef::row_vector(&[3.0, 3.0]))?, 0.2);
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn relative_error(w: MatRef<'_, f32>, approximation: MatRef<'_, f32>) -> Result<f64> {
    approximation.expect_shape("approximation", w.rows(), w.cols())?;
    let pairs = w.as_slice().iter().zip(approximation.as_slice());
    let error: f64 = pairs.map(|(&w, &a)| (f64::from(w) - f64::from(a)).powi(2)).sum();
    let all: f64 = w.as_slice().iter().map(|&w| f64::from(w).powi(2)).sum();
    Ok(if error == 0.0 { 0.0 } else { (error / all).sqrt() })
}

/// The signal-to-noise ratio, in dB, of an approximation's products with inputs of covariance `C`:
/// `10 log10(tr(W C W^T) / tr((W - A) C (W - A)^T))`. The mean of the error is left out because the bias can absorb it.
/// Infinite if there is no noise.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for operands that do not fit each other.
///
/// # Example
/// ```
/// use skinny::{MatRef, compress::{Moment, signal_to_noise}};
///
/// let mut moment = Moment::new(2)?;
/// moment.add(MatRef::new(&[1.0, 0.0, -1.0, 0.0], 2, 2)?)?;
/// let ratio = signal_to_noise(MatRef::row_vector(&[1.0, 7.0]), MatRef::row_vector(&[0.9, 0.0]), &moment)?;
/// assert!((ratio - 20.0).abs() < 1e-4);
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn signal_to_noise(w: MatRef<'_, f32>, approximation: MatRef<'_, f32>, moment: &Moment) -> Result<f64> {
    approximation.expect_shape("approximation", w.rows(), w.cols())?;
    w.expect_shape("weight", w.rows(), moment.k())?;
    let w = to_f64(w);
    let signal = energy(w.as_ref(), moment);
    let noise = energy((&w - to_f64(approximation)).as_ref(), moment);
    Ok(if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() })
}

/// `tr(W C W^T)`: the variance of the product with the inputs of a moment.
pub(super) fn energy(w: faer::MatRef<'_, f64>, moment: &Moment) -> f64 {
    let product = product(w, moment.covariance().as_ref());
    let rows = 0..w.nrows();
    rows.map(|row| (0..w.ncols()).map(|column| product[(row, column)] * w[(row, column)]).sum::<f64>())
        .sum::<f64>()
        .max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nu_is_of_two_values_or_more() {
        assert_eq!([nu(&[]), nu(&[0.0]), nu(&[3.0]), nu(&[0.0; 3])], [0.0; 4]);
        // (7 / 5 - 1) / (sqrt(2) - 1)
        assert!((nu(&[4.0, 3.0]) - 0.4 / (2f64.sqrt() - 1.0)).abs() < 1e-15);
    }

    #[test]
    fn a_ratio_to_no_noise_is_infinite() {
        let mut moment = Moment::new(2).unwrap();
        moment.add(MatRef::new(&[1.0, 0.5, -1.0, 0.25], 2, 2).unwrap()).unwrap();
        let ratio =
            |w: &[f32], a: &[f32]| signal_to_noise(MatRef::row_vector(w), MatRef::row_vector(a), &moment).unwrap();
        assert_eq!(ratio(&[3.0, 1.0], &[3.0, 1.0]), f64::INFINITY);
        for scale in [1.0f32, 1e-18, 1e18] {
            let found = ratio(&[3.0 * scale, scale], &[2.0 * scale, scale]);
            // 3 x + y and x have the deviations 3.125 and 1 about their means of 0.375 and 0.
            assert!((found - 20.0 * 3.125f64.log10()).abs() < 1e-5, "{scale}: {found}");
        }
    }
}
