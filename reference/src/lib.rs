//! The arithmetic and the model files of skinny, by formulas.
//!
//! This crate is to [docs/arithmetic.md](../../docs/arithmetic.md) and [docs/formats.md](../../docs/formats.md) what a reference
//! implementation is to a paper. It was written from these pages alone, shares no code with the library, and is made to be read, not
//! to be fast. Each module is a section of the first page, but for the last two rows, which are the second page:
//!
//! | module | what it computes |
//! |---|---|
//! | [`quantize`] | quantized weights and activations |
//! | [`product`] | products of integers and floats, and the epilogues |
//! | [`rounding`] | the integer rounding modes |
//! | [`function`](mod@function) | functions of a frame |
//! | [`gates`] | `tanh` and the logistic function of gates; a unit of a GRU or an LSTM |
//! | [`layer`] | weights and layers |
//! | [`model`] | graphs of layers |
//! | [`container`] | safetensors, and what model files make of JSON |
//! | [`file`](mod@file), [`stored`] | the model file: its graph, and its layers with their tensors |
//!
//! A sequence is computed as a whole: how a stream was cut, how many steps ran at once, tiers and threads do not occur here, because
//! they change no bit. The program of this package writes `reference/vectors/`, which other implementations can be held against.

#![forbid(unsafe_code)]
#![allow(clippy::approx_constant, reason = "the constants are those of the documents")]
#![allow(clippy::manual_clamp, reason = "a NaN becomes the lower end")]

pub mod container;
pub mod file;
pub mod function;
pub mod gates;
pub mod layer;
pub mod model;
pub mod product;
pub mod quantize;
pub mod rounding;
pub mod stored;
