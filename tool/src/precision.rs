//! The precisions that weights are stored in, with their names on the command line.

use clap::ValueEnum;
use skinny::Tier;
use skinny::factored::Quantization;
use skinny::kernels::WeightFormat;
use skinny::model::Model;

use crate::error::Result;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit floats, as trained
    F32,
    /// 8 bits, one scale per output
    Int8,
    /// 8 bits as int8, multiplied with activations of 16 bits instead of 8
    #[value(name = "int8x16")]
    Int8x16,
    /// 4 bits, one scale per output
    Int4,
    /// 4 bits, one scale per group of 32
    Int4Groups,
    /// 2 bits, one scale per group of 64: ruins most models that were not trained for it
    Int2,
}

impl Precision {
    /// The library's name for it; none for `f32`.
    pub fn quantization(self) -> Option<Quantization> {
        match self {
            Precision::Int8x16 => Some(Quantization::I8X16),
            _ => self.format().map(Quantization::from),
        }
    }

    /// The format of the weights; none for `f32`.
    pub fn format(self) -> Option<WeightFormat> {
        match self {
            Precision::F32 => None,
            Precision::Int8 | Precision::Int8x16 => Some(WeightFormat::I8),
            Precision::Int4 => Some(WeightFormat::I4),
            Precision::Int4Groups => Some(WeightFormat::I4Group32),
            Precision::Int2 => Some(WeightFormat::I2Group64),
        }
    }

    /// The model with its weights in this precision. Quantized weights are dequantized first.
    pub fn of(self, model: &Model, tier: Tier) -> Result<Model> {
        let f32 = model.dequantize()?;
        Ok(match self.quantization() {
            None => f32,
            Some(format) => f32.quantize_to(format, tier)?,
        })
    }
}

/// The name of a precision in tables and JSON; none is `f32`.
pub fn name(quantization: Option<impl Into<Quantization>>) -> &'static str {
    match quantization.map(Into::into) {
        None => "f32",
        Some(Quantization::Weights(WeightFormat::I4Group32)) => "int4-groups",
        Some(Quantization::Weights(WeightFormat::I2Group64)) => "int2",
        Some(quantization) => quantization.name(),
    }
}
