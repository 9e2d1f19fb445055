//! Small-batch int8 GEMM for ARM, and the low-rank recurrent layers that run on it.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[forbid(unsafe_code)]
mod error;
#[forbid(unsafe_code)]
pub mod factored;
#[forbid(unsafe_code)]
mod float;
pub mod kernels;
#[forbid(unsafe_code)]
mod matrix;
#[forbid(unsafe_code)]
pub mod quant;

pub use error::{Error, Result};
pub use kernels::Tier;
pub use matrix::{Mat, MatMut, MatRef};
