//! Small-batch int8 GEMM for ARM, and the low-rank recurrent layers that run on it.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod error;
mod float;
pub mod kernels;
mod matrix;

pub use error::{Error, Result};
pub use kernels::Tier;
pub use matrix::{Mat, MatMut, MatRef};
