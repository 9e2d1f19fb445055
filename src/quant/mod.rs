//! Quantization from `f32` to 8, 4 or 2 bits. Weights are quantized once, activations at every product.
//!
//! - [`QuantizedMat`]: symmetric 8-bit weights, one scale per output feature.
//! - [`QuantizedMatI4`]: 4-bit weights, one scale per output feature or per group of 32.
//! - [`QuantizedMatI2`]: 2-bit weights, one multiplier per group of 64.
//! - [`QuantizedActivations`]: a batch of activations, quantized dynamically, one scale (and zero point) per column.
//! - [`QuantizedActivationsI16`]: the same in 16 bits, each in two parts of 8.

mod activations;
mod activations_i16;
mod weights;
mod weights_i2;
mod weights_i4;

pub(crate) use activations::symmetric;
pub use activations::{QuantizedActivations, ZeroPoint};
pub use activations_i16::QuantizedActivationsI16;
pub use weights::QuantizedMat;
pub use weights_i2::QuantizedMatI2;
pub use weights_i4::QuantizedMatI4;
