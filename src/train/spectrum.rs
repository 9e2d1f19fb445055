//! How low the rank of a weight is.

use super::weight::Weight;
use crate::compress::nu;
use crate::error::Result;
use crate::factored::{RankPolicy, singular_values};

/// Figures of a weight's singular values.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// The weight.
    pub name: String,
    /// The nondimensional trace norm coefficient: 0 for rank one, 1 for equal singular values ([`nu`]).
    pub nu: f64,
    /// The least rank that explains 90% of the variance.
    pub rank_90: usize,
    /// The rank of its factors, or the greatest possible.
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
            rank: weight.rank().unwrap_or(sigma.len()),
            trace_norm: sigma.iter().sum(),
        })
    }
}
