//! The linear map behind every layer: one matrix or two factors.

use super::dense::DenseWeight;
use super::low_rank::LowRank;
use super::low_rank_linear::LowRankLinear;
use super::scratch::Scratch;
use crate::error::Result;
use crate::kernels::{Activation, Tier, WeightFormat};
use crate::matrix::{Mat, MatMut, MatRef};

/// A linear map from `k` to `n` features, dense or factored, in `f32` or in 8 bits.
///
/// Layers know weights by [`apply`](Self::apply) alone. So a further structure is a further variant here: gates that
/// are factored each by itself, say, would be a stack of weights that share their input.
///
/// # Example
/// ```
/// use skinny::{Mat, MatMut, MatRef, factored::{Scratch, Weight}, kernels::Activation};
///
/// let weight = Weight::dense(Mat::from_vec(vec![1.0, 2.0, 3.0, -4.0], 2, 2)?)?;
/// let mut out = [0.0; 2];
/// let x = MatRef::row_vector(&[1.0, 1.0]);
/// weight.apply(x, Some(&[0.5, 0.5]), Activation::Relu, MatMut::row_vector(&mut out), &mut Scratch::new())?;
/// assert_eq!(out, [3.5, 0.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Weight {
    /// One matrix.
    Dense(DenseWeight),
    /// Two thin ones.
    LowRank(LowRankLinear),
}

impl From<DenseWeight> for Weight {
    fn from(weight: DenseWeight) -> Self {
        Weight::Dense(weight)
    }
}

impl From<LowRankLinear> for Weight {
    fn from(weight: LowRankLinear) -> Self {
        Weight::LowRank(weight)
    }
}

impl From<LowRank> for Weight {
    fn from(weight: LowRank) -> Self {
        Weight::LowRank(weight.into())
    }
}

impl TryFrom<Mat<f32>> for Weight {
    type Error = crate::Error;

    fn try_from(weight: Mat<f32>) -> Result<Self> {
        Self::dense(weight)
    }
}

impl Weight {
    /// A dense weight in `f32`, `n x k`.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) for the first weight that is infinite or NaN.
    pub fn dense(weight: Mat<f32>) -> Result<Self> {
        Ok(Weight::Dense(DenseWeight::from_f32(weight)?))
    }

    /// The same weight in 8 bits, each matrix quantized row by row, for the kernels of `tier`.
    ///
    /// # Errors
    /// [`Error::Stored`](crate::Error::Stored) unless it is in `f32`, and those of
    /// [`QuantizedMat::pack`](crate::quant::QuantizedMat::pack).
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same weight in 8 or in 4 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: WeightFormat, tier: Tier) -> Result<Self> {
        Ok(match self {
            Weight::Dense(weight) => Weight::Dense(weight.quantize_to(format, tier)?),
            Weight::LowRank(weight) => Weight::LowRank(weight.quantize_to(format, tier)?),
        })
    }

    /// The best weight of a lower rank: of a dense one, or of the product of one that is factored already, as the
    /// factors of the first stage of training are.
    ///
    /// # Errors
    /// [`Error::Stored`](crate::Error::Stored) unless it is in `f32`, and those of [`LowRank::truncate`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, policy: super::RankPolicy) -> Result<Self> {
        let stored = |found| crate::Error::Stored { operation: "factor", expected: "f32", found };
        Ok(match self {
            Weight::Dense(w) => LowRank::truncate(w.as_f32().ok_or(stored(w.format()))?, policy)?.into(),
            Weight::LowRank(w) => {
                let low_rank = w.to_low_rank().ok_or(stored(w.u().format()))?;
                LowRank::truncate(low_rank.product()?.view(), policy)?.into()
            }
        })
    }

    /// Output features.
    pub fn n(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.n(),
            Weight::LowRank(weight) => weight.n(),
        }
    }

    /// Depth: input features.
    pub fn k(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.k(),
            Weight::LowRank(weight) => weight.k(),
        }
    }

    /// The rank, of a factored weight.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Weight::Dense(_) => None,
            Weight::LowRank(weight) => Some(weight.rank()),
        }
    }

    /// Bytes that one use streams from memory.
    pub fn bytes(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.bytes(),
            Weight::LowRank(weight) => weight.bytes(),
        }
    }

    /// `out = activation(x W^T + bias)`: `x` is `m x k`, `out` is `m x n`, `bias` has `n` elements.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) or [`Error::Length`](crate::Error::Length) for operands that do not fit,
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn apply(
        &self,
        x: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        activation: Activation,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        match self {
            Weight::Dense(weight) => weight.apply(x, bias, activation, out, scratch),
            Weight::LowRank(weight) => weight.apply(x, bias, activation, out, scratch),
        }
    }
}
