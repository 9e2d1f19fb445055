//! A weight as a product of two thin factors, and the choice of its rank.

use alloc::vec::Vec;

use super::expect_finite;
use crate::error::{Error, Result};
use crate::matrix::{Mat, MatRef, grow};

/// A low-rank weight `W ~ U V` in `f32`: `U` is `n x rank`, `V` is `rank x k`.
///
/// # Example
/// ```
/// use skinny::{Mat, factored::LowRank};
///
/// let u = Mat::from_vec(vec![1.0, 2.0, 3.0], 3, 1)?;
/// let v = Mat::from_vec(vec![1.0, -1.0], 1, 2)?;
/// let low_rank = LowRank::from_factors(u, v)?;
/// assert_eq!(low_rank.product()?.as_slice(), [1.0, -1.0, 2.0, -2.0, 3.0, -3.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    u: Mat<f32>,
    v: Mat<f32>,
}

impl LowRank {
    /// Takes factors that were trained or computed elsewhere: `u` is `n x rank`, `v` is `rank x k`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the ranks differ, [`Error::Rank`] if the rank is 0 or exceeds `min(n, k)`,
    /// [`Error::NotFinite`].
    pub fn from_factors(u: Mat<f32>, v: Mat<f32>) -> Result<Self> {
        let rank = u.cols();
        v.view().expect_shape("factor V", rank, v.cols())?;
        let max = u.rows().min(v.cols());
        if !(1..=max).contains(&rank) {
            return Err(Error::Rank { rank, max });
        }
        expect_finite("factor U", u.as_slice())?;
        expect_finite("factor V", v.as_slice())?;
        Ok(Self { u, v })
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.u.rows()
    }

    /// Depth: input features.
    pub fn k(&self) -> usize {
        self.v.cols()
    }

    /// The rank: columns of `U`, rows of `V`.
    pub fn rank(&self) -> usize {
        self.v.rows()
    }

    /// Number of elements of both factors, `rank * (n + k)`.
    pub fn parameters(&self) -> usize {
        self.u.as_slice().len() + self.v.as_slice().len()
    }

    /// The factor `U`, `n x rank`.
    pub fn u(&self) -> MatRef<'_, f32> {
        self.u.view()
    }

    /// The factor `V`, `rank x k`.
    pub fn v(&self) -> MatRef<'_, f32> {
        self.v.view()
    }

    /// `U` and `V`.
    pub fn into_factors(self) -> (Mat<f32>, Mat<f32>) {
        (self.u, self.v)
    }

    /// `U V`, `n x k`, summed in `f64`.
    ///
    /// # Errors
    /// [`Error::Allocation`], or [`Error::TooLarge`] if the product does not fit the address space.
    pub fn product(&self) -> Result<Mat<f32>> {
        product(self.u(), self.v())
    }
}

/// `U V`, summed in `f64`; `u` has as many columns as `v` has rows.
pub(super) fn product(u: MatRef<'_, f32>, v: MatRef<'_, f32>) -> Result<Mat<f32>> {
    let mut w = Mat::zeros(u.rows(), v.cols())?;
    let mut sums: Vec<f64> = Vec::new();
    grow(&mut sums, v.cols())?;
    for row in 0..u.rows() {
        sums.fill(0.0);
        for (i, &u) in u.row(row).iter().enumerate() {
            for (sum, &v) in sums.iter_mut().zip(v.row(i)) {
                *sum += f64::from(u) * f64::from(v);
            }
        }
        for (w, &sum) in w.view_mut().row_mut(row).iter_mut().zip(&sums) {
            *w = sum as f32;
        }
    }
    Ok(w)
}

/// How the rank of a weight is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RankPolicy {
    /// This rank.
    Fixed(usize),
    /// The smallest rank that explains this share of the variance, in `(0, 1]`: the sum of the squared singular values
    /// kept, divided by the sum of all (Kliegl et al., arXiv 1710.09026).
    Variance(f32),
}

impl RankPolicy {
    /// The rank for a weight with these `min(n, k)` singular values, in descending order.
    ///
    /// # Errors
    /// [`Error::Rank`] for a fixed rank that is 0 or exceeds their number, or if there are none; [`Error::Parameter`]
    /// for a share outside `(0, 1]`; [`Error::NotFinite`].
    ///
    /// # Example
    /// ```
    /// use skinny::factored::RankPolicy;
    ///
    /// assert_eq!(RankPolicy::Variance(0.9).rank(&[3.0, 1.0, 0.1]), Ok(2)); // 9 of 10.01, then 10 of 10.01
    /// ```
    pub fn rank(self, singular_values: &[f64]) -> Result<usize> {
        let max = singular_values.len();
        match self {
            RankPolicy::Fixed(rank) if (1..=max).contains(&rank) => Ok(rank),
            RankPolicy::Fixed(rank) => Err(Error::Rank { rank, max }),
            RankPolicy::Variance(share) if share > 0.0 && share <= 1.0 => {
                expect_finite("singular values", singular_values)?;
                if max == 0 {
                    return Err(Error::Rank { rank: 1, max });
                }
                let variance = |&sigma: &f64| sigma * sigma;
                let wanted = f64::from(share) * singular_values.iter().map(variance).sum::<f64>();
                let mut kept = 0.0;
                let reached = singular_values.iter().position(|sigma| {
                    kept += variance(sigma);
                    kept >= wanted
                });
                Ok(reached.map_or(max, |last| last + 1))
            }
            RankPolicy::Variance(share) => {
                Err(Error::Parameter { what: "share of variance", value: share.into(), expected: "in (0, 1]" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn the_smallest_sufficient_rank_is_taken() {
        let sigma = [2.0, 1.0, 1.0, 0.0];
        for (share, rank) in [(0.1, 1), (0.66, 1), (0.67, 2), (0.84, 3), (1.0, 3)] {
            assert_eq!(RankPolicy::Variance(share).rank(&sigma), Ok(rank), "{share}");
        }
        assert_eq!(RankPolicy::Variance(0.5).rank(&[0.0, 0.0]), Ok(1));
    }

    #[test]
    fn ranks_and_shares_out_of_range_are_refused() {
        for rank in [0, 3] {
            assert_eq!(RankPolicy::Fixed(rank).rank(&[1.0, 1.0]), Err(Error::Rank { rank, max: 2 }));
        }
        for share in [0.0, -0.5, 1.5, f32::NAN] {
            assert!(matches!(RankPolicy::Variance(share).rank(&[1.0]), Err(Error::Parameter { .. })), "{share}");
        }
        assert_eq!(RankPolicy::Variance(0.5).rank(&[]), Err(Error::Rank { rank: 1, max: 0 }));
    }

    #[test]
    fn factors_that_do_not_fit_are_refused() {
        let mat = |rows, cols| Mat::<f32>::zeros(rows, cols).unwrap();
        assert_eq!(
            LowRank::from_factors(mat(3, 2), mat(1, 4)),
            Err(Error::Shape { what: "factor V", expected: (2, 4), found: (1, 4) })
        );
        assert_eq!(LowRank::from_factors(mat(3, 0), mat(0, 4)), Err(Error::Rank { rank: 0, max: 3 }));
        assert_eq!(LowRank::from_factors(mat(2, 3), mat(3, 4)), Err(Error::Rank { rank: 3, max: 2 }));
        let nan = Mat::from_vec(vec![0.0, f32::NAN], 2, 1).unwrap();
        assert!(matches!(LowRank::from_factors(nan, mat(1, 2)), Err(Error::NotFinite { index: 1, .. })));
    }
}
