//! A trainable weight, dense or a product of two factors.

use burn::tensor::{Device, Tensor};

use super::random::Random;
use super::tensors::{Parameters, matrix, parameter};
use crate::error::Result;
use crate::factored::{self, LowRank, RankPolicy};
use crate::matrix::{Mat, MatRef};

/// A trainable weight `W` (`n x k`), or its factors: `W = U V`, where `U` is `n x r` and `V` is `r x k`.
#[allow(clippy::large_enum_variant, reason = "a model has a handful, and all are factored or none")]
#[derive(Clone, Debug)]
pub enum Weight {
    /// One matrix.
    Dense(Tensor<2>),
    /// Two factors.
    Factored {
        /// `n x r`.
        u: Tensor<2>,
        /// `r x k`.
        v: Tensor<2>,
    },
}

/// Which of the two strengths of a penalty applies to a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightKind {
    /// It is multiplied with the state of the previous step. The one matrix of `Scheme::Joint` counts as recurrent.
    Recurrent,
    /// It is multiplied with the layer's input.
    NonRecurrent,
}

impl Weight {
    /// Makes a dense weight.
    pub fn dense(w: MatRef<'_, f32>, device: &Device) -> Self {
        Weight::Dense(parameter(w, device))
    }

    /// Factors.
    pub fn factored(low_rank: &LowRank, device: &Device) -> Self {
        Weight::Factored { u: parameter(low_rank.u(), device), v: parameter(low_rank.v(), device) }
    }

    /// Makes uniform random factors of rank `rank`. The elements of their product have the variance `bound^2 / 3`, as
    /// in a matrix that is uniform in `-bound..bound`.
    ///
    /// # Errors
    /// [`Error::Rank`](crate::Error::Rank), [`Error::Allocation`](crate::Error::Allocation).
    pub fn random_factors(
        [n, k]: [usize; 2],
        rank: usize,
        bound: f32,
        random: &mut Random,
        device: &Device,
    ) -> Result<Self> {
        // The product's variance is `rank` times the square of the factors' variance, b^2 / 3.
        let b = (3.0 * bound * bound / rank.max(1) as f32).powf(0.25);
        let low_rank = LowRank::from_factors(uniform(n, rank, b, random)?, uniform(rank, k, b, random)?)?;
        Ok(Self::factored(&low_rank, device))
    }

    /// `x W^T` for many rows `x`, by whichever order of the products is cheaper.
    pub(super) fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Weight::Factored { u, v } if v.dims()[0] * (u.dims()[0] + v.dims()[1]) < u.dims()[0] * v.dims()[1] => {
                x.matmul(v.clone().transpose()).matmul(u.clone().transpose())
            }
            _ => x.matmul(self.matrix().transpose()),
        }
    }

    /// `W` as part of the graph. Layers compute it once per batch, so that a time step costs one product whether the
    /// weight is factored or not.
    pub fn matrix(&self) -> Tensor<2> {
        match self {
            Weight::Dense(w) => w.clone(),
            Weight::Factored { u, v } => u.clone().matmul(v.clone()),
        }
    }

    /// `[n, k]`.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Weight::Dense(w) => w.dims(),
            Weight::Factored { u, v } => [u.dims()[0], v.dims()[1]],
        }
    }

    /// The rank of the factors.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Weight::Dense(_) => None,
            Weight::Factored { v, .. } => Some(v.dims()[0]),
        }
    }

    /// The values of `W`; factors are multiplied in `f64`.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Allocation`](crate::Error::Allocation).
    pub fn to_mat(&self) -> Result<Mat<f32>> {
        match self {
            Weight::Dense(w) => matrix(w),
            Weight::Factored { u, v } => LowRank::from_factors(matrix(u)?, matrix(v)?)?.product(),
        }
    }

    /// The weight for inference, with the same values.
    ///
    /// # Errors
    /// Those of [`to_mat`](Self::to_mat).
    pub fn to_inference(&self) -> Result<factored::Weight> {
        match self {
            Weight::Dense(w) => factored::Weight::dense(matrix(w)?),
            Weight::Factored { u, v } => Ok(LowRank::from_factors(matrix(u)?, matrix(v)?)?.into()),
        }
    }

    /// Balanced factors of the nearest matrix of a lower rank: `U sqrt(S)` and `sqrt(S) V^T` of the singular value
    /// decomposition. Used at the transition from stage 1 to stage 2, and for spectral initialization from random
    /// weights.
    ///
    /// # Errors
    /// Those of [`LowRank::truncate`].
    pub fn truncate(&self, policy: RankPolicy, device: &Device) -> Result<Self> {
        Ok(Self::factored(&LowRank::truncate(self.to_mat()?.view(), policy)?, device))
    }

    pub(super) fn add_parameters<'a>(&'a mut self, name: String, parameters: &mut Parameters<'a>) {
        match self {
            Weight::Dense(w) => parameters.push((name, w)),
            Weight::Factored { u, v } => {
                parameters.push((format!("{name}.u"), u));
                parameters.push((format!("{name}.v"), v));
            }
        }
    }
}

/// A matrix uniform in `-bound..bound`.
pub(super) fn uniform(rows: usize, cols: usize, bound: f32, random: &mut Random) -> Result<Mat<f32>> {
    let mut w = Mat::zeros(rows, cols)?;
    w.as_mut_slice().fill_with(|| random.uniform(-bound, bound));
    Ok(w)
}
