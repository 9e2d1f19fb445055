//! The second moment of a weight's inputs.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::factored::expect_finite;
use crate::linalg::{add_gram, expect_memory, to_f64};
use crate::matrix::MatRef;

/// The moments `E[x x^T]` and `E[x]` of a weight's inputs `x`, and from them the covariance `C`, summed in `f64`.
///
/// The bias can absorb the mean of an approximation's error, `(W - A) E[x]`. So only the error's variance counts:
/// `tr((W - A) C (W - A)^T)`.
///
/// # Example
/// ```
/// use skinny::{MatRef, compress::Moment};
///
/// let mut moment = Moment::new(2)?;
/// moment.add(MatRef::new(&[1.0, 0.0, 3.0, 0.0], 2, 2)?)?; // two vectors along the first axis
/// assert_eq!((moment.count(), moment.get(0, 0), moment.get(0, 1)), (2, 5.0, 0.0));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Moment {
    /// The lower triangle of the sum of `x x^T`; above it are zeros.
    sum: faer::Mat<f64>,
    sum_of_x: Vec<f64>,
    count: usize,
}

/// Number of vectors added at once: enough for a matrix product, few enough to stay in cache.
const BLOCK: usize = 256;

impl Moment {
    /// An empty moment of vectors of `k` elements.
    ///
    /// # Errors
    /// [`Error::Parameter`] if `k` is 0, [`Error::TooLarge`] or [`Error::Allocation`] if `k x k` numbers do not fit in
    /// memory.
    pub fn new(k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::Parameter { what: "elements of an input", value: 0.0, expected: "at least 1" });
        }
        expect_memory("second moment", 1, k, k)?;
        Ok(Self { sum: faer::Mat::zeros(k, k), sum_of_x: alloc::vec![0.0; k], count: 0 })
    }

    /// Adds the rows of `x` (`m x k`).
    ///
    /// # Errors
    /// [`Error::Shape`] for vectors of another length, [`Error::NotFinite`]; nothing is added then.
    pub fn add(&mut self, x: MatRef<'_, f32>) -> Result<()> {
        x.expect_shape("calibration inputs", x.rows(), self.k())?;
        expect_finite("calibration inputs", x.as_slice())?;
        for start in (0..x.rows()).step_by(BLOCK) {
            let block = to_f64(x.rows_range(start..(start + BLOCK).min(x.rows())));
            for row in 0..block.nrows() {
                for (sum, column) in self.sum_of_x.iter_mut().zip(0..) {
                    *sum += block[(row, column)];
                }
            }
            add_gram(self.sum.as_mut(), block.as_ref());
        }
        self.count += x.rows();
        Ok(())
    }

    /// Adds the vectors of another moment, for example one collected on another thread.
    ///
    /// # Errors
    /// [`Error::Shape`] for vectors of another length; nothing is added then.
    ///
    /// # Example
    /// ```
    /// use skinny::{MatRef, compress::Moment};
    ///
    /// let (mut one, mut other) = (Moment::new(1)?, Moment::new(1)?);
    /// one.add(MatRef::row_vector(&[1.0]))?;
    /// other.add(MatRef::row_vector(&[3.0]))?;
    /// one.merge(&other)?;
    /// assert_eq!((one.count(), one.get(0, 0), one.mean()[0]), (2, 5.0, 2.0));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn merge(&mut self, other: &Moment) -> Result<()> {
        let (k, found) = (self.k(), other.k());
        if found != k {
            return Err(Error::Shape { what: "second moment", expected: (k, k), found: (found, found) });
        }
        self.sum += &other.sum;
        self.sum_of_x.iter_mut().zip(&other.sum_of_x).for_each(|(sum, other)| *sum += other);
        self.count += other.count;
        Ok(())
    }

    /// Number of elements of a vector.
    pub fn k(&self) -> usize {
        self.sum.nrows()
    }

    /// Number of vectors added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `E[x_i x_j]`; 0 without vectors.
    ///
    /// # Panics
    /// If `i` or `j` is not below [`k`](Self::k), as indexing does.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        self.sum[(i.max(j), i.min(j))] * self.scale()
    }

    fn scale(&self) -> f64 {
        if self.count == 0 { 0.0 } else { 1.0 / self.count as f64 }
    }

    /// `E[x]`; zeros without vectors.
    pub fn mean(&self) -> Vec<f64> {
        self.sum_of_x.iter().map(|sum| sum * self.scale()).collect()
    }

    /// `E[x x^T] - E[x] E[x]^T`: the covariance.
    pub(super) fn covariance(&self) -> faer::Mat<f64> {
        let mean = self.mean();
        faer::Mat::from_fn(self.k(), self.k(), |i, j| self.get(i, j) - mean[i] * mean[j])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_moment_of_the_whole() {
        let x: Vec<f32> = (0..3 * 700).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let mut whole = Moment::new(3).unwrap();
        whole.add(MatRef::new(&x, 700, 3).unwrap()).unwrap();
        let mut pieces = Moment::new(3).unwrap();
        x.chunks(3 * 13).for_each(|x| pieces.add(MatRef::new(x, x.len() / 3, 3).unwrap()).unwrap());
        let mut merged = Moment::new(3).unwrap();
        for half in x.chunks(3 * 350) {
            let mut part = Moment::new(3).unwrap();
            part.add(MatRef::new(half, half.len() / 3, 3).unwrap()).unwrap();
            merged.merge(&part).unwrap();
        }
        assert_eq!((whole.count(), pieces.count(), merged.count()), (700, 700, 700));
        for i in 0..3 {
            assert!((whole.mean()[i] - merged.mean()[i]).abs() < 1e-12);
            assert!((whole.mean()[i] - pieces.mean()[i]).abs() < 1e-12);
            for j in 0..3 {
                let exact = x.chunks(3).map(|x| f64::from(x[i]) * f64::from(x[j])).sum::<f64>() / 700.0;
                for moment in [&whole, &pieces, &merged] {
                    assert!((moment.get(i, j) - exact).abs() < 1e-12 && moment.get(i, j) == moment.get(j, i));
                }
            }
        }
    }

    #[test]
    fn inputs_that_are_no_vectors_are_refused() {
        let mut moment = Moment::new(2).unwrap();
        assert!(matches!(moment.add(MatRef::row_vector(&[1.0])), Err(Error::Shape { .. })));
        assert!(matches!(moment.add(MatRef::row_vector(&[1.0, f32::NAN])), Err(Error::NotFinite { index: 1, .. })));
        assert_eq!((moment.count(), moment.get(0, 0)), (0, 0.0));
        assert!(matches!(moment.merge(&Moment::new(3).unwrap()), Err(Error::Shape { .. })));
        assert!(matches!(Moment::new(usize::MAX / 2), Err(Error::TooLarge { .. })));
        assert!(matches!(Moment::new(0), Err(Error::Parameter { .. })));
    }
}
