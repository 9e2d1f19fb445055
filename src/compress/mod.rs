//! Compression of trained weights: what to cut, by how much, and at what loss.
//!
//! - [`Moment`]: the second moment of a weight's inputs, used to weight errors by the inputs that occur.
//! - [`Decomposition`]: a weight's singular values and factors, plain or weighted by a moment; computed once, truncated
//!   to any rank.
//! - [`allocate`]: ranks for many weights under one [`Budget`] of parameters, bytes or predicted latency.
//! - [`round_corrected`]: rounding of factors that compensates one factor's error in the other.
//! - [`Comparison`]: what is left of outputs.
//! - [`nu`], [`explained_variance`], [`relative_error`], [`signal_to_noise`]: the loss.
//!
//! [`Model::decompose`](crate::model::Model::decompose) does all of it for a whole model.

mod bytes;
mod candidate;
mod comparison;
mod core;
mod correct;
mod cost;
mod decomposition;
mod description;
mod metrics;
mod moment;
mod ranks;

pub use self::core::Core;
pub use candidate::{Budget, Candidate, Choice, RANK_MULTIPLE};
pub use comparison::Comparison;
pub use correct::{RoundedFactors, round_corrected};
pub use cost::Cost;
pub use decomposition::Decomposition;
pub use metrics::{explained_variance, nu, relative_error, signal_to_noise};
pub use moment::Moment;
pub use ranks::allocate;
