//! Small-batch int8 GEMM for ARM, and the low-rank recurrent layers that run on it.
//!
//! Speech recognition on a live stream multiplies large weight matrices with one vector at a time, or with a few. At
//! that size the product is limited by reading the weights from memory: each byte should be read once, and there should
//! be few of them. This crate does both: [`kernels`] multiply 8-bit and 4-bit weights with batches of 1 to 10 vectors,
//! and [`factored`] layers replace a weight by two thin ones, `W ~ U V` (Kliegl et al., arXiv 1710.09026).
//!
//! ```
//! use skinny::factored::{LowRank, LowRankLinear, Scratch};
//! use skinny::kernels::Activation;
//! use skinny::{Mat, MatMut, MatRef, Tier};
//!
//! // U (4 x 1) and V (1 x 3): a layer of 3 inputs and 4 outputs in 7 weights.
//! let u = Mat::from_vec(vec![1.0, -2.0, 0.5, 3.0], 4, 1)?;
//! let v = Mat::from_vec(vec![0.25, 0.5, -1.0], 1, 3)?;
//! let layer = LowRankLinear::from(LowRank::from_factors(u, v)?).quantize(Tier::select()?)?;
//!
//! let mut y = [0.0; 4];
//! let x = MatRef::row_vector(&[1.0, 2.0, 1.0]);
//! layer.apply(x, None, Activation::Relu, MatMut::row_vector(&mut y), &mut Scratch::new())?;
//! assert_eq!(y[1], 0.0); // -0.5 before the ReLU
//! assert!((y[3] - 0.75).abs() < 0.05);
//! # Ok::<(), skinny::Error>(())
//! ```
//!
//! # From weight to model
//!
//! ```text
//! f32 weights -> LowRank (U, V) -> QuantizedMat(I4, I2) -> PackedMat -> Linear, Gru, Lstm, ... -> Model -> Session
//!     Mat         factored            quant           kernels          factored            model
//! ```
//!
//! Modules import in that direction only: `error, matrix <- kernels, quant <- factored <- compress <- model`. So do the
//! files within them (`scripts/imports` has the order). `Model::from_pytorch` and `Model::decompose` take a whole model
//! this way.
//!
//! In the sources: `kernels/pack.rs` packs a weight into panels, `kernels/tier.rs` chooses the tier and
//! `kernels/registry.rs` the kernel, `kernels/gemm.rs` runs it. Weights and activations are rounded in `quant`, outputs
//! in `kernels/epilogue.rs` and `kernels/rounding.rs`. What to edit to add a kernel, a rounding mode or a layer is in
//! CONTRIBUTING.md.
//!
//! # Exactness
//!
//! Integer products are exact: depths at which an `i32` sum could overflow are refused. `f32` arithmetic has a fixed
//! order and one rounding per operation. So results are bit-identical on every target and tier, for any number of
//! threads, and however a batch or a sequence is split into calls.
//!
//! # Features
//!
//! - `std` (default): run-time detection of the [`Tier`] and the variable `SKINNY_TIER`.
//! - `rayon`: `kernels::Threads::Pool`, which runs products on your thread pool; parallel decomposition of a model's
//!   matrices.
//! - `safetensors`: model files, PyTorch's and the crate's own.
//! - `svd`: truncated SVD and model compression.
//! - `train`: training of factored layers with a trace norm penalty, on burn.
//!
//! # Unsafe code
//!
//! Only [`kernels`] has unsafe code: in the driver, the portable kernels and `aarch64`. The other modules forbid it.
//! Every block says why it is sound. No input through the public interface leads to undefined behaviour or a panic on
//! data. What does not fit is an [`Error`] that names the numbers at fault.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(target_endian = "big")]
compile_error!("skinny was never run on a big-endian machine; its files and 4-bit layouts are little-endian");

extern crate alloc;

#[cfg(feature = "audio")]
#[forbid(unsafe_code)]
pub mod audio;
#[cfg(feature = "svd")]
#[forbid(unsafe_code)]
pub mod compress;
#[forbid(unsafe_code)]
mod error;
#[cfg(any(feature = "audio", feature = "train"))]
#[forbid(unsafe_code)]
mod error_rate;
#[forbid(unsafe_code)]
pub mod factored;
#[forbid(unsafe_code)]
mod float;
#[forbid(unsafe_code)]
mod format;
pub mod kernels;
#[cfg(feature = "svd")]
#[forbid(unsafe_code)]
mod linalg;
#[forbid(unsafe_code)]
mod matrix;
#[forbid(unsafe_code)]
pub mod model;
#[forbid(unsafe_code)]
pub mod quant;
#[forbid(unsafe_code)]
mod tier;
#[cfg(feature = "train")]
#[forbid(unsafe_code)]
pub mod train;

pub use error::{CoreError, CoreProblem, Error, FileError, Result, TensorProblem};
pub use matrix::{Mat, MatMut, MatRef};
pub use tier::Tier;

/// Runs the code of README.md.
#[cfg(all(doctest, feature = "svd"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Runs the code of docs/guide.md.
#[cfg(all(doctest, feature = "safetensors"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
