#![doc = include_str!("README.md")]

#[cfg(kernel_aarch64)]
mod aarch64;
mod epilogue;
mod gemm;
mod layout;
mod micro;
mod pack;
mod pack_activations;
mod portable;
pub mod reference;
mod registry;
mod rounding;
#[cfg(all(test, unix, feature = "std"))]
mod tests;
mod threads;
mod tier;
mod unsigned;

pub use epilogue::{Activation, Byte, Dequantize, Epilogue, Requantize, RequantizeFloat, Scales, Sums};
pub use gemm::{Activations, Offsets, Workspace, gemm};
pub use pack::PackedMat;
pub use rounding::{DoubleRounding, FixedPoint, QuantizedMultipliers, Rounding, Shift, SingleRounding};
pub use threads::Threads;
pub use unsigned::{UnsignedMat, UnsignedWorkspace};

pub use crate::format::{
    GROUP, GROUP_I2, MAX_DEPTH, MAX_DEPTH_ZERO_POINT, MAX_I2, MAX_I4, MAX_MULTIPLIER, MAX_MULTIPLIER_I2, MIN_I2,
    WeightFormat,
};
pub use crate::tier::Tier;
