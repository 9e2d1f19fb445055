//! Quantization of weights to 8, 4 or 2 bits.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::dense::DenseWeight;
use super::quantization::Quantization;
use super::weight::Weight;
use crate::error::Result;
use crate::kernels::{Tier, WeightFormat};

impl Weight {
    /// The same weight in 8 bits, each matrix quantized row by row, for the kernels of `tier`.
    ///
    /// # Errors
    /// [`Error::Stored`](crate::Error::Stored) unless it is in `f32`, and those of
    /// [`QuantizedMat::pack`](crate::quant::QuantizedMat::pack).
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same weight in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        Quantizer::new(format.into(), tier).weight(self)
    }
}

/// Quantizes the weights of one layer. A shared factor is quantized once and stays shared.
pub(super) struct Quantizer<'w> {
    format: Quantization,
    tier: Tier,
    /// Pairs of a factor `U` and its quantized form.
    done: Vec<(&'w Arc<DenseWeight>, Arc<DenseWeight>)>,
}

impl<'w> Quantizer<'w> {
    pub(super) fn new(format: Quantization, tier: Tier) -> Self {
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
