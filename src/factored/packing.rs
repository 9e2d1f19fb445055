//! Packing of quantized weights for a processor's kernels, and unpacking.

use super::dense::{DenseWeight, Storage};
use super::quantization::Quantization;
use crate::error::{Error, Result};
use crate::kernels::{PackedMat, Tier, WeightFormat};
use crate::matrix::{Mat, MatRef};
use crate::quant::{QuantizedMat, QuantizedMatI2, QuantizedMatI4};

/// A matrix before it is packed for a processor's kernels.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Unpacked {
    /// In `f32`.
    F32(Mat<f32>),
    /// In 8 bits, with one scale for each output feature.
    I8(QuantizedMat),
    /// The same, for activations in 16 bits ([`Quantization::I8X16`]).
    I8X16(QuantizedMat),
    /// In 4 bits, with one scale for each output feature and, if grouped, a multiplier for each group.
    I4(QuantizedMatI4),
    /// In 2 bits, with one scale for each output feature and a multiplier for each group.
    I2(QuantizedMatI2),
}

impl Unpacked {
    /// Rows and columns: output features and depth.
    #[cfg(feature = "safetensors")]
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Unpacked::F32(w) => w.view().shape(),
            Unpacked::I8(w) | Unpacked::I8X16(w) => w.values().shape(),
            Unpacked::I4(w) => w.values().shape(),
            Unpacked::I2(w) => w.values().shape(),
        }
    }

    /// Quantizes `w` (`n x k`) to 8, 4 or 2 bits.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first weight that is infinite or NaN, [`Error::Allocation`].
    pub fn quantize(w: MatRef<'_, f32>, format: impl Into<Quantization>) -> Result<Self> {
        let quantization = format.into();
        Ok(match quantization.weights() {
            WeightFormat::I8 if quantization == Quantization::I8X16 => Unpacked::I8X16(QuantizedMat::quantize(w)?),
            WeightFormat::I8 => Unpacked::I8(QuantizedMat::quantize(w)?),
            WeightFormat::I4 => Unpacked::I4(QuantizedMatI4::quantize(w)?),
            WeightFormat::I4Group32 => Unpacked::I4(QuantizedMatI4::quantize_grouped(w)?),
            WeightFormat::I2Group64 => Unpacked::I2(QuantizedMatI2::quantize(w)?),
        })
    }

    /// Lays the weights out for the kernels of `tier`; `f32` weights stay as they are.
    ///
    /// # Errors
    /// Those of [`QuantizedMat::pack`]; [`Error::NotFinite`] for an `f32` weight that is infinite or NaN.
    pub fn pack(self, tier: Tier) -> Result<DenseWeight> {
        match self {
            Unpacked::F32(w) => DenseWeight::from_f32(w),
            Unpacked::I8(w) => w.pack(tier),
            Unpacked::I8X16(w) => Ok(w.pack(tier)?.with_wide_activations()),
            Unpacked::I4(w) => w.pack(tier),
            Unpacked::I2(w) => w.pack(tier),
        }
    }

    /// The weights that the stored numbers represent, `n x k`.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn dequantize(&self) -> Result<Mat<f32>> {
        match self {
            Unpacked::F32(w) => Ok(w.clone()),
            Unpacked::I8(w) | Unpacked::I8X16(w) => w.dequantize(),
            Unpacked::I4(w) => w.dequantize(),
            Unpacked::I2(w) => w.dequantize(),
        }
    }
}

impl QuantizedMat {
    /// Lays the weights out for the kernels of `tier` ([`Tier::select`] names the best).
    ///
    /// # Errors
    /// [`Error::TierUnavailable`] if this machine lacks the tier, [`Error::Depth`] if sums could overflow,
    /// [`Error::Allocation`].
    pub fn pack(&self, tier: Tier) -> Result<DenseWeight> {
        let weights = PackedMat::for_tier(self.values(), tier)?;
        Ok(DenseWeight(Storage::Quantized { weights, scales: self.scales().to_vec(), wide: false }))
    }
}

impl QuantizedMatI4 {
    /// Lays the weights out for the kernels of `tier` ([`Tier::select`] names the best).
    ///
    /// # Errors
    /// Those of [`QuantizedMat::pack`].
    pub fn pack(&self, tier: Tier) -> Result<DenseWeight> {
        let weights = match self.multipliers() {
            Some(multipliers) => PackedMat::i4_grouped_for_tier(self.values(), multipliers, tier)?,
            None => PackedMat::i4_for_tier(self.values(), tier)?,
        };
        Ok(DenseWeight(Storage::Quantized { weights, scales: self.scales().to_vec(), wide: false }))
    }
}

impl QuantizedMatI2 {
    /// Lays the weights out for the kernels of `tier` ([`Tier::select`] names the best).
    ///
    /// # Errors
    /// Those of [`QuantizedMat::pack`].
    pub fn pack(&self, tier: Tier) -> Result<DenseWeight> {
        let weights = PackedMat::i2_grouped_for_tier(self.values(), self.multipliers(), tier)?;
        Ok(DenseWeight(Storage::Quantized { weights, scales: self.scales().to_vec(), wide: false }))
    }
}

impl DenseWeight {
    /// The same in 8 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// [`Error::Stored`] unless it is in `f32`, and those of [`QuantizedMat::pack`].
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        match &self.0 {
            Storage::F32(w) => Unpacked::quantize(w.view(), format)?.pack(tier),
            Storage::Quantized { .. } => {
                Err(Error::Stored { operation: "quantize", expected: "f32", found: self.format() })
            }
        }
    }

    /// The same weights, in 8 bits, for activations in 16.
    fn with_wide_activations(mut self) -> Self {
        if let Storage::Quantized { wide, .. } = &mut self.0 {
            *wide = true;
        }
        self
    }

    /// The weights as they were before packing: the form to store in a file, or to pack for another tier.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn unpack(&self) -> Result<Unpacked> {
        match &self.0 {
            Storage::F32(w) => {
                let mut copy = Mat::zeros(w.rows(), w.cols())?;
                copy.as_mut_slice().copy_from_slice(w.as_slice());
                Ok(Unpacked::F32(copy))
            }
            Storage::Quantized { weights, scales, wide } => {
                let (values, scales) = (weights.unpack()?, scales.clone());
                match weights.format() {
                    WeightFormat::I8 if *wide => Ok(Unpacked::I8X16(QuantizedMat::from_parts(values, scales)?)),
                    WeightFormat::I8 => Ok(Unpacked::I8(QuantizedMat::from_parts(values, scales)?)),
                    WeightFormat::I4 | WeightFormat::I4Group32 => {
                        let multipliers = weights.unpack_multipliers()?;
                        Ok(Unpacked::I4(QuantizedMatI4::from_parts(values, multipliers, scales)?))
                    }
                    WeightFormat::I2Group64 => {
                        let multipliers = weights.unpack_multipliers_i2()?.unwrap_or_default();
                        Ok(Unpacked::I2(QuantizedMatI2::from_parts(values, multipliers, scales)?))
                    }
                }
            }
        }
    }
}
