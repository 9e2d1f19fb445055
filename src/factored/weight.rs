//! The linear map behind every layer: one matrix, two factors, or a stack of these.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::dense::DenseWeight;
use super::low_rank::LowRank;
use super::low_rank_linear::LowRankLinear;
use super::scratch::Scratch;
use super::stacked::StackedWeight;
use crate::error::Result;
use crate::kernels::{Activation, Tier, WeightFormat};
use crate::matrix::{Mat, MatMut, MatRef};
use crate::quant::QuantizedActivations;

/// A linear map from `k` to `n` features, dense or factored, in `f32` or in 8 bits.
///
/// Layers know weights by [`apply`](Self::apply) alone. So a further structure is a further variant here.
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
    /// Several, one below the other.
    Stacked(StackedWeight),
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

    /// Weights one below the other, which share their input: `n` is the sum of theirs, `k` that of each. Stacks among
    /// them are taken apart.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) if there are none, [`Error::Shape`](crate::Error::Shape) if depths
    /// differ.
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{LowRank, Weight}};
    ///
    /// // Three gates of 4 features, each factored by itself: what the scheme `Split` makes of a GRU's weights.
    /// let factor = |rows, cols| Mat::from_vec(vec![0.1; rows * cols], rows, cols);
    /// let gate = |rank| LowRank::from_factors(factor(4, rank)?, factor(rank, 5)?);
    /// let weight = Weight::stack(vec![gate(1)?.into(), gate(3)?.into(), gate(2)?.into()])?;
    /// assert_eq!((weight.n(), weight.k(), weight.parameters()), (12, 5, 6 * (4 + 5)));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn stack(parts: Vec<Weight>) -> Result<Self> {
        Ok(Weight::Stacked(StackedWeight::new(parts)?))
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
        Quantizer::new(format, tier).weight(self)
    }

    /// The best weight of a lower rank: of a dense one, or of the product of one that is factored already, as the
    /// factors of the first stage of training are. A stack stays one, each part by itself.
    ///
    /// # Errors
    /// [`Error::Stored`](crate::Error::Stored) unless it is in `f32`, and those of [`LowRank::truncate`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, policy: super::RankPolicy) -> Result<Self> {
        match self {
            Weight::Stacked(stack) => Ok(Weight::Stacked(stack.map(|part| part.factor(policy))?)),
            Weight::Dense(_) | Weight::LowRank(_) => self.factor_whole(policy),
        }
    }

    /// The best weight of two factors.
    #[cfg(feature = "svd")]
    pub(super) fn factor_whole(&self, policy: super::RankPolicy) -> Result<Self> {
        Ok(LowRank::truncate(self.to_matrix()?.view(), policy)?.into())
    }

    /// The one matrix that this weight stands for, `n x k`, whatever it is stored as: quantized numbers times their
    /// scales, factors multiplied.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn dequantize(&self) -> Result<Mat<f32>> {
        let whole = |w: &DenseWeight| w.unpack()?.dequantize();
        match self {
            Weight::Dense(w) => whole(w),
            Weight::LowRank(w) => super::low_rank::product(whole(w.u())?.view(), whole(w.v())?.view()),
            Weight::Stacked(stack) => {
                let mut rows = Vec::new();
                for part in stack.parts() {
                    rows.extend_from_slice(part.dequantize()?.as_slice());
                }
                Mat::from_vec(rows, stack.n(), stack.k())
            }
        }
    }

    /// The one matrix that this weight stands for, to be factored: not of rounded numbers.
    #[cfg(feature = "svd")]
    pub(super) fn to_matrix(&self) -> Result<Mat<f32>> {
        let mut matrices = Vec::new();
        self.add_matrices(&mut matrices);
        match matrices.iter().find(|w| w.as_f32().is_none()) {
            None => self.dequantize(),
            Some(w) => Err(crate::Error::Stored { operation: "factor", expected: "f32", found: w.format() }),
        }
    }

    /// Output features.
    pub fn n(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.n(),
            Weight::LowRank(weight) => weight.n(),
            Weight::Stacked(stack) => stack.n(),
        }
    }

    /// Depth: input features.
    pub fn k(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.k(),
            Weight::LowRank(weight) => weight.k(),
            Weight::Stacked(stack) => stack.k(),
        }
    }

    /// The rank, of a weight that is one product of two factors.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Weight::Dense(_) | Weight::Stacked(_) => None,
            Weight::LowRank(weight) => Some(weight.rank()),
        }
    }

    /// Elements of its matrices, each of which is multiplied with once when the weight is applied to a vector.
    pub fn parameters(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.parameters(),
            Weight::LowRank(weight) => weight.parameters(),
            Weight::Stacked(stack) => stack.parts().iter().map(Weight::parameters).sum(),
        }
    }

    /// Bytes that one use streams from memory.
    pub fn bytes(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.bytes(),
            Weight::LowRank(weight) => weight.bytes(),
            Weight::Stacked(stack) => stack.parts().iter().map(Weight::bytes).sum(),
        }
    }

    pub(super) fn is_quantized(&self) -> bool {
        match self {
            Weight::Dense(weight) => weight.tier().is_some(),
            Weight::LowRank(weight) => weight.v().tier().is_some(),
            Weight::Stacked(stack) => stack.parts().iter().any(Weight::is_quantized),
        }
    }

    /// Adds the matrices that this is made of to `found`, but for those that are there already, so that a factor that
    /// weights share is counted once.
    pub(super) fn add_matrices<'w>(&'w self, found: &mut Vec<&'w DenseWeight>) {
        let mut add = |matrix: &'w DenseWeight| {
            if !found.iter().any(|&other| core::ptr::eq(other, matrix)) {
                found.push(matrix);
            }
        };
        match self {
            Weight::Dense(weight) => add(weight),
            Weight::LowRank(weight) => {
                add(weight.u());
                add(weight.v());
            }
            Weight::Stacked(stack) => stack.parts().iter().for_each(|part| part.add_matrices(found)),
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
        self.apply_with(x, None, bias, activation, out, scratch)
    }

    /// As [`apply`](Self::apply), with `x` quantized already as in [`DenseWeight::apply_with`].
    pub(super) fn apply_with(
        &self,
        x: MatRef<'_, f32>,
        shared: Option<&QuantizedActivations>,
        bias: Option<&[f32]>,
        activation: Activation,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        match self {
            Weight::Dense(weight) => weight.apply_with(x, shared, bias, activation, out, scratch),
            Weight::LowRank(weight) => weight.apply_with(x, shared, bias, activation, out, scratch),
            Weight::Stacked(stack) => stack.apply(x, bias, activation, out, scratch),
        }
    }
}

/// Quantizes the weights of one layer. A factor that some of them share is quantized once and shared again.
pub(super) struct Quantizer<'w> {
    format: WeightFormat,
    tier: Tier,
    /// Factors `U`, and the same quantized.
    done: Vec<(&'w Arc<DenseWeight>, Arc<DenseWeight>)>,
}

impl<'w> Quantizer<'w> {
    pub(super) fn new(format: WeightFormat, tier: Tier) -> Self {
        Self { format, tier, done: Vec::new() }
    }

    pub(super) fn weight(&mut self, weight: &'w Weight) -> Result<Weight> {
        let (format, tier) = (self.format, self.tier);
        Ok(match weight {
            Weight::Dense(weight) => Weight::Dense(weight.quantize_to(format, tier)?),
            Weight::LowRank(weight) => Weight::LowRank(weight.quantize_with(|u| self.factor(u), format, tier)?),
            Weight::Stacked(stack) => Weight::Stacked(stack.map(|part| self.weight(part))?),
        })
    }

    fn factor(&mut self, u: &'w Arc<DenseWeight>) -> Result<Arc<DenseWeight>> {
        if let Some((_, quantized)) = self.done.iter().find(|(other, _)| Arc::ptr_eq(other, u)) {
            return Ok(quantized.clone());
        }
        let quantized = Arc::new(u.quantize_to(self.format, self.tier)?);
        self.done.push((u, quantized.clone()));
        Ok(quantized)
    }
}
