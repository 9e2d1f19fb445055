//! Training of factored layers with a trace norm penalty, in two stages (Kliegl et al., arXiv 1710.09026).
//!
//! - **Stage 1** trains full-rank factors, `W = U V`, under the penalty `lambda/2 (|U|_F^2 + |V|_F^2)`: its least value
//!   over all factorizations is `lambda` times the trace norm of `W`, so that small singular values die ([`Penalty`]).
//! - At the **transition**, after a given number of epochs or when ranks have settled ([`Settling`]), each product is
//!   decomposed and cut ([`Recognizer::truncate`]).
//! - **Stage 2** goes on with the low-rank factors and without the penalty. It may train them as they will run, in 8 or 4
//!   bits ([`Recognizer::rounded`]), and go on learning from the model of stage 1 ([`distillation_loss`]).
//!
//! | part | what it is |
//! |---|---|
//! | [`Weight`] | trainable, dense or factored |
//! | [`Linear`], [`Gru`], [`Lstm`] | layers of them, in PyTorch's form; [`GateWeights`] are their matrices in any [`Scheme`](crate::factored::Scheme) |
//! | [`Recognizer`] | GRU layers and a linear layer under a CTC loss |
//! | [`Penalty`], [`Spectrum`] | what makes a weight's rank low, and how low it is |
//! | [`Schedule`], [`Trainer`] | both stages under an Adam that suits factors, with checkpoints that resume to the same weights |
//!
//! A trained [`Recognizer`] becomes a [`Model`](crate::model::Model) of this crate ([`Recognizer::to_model`]) or a
//! safetensors file with PyTorch's names ([`Recognizer::to_safetensors`]).
//!
//! # Backends
//!
//! Tensors are those of burn, whose backend is a value, not a type: a layer computes on the [`Device`] its weights were
//! made on. The feature `train` brings [`Device::flex`], in pure Rust on the CPU. For a GPU a program adds burn itself with
//! the feature `cuda`, `wgpu`, ... and makes the same layers on `Device::cuda(0)`.
//!
//! # Panics
//!
//! Functions on tensors panic, as burn's do, if shapes do not fit; what comes from files and settings gives an
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
