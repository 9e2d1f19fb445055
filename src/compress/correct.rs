//! Factors that make up for each other's rounding.

use alloc::vec::Vec;

use faer::Side;
use faer::linalg::solvers::Solve;

use super::metrics::energy;
use super::{Moment, to_f32, to_f64};
use crate::error::{Error, Result};
use crate::factored::{LowRank, Unpacked};
use crate::kernels::WeightFormat;
use crate::matrix::MatRef;

/// Of the mean of the diagonal of a normal matrix, what is added to the diagonal.
const RIDGE: f64 = 1e-9;

/// Factors in 8 or 4 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundedFactors {
    /// `n x rank`.
    pub u: Unpacked,
    /// `rank x k`, or several beside one another if `V` was to be rounded in parts.
    pub v: Vec<Unpacked>,
}

/// A factor of numbers that a format can hold: as it is stored, and what that stands for.
#[derive(Clone)]
struct Rounded {
    stored: Vec<Unpacked>,
    values: faer::Mat<f64>,
}

impl Rounded {
    /// Rounds `factor`, whose columns are in parts of these widths, each rounded by itself.
    fn new(factor: faer::MatRef<'_, f64>, widths: &[usize], format: WeightFormat) -> Result<Self> {
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

/// Factors in `format` whose product is near `w` (`n x k`): better than those of `low_rank`, just rounded.
///
/// `U` is rounded, `V` is fitted to what became of it, `V = (U^T U)^-1 U^T W`, and rounded, and then `U` is fitted to
/// that, `U = W C V^T (V C V^T)^-1` with the covariance `C` of the inputs (without one, the identity), and rounded
/// again: least squares in place of a blind rounding, at no cost when it runs (the idea of CALDERA, arXiv 2405.18886).
/// Of the three pairs that come about, the first being `low_rank` just rounded, the one whose product errs least is
/// returned; so it is never worse.
///
/// `widths` are the columns of the parts of `V` that are rounded each by itself, all of them together `k`: one part, or
/// one for each of the matrices that share `U`.
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
    format: WeightFormat,
    moment: Option<&Moment>,
    widths: &[usize],
) -> Result<RoundedFactors> {
    let (k, rank) = (low_rank.k(), low_rank.rank());
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
    let exact = to_f64(w);
    let error = |u: &Rounded, v: &Rounded| {
        let difference = &exact - &u.values * &v.values;
        moment.map_or_else(|| difference.squared_norm_l2(), |moment| energy(difference.as_ref(), moment))
    };
    let u = Rounded::new(to_f64(low_rank.u()).as_ref(), &[rank], format)?;
    let v = Rounded::new(to_f64(low_rank.v()).as_ref(), widths, format)?;
    let mut pairs = alloc::vec![(u.clone(), v)];
    if let Some(v) = solve(u.values.transpose() * &u.values, u.values.transpose() * &exact) {
        let v = Rounded::new(v.as_ref(), widths, format)?;
        pairs.push((u, v.clone()));
        // C V^T; with it V C V^T and W C V^T.
        let transposed = v.values.transpose().to_owned();
        let weighted = moment.map_or_else(|| transposed.clone(), |moment| moment.covariance() * &transposed);
        if let Some(u) = solve(&v.values * &weighted, (&exact * &weighted).transpose().to_owned()) {
            pairs.push((Rounded::new(u.transpose(), &[rank], format)?, v));
        }
    }
    let errors = pairs.iter().map(|(u, v)| error(u, v));
    let best = errors.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i);
    let (u, v) = pairs.swap_remove(best);
    let [u] = <[Unpacked; 1]>::try_from(u.stored).expect("U is rounded in one part");
    Ok(RoundedFactors { u, v: v.stored })
}

/// `A^-1 B` of a symmetric `A` that is positive but for rounding; none if it is zero.
fn solve(mut a: faer::Mat<f64>, b: faer::Mat<f64>) -> Option<faer::Mat<f64>> {
    let mean = (0..a.nrows()).map(|i| a[(i, i)]).sum::<f64>() / a.nrows().max(1) as f64;
    for i in 0..a.nrows() {
        a[(i, i)] += RIDGE * mean;
    }
    Some(a.llt(Side::Lower).ok()?.solve(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::{Decomposition, relative_error, signal_to_noise};
    use crate::factored::tests::weight;
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
                for format in WeightFormat::ALL {
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
                    if rank == 9 && format == WeightFormat::I4 && moment.is_none() {
                        assert!(after < 0.75 * before, "not clearly better: {after}, plain {before}");
                    }
                }
            }
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
