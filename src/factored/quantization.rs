//! How the numbers of a product are quantized.

use crate::kernels::WeightFormat;

/// How the numbers of a quantized product are stored: its weights once, its activations at every product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantization {
    /// Weights in this format, activations in 8 bits.
    Weights(WeightFormat),
    /// Weights in 8 bits ([`WeightFormat::I8`]), activations in 16. An activation is two of 8 bits to the kernels, so a
    /// batch counts twice. It suits vectors whose features differ in size, such as powers.
    I8X16,
}

impl From<WeightFormat> for Quantization {
    fn from(format: WeightFormat) -> Self {
        Quantization::Weights(format)
    }
}

impl Quantization {
    /// All of them.
    pub const ALL: [Quantization; 5] = [
        Quantization::Weights(WeightFormat::I8),
        Quantization::I8X16,
        Quantization::Weights(WeightFormat::I4),
        Quantization::Weights(WeightFormat::I4Group32),
        Quantization::Weights(WeightFormat::I2Group64),
    ];

    /// The format of the weights.
    pub const fn weights(self) -> WeightFormat {
        match self {
            Quantization::Weights(format) => format,
            Quantization::I8X16 => WeightFormat::I8,
        }
    }

    /// Bits of an activation.
    pub const fn activation_bits(self) -> u32 {
        match self {
            Quantization::Weights(_) => 8,
            Quantization::I8X16 => 16,
        }
    }

    /// Its name, as in model files.
    pub const fn name(self) -> &'static str {
        match self {
            Quantization::Weights(WeightFormat::I8) => "int8",
            Quantization::Weights(WeightFormat::I4) => "int4",
            Quantization::Weights(WeightFormat::I4Group32) => "int4 in groups of 32",
            Quantization::Weights(WeightFormat::I2Group64) => "int2 in groups of 64",
            Quantization::I8X16 => "int8x16",
        }
    }
}
