//! From `f32` to 8 bits: weights once, activations at every product.
//!
//! - [`QuantizedMat`]: weights, symmetric, one scale for each output feature.
//! - [`QuantizedActivations`]: a batch of activations, quantized dynamically, one scale (and zero point) a column.

mod activations;
mod unsigned;
mod weights;

pub use activations::{QuantizedActivations, ZeroPoint};
pub use unsigned::{UnsignedMat, UnsignedWorkspace};
pub use weights::QuantizedMat;
