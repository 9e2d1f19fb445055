//! Measures of a weight's rank.

use super::weight::Weight;
use crate::compress::nu;
use crate::error::Result;
use crate::factored::{RankPolicy, singular_values};

/// Statistics of a weight's singular values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spectrum {
    /// The weight's name.
    pub name: String,
    /// The nondimensional trace norm coefficient: 0 for rank one, 1 for equal singular values ([`nu`]).
    pub nu: f64,
    /// The smallest rank that explains 90% of the variance.
    pub rank_90: usize,
    /// The stable rank: the squared Frobenius norm divided by the squared largest singular value. It is 1 for rank one,
    /// the number of singular values if they are equal, and 0 for zeros. It is a smooth rank on which small singular
    /// values have little influence.
    pub stable_rank: f64,
    /// The rank of its factors, or the largest possible.
    pub rank: usize,
    /// The trace norm: the sum of the singular values.
    pub trace_norm: f64,
}

impl Spectrum {
    /// Decomposes a weight.
    ///
    /// # Errors
    /// Those of [`Weight::to_mat`] and [`singular_values`].
    pub fn of(name: &str, weight: &Weight) -> Result<Self> {
        let sigma = singular_values(weight.to_mat()?.view())?;
        Ok(Self {
            name: name.into(),
            nu: nu(&sigma),
            rank_90: RankPolicy::Variance(0.9).rank(&sigma)?,
            stable_rank: stable_rank(&sigma),
            rank: weight.rank().unwrap_or(sigma.len()),
            trace_norm: sigma.iter().sum(),
        })
    }
}

fn stable_rank(sigma: &[f64]) -> f64 {
    let squares = || sigma.iter().map(|sigma| sigma.powi(2));
    let greatest = squares().fold(0.0, f64::max);
    if greatest == 0.0 { 0.0 } else { squares().sum::<f64>() / greatest }
}
