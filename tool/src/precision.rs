//! The precisions that weights are stored in, with their names on the command line.

use clap::ValueEnum;
use skinny::Tier;
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
    /// 4 bits, one scale per output
    Int4,
    /// 4 bits, one scale per group of 32
    Int4Groups,
    /// 2 bits, one scale per group of 64: ruins most models that were not trained for it
    Int2,
}

impl Precision {
    /// The library's format; none for `f32`.
    pub fn format(self) -> Option<WeightFormat> {
        match self {
            Precision::F32 => None,
            Precision::Int8 => Some(WeightFormat::I8),
            Precision::Int4 => Some(WeightFormat::I4),
            Precision::Int4Groups => Some(WeightFormat::I4Group32),
            Precision::Int2 => Some(WeightFormat::I2Group64),
        }
    }

    /// The model with its weights in this precision. Quantized weights are dequantized first.
    pub fn of(self, model: &Model, tier: Tier) -> Result<Model> {
        let f32 = model.dequantize()?;
        Ok(match self.format() {
            None => f32,
            Some(format) => f32.quantize_to(format, tier)?,
        })
    }
}

/// The name of a format in tables and JSON.
pub fn name(format: Option<WeightFormat>) -> &'static str {
    match format {
        None => "f32",
        Some(WeightFormat::I8) => "int8",
        Some(WeightFormat::I4) => "int4",
        Some(WeightFormat::I4Group32) => "int4-groups",
        Some(WeightFormat::I2Group64) => "int2",
        Some(_) => "other",
    }
}
