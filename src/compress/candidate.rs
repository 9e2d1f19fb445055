//! A weight that may be factored, what may become of it, and what all may cost.

use super::Cost;

/// Ranks are multiples of this: depth is padded to steps of 16 when weights are packed, so a rank between is paid for
/// in full (`kernels` README).
pub const RANK_MULTIPLE: usize = 16;

/// A weight that may be factored.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
    /// Its singular values, the greatest first; `min(n, k)` of them, plain or weighted.
    pub singular_values: &'a [f64],
    /// What an error whose square is 1 counts, next to those of other weights: one over the sum of the squared singular
    /// values makes errors of weights count alike, each relative to its weight.
    pub importance: f64,
    /// Whether its product is done at every step by itself, not for several steps at once.
    pub recurrent: bool,
    /// Whether it stays one matrix, whatever that costs.
    pub pinned: bool,
}

/// How much the weights of a model may cost together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The limit.
    pub limit: f64,
    /// What it is counted in.
    pub cost: Cost,
}

/// What becomes of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It stays one matrix: factors would cost as much.
    Dense,
    /// It becomes factors of this rank.
    LowRank(usize),
}

impl Candidate<'_> {
    /// What it costs if this becomes of it.
    pub fn cost(&self, cost: &Cost, choice: Choice) -> f64 {
        match choice {
            Choice::Dense => cost.matrix(self.n, self.k, self.recurrent),
            Choice::LowRank(rank) => cost.factors(self.n, self.k, rank, self.recurrent),
        }
    }

    /// Factors of this rank, or the matrix itself where they do not pay, `rank (n + k) >= n k` for parameters, or where
    /// it is pinned.
    pub fn choose(&self, cost: &Cost, rank: usize) -> Choice {
        if self.pinned {
            return Choice::Dense;
        }
        let choice = Choice::LowRank(rank.min(self.n.min(self.k)));
        if self.cost(cost, choice) < self.cost(cost, Choice::Dense) { choice } else { Choice::Dense }
    }

    /// What the squared error counts if this becomes of it: the importance times the squared singular values that are
    /// cut.
    pub fn error(&self, choice: Choice) -> f64 {
        match choice {
            Choice::Dense => 0.0,
            Choice::LowRank(rank) => {
                let cut = self.singular_values.get(rank..).unwrap_or_default();
                self.importance * cut.iter().map(|sigma| sigma * sigma).sum::<f64>()
            }
        }
    }
}
