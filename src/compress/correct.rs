//! Rounding of factors that compensates one factor's error in the other.

use alloc::vec::Vec;

use super::Moment;
use crate::error::{Error, Result};
use crate::factored::{LowRank, Quantization, Unpacked, expect_finite};
use crate::linalg::{Cholesky, gram, product, to_f32, to_f64};
use crate::matrix::MatRef;

/// What is added to the diagonal of a normal matrix, as a share of the diagonal's mean.
const RIDGE: f64 = 1e-9;

/// Factors in 8, 4 or 2 bits.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RoundedFactors {
    /// `n x rank`.
    pub u: Unpacked,
    /// `rank x k`, or several side by side if `V` is rounded in parts.
    pub v: Vec<Unpacked>,
}

/// A rounded factor: the stored form and the values it represents.
#[derive(Clone)]
struct Rounded {
    stored: Vec<Unpacked>,
    values: faer::Mat<f64>,
}

impl Rounded {
    /// Rounds `factor` in parts of these widths, each part on its own.
    fn new(factor: faer::MatRef<'_, f64>, widths: &[usize], format: Quantization) -> Result<Self> {
        let mut rounded = Self { stored: Vec::new(), values: faer::Mat::zeros(factor.nrows(), factor.ncols()) };
        let mut start = 0;
        for &width in widths {
            let stored = Unpacked::quantize(to_f32(factor.subcols(start, width))?.view(), format)?;
            rounded.values.subcols_mut(start, width).copy_from(to_f64(stored.dequantize()?.view()));
            rounded.stored.push(stored);
            start += width;
        }
        Ok(rounded)
    }
}

impl Rounded {
    /// The same as [`new`](Self::new), but `None` if a fit overflowed `f32`.
    fn fitted(factor: faer::MatRef<'_, f64>, widths: &[usize], format: Quantization) -> Result<Option<Self>> {
        match Self::new(factor, widths, format) {
            Err(Error::NotFinite { .. }) => Ok(None),
            rounded => rounded.map(Some),
        }
    }
}

/// The two products of `V` from which errors and fits of `U` are computed: `W C V^T` and `V C V^T`.
struct Seen {
    cross: faer::Mat<f64>,
    gram: faer::Mat<f64>,
}

impl Seen {
    fn new(v: &faer::Mat<f64>, weighted: &faer::Mat<f64>, c: Option<&faer::Mat<f64>>) -> Self {
        let transposed = v.transpose();
        let gram = match c {
            None => gram(transposed),
            Some(c) => product(v.as_ref(), product(c.as_ref(), transposed).as_ref()),
        };
        Self { cross: product(weighted.as_ref(), transposed), gram }
    }

    /// `tr((W - U V) C (W - U V)^T)` minus `tr(W C W^T)`, which is the same for all `U` and `V`.
    fn error(&self, u: &faer::Mat<f64>) -> f64 {
        let product = product(u.as_ref(), self.gram.as_ref());
        let term = |row, i| u[(row, i)] * (product[(row, i)] - 2.0 * self.cross[(row, i)]);
        (0..u.nrows()).map(|row| (0..u.ncols()).map(|i| term(row, i)).sum::<f64>()).sum()
    }
}

/// Rounds `low_rank` to `format` so that the product stays near `w` (`n x k`): never worse than rounding each factor on
/// its own.
///
/// Each factor is fitted to the other's rounded values by least squares, which costs nothing at run time (the idea of
/// CALDERA, arXiv 2405.18886). First `U` is rounded. Then `V` is fitted to it, `V = (U^T U)^-1 U^T W`, and rounded.
/// Then `U` is fitted to `V`, `U = W C V^T (V C V^T)^-1`, where `C` is the covariance of the inputs, or the identity
/// without a moment. Then `V` is fitted once more.
///
/// This is done from two starts: the factors as given, and the factors rescaled so that the columns of `U` have unit
/// length. In the second, the lengths move to the rows of `V`. A row of `U` has one scale for all its columns, so short
/// columns would lose most of their digits; each row of `V` has its own scale.
///
/// The pair with the smallest error of all that occur is returned. The first of them is `low_rank` with each factor
/// just rounded.
///
/// `widths` splits the `k` columns of `V` into parts that are rounded separately: one part, or one for each of the
/// matrices that share `U`.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Length`] for operands that do not fit each other, [`Error::NotFinite`],
/// [`Error::Allocation`].
///
/// # Example
/// ```
/// use skinny::{Mat, compress::round_corrected, factored::LowRank, kernels::WeightFormat};
///
/// let (u, v) = (Mat::from_vec(vec![0.3, 1.0], 2, 1)?, Mat::from_vec(vec![0.7, -0.2, 0.9], 1, 3)?);
/// let low_rank = LowRank::from_factors(u, v)?;
/// let w = low_rank.product()?;
/// let rounded = round_corrected(w.view(), &low_rank, WeightFormat::I4, None, &[3])?;
/// assert_eq!((rounded.u.dequantize()?.rows(), rounded.v.len()), (2, 1));
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn round_corrected(
    w: MatRef<'_, f32>,
    low_rank: &LowRank,
    format: impl Into<Quantization>,
    moment: Option<&Moment>,
    widths: &[usize],
) -> Result<RoundedFactors> {
    let (format, k, rank) = (format.into(), low_rank.k(), low_rank.rank());
    w.expect_shape("weight", low_rank.n(), k)?;
    let found = widths.iter().fold(0usize, |sum, &width| sum.saturating_add(width));
    if found != k {
        return Err(Error::Length { what: "columns of V", expected: k, found });
    }
    if let Some(moment) = moment
        && moment.k() != k
    {
        return Err(Error::Shape { what: "second moment", expected: (k, k), found: (moment.k(), moment.k()) });
    }
    expect_finite("weights", w.as_slice())?;
    let exact = to_f64(w);
    let c = moment.map(Moment::covariance);
    let weighted = c.as_ref().map_or_else(|| exact.clone(), |c| product(exact.as_ref(), c.as_ref()));
    let seen = |v: &Rounded| Seen::new(&v.values, &weighted, c.as_ref());
    let fit_v = |u: &Rounded| match solve(gram(u.values.as_ref()), product(u.values.transpose(), exact.as_ref())) {
        Some(v) => Rounded::fitted(v.as_ref(), widths, format),
        None => Ok(None),
    };
    let fit_u = |v: &Seen| match solve(v.gram.clone(), v.cross.transpose().to_owned()) {
        Some(u) => Rounded::fitted(u.transpose(), &[rank], format),
        None => Ok(None),
    };

    let (u, v) = (to_f64(low_rank.u()), to_f64(low_rank.v()));
    let plain = (Rounded::new(u.as_ref(), &[rank], format)?, Rounded::new(v.as_ref(), widths, format)?);
    let mut best = (seen(&plain.1).error(&plain.0.values), plain.0.clone(), plain.1);
    let mut consider = |error: f64, u: &Rounded, v: &Rounded| {
        if error < best.0 {
            best = (error, u.clone(), v.clone());
        }
    };
    let lengths: Vec<f64> = (0..rank).map(|i| u.col(i).norm_l2()).collect();
    let unit = |row, i: usize| if lengths[i] > 0.0 { u[(row, i)] / lengths[i] } else { 0.0 };
    let unit = faer::Mat::from_fn(u.nrows(), rank, unit);
    for start in [Some(plain.0), Rounded::fitted(unit.as_ref(), &[rank], format)?].into_iter().flatten() {
        // The original V, rescaled, would be no better than the fitted one.
        let Some(v) = fit_v(&start)? else { continue };
        let of_v = seen(&v);
        consider(of_v.error(&start.values), &start, &v);
        let Some(u) = fit_u(&of_v)? else { continue };
        consider(of_v.error(&u.values), &u, &v);
        let Some(v) = fit_v(&u)? else { continue };
        consider(seen(&v).error(&u.values), &u, &v);
    }
    let (_, u, v) = best;
    let [u] = <[Unpacked; 1]>::try_from(u.stored).expect("U is rounded in one part");
    Ok(RoundedFactors { u, v: v.stored })
}

/// `A^-1 B` for a symmetric `A` that is positive semidefinite up to rounding; `None` if `A` is zero.
fn solve(mut a: faer::Mat<f64>, mut b: faer::Mat<f64>) -> Option<faer::Mat<f64>> {
    let mean = (0..a.nrows()).map(|i| a[(i, i)]).sum::<f64>() / a.nrows().max(1) as f64;
    for i in 0..a.nrows() {
        a[(i, i)] += RIDGE * mean;
    }
    Cholesky::new(a)?.solve(b.as_mut());
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{Decomposition, relative_error, signal_to_noise};
    use crate::factored::tests::weight;
    use crate::kernels::WeightFormat;
    use crate::matrix::Mat;

    fn product(factors: &RoundedFactors) -> Mat<f32> {
        let u = to_f64(factors.u.dequantize().unwrap().view());
        let parts = factors.v.iter().map(|v| v.dequantize().unwrap());
        let parts: Vec<Mat<f32>> = parts.map(|v| to_f32((&u * to_f64(v.view())).as_ref()).unwrap()).collect();
        let rows = (0..u.nrows()).flat_map(|row| parts.iter().flat_map(move |part| part.view().row(row)));
        Mat::from_vec(rows.copied().collect(), u.nrows(), parts.iter().map(Mat::cols).sum()).unwrap()
    }

    #[test]
    fn corrected_factors_are_never_worse_and_in_4_bits_clearly_better() {
        for (n, k, rank) in [(24, 40, 8), (40, 24, 5), (9, 9, 9)] {
            let w = weight(n, k);
            let mut moment = Moment::new(k).unwrap();
            moment.add(weight(300, k).view()).unwrap();
            for moment in [None, Some(&moment)] {
                let low_rank = Decomposition::new(w.view(), moment).unwrap().truncate(rank).unwrap();
                for format in Quantization::ALL {
                    let rounded = |w| Unpacked::quantize(w, format).unwrap();
                    let plain = RoundedFactors { u: rounded(low_rank.u()), v: [rounded(low_rank.v())].into() };
                    let corrected = round_corrected(w.view(), &low_rank, format, moment, &[k]).unwrap();
                    let halves = round_corrected(w.view(), &low_rank, format, moment, &[4, k - 4]).unwrap();
                    let loss = |a: &RoundedFactors| {
                        let product = product(a);
                        match moment {
                            None => relative_error(w.view(), product.view()).unwrap(),
                            Some(moment) => -signal_to_noise(w.view(), product.view(), moment).unwrap(),
                        }
                    };
                    let (before, after) = (loss(&plain), loss(&corrected));
                    assert!(after <= before, "{n} x {k}, {format:?}: {after}, plain {before}");
                    assert_eq!(halves.v.len(), 2);
                    assert!(loss(&halves).is_finite());
                    if rank == 9 && format == WeightFormat::I4.into() && moment.is_none() {
                        assert!(after < 0.75 * before, "not clearly better: {after}, plain {before}");
                    }
                }
            }
        }
    }

    /// Singular values that fall as `1 / i`. The measured ratios are 0.740, 0.748 and 0.787.
    #[test]
    fn correction_removes_a_quarter_of_the_rounding_error() {
        let (n, k, rank) = (192, 128, 32);
        let full = Decomposition::new(weight(n, k).view(), None).unwrap().truncate(k).unwrap();
        let mut scaled = full.v().as_slice().to_vec();
        for (i, row) in scaled.chunks_mut(k).enumerate() {
            row.iter_mut().for_each(|v| *v /= (1 + i) as f32);
        }
        let (u, _) = full.into_factors();
        let w = LowRank::from_factors(u, Mat::from_vec(scaled, k, k).unwrap()).unwrap().product().unwrap();
        let low_rank = Decomposition::new(w.view(), None).unwrap().truncate(rank).unwrap();
        let cut = relative_error(w.view(), low_rank.product().unwrap().view()).unwrap();
        for (format, most) in [(WeightFormat::I8, 0.75), (WeightFormat::I4, 0.77), (WeightFormat::I4Group32, 0.81)] {
            let rounded = |w| Unpacked::quantize(w, format).unwrap();
            let plain = RoundedFactors { u: rounded(low_rank.u()), v: [rounded(low_rank.v())].into() };
            let corrected = round_corrected(w.view(), &low_rank, format, None, &[k]).unwrap();
            // What rounding adds to the squared error of the cut.
            let added = |a: &RoundedFactors| relative_error(w.view(), product(a).view()).unwrap().powi(2) - cut * cut;
            let (before, after) = (added(&plain), added(&corrected));
            assert!(after < most * before, "{format:?}: {after}, plain {before}");
        }
    }

    #[test]
    fn factors_at_the_ends_of_the_range_are_rounded_too() {
        for (a, b) in [(1e-30, 1e30), (1e30, 1e-30), (1e-20, 1e-20), (1e18, 1e18)] {
            let scaled = |w: Mat<f32>, by: f32| {
                Mat::from_vec(w.as_slice().iter().map(|w| w * by).collect(), w.rows(), w.cols()).unwrap()
            };
            let low_rank = LowRank::from_factors(scaled(weight(6, 2), a), scaled(weight(2, 7), b)).unwrap();
            let w = low_rank.product().unwrap();
            let rounded = round_corrected(w.view(), &low_rank, WeightFormat::I4, None, &[7]).unwrap();
            let error = relative_error(w.view(), product(&rounded).view()).unwrap();
            assert!(error < 0.3, "{a} {b}: {error}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let w = Mat::zeros(4, 5).unwrap();
        let low_rank = LowRank::from_factors(Mat::zeros(4, 2).unwrap(), Mat::zeros(2, 5).unwrap()).unwrap();
        let corrected = round_corrected(w.view(), &low_rank, WeightFormat::I4, None, &[5]).unwrap();
        assert_eq!(product(&corrected), w);
        assert!(matches!(
            round_corrected(w.view(), &low_rank, WeightFormat::I4, None, &[4]),
            Err(Error::Length { expected: 5, found: 4, .. })
        ));
    }
}
