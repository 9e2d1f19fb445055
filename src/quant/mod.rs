//! From `f32` to 8 bits: weights once, activations at every product.
//!
//! - [`QuantizedMat`]: weights, symmetric, one scale for each output feature.
//! - [`QuantizedActivations`]: a batch of activations, quantized dynamically, one scale (and zero point) for each column.

mod activations;
mod weights;

pub use activations::{QuantizedActivations, ZeroPoint};
pub use weights::QuantizedMat;
