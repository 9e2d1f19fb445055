//! Products of activations in 16 bits: each is two activations of 8 bits, and a batch is one of twice the size.

use super::epilogue::{Dequantize, Epilogue, Sums};
use super::gemm::{Activations, Workspace, gemm};
use super::pack::PackedMat;
use crate::error::{Error, Result};
#[cfg(doc)]
use crate::format::{MAX_DEPTH, MAX_I16_ACTIVATION};
use crate::matrix::{MatMut, MatRef, grow};

/// A batch of `m` vectors of activations in 16 bits, each in two parts of 8: `x = 256 * high + low`.
///
/// Both parts are signed, so magnitudes reach [`MAX_I16_ACTIVATION`]. The kernels see a batch of `2 m` columns in 8 bits.
/// Where weights come from memory, they are still read once.
#[derive(Clone, Copy, Debug)]
pub struct WideActivations<'a> {
    parts: MatRef<'a, i8>,
}

impl<'a> WideActivations<'a> {
    /// Takes the parts, `2 m x k`: row `2 c` has the high parts of column `c`, row `2 c + 1` the low ones. They may be any
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] for an odd number of rows.
    pub fn new(parts: MatRef<'a, i8>) -> Result<Self> {
        let (rows, k) = parts.shape();
        if rows % 2 == 1 {
            let (expected, found) = ((rows + 1, k), (rows, k));
            return Err(Error::Shape { what: "parts of activations", expected, found });
        }
        Ok(Self { parts })
    }

    /// The number of vectors in the batch.
    pub fn m(&self) -> usize {
        self.parts.rows() / 2
    }
}

/// Computes `out = x w^T` in `i64`, where `x` is `m x k`, the weights `w` are `n x k` and `out` is `m x n`.
///
/// The sums are exact. Those of each part fit an `i32`, because [`PackedMat`] refuses depths beyond [`MAX_DEPTH`]. The
/// whole sum, `256 * high + low`, is then below `2^40`. Results have the same bits on every tier, for any number of
/// threads, and for any split of a batch into calls.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit each other, [`Error::Allocation`] if the workspace cannot grow. After an
/// error, `out` is untouched.
///
/// # Example
/// ```
/// use skinny::kernels::{PackedMat, WideActivations, Workspace, gemm_wide_sums};
/// use skinny::{MatMut, MatRef};
///
/// let weights = [1i8, 2, 3, 4, 5, 6]; // 2 output features, depth 3
/// let w = PackedMat::new(MatRef::new(&weights, 2, 3)?)?;
/// let parts = [1i8, 0, -127, 44, -1, -127]; // 300, -1, -32639
/// let mut out = [0i64; 2];
/// let x = WideActivations::new(MatRef::new(&parts, 2, 3)?)?;
/// gemm_wide_sums(&w, x, MatMut::row_vector(&mut out), &mut Workspace::new())?;
/// assert_eq!(out, [300 - 2 - 3 * 32639, 4 * 300 - 5 - 6 * 32639]);
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn gemm_wide_sums(
    w: &PackedMat,
    x: WideActivations<'_>,
    mut out: MatMut<'_, i64>,
    workspace: &mut Workspace,
) -> Result<()> {
    out.expect_shape("output", x.m(), w.n())?;
    for_each_column(w, x, workspace, |column, high, low| {
        for ((out, &high), &low) in out.row_mut(column).iter_mut().zip(high).zip(low) {
            *out = 256 * i64::from(high) + i64::from(low);
        }
    })
}

/// Computes `out = epilogue(x w^T)` as [`gemm`](super::gemm()) does, for activations in 16 bits. The exact sum is rounded to
/// `f32` once.
///
/// # Errors
/// Those of [`gemm_wide_sums`], and [`Error::Length`] if the epilogue does not fit the product.
pub fn gemm_wide(
    w: &PackedMat,
    x: WideActivations<'_>,
    epilogue: &Dequantize<'_>,
    mut out: MatMut<'_, f32>,
    workspace: &mut Workspace,
) -> Result<()> {
    out.expect_shape("output", x.m(), w.n())?;
    epilogue.check(x.m(), w.n())?;
    for_each_column(w, x, workspace, |column, high, low| {
        let (out, column_scale) = (out.row_mut(column), epilogue.column_scales[column]);
        let scales = epilogue.row_scales;
        for (((out, &high), &low), &scale) in out.iter_mut().zip(high).zip(low).zip(scales) {
            // Exact in f64, so there is one rounding, as from an i64. Targets convert vectors of f64, but not of i64.
            let sum = (f64::from(high) * 256.0 + f64::from(low)) as f32;
            *out = sum * scale * column_scale;
        }
        if let Some(bias) = epilogue.bias {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
        epilogue.activation.apply(out);
    })
}

/// Computes the sums of both parts of each column, and calls `finish` with the column and those of its high and low parts.
fn for_each_column(
    w: &PackedMat,
    x: WideActivations<'_>,
    workspace: &mut Workspace,
    mut finish: impl FnMut(usize, &[i32], &[i32]),
) -> Result<()> {
    let (rows, n) = (x.parts.rows(), w.n());
    x.parts.expect_shape("activations", rows, w.k())?;
    let len = rows.checked_mul(n).ok_or(Error::TooLarge { what: "sums", rows, cols: n })?;
    // Taken out of the workspace while the product uses the rest of it.
    let mut sums = core::mem::take(&mut workspace.wide_sums);
    let done = grow(&mut sums, len).and_then(|()| {
        let out = MatMut::from_checked(&mut sums[..len], rows, n);
        gemm(w, Activations::new(x.parts), &Sums, out, workspace)
    });
    if done.is_ok() && n > 0 {
        for (column, parts) in sums[..len].chunks_exact(2 * n).enumerate() {
            let (high, low) = parts.split_at(n);
            finish(column, high, low);
        }
    }
    workspace.wide_sums = sums;
    done
}
