//! From `f32` to 8 bits: weights once, activations at every product.
//!
//! - [`QuantizedMat`]: weights, symmetric, one scale for each output feature.
//! - [`QuantizedMatI4`]: weights in 4 bits, one scale for each output feature or for each group of 32.
//! - [`QuantizedActivations`]: a batch of activations, quantized dynamically, one scale (and zero point) a column.

mod activations;
mod weights;
mod weights_i4;

pub use activations::{QuantizedActivations, ZeroPoint};
pub use weights::QuantizedMat;
pub use weights_i4::QuantizedMatI4;
