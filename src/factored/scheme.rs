//! Which matrices of a recurrent layer are factored together.

#[cfg(any(feature = "svd", feature = "safetensors"))]
use alloc::vec::Vec;

#[cfg(feature = "svd")]
use super::{LowRank, LowRankLinear, RankPolicy, Weight};
#[cfg(any(feature = "svd", feature = "safetensors"))]
use crate::error::Result;
#[cfg(any(feature = "svd", feature = "safetensors"))]
use crate::matrix::{Mat, MatRef};

/// Which matrices of a recurrent layer are factored together (Kliegl et al., arXiv 1710.09026). Each gate `i` of `g`
/// has an input matrix `W_i` and a recurrent matrix `R_i`:
///
/// | scheme | factorizations | products per step | made of |
/// |---|---|---|---|
/// | `Split` | `W_i ~ U_i V_i`, `R_i ~ U'_i V'_i` | `4 g` | [`Weight::stack`](super::Weight::stack) of low-rank weights |
/// | `PartiallyJoint` | `[W_1; ..; W_g] ~ U V`, `[R_1; ..; R_g] ~ U' V'` | 4 | two low-rank weights |
/// | `Joint` | `[W_1, R_1; ..; W_g, R_g] ~ U [V, V']` | 4, two of them with `U` | [`LowRankLinear::with_shared_u`](super::LowRankLinear::with_shared_u) |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Each matrix of each gate on its own.
    Split,
    /// The input matrices of all gates together, and the recurrent matrices of all gates together: the best trade-off
    /// in the paper, and the largest products.
    PartiallyJoint,
    /// All matrices together: the fewest parameters at a given rank.
    Joint,
}

/// Factors the input weights and the recurrent weights of `gates` gates. A joint matrix uses the policy `input`.
#[cfg(feature = "svd")]
pub(super) fn factor_gates(
    scheme: Scheme,
    weight_ih: MatRef<'_, f32>,
    weight_hh: MatRef<'_, f32>,
    gates: usize,
    input: RankPolicy,
    recurrent: RankPolicy,
) -> Result<(Weight, Weight)> {
    match scheme {
        Scheme::Split => Ok((split(weight_ih, gates, input)?, split(weight_hh, gates, recurrent)?)),
        Scheme::PartiallyJoint => {
            Ok((LowRank::truncate(weight_ih, input)?.into(), LowRank::truncate(weight_hh, recurrent)?.into()))
        }
        Scheme::Joint => {
            let (u, v) = LowRank::truncate(beside(weight_ih, weight_hh)?.view(), input)?.into_factors();
            let (v, k) = (v.view(), weight_ih.cols());
            let v = [columns(v, 0..k)?, columns(v, k..v.cols())?];
            Ok(LowRankLinear::with_shared_u(u, v)?.map(Weight::from).into())
        }
    }
}

/// Splits the rows of `w` into `gates` blocks, factors each and stacks them.
#[cfg(feature = "svd")]
fn split(w: MatRef<'_, f32>, gates: usize, policy: RankPolicy) -> Result<Weight> {
    let rows = w.rows() / gates;
    let gate = |i: usize| Ok(LowRank::truncate(w.rows_range(i * rows..(i + 1) * rows), policy)?.into());
    Weight::stack((0..gates).map(gate).collect::<Result<_>>()?)
}

/// `[a | b]`, for matrices with the same number of rows.
#[cfg(feature = "svd")]
pub(crate) fn beside(a: MatRef<'_, f32>, b: MatRef<'_, f32>) -> Result<Mat<f32>> {
    let mut both = Mat::zeros(a.rows(), a.cols() + b.cols())?;
    for row in 0..a.rows() {
        let mut both = both.view_mut();
        let (left, right) = both.row_mut(row).split_at_mut(a.cols());
        left.copy_from_slice(a.row(row));
        right.copy_from_slice(b.row(row));
    }
    Ok(both)
}

/// The columns `range` of `w`.
#[cfg(any(feature = "svd", feature = "safetensors"))]
pub(crate) fn columns(w: MatRef<'_, f32>, range: core::ops::Range<usize>) -> Result<Mat<f32>> {
    let values: Vec<f32> = (0..w.rows()).flat_map(|row| &w.row(row)[range.clone()]).copied().collect();
    Mat::from_vec(values, w.rows(), range.len())
}
