#![doc = include_str!("README.md")]

#[cfg(kernel_aarch64)]
mod aarch64;
mod epilogue;
mod gemm;
mod micro;
mod pack;
mod portable;
pub mod reference;
mod registry;
mod rounding;
#[cfg(all(test, unix, feature = "std"))]
mod tests;
mod threads;
mod tier;

pub use epilogue::{Activation, Byte, Dequantize, Epilogue, Requantize, RequantizeFloat, Scales, Sums};
pub use gemm::{Activations, Offsets, Workspace, gemm};
pub use pack::{GROUP, MAX_DEPTH, MAX_DEPTH_ZERO_POINT, MAX_I4, MAX_MULTIPLIER, PackedMat, WeightFormat};
pub use rounding::{DoubleRounding, FixedPoint, QuantizedMultipliers, Rounding, Shift, SingleRounding};
pub use threads::Threads;
pub use tier::Tier;
