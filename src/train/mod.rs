//! Training of factored layers with a trace norm penalty, in two stages (Kliegl et al., arXiv 1710.09026).
//!
//! - **Stage 1** trains full-rank factors, `W = U V`, under the penalty `lambda/2 (|U|_F^2 + |V|_F^2)`. The minimum of
//!   the penalty over all factorizations is `lambda` times the trace norm of `W`, so small singular values vanish
//!   ([`Penalty`]).
//! - At the **transition**, after a given number of epochs or when ranks have settled ([`Settling`]), each product is
//!   decomposed and truncated ([`Recognizer::truncate`]).
//! - **Stage 2** continues with the low-rank factors, without the penalty. It may train them with the rounding to 8 or
//!   4 bits that they will run with ([`Recognizer::rounded`]), and it may learn from the model of stage 1
//!   ([`distillation_loss`]).
//!
//! | part | what it is |
//! |---|---|
//! | [`Weight`] | trainable, dense or factored |
//! | [`Linear`], [`Gru`], [`Lstm`] | layers made of weights, in PyTorch's form; [`GateWeights`] are their matrices in any [`Scheme`](crate::factored::Scheme) |
//! | [`Recognizer`] | GRU layers and a linear layer under a CTC loss |
//! | [`Penalty`], [`Spectrum`] | what lowers a weight's rank, and how low it is |
//! | [`Schedule`], [`Trainer`] | both stages with a variant of Adam for factored weights, and checkpoints that resume to the same weights |
//!
//! A trained [`Recognizer`] becomes a [`Model`](crate::model::Model) of this crate ([`Recognizer::to_model`]) or a
//! safetensors file with PyTorch's names ([`Recognizer::to_safetensors`]).
//!
//! # Backends
//!
//! Tensors are burn's. Its backend is a value, not a type: a layer computes on the [`Device`] that its weights were
//! made on. The feature `train` includes [`Device::flex`], in pure Rust on the CPU. To use a GPU, add burn to your
//! program with the feature `cuda`, `wgpu`, ... and make the same layers on `Device::cuda(0)`.
//!
//! # Panics
//!
//! Functions on tensors panic if shapes do not fit, as burn's do. Invalid files and settings give an
//! [`Error`](crate::Error).

mod adam;
mod checkpoint;
mod ctc;
mod data;
mod distillation;
mod export;
mod gates;
mod gru;
mod linear;
mod lstm;
mod penalty;
mod random;
mod recognizer;
mod rounding;
mod schedule;
mod settling;
mod spectrum;
mod sweep;
mod tensors;
#[cfg(test)]
mod tests;
mod trainer;
mod weight;

pub use burn::tensor::{Device, Tensor};
pub use ctc::{ctc_loss, greedy};
pub use data::{Batch, Data};
pub use distillation::distillation_loss;
pub use gates::GateWeights;
pub use gru::Gru;
pub use linear::Linear;
pub use lstm::Lstm;
pub use penalty::Penalty;
pub use random::Random;
pub use recognizer::{Initialization, Recognizer, Shape};
pub use schedule::{Rates, Schedule};
pub use settling::Settling;
pub use spectrum::Spectrum;
pub use trainer::{Report, Trainer};
pub use weight::{Weight, WeightKind};

pub use crate::error_rate::{ErrorCount, edit_distance};
