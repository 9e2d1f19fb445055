//! Layers with dense or factored weights, in `f32` or quantized.
//!
//! A weight passes through these forms, each with its own type:
//!
//! | step | type | made by |
//! |---|---|---|
//! | `f32`, dense | [`Mat<f32>`](crate::Mat) | training |
//! | `f32`, low rank: `W ~ U V` | [`LowRank`] | `LowRank::truncate` (feature `svd`), or training |
//! | 8 bits | [`QuantizedMat`](crate::quant::QuantizedMat), one for `W` or each factor | `QuantizedMat::quantize` |
//! | laid out for a processor | [`DenseWeight`], [`LowRankLinear`] | `QuantizedMat::pack` |
//!
//! A [`Weight`] is any form that is ready for multiplication, or a stack of them. Layers are made of these:
//!
//! | layer | what it is |
//! |---|---|
//! | [`Linear`] | fully connected |
//! | [`Gru`] | gated recurrent unit, the reset after the recurrent product (PyTorch) or before it (ONNX's default) |
//! | [`Lstm`] | long short-term memory (PyTorch), with an optional projection |
//! | [`Bidirectional`] | two of one kind of [`Recurrent`] layer, one of which runs backward |
//! | [`Rnn`] | recurrent without gates, with `tanh` or ReLU |
//! | [`TimeConvolution`], [`DepthwiseConvolution`] | convolution over time, as a stream: strided, dilated, padded at either end |
//! | [`Embedding`] | a row of a table for each index, in `f32` or 8 bits |
//! | [`Mapping`] | a [`Function`] of each frame: activations, softmax, powers |
//! | [`Affine`], [`LayerNorm`] | normalization: batch normalization, folded or as it is, and that of each frame |
//! | [`OverTime`] | one frame of the sequence: the last, the mean, the sum, the largest |
//! | [`Slice`] | some of the features |
//!
//! A [`Scheme`] says which matrices of a recurrent layer are factored together.
//!
//! Layers are immutable, and threads may share them. What changes from step to step is a state ([`GruState`],
//! [`LstmState`], [`TimeConvolutionState`]) and a [`Scratch`]. One thread needs one scratch for all its layers.
//!
//! Results are bit-identical on every target and tier, for any number of threads, and however a sequence is split into
//! calls: each vector is quantized on its own, integer sums are exact, and `f32` sums have a fixed order.

mod affine;
mod bidirectional;
mod dense;
mod depthwise;
#[cfg(feature = "svd")]
mod eigen;
mod elementary;
mod embedding;
mod function;
pub mod gates;
mod gru;
#[cfg(feature = "svd")]
mod jacobi;
mod layer_norm;
mod linear;
mod low_rank;
mod low_rank_linear;
mod lstm;
#[cfg(all(test, feature = "svd"))]
#[path = "../../tests/common/matrices.rs"]
mod matrices;
mod onnx;
mod over_time;
mod packing;
mod quantization;
mod quantizer;
mod recurrent;
mod rnn;
mod scheme;
mod scratch;
mod slice;
#[cfg(feature = "svd")]
mod svd;
mod time_convolution;
mod weight;
mod windows;

pub use affine::Affine;
#[cfg(feature = "svd")]
pub(crate) use affine::{scaled_columns, scaled_rows};
pub use bidirectional::Bidirectional;
pub use dense::DenseWeight;
pub use depthwise::DepthwiseConvolution;
#[cfg(feature = "train")]
pub(crate) use eigen::Eigen;
pub use embedding::{Embedding, Table};
pub use function::{Function, Mapping};
pub use gru::{Gru, GruState};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use low_rank::{LowRank, RankPolicy};
pub use low_rank_linear::LowRankLinear;
pub use lstm::{Lstm, LstmState};
pub use over_time::{OverTime, OverTimeState, Reduction};
pub use packing::Unpacked;
pub use quantization::Quantization;
pub use recurrent::Recurrent;
pub use rnn::{Rnn, RnnFunction, RnnState};
pub use scheme::Scheme;
#[cfg(feature = "svd")]
pub(crate) use scheme::beside;
#[cfg(any(feature = "svd", feature = "safetensors"))]
pub(crate) use scheme::columns;
pub use scratch::{DEFAULT_TIME_BATCH, MAX_TIME_BATCH, Scratch};
pub use slice::Slice;
#[cfg(feature = "svd")]
pub(crate) use svd::Svd;
#[cfg(feature = "svd")]
pub use svd::singular_values;
#[cfg(all(test, feature = "svd"))]
pub(crate) use svd::tests;
pub use time_convolution::{TimeConvolution, TimeConvolutionState};
pub use weight::{StackedWeight, Weight};
pub use windows::Windows;

use crate::error::{Error, Result};
use crate::matrix::MatRef;

/// Fails at the first element that is infinite or NaN.
pub(crate) fn expect_finite<T: Copy + Into<f64>>(what: &'static str, values: &[T]) -> Result<()> {
    match values.iter().position(|&value| !value.into().is_finite()) {
        None => Ok(()),
        // Infinity and NaN keep their meaning in f32.
        Some(index) => Err(Error::NotFinite { what, index, value: values[index].into() as f32 }),
    }
}

/// Fails unless there is no bias, or one of `n` finite elements.
fn expect_bias(what: &'static str, bias: Option<&[f32]>, n: usize) -> Result<()> {
    expect_bias_length(what, bias, n)?;
    expect_finite(what, bias.unwrap_or_default())
}

/// Fails unless there is no bias, or one of `n` elements.
#[inline]
fn expect_bias_length(what: &'static str, bias: Option<&[f32]>, n: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.len() != n => Err(Error::Length { what, expected: n, found: bias.len() }),
        _ => Ok(()),
    }
}

/// Fails unless `x` has depth `k`.
#[inline]
fn expect_depth(what: &'static str, x: MatRef<'_, f32>, k: usize) -> Result<()> {
    x.expect_shape(what, x.rows(), k)
}
