//! The linear map behind every layer: one matrix, two factors, or a stack of these.

use alloc::vec::Vec;

use super::dense::{DenseWeight, Shared};
use super::expect_bias_length;
use super::low_rank::LowRank;
use super::low_rank_linear::LowRankLinear;
use super::quantization::Quantization;
use super::scratch::{Scratch, SharedMemory};
use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::matrix::{Mat, MatMut, MatRef, grow};

/// A linear map from `k` to `n` features: dense, factored or stacked, in `f32` or quantized.
///
/// Layers use weights only through [`apply`](Self::apply), so a new structure is just another variant here.
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
    /// Two thin matrices.
    LowRank(LowRankLinear),
    /// Several weights, stacked vertically.
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
    type Error = Error;

    fn try_from(weight: Mat<f32>) -> Result<Self> {
        Self::dense(weight)
    }
}

impl Weight {
    /// A dense weight in `f32`, `n x k`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN.
    pub fn dense(weight: Mat<f32>) -> Result<Self> {
        Ok(Weight::Dense(DenseWeight::from_f32(weight)?))
    }

    /// Stacks weights vertically. They share their input of `k` features, and `n` is the sum over the parts. Nested
    /// stacks are flattened.
    ///
    /// # Errors
    /// [`Error::Parameter`] if there are none, [`Error::Shape`] if depths
    /// differ.
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{LowRank, Weight}};
    ///
    /// // Three gates of 4 features, each factored on its own, as the scheme `Split` does with a GRU's weights.
    /// let factor = |rows, cols| Mat::from_vec(vec![0.1; rows * cols], rows, cols);
    /// let gate = |rank| LowRank::from_factors(factor(4, rank)?, factor(rank, 5)?);
    /// let weight = Weight::stack(vec![gate(1)?.into(), gate(3)?.into(), gate(2)?.into()])?;
    /// assert_eq!((weight.n(), weight.k(), weight.parameters()), (12, 5, 6 * (4 + 5)));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn stack(parts: Vec<Weight>) -> Result<Self> {
        Ok(Weight::Stacked(StackedWeight::new(parts)?))
    }

    /// The best approximation of a lower rank. If the weight is already factored, as after the first stage of training,
    /// its product is factored anew. A stack stays a stack: each part is factored on its own.
    ///
    /// # Errors
    /// [`Error::Stored`] unless it is in `f32`, and those of [`LowRank::truncate`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, policy: super::RankPolicy) -> Result<Self> {
        match self {
            Weight::Stacked(stack) => Ok(Weight::Stacked(stack.map(|part| part.factor(policy))?)),
            Weight::Dense(_) | Weight::LowRank(_) => self.factor_whole(policy),
        }
    }

    /// The best approximation as two factors, even of a stack.
    #[cfg(feature = "svd")]
    pub(super) fn factor_whole(&self, policy: super::RankPolicy) -> Result<Self> {
        Ok(LowRank::truncate(self.to_matrix()?.view(), policy)?.into())
    }

    /// The weight as one `n x k` matrix, however it is stored: quantized numbers are multiplied by their scales, and
    /// factors by each other.
    ///
    /// # Errors
    /// [`Error::Allocation`].
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

    /// The weight as one matrix, to be factored. Quantized weights are refused.
    #[cfg(feature = "svd")]
    pub(super) fn to_matrix(&self) -> Result<Mat<f32>> {
        let mut matrices = Vec::new();
        self.add_matrices(&mut matrices);
        match matrices.iter().find(|w| w.as_f32().is_none()) {
            None => self.dequantize(),
            Some(w) => Err(Error::Stored { operation: "factor", expected: "f32", found: w.format() }),
        }
    }

    /// Output features.
    #[inline]
    pub fn n(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.n(),
            Weight::LowRank(weight) => weight.n(),
            Weight::Stacked(stack) => stack.n(),
        }
    }

    /// Depth: input features.
    #[inline]
    pub fn k(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.k(),
            Weight::LowRank(weight) => weight.k(),
            Weight::Stacked(stack) => stack.k(),
        }
    }

    /// The rank, if the weight is a product of two factors.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Weight::Dense(_) | Weight::Stacked(_) => None,
            Weight::LowRank(weight) => Some(weight.rank()),
        }
    }

    /// Number of elements of its matrices, which is also the number of multiply-accumulates per vector.
    pub fn parameters(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.parameters(),
            Weight::LowRank(weight) => weight.parameters(),
            Weight::Stacked(stack) => stack.parts().iter().map(Weight::parameters).sum(),
        }
    }

    /// Bytes that one product reads from memory.
    pub fn bytes(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.bytes(),
            Weight::LowRank(weight) => weight.bytes(),
            Weight::Stacked(stack) => stack.parts().iter().map(Weight::bytes).sum(),
        }
    }

    /// How its inputs are quantized, unless in no way, or if it is a stack.
    fn quantizes(&self) -> Option<Quantization> {
        match self {
            Weight::Dense(weight) => weight.stored_as(),
            Weight::LowRank(weight) => weight.v().stored_as(),
            Weight::Stacked(_) => None,
        }
    }

    /// Adds the matrices of this weight to `found`, except those already there, so that a shared factor counts once.
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
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit,
    /// [`Error::Allocation`].
    pub fn apply(
        &self,
        x: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        activation: Activation,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        self.apply_with(x, Shared::default(), bias, activation, out, scratch)
    }

    /// The same as [`apply`](Self::apply), with `x` already quantized as in [`DenseWeight::apply_with`].
    #[inline]
    pub(super) fn apply_with(
        &self,
        x: MatRef<'_, f32>,
        shared: Shared<'_>,
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

/// Vertically stacked weights that share their input, such as separately factored gates of a recurrent layer. Made by
/// [`Weight::stack`].
///
/// If a part is quantized, the input is quantized once for all parts. Each part writes its outputs in place; a batch
/// goes through a buffer.
#[derive(Clone, Debug)]
pub struct StackedWeight {
    /// At least one part, all of the same depth, none a stack itself.
    parts: Vec<Weight>,
    n: usize,
}

impl StackedWeight {
    pub(super) fn new(parts: Vec<Weight>) -> Result<Self> {
        let flat = |part| match part {
            Weight::Stacked(stack) => stack.parts,
            part => alloc::vec![part],
        };
        let parts: Vec<Weight> = parts.into_iter().flat_map(flat).collect();
        let Some(first) = parts.first() else {
            return Err(Error::Parameter { what: "number of stacked weights", value: 0.0, expected: "at least 1" });
        };
        let (k, mut n) = (first.k(), 0usize);
        for part in &parts {
            if part.k() != k {
                let (expected, found) = ((part.n(), k), (part.n(), part.k()));
                return Err(Error::Shape { what: "stacked weight", expected, found });
            }
            n = n.checked_add(part.n()).ok_or(Error::TooLarge {
                what: "stacked weights",
                rows: usize::MAX,
                cols: k,
            })?;
        }
        Ok(Self { parts, n })
    }

    /// The parts, from the top down.
    pub fn parts(&self) -> &[Weight] {
        &self.parts
    }

    /// The same stack with each part replaced by one of the same shape.
    pub(super) fn map<'w>(&'w self, part: impl FnMut(&'w Weight) -> Result<Weight>) -> Result<Self> {
        Ok(Self { parts: self.parts.iter().map(part).collect::<Result<_>>()?, n: self.n })
    }

    /// Output features of all parts together.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Depth: input features.
    pub fn k(&self) -> usize {
        self.parts.first().map_or(0, Weight::k)
    }

    /// `out = activation(x W^T + bias)`: `x` is `m x k`, `out` is `m x n`, `bias` has `n` elements.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit, [`Error::Allocation`].
    pub fn apply(
        &self,
        x: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        activation: Activation,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        x.expect_shape("input", x.rows(), self.k())?;
        out.expect_shape("output", x.rows(), self.n)?;
        expect_bias_length("bias", bias, self.n)?;
        // Taken out of the scratch while the parts use the rest of it.
        let mut quantized = core::mem::take(&mut scratch.stack_input);
        let mut buffer = core::mem::take(&mut scratch.stack_part);
        let done = self.apply_parts(x, bias, activation, out, &mut quantized, &mut buffer, scratch);
        (scratch.stack_input, scratch.stack_part) = (quantized, buffer);
        done
    }

    #[expect(clippy::too_many_arguments, reason = "the arguments of `apply` and two buffers")]
    fn apply_parts(
        &self,
        x: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        activation: Activation,
        mut out: MatMut<'_, f32>,
        quantized: &mut SharedMemory,
        buffer: &mut Vec<f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let shared = quantized.share(x, self.parts.iter().filter_map(Weight::quantizes))?;
        let mut start = 0;
        for part in &self.parts {
            let (m, n) = (x.rows(), part.n());
            let columns = start..start + n;
            let bias = bias.map(|bias| &bias[columns.clone()]);
            if m == 1 {
                let out = MatMut::row_vector(&mut out.as_mut_slice()[columns]);
                part.apply_with(x, shared, bias, activation, out, scratch)?;
            } else {
                grow(buffer, m * n)?;
                let of_part = MatMut::from_checked(&mut buffer[..m * n], m, n);
                part.apply_with(x, shared, bias, activation, of_part, scratch)?;
                for row in 0..m {
                    out.row_mut(row)[columns.clone()].copy_from_slice(&buffer[row * n..][..n]);
                }
            }
            start += n;
        }
        Ok(())
    }
}
