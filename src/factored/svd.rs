//! Truncated singular value decomposition: from a dense weight to the best low-rank one.
//!
//! The Gram matrix of the shorter side, `W^T W` or `W W^T`, is decomposed in `f64`, which holds squares of `f32` with
//! digits to spare. Singular values are accurate to about `1e-8` of the largest one, for every shape, rank and scale.
//! The smallest ones are lost in the rounding of the Gram matrix, so they are measured on the weight itself, as lengths
//! of `W v`.
//!
//! Truncation is the projection `W V V^T` onto the leading vectors. Its error is the part of `W` in the span of the
//! other vectors, even if those are inaccurate within their span.

use alloc::vec::Vec;

use super::eigen::Eigen;
use super::expect_finite;
use super::low_rank::{LowRank, RankPolicy};
use crate::error::{Error, Result};
use crate::linalg::{Cholesky, expect_memory, gram, product, to_f64};
use crate::matrix::{Mat, MatRef};

/// The `min(n, k)` singular values of `w` in descending order. Each is accurate to a millionth of the norm of `w`.
///
/// They are `f64` because they may exceed `f32`: the largest is up to `sqrt(n k)` times the largest weight.
///
/// # Errors
/// [`Error::NotFinite`] for the first weight that is infinite or NaN, [`Error::Allocation`].
///
/// # Example
/// ```
/// use skinny::{MatRef, factored::singular_values};
///
/// let sigma = singular_values(MatRef::new(&[0.0, -3.0, 4.0, 0.0], 2, 2)?)?;
/// assert!((sigma[0] - 4.0).abs() < 1e-12 && (sigma[1] - 3.0).abs() < 1e-12);
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn singular_values(w: MatRef<'_, f32>) -> Result<Vec<f64>> {
    expect_finite("weights", w.as_slice())?;
    if w.as_slice().is_empty() {
        return Ok(Vec::new());
    }
    let (matrix, exponent) = scaled(w)?;
    let Singular { values, .. } = Singular::of(matrix.as_ref());
    Ok(values.into_iter().map(|sigma| sigma * exp2(exponent)).collect())
}

/// Squared singular values below this share of the largest are inaccurate because of rounding in the Gram matrix.
const ROUNDED: f64 = 1e-8;

/// The singular values of a matrix in descending order, and the singular vectors of its shorter side.
#[derive(Clone, Debug)]
struct Singular {
    values: Vec<f64>,
    /// `d x d`, where `d` is the shorter side, one vector per column: `V` if the matrix has at least as many rows as
    /// columns, otherwise `U`.
    vectors: faer::Mat<f64>,
}

impl Singular {
    /// Decomposes `a`, which must not be empty and whose elements must be small enough to be squared twice.
    fn of(a: faer::MatRef<'_, f64>) -> Self {
        let a = if a.nrows() >= a.ncols() { a } else { a.transpose() };
        let d = a.ncols();
        let Eigen { values: squares, vectors } = Eigen::new(&gram(a));
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&i, &j| squares[j].total_cmp(&squares[i]));
        let vectors = faer::Mat::from_fn(d, d, |row, i| vectors[(row, order[i])]);
        let squares: Vec<f64> = order.iter().map(|&i| squares[i].max(0.0)).collect();

        let mut values: Vec<f64> = squares.iter().map(|square| square.sqrt()).collect();
        let sure = squares.iter().position(|&square| square <= ROUNDED * squares[0]).unwrap_or(d);
        if sure == d {
            return Self { values, vectors };
        }
        let products = product(a, vectors.subcols(sure, d - sure));
        for (i, value) in values[sure..].iter_mut().enumerate() {
            *value = products.col(i).norm_l2();
        }
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
        Self {
            values: order.iter().map(|&i| values[i]).collect(),
            vectors: faer::Mat::from_fn(d, d, |row, i| vectors[(row, order[i])]),
        }
    }
}

/// `W = 2^exponent A`, where the largest magnitude in `A` is between 1/2 and 1 unless all are zeros. The scaling is
/// exact.
fn scaled(w: MatRef<'_, f32>) -> Result<(faer::Mat<f64>, i32)> {
    let (long, short) = (w.rows().max(w.cols()), w.rows().min(w.cols()));
    // The matrix; then its Gram matrix, the eigenvectors, and the workspace to compute and check them.
    expect_memory("weights", 1, w.rows(), w.cols())?;
    expect_memory("weights", 6, long.min(short), short)?;
    let greatest = w.as_slice().iter().fold(0.0f64, |greatest, &w| greatest.max(f64::from(w).abs()));
    // Valid for a normal number, which every nonzero f32 is in f64.
    let exponent = if greatest == 0.0 { 0 } else { (greatest.to_bits() >> 52) as i32 - 1022 };
    let mut matrix = to_f64(w);
    matrix.col_iter_mut().for_each(|column| column.iter_mut().for_each(|w| *w *= exp2(-exponent)));
    Ok((matrix, exponent))
}

/// `2^exponent`, a normal number.
fn exp2(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// The singular value decomposition of `W L`, or of `W` if there is no `L`, kept with `W` to make factors from.
#[derive(Clone, Debug)]
pub(crate) struct Svd {
    w: Mat<f32>,
    singular: Singular,
    weighting: Option<Cholesky>,
}

impl Svd {
    /// Decomposes finite weights times the factor `L` of `C = L L^T`, whose diagonal is about 1.
    pub fn new(w: MatRef<'_, f32>, weighting: Option<Cholesky>) -> Result<Self> {
        // Refused first: the other side may be huge, and faer would overflow rounding it up.
        if w.rows().min(w.cols()) == 0 {
            return Err(Error::Rank { rank: 1, max: 0 });
        }
        let (matrix, exponent) = scaled(w)?;
        let matrix = match &weighting {
            None => matrix,
            Some(cholesky) => product(matrix.as_ref(), cholesky.l()),
        };
        let mut singular = Singular::of(matrix.as_ref());
        singular.values.iter_mut().for_each(|sigma| *sigma *= exp2(exponent));
        let w = Mat::from_vec(w.as_slice().to_vec(), w.rows(), w.cols())?;
        Ok(Self { w, singular, weighting })
    }

    /// The singular values in descending order.
    pub fn singular_values(&self) -> &[f64] {
        &self.singular.values
    }

    /// Balanced factors from the first `rank` singular values: `U sqrt(S)` and `sqrt(S) V^T L^-1`.
    pub fn truncate(&self, rank: usize) -> Result<LowRank> {
        let sigma = self.singular_values();
        if !(1..=sigma.len()).contains(&rank) {
            return Err(Error::Rank { rank, max: sigma.len() });
        }
        let (w, vectors) = (to_f64(self.w.view()), self.singular.vectors.subcols(0, rank));
        // One side holds singular vectors, the other their products with W, which are `sigma` times as long.
        let (u, v_transposed, of_vectors) = if w.nrows() >= w.ncols() {
            match &self.weighting {
                None => (product(w.as_ref(), vectors), vectors.to_owned(), Side::V),
                Some(cholesky) => {
                    let u = product(w.as_ref(), product(cholesky.l(), vectors).as_ref());
                    let mut v = vectors.to_owned();
                    cholesky.solve_transposed(v.as_mut());
                    (u, v, Side::V)
                }
            }
        } else {
            // U U^T W: in U^T W L L^-1 the factor L cancels.
            (vectors.to_owned(), product(w.transpose(), vectors), Side::U)
        };
        let balance = |side: Side, i: usize| {
            let root = sigma[i].sqrt();
            if side == of_vectors {
                root
            } else if root > 0.0 {
                root.recip()
            } else {
                0.0
            }
        };
        let (mut left, mut right) = (Mat::zeros(u.nrows(), rank)?, Mat::zeros(rank, v_transposed.nrows())?);
        for row in 0..u.nrows() {
            for (i, left) in left.view_mut().row_mut(row).iter_mut().enumerate() {
                *left = (u[(row, i)] * balance(Side::U, i)) as f32;
            }
        }
        for i in 0..rank {
            for (column, right) in right.view_mut().row_mut(i).iter_mut().enumerate() {
                *right = (v_transposed[(column, i)] * balance(Side::V, i)) as f32;
            }
        }
        LowRank::from_factors(left, right)
    }
}

/// One of the two factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    U,
    V,
}
impl LowRank {
    /// The matrix of rank `r` nearest to `w` (`n x k`) in the Frobenius norm, with `r` chosen by `policy`. The factors
    /// are balanced: `U sqrt(S)` and `sqrt(S) V^T` of the singular value decomposition. Balanced factors minimize
    /// `(||U||_F^2 + ||V||_F^2) / 2`, which then equals the trace norm of the product (Kliegl et al., arXiv
    /// 1710.09026).
    ///
    /// The last bits depend on the processor, because the decomposition uses the vector instructions available. They do
    /// not depend on the number of threads.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN, those of [`RankPolicy::rank`],
    /// [`Error::Allocation`].
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
        // Checked before the work, not after.
        if let RankPolicy::Fixed(rank) = policy
            && !(1..=n.min(k)).contains(&rank)
        {
            return Err(Error::Rank { rank, max: n.min(k) });
        }
        let svd = Svd::new(w, None)?;
        svd.truncate(policy.rank(svd.singular_values())?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec;

    use super::super::{jacobi, matrices};
    use super::*;

    /// An `n x k` matrix of full rank.
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
    fn the_error_is_the_sum_of_the_dropped_squared_singular_values() {
        for (n, k) in [(12, 20), (20, 12), (9, 9), (1, 5), (5, 1)] {
            let w = weight(n, k);
            let sigma = singular_values(w.view()).unwrap();
            assert_eq!(sigma.len(), n.min(k));
            for rank in 1..=n.min(k) {
                let low_rank = LowRank::truncate(w.view(), RankPolicy::Fixed(rank)).unwrap();
                assert_eq!((low_rank.n(), low_rank.k(), low_rank.rank()), (n, k, rank));
                let dropped: f64 = sigma[rank..].iter().map(|s| s * s).sum();
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
        let trace: f64 = singular_values(w.view()).unwrap().iter().sum();
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

    #[test]
    fn singular_values_match_jacobi() {
        let mut shapes: Vec<(&str, usize, usize, u32)> = (0..40).map(|seed| ("rows", 160, 130, seed)).collect();
        for family in
            ["gaussian", "decaying", "floor", "columns", "integers", "ternary", "pattern", "blocks", "graded", "mixed"]
        {
            shapes.extend([(family, 60, 40, 3), (family, 24, 96, 4), (family, 640, 10, 5), (family, 7, 7, 6)]);
        }
        for (family, rows, cols, seed) in shapes {
            let w = matrices::matrix(family, rows, cols, seed, 0);
            let exact = jacobi::tests::singular_values(&w, rows, cols);
            let found = singular_values(MatRef::new(&w, rows, cols).unwrap()).unwrap();
            let norm = exact.iter().map(|sigma| sigma * sigma).sum::<f64>().sqrt();
            let off = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off <= 1e-8 * norm, "{family} {rows} x {cols}, seed {seed}: off by {off} of {norm}");
            assert!(found.windows(2).all(|pair| pair[0] >= pair[1]), "{family} {rows} x {cols}, seed {seed}");
        }
    }

    #[test]
    fn what_rounding_hides_in_the_gram_matrix_is_measured_on_the_weight() {
        // The rank is 5: the square roots of the other eigenvalues are about 1e-8 of the first.
        let w = matrices::matrix("integers", 96, 64, 2, 0);
        let sigma = singular_values(MatRef::new(&w, 96, 64).unwrap()).unwrap();
        assert!(sigma[4] > 1.0 && sigma[5] < 1e-12 * sigma[0], "{:?}", &sigma[..7]);
    }
}
