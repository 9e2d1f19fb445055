//! From a trained weight to a small one: what to cut, by how much, and at what loss.
//!
//! - [`Moment`]: the second moment of what a weight is multiplied with, so that errors count where inputs are.
//! - [`Decomposition`]: a weight's singular values and factors, plain or weighted by a moment; decomposed once, cut to
//!   any rank.
//! - [`allocate`]: ranks of many weights under one [`Budget`] of parameters, bytes or predicted latency.
//! - [`round_corrected`]: factors that make up for each other's rounding.
//! - [`nu`], [`explained_variance`], [`relative_error`], [`signal_to_noise`]: what it cost.
//!
//! [`Model::decompose`](crate::model::Model::decompose) does all of it for a whole model.

mod candidate;
mod correct;
mod cost;
mod decomposition;
mod metrics;
mod moment;
mod ranks;

pub use candidate::{Budget, Candidate, Choice, RANK_MULTIPLE};
pub use correct::{RoundedFactors, round_corrected};
pub use cost::{Core, Cost};
pub use decomposition::Decomposition;
pub use metrics::{explained_variance, nu, relative_error, signal_to_noise};
pub use moment::Moment;
pub use ranks::allocate;
