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
mod wide;

cfg_if::cfg_if! {
    // Not under Miri, which does not support all of the intrinsics.
    if #[cfg(all(kernel_aarch64, not(miri)))] {
        pub(crate) use aarch64::bytes;
    } else {
        pub(crate) use portable::bytes;
    }
}

pub use epilogue::{Activation, Byte, Dequantize, Epilogue, Requantize, RequantizeFloat, Scales, Sums};
pub(crate) use gemm::gemm_vector;
pub use gemm::{Activations, Offsets, Workspace, gemm};
pub use pack::PackedMat;
pub use rounding::{DoubleRounding, FixedPoint, QuantizedMultipliers, Rounding, Shift, SingleRounding};
pub use threads::Threads;
pub use unsigned::{UnsignedMat, UnsignedWorkspace};
pub use wide::{WideActivations, gemm_wide, gemm_wide_sums};

pub use crate::format::{
    GROUP, GROUP_I2, MAX_DEPTH, MAX_DEPTH_ZERO_POINT, MAX_I2, MAX_I4, MAX_I16_ACTIVATION, MAX_MULTIPLIER,
    MAX_MULTIPLIER_I2, MIN_I2, WeightFormat,
};
pub use crate::tier::Tier;
