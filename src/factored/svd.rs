//! Truncated singular value decomposition: from a dense weight to the best low-rank one.

use alloc::vec::Vec;

use super::expect_finite;
use super::low_rank::{LowRank, RankPolicy};
use crate::error::{Error, Result};
use crate::matrix::{Mat, MatRef};

/// The singular values of `w`, the greatest first; `min(n, k)` of them.
///
/// # Errors
/// [`Error::NotFinite`] for the first weight that is infinite or NaN, [`Error::Svd`] if the decomposition does not
/// converge.
///
/// # Example
/// ```
/// use skinny::{MatRef, factored::singular_values};
///
/// let sigma = singular_values(MatRef::new(&[0.0, -3.0, 4.0, 0.0], 2, 2)?)?;
/// assert!((sigma[0] - 4.0).abs() < 1e-5 && (sigma[1] - 3.0).abs() < 1e-5);
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn singular_values(w: MatRef<'_, f32>) -> Result<Vec<f32>> {
    expect_finite("weights", w.as_slice())?;
    if w.as_slice().is_empty() {
        return Ok(Vec::new());
    }
    let (rows, cols) = w.shape();
    view(w).singular_values().map_err(|_| Error::Svd { rows, cols })
}

/// `W = U S V^T`, the factors in the columns of `U` and `V`.
#[derive(Clone, Debug)]
pub(crate) struct Svd {
    u: faer::Mat<f32>,
    sigma: Vec<f32>,
    v: faer::Mat<f32>,
    /// What the products of the columns of `U` and `V` are multiplied with to add up to `W`: `sigma`, unless that was
    /// scaled.
    strengths: Vec<f32>,
}

impl Svd {
    /// Decomposes finite weights.
    pub fn new(w: MatRef<'_, f32>) -> Result<Self> {
        Self::of(view(w))
    }

    pub fn of(w: faer::MatRef<'_, f32>) -> Result<Self> {
        // Of any number of rows or columns, which faer would round up.
        if w.nrows().min(w.ncols()) == 0 {
            return Err(Error::Rank { rank: 1, max: 0 });
        }
        let svd = w.thin_svd().map_err(|_| Error::Svd { rows: w.nrows(), cols: w.ncols() })?;
        let sigma: Vec<f32> = svd.S().column_vector().iter().map(|sigma| sigma.max(0.0)).collect();
        Ok(Self { u: svd.U().to_owned(), strengths: sigma.clone(), sigma, v: svd.V().to_owned() })
    }

    /// The same with other factors in `V`, and with all singular values scaled, in name only: the product is `U S V^T`
    /// of the values before.
    pub fn with_v(self, v: faer::Mat<f64>, scale: f64) -> Self {
        Self {
            u: self.u,
            sigma: self.strengths.iter().map(|&sigma| (f64::from(sigma) * scale) as f32).collect(),
            strengths: self.strengths,
            v: faer::Mat::from_fn(v.nrows(), v.ncols(), |row, i| v[(row, i)] as f32),
        }
    }

    pub fn v(&self) -> faer::MatRef<'_, f32> {
        self.v.as_ref()
    }

    pub fn singular_values(&self) -> &[f32] {
        &self.sigma
    }

    /// Balanced factors of the first `rank` singular values: `U sqrt(S)` and `sqrt(S) V^T`.
    pub fn truncate(&self, rank: usize) -> Result<LowRank> {
        let max = self.sigma.len();
        if !(1..=max).contains(&rank) {
            return Err(Error::Rank { rank, max });
        }
        let (n, k) = (self.u.nrows(), self.v.nrows());
        let (mut u, mut v) = (Mat::zeros(n, rank)?, Mat::zeros(rank, k)?);
        for (i, strength) in self.strengths[..rank].iter().enumerate() {
            let root = strength.sqrt();
            for row in 0..n {
                u.view_mut().row_mut(row)[i] = self.u[(row, i)] * root;
            }
            for (column, v) in v.view_mut().row_mut(i).iter_mut().enumerate() {
                *v = self.v[(column, i)] * root;
            }
        }
        LowRank::from_factors(u, v)
    }
}

impl LowRank {
    /// The rank-`r` matrix nearest to `w` (`n x k`) in the Frobenius norm, `r` chosen by `policy`, as balanced factors:
    /// `U sqrt(S)` and `sqrt(S) V^T` of the singular value decomposition, which is where
    /// `(||U||_F^2 + ||V||_F^2) / 2` is least and equals the trace norm of the product (Kliegl et al., arXiv
    /// 1710.09026).
    ///
    /// The last bits depend on the processor, as the decomposition uses what vector instructions there are.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN, those of [`RankPolicy::rank`], [`Error::Svd`]
    /// if the decomposition does not converge, [`Error::Allocation`].
    ///
    /// # Example
    /// ```
    /// use skinny::{MatRef, factored::{LowRank, RankPolicy}};
    ///
    /// let w = [3.0, 0.0, 0.0, 0.0, 0.1, 0.0]; // 2 x 3
    /// let low_rank = LowRank::truncate(MatRef::new(&w, 2, 3)?, RankPolicy::Variance(0.9))?;
    /// assert_eq!(low_rank.rank(), 1);
    /// assert!((low_rank.product()?.as_slice()[0] - 3.0).abs() < 1e-5);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn truncate(w: MatRef<'_, f32>, policy: RankPolicy) -> Result<Self> {
        expect_finite("weights", w.as_slice())?;
        let (n, k) = w.shape();
        // Before the work, not after.
        if let RankPolicy::Fixed(rank) = policy
            && !(1..=n.min(k)).contains(&rank)
        {
            return Err(Error::Rank { rank, max: n.min(k) });
        }
        let svd = Svd::new(w)?;
        svd.truncate(policy.rank(svd.singular_values())?)
    }
}

fn view(w: MatRef<'_, f32>) -> faer::MatRef<'_, f32> {
    faer::MatRef::from_row_major_slice(w.as_slice(), w.rows(), w.cols())
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec;

    use super::*;

    /// `n x k`, of full rank.
    pub(crate) fn weight(n: usize, k: usize) -> Mat<f32> {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        Mat::from_vec((0..n * k).map(|_| random()).collect(), n, k).unwrap()
    }

    fn squared_distance(a: &Mat<f32>, b: &Mat<f32>) -> f64 {
        a.as_slice().iter().zip(b.as_slice()).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    }

    #[test]
    fn the_error_is_what_the_dropped_singular_values_say() {
        for (n, k) in [(12, 20), (20, 12), (9, 9), (1, 5), (5, 1)] {
            let w = weight(n, k);
            let sigma = singular_values(w.view()).unwrap();
            assert_eq!(sigma.len(), n.min(k));
            for rank in 1..=n.min(k) {
                let low_rank = LowRank::truncate(w.view(), RankPolicy::Fixed(rank)).unwrap();
                assert_eq!((low_rank.n(), low_rank.k(), low_rank.rank()), (n, k, rank));
                let dropped: f64 = sigma[rank..].iter().map(|&s| f64::from(s).powi(2)).sum();
                let distance = squared_distance(&low_rank.product().unwrap(), &w);
                assert!((distance - dropped).abs() < 1e-4, "{n} x {k}, rank {rank}: {distance} for {dropped}");
            }
        }
    }

    #[test]
    fn factors_are_balanced_and_carry_the_trace_norm() {
        let w = weight(10, 16);
        let low_rank = LowRank::truncate(w.view(), RankPolicy::Variance(1.0)).unwrap();
        let norm = |factor: MatRef<'_, f32>| factor.as_slice().iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let trace: f64 = singular_values(w.view()).unwrap().iter().map(|&s| f64::from(s)).sum();
        assert!((norm(low_rank.u()) - trace).abs() < 1e-4 && (norm(low_rank.v()) - trace).abs() < 1e-4);
    }

    #[test]
    fn weights_and_ranks_that_cannot_be_factored_are_refused() {
        let w = Mat::from_vec(vec![1.0, f32::NAN], 1, 2).unwrap();
        assert!(matches!(singular_values(w.view()), Err(Error::NotFinite { index: 1, .. })));
        assert!(matches!(LowRank::truncate(w.view(), RankPolicy::Fixed(1)), Err(Error::NotFinite { index: 1, .. })));
        let w = weight(3, 2);
        for rank in [0, 3] {
            assert_eq!(LowRank::truncate(w.view(), RankPolicy::Fixed(rank)), Err(Error::Rank { rank, max: 2 }));
        }
        let empty = Mat::zeros(0, 4).unwrap();
        assert_eq!(LowRank::truncate(empty.view(), RankPolicy::Variance(0.9)), Err(Error::Rank { rank: 1, max: 0 }));
        for (rows, cols) in [(usize::MAX, 0), (0, usize::MAX), (0, 0)] {
            let empty = MatRef::new(&[], rows, cols).unwrap();
            assert_eq!(LowRank::truncate(empty, RankPolicy::Variance(0.9)), Err(Error::Rank { rank: 1, max: 0 }));
            assert_eq!(singular_values(empty), Ok(Vec::new()));
        }
    }
}
