//! One weight matrix in any storage format, and its product.

use alloc::vec::Vec;

use super::elementary::sum_in_pairs;
use super::quantization::Quantization;
use super::scratch::{Scratch, SharedMemory};
use super::{expect_bias_length, expect_finite};
use crate::error::{Result, expect_length};
use crate::kernels::{
    Activation, Activations, Dequantize, Offsets, PackedMat, Tier, WideActivations, Workspace, gemm, gemm_vector,
    gemm_wide,
};
use crate::matrix::{Mat, MatMut, MatRef, grow};
use crate::quant::{QuantizedActivations, QuantizedActivationsI16, ZeroPoint, symmetric};

/// An `n x k` weight ready for multiplication: a dense layer's weight, or one factor of a low-rank weight.
///
/// To add a storage format, add a variant to the private `Storage` and the match arms that the compiler then asks for,
/// here and in `packing.rs`.
#[derive(Clone, Debug)]
pub struct DenseWeight(pub(super) Storage);

#[derive(Clone, Debug)]
pub(super) enum Storage {
    F32(Mat<f32>),
    /// 8, 4 or 2 bits; the packed matrix knows which.
    Quantized {
        weights: PackedMat,
        scales: Vec<f32>,
        /// Whether activations have 16 bits instead of 8.
        wide: bool,
    },
}

impl DenseWeight {
    /// Weights in `f32`, `n x k`.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) for the first weight that is infinite or NaN.
    pub fn from_f32(w: Mat<f32>) -> Result<Self> {
        expect_finite("weights", w.as_slice())?;
        Ok(Self(Storage::F32(w)))
    }

    /// Wraps weights that are known to be finite.
    pub(super) fn from_finite(w: Mat<f32>) -> Self {
        Self(Storage::F32(w))
    }

    /// Output features.
    #[inline]
    pub fn n(&self) -> usize {
        match &self.0 {
            Storage::F32(w) => w.rows(),
            Storage::Quantized { weights, .. } => weights.n(),
        }
    }

    /// Depth: input features.
    #[inline]
    pub fn k(&self) -> usize {
        match &self.0 {
            Storage::F32(w) => w.cols(),
            Storage::Quantized { weights, .. } => weights.k(),
        }
    }

    /// The weights, if they are in `f32`.
    pub fn as_f32(&self) -> Option<MatRef<'_, f32>> {
        match &self.0 {
            Storage::F32(w) => Some(w.view()),
            Storage::Quantized { .. } => None,
        }
    }

    /// The tier whose kernels run on it; `None` for `f32`, which runs the same everywhere.
    pub fn tier(&self) -> Option<Tier> {
        match &self.0 {
            Storage::F32(_) => None,
            Storage::Quantized { weights, .. } => Some(weights.tier()),
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.n() * self.k()
    }

    /// Bytes that one product reads from memory.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Storage::F32(w) => size_of_val(w.as_slice()),
            Storage::Quantized { weights, scales, .. } => weights.bytes() + size_of_val(&scales[..]),
        }
    }

    /// How it is quantized; `None` for `f32`.
    pub fn stored_as(&self) -> Option<Quantization> {
        match &self.0 {
            Storage::F32(_) => None,
            Storage::Quantized { wide: true, .. } => Some(Quantization::I8X16),
            Storage::Quantized { weights, .. } => Some(weights.format().into()),
        }
    }

    /// The name of the storage format.
    pub fn format(&self) -> &'static str {
        self.stored_as().map_or("f32", Quantization::name)
    }

    /// `out = activation(x W^T + bias)`: `x` is `m x k`, `out` is `m x n`, `bias` has `n` elements.
    ///
    /// For quantized weights, each row of `x` is quantized on its own, symmetrically ([`ZeroPoint::None`]), to 8 bits or to
    /// 16.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) or [`Error::Length`](crate::Error::Length) for operands that do not fit, [`Error::Allocation`](crate::Error::Allocation).
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

    /// The same as [`apply`](Self::apply), for a caller that multiplies `x` with several weights: `shared` is `x`
    /// quantized once.
    #[inline]
    pub(super) fn apply_with(
        &self,
        x: MatRef<'_, f32>,
        shared: Shared<'_>,
        bias: Option<&[f32]>,
        activation: Activation,
        mut out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        x.expect_shape("input", x.rows(), self.k())?;
        out.expect_shape("output", x.rows(), self.n())?;
        expect_bias_length("bias", bias, self.n())?;
        match &self.0 {
            Storage::F32(w) => {
                product_f32(w.view(), x, bias, activation, out.as_mut_slice());
                Ok(())
            }
            Storage::Quantized { weights, scales, wide: true } => {
                let Scratch { quantized_i16: quantized, workspace, .. } = scratch;
                let quantized = match shared.i16 {
                    Some(shared) => shared,
                    None => {
                        quantized.quantize(x)?;
                        quantized
                    }
                };
                let epilogue = Dequantize { row_scales: scales, column_scales: quantized.scales(), bias, activation };
                gemm_wide(weights, quantized.operand()?, &epilogue, out, workspace)
            }
            Storage::Quantized { weights, scales, wide: false } => {
                let Scratch { quantized, workspace, .. } = scratch;
                let quantized = match shared.i8 {
                    Some(shared) => shared,
                    None => {
                        symmetric_activations(x, quantized)?;
                        quantized
                    }
                };
                let epilogue = Dequantize { row_scales: scales, column_scales: quantized.scales(), bias, activation };
                gemm(weights, quantized.operand(), &epilogue, out, workspace)
            }
        }
    }

    /// Whether [`apply_vector`](Self::apply_vector) multiplies with it: unless activations have 16 bits.
    #[inline]
    pub(super) fn takes_vectors(&self) -> bool {
        !matches!(self.0, Storage::Quantized { wide: true, .. })
    }

    /// As [`apply`](Self::apply) for one vector, without an activation, if [`takes_vectors`](Self::takes_vectors). `quantized` is memory for the quantized vector.
    /// Where a layer has a few units, what leads to the product takes as long as the product: here it is a straight line.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    #[inline(never)]
    pub(super) fn apply_vector(
        &self,
        x: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
        quantized: &mut Vec<i8>,
        workspace: &Workspace,
    ) -> Result<()> {
        expect_length("input", self.k(), x.len())?;
        match &self.0 {
            Storage::F32(w) => {
                expect_length("output", w.rows(), out.len())?;
                expect_bias_length("bias", bias, w.rows())?;
                product_f32(w.view(), MatRef::row_vector(x), bias, Activation::Identity, out);
                Ok(())
            }
            Storage::Quantized { weights, scales, wide } => {
                debug_assert!(!wide, "products in 16 bits have no such line");
                let depth = weights.packed_depth();
                grow(quantized, depth)?;
                let (values, padding) = quantized[..depth].split_at_mut(x.len());
                // A call takes longer than the check.
                if !padding.is_empty() {
                    padding.fill(0);
                }
                let column_scales = [symmetric(x, values)];
                let activation = Activation::Identity;
                let epilogue = Dequantize { row_scales: scales, column_scales: &column_scales, bias, activation };
                gemm_vector(weights, &quantized[..depth], &epilogue, out, workspace)
            }
        }
    }
}

/// Quantizes `x` in the way that every product in 8 bits does.
#[inline]
fn symmetric_activations(x: MatRef<'_, f32>, quantized: &mut QuantizedActivations) -> Result<()> {
    quantized.quantize(x, ZeroPoint::None)
}

/// An input that several weights share, quantized once for each form that they need.
#[derive(Clone, Copy, Default)]
pub(super) struct Shared<'a> {
    i8: Option<&'a QuantizedActivations>,
    i16: Option<&'a QuantizedActivationsI16>,
}

impl SharedMemory {
    /// Quantizes `x` for weights that are quantized in these ways.
    pub(super) fn share(
        &mut self,
        x: MatRef<'_, f32>,
        needs: impl Iterator<Item = Quantization> + Clone,
    ) -> Result<Shared<'_>> {
        let [narrow, wide] = [8, 16].map(|bits| needs.clone().any(|needs| needs.activation_bits() == bits));
        if narrow {
            symmetric_activations(x, &mut self.i8)?;
        }
        if wide {
            self.i16.quantize(x)?;
        }
        Ok(Shared { i8: narrow.then_some(&self.i8), i16: wide.then_some(&self.i16) })
    }
}

impl QuantizedActivationsI16 {
    /// The batch as an operand of [`gemm_wide`].
    ///
    /// # Errors
    /// None: there are two parts of each column.
    #[inline]
    pub fn operand(&self) -> Result<WideActivations<'_>> {
        WideActivations::new(self.parts())
    }
}

impl QuantizedActivations {
    /// The batch as an operand of [`gemm`], with the correction for its zero points if it has any.
    #[inline]
    pub fn operand(&self) -> Activations<'_> {
        match self.zero_point() {
            ZeroPoint::None => Activations::new(self.values()),
            ZeroPoint::PerColumn => Activations::with_offsets(
                self.values(),
                Offsets { constant: self.constants(), row_sum_factor: self.row_sum_factors() },
            ),
        }
    }
}

/// Number of partial sums of a dot product: enough independent chains for any core, and a multiple of every vector
/// width.
const LANES: usize = 16;

/// `out = activation(x w^T + bias)`. Each output is summed in the same order, whatever the batch.
fn product_f32(w: MatRef<'_, f32>, x: MatRef<'_, f32>, bias: Option<&[f32]>, activation: Activation, out: &mut [f32]) {
    let n = w.rows();
    // Nothing to do if there are no rows or no features.
    if out.is_empty() {
        return;
    }
    for row in 0..n {
        // All columns of the batch use a row of weights while it is in cache.
        let weights = w.row(row);
        let bias = bias.map(|bias| bias[row]);
        for column in 0..x.rows() {
            let sum = dot(weights, x.row(column));
            out[column * n + row] = bias.map_or(sum, |bias| sum + bias);
        }
    }
    activation.apply(out);
}

/// The dot product of two slices of equal length. Lane `l` sums the elements `l, l + 16, ...` in order; then the lanes
/// are added in pairs.
fn dot(w: &[f32], x: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (w, w_tail) = w.as_chunks::<LANES>();
    let (x, x_tail) = x.as_chunks::<LANES>();
    for (w, x) in w.iter().zip(x) {
        for l in 0..LANES {
            sums[l] += w[l] * x[l];
        }
    }
    for ((sum, w), x) in sums.iter_mut().zip(w_tail).zip(x_tail) {
        *sum += w * x;
    }
    sum_in_pairs(sums)
}
