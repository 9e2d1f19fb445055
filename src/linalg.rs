//! Linear algebra in `f64`, with faer on one thread.
//!
//! faer's own operators split their work among threads if its feature `rayon` is on, and any crate of a build may turn
//! it on. The last bits then depend on the split. The functions here never use threads, so their results are
//! bit-identical for any number of threads. They still depend on the processor, because faer uses the widest vector
//! instructions available.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as matmul_of_parts};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, Par};

use crate::error::{Error, Result};
use crate::matrix::{Mat, MatRef};

/// `w` in `f64`.
pub(crate) fn to_f64(w: MatRef<'_, f32>) -> faer::Mat<f64> {
    faer::Mat::from_fn(w.rows(), w.cols(), |row, column| f64::from(w.row(row)[column]))
}

/// `w` rounded to `f32`.
pub(crate) fn to_f32(w: faer::MatRef<'_, f64>) -> Result<Mat<f32>> {
    let mut rounded = Mat::zeros(w.nrows(), w.ncols())?;
    for row in 0..w.nrows() {
        for (column, rounded) in rounded.view_mut().row_mut(row).iter_mut().enumerate() {
            *rounded = w[(row, column)] as f32;
        }
    }
    Ok(rounded)
}

/// Fails if `count` matrices of `rows x cols` numbers in `f64` do not fit in memory. faer would abort on a failed
/// allocation.
pub(crate) fn expect_memory(what: &'static str, count: usize, rows: usize, cols: usize) -> Result<()> {
    let bytes = rows.checked_mul(cols).and_then(|len| len.checked_mul(count * size_of::<f64>()));
    let bytes = bytes.ok_or(Error::TooLarge { what, rows, cols })?;
    alloc::vec::Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Allocation { bytes })
}

/// `a b`.
pub(crate) fn product(a: faer::MatRef<'_, f64>, b: faer::MatRef<'_, f64>) -> faer::Mat<f64> {
    let mut product = faer::Mat::zeros(a.nrows(), b.ncols());
    matmul(product.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    product
}

/// Adds `a^T a` to the lower triangle of `sum`.
pub(crate) fn add_gram(mut sum: faer::MatMut<'_, f64>, a: faer::MatRef<'_, f64>) {
    let (whole, lower) = (BlockStructure::Rectangular, BlockStructure::TriangularLower);
    matmul_of_parts(sum.as_mut(), lower, Accum::Add, a.transpose(), whole, a, whole, 1.0, Par::Seq);
}

/// `a^T a`.
pub(crate) fn gram(a: faer::MatRef<'_, f64>) -> faer::Mat<f64> {
    let d = a.ncols();
    let mut gram = faer::Mat::zeros(d, d);
    add_gram(gram.as_mut(), a);
    for column in 0..d {
        for row in 0..column {
            gram[(row, column)] = gram[(column, row)];
        }
    }
    gram
}

/// The Cholesky factor of a symmetric positive definite matrix, `C = L L^T`.
#[derive(Clone, Debug)]
pub(crate) struct Cholesky(faer::Mat<f64>);

impl Cholesky {
    /// Factors `c`, reading its lower triangle; `None` if it is not positive definite.
    pub fn new(mut c: faer::Mat<f64>) -> Option<Self> {
        let n = c.nrows();
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default()));
        let (none, stack) = (LltRegularization::default(), MemStack::new(&mut memory));
        cholesky_in_place(c.as_mut(), none, Par::Seq, stack, Default::default()).ok()?;
        for column in 1..n {
            c.col_mut(column).subrows_mut(0, column).fill(0.0);
        }
        Some(Self(c))
    }

    /// `L`, with zeros above its diagonal.
    pub fn l(&self) -> faer::MatRef<'_, f64> {
        self.0.as_ref()
    }

    /// `L^-T b`, in place of `b`.
    pub fn solve_transposed(&self, b: faer::MatMut<'_, f64>) {
        solve_upper_triangular_in_place(self.l().transpose(), b, Par::Seq);
    }

    /// `C^-1 b`, in place of `b`.
    pub fn solve(&self, mut b: faer::MatMut<'_, f64>) {
        solve_lower_triangular_in_place(self.l(), b.as_mut(), Par::Seq);
        self.solve_transposed(b);
    }
}
