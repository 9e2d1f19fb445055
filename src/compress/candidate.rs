//! A weight that may be factored, the choices for it, and the budget for all.

use super::Cost;

/// Ranks are multiples of this. Packing pads depth to a multiple of 16, so a rank in between costs as much as the next
/// multiple.
pub const RANK_MULTIPLE: usize = 16;

/// A weight that may be factored.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
    /// Its `min(n, k)` singular values in descending order, plain or weighted.
    pub singular_values: &'a [f64],
    /// The factor on this weight's squared error when it is compared with other weights. One over the sum of the
    /// squared singular values makes the errors relative to their weights.
    pub importance: f64,
    /// Whether its product is computed one time step at a time, rather than for several steps at once.
    pub recurrent: bool,
    /// Whether it stays one matrix, whatever it costs.
    pub pinned: bool,
}

/// How much the weights of a model may cost together.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// The limit.
    pub limit: f64,
    /// What the limit counts.
    pub cost: Cost,
}

/// What a weight becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It stays one matrix because factors would cost as much.
    Dense,
    /// It becomes factors of this rank.
    LowRank(usize),
}

impl Candidate<'_> {
    /// What the weight costs with this choice.
    pub fn cost(&self, cost: &Cost, choice: Choice) -> f64 {
        match choice {
            Choice::Dense => cost.matrix(self.n, self.k, self.recurrent),
            Choice::LowRank(rank) => cost.factors(self.n, self.k, rank, self.recurrent),
        }
    }

    /// Factors of this rank, or the matrix itself if it is pinned or factors are no cheaper (`rank (n + k) >= n k` for
    /// parameters).
    pub fn choose(&self, cost: &Cost, rank: usize) -> Choice {
        if self.pinned {
            return Choice::Dense;
        }
        let choice = Choice::LowRank(rank.min(self.n.min(self.k)));
        if self.cost(cost, choice) < self.cost(cost, Choice::Dense) { choice } else { Choice::Dense }
    }

    /// The weighted squared error of this choice: the importance times the sum of the squared singular values that are
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
