//! Weights one below the other.

use alloc::vec::Vec;

use super::dense::shared_activations;
use super::expect_bias_length;
use super::scratch::Scratch;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::matrix::{MatMut, MatRef, grow};
use crate::quant::QuantizedActivations;

/// Weights that share their input, one below the other: gates of a recurrent layer that are factored each by itself.
/// Made by [`Weight::stack`].
///
/// In 8 bits the input is quantized once for all parts. Each part writes its outputs where they belong; a batch goes by
/// way of a buffer.
#[derive(Clone, Debug)]
pub struct StackedWeight {
    /// At least one, of one depth, none a stack itself.
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

    /// The same stack of other parts of the same shapes.
    pub(super) fn map<'w>(&'w self, part: impl FnMut(&'w Weight) -> Result<Weight>) -> Result<Self> {
        Ok(Self { parts: self.parts.iter().map(part).collect::<Result<_>>()?, n: self.n })
    }

    /// Output features: those of all parts.
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
        // Out of the scratch while the parts use the rest of it.
        let mut quantized = core::mem::take(&mut scratch.stack_input);
        let mut buffer = core::mem::take(&mut scratch.stack_part);
        let done = self.apply_parts(x, bias, activation, out, &mut quantized, &mut buffer, scratch);
        (scratch.stack_input, scratch.stack_part) = (quantized, buffer);
        done
    }

    #[expect(clippy::too_many_arguments, reason = "those of `apply` and two buffers")]
    fn apply_parts(
        &self,
        x: MatRef<'_, f32>,
        bias: Option<&[f32]>,
        activation: Activation,
        mut out: MatMut<'_, f32>,
        quantized: &mut QuantizedActivations,
        buffer: &mut Vec<f32>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let shared = if self.parts.iter().any(Weight::is_quantized) {
            shared_activations(x, quantized)?;
            Some(&*quantized)
        } else {
            None
        };
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
