//! Ranks of many weights under one budget.

use alloc::vec::Vec;

use super::Cost;
use crate::error::{Error, Result};
use crate::factored::expect_finite;

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
    pub singular_values: &'a [f32],
    /// What an error whose square is 1 counts, next to those of other weights: one over the sum of the squared singular
    /// values makes errors of weights count alike, each relative to its weight.
    pub importance: f64,
    /// Whether its product is done at every step by itself, not for several steps at once.
    pub recurrent: bool,
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

    /// Factors of this rank, or the matrix itself where they do not pay: `rank (n + k) >= n k` for parameters.
    pub fn choose(&self, cost: &Cost, rank: usize) -> Choice {
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
                self.importance * cut.iter().map(|&sigma| f64::from(sigma).powi(2)).sum::<f64>()
            }
        }
    }
}

/// What each weight should become so that all of them cost no more than the budget.
///
/// Each begins at rank `multiple`, and again and again the weight grows by `multiple` whose squared error, times its
/// importance, falls most for what that costs, as long as it fits; a weight whose factors would cost as much as itself
/// becomes dense.
///
/// # Errors
/// [`Error::Budget`] with the least possible cost if the limit is below it or NaN, [`Error::Length`] unless a candidate
/// has `min(n, k)` singular values and at least one, [`Error::NotFinite`] for one of them, [`Error::Parameter`] for a
/// multiple of 0.
///
/// # Example
/// ```
/// use skinny::compress::{Budget, Candidate, Choice, Cost, allocate};
///
/// let (steep, flat) = (&[8.0, 1.0, 0.1, 0.0, 0.0, 0.0], &[1.0; 6]);
/// let candidate = |singular_values: &'static [f32]| {
///     let importance = 1.0 / singular_values.iter().map(|&sigma| f64::from(sigma).powi(2)).sum::<f64>();
///     Candidate { n: 6, k: 30, singular_values, importance, recurrent: false }
/// };
/// let budget = Budget { limit: 216.0, cost: Cost::Parameters };
/// let choices = allocate(&[candidate(steep), candidate(flat)], &budget, 1)?;
/// assert_eq!(choices, [Choice::LowRank(1), Choice::Dense]); // 36 and 180
/// # Ok::<(), skinny::Error>(())
/// ```
pub fn allocate(candidates: &[Candidate<'_>], budget: &Budget, multiple: usize) -> Result<Vec<Choice>> {
    if multiple == 0 {
        return Err(Error::Parameter { what: "rank multiple", value: 0.0, expected: "at least 1" });
    }
    for Candidate { n, k, singular_values, .. } in candidates {
        let (expected, found) = ((*n).min(*k), singular_values.len());
        if expected != found || found == 0 {
            return Err(Error::Length { what: "singular values", expected: expected.max(1), found });
        }
        expect_finite("singular values", singular_values)?;
    }
    let cost = &budget.cost;
    let mut choices: Vec<Choice> = candidates.iter().map(|candidate| candidate.choose(cost, multiple)).collect();
    let mut spent: f64 = candidates.iter().zip(&choices).map(|(candidate, &choice)| candidate.cost(cost, choice)).sum();
    if spent.partial_cmp(&budget.limit).is_none_or(|order| order.is_gt()) {
        return Err(Error::Budget { asked: budget.limit, least: spent });
    }
    loop {
        let mut best: Option<(f64, f64, usize, Choice)> = None;
        for (i, (candidate, &choice)) in candidates.iter().zip(&choices).enumerate() {
            let Choice::LowRank(rank) = choice else { continue };
            let next = candidate.choose(cost, rank + multiple);
            let more = candidate.cost(cost, next) - candidate.cost(cost, choice);
            let gain = candidate.error(choice) - candidate.error(next);
            // The first of equals, so that the order decides and not chance.
            if next != choice && spent + more <= budget.limit && best.is_none_or(|(best, ..)| gain / more > best) {
                best = Some((gain / more, more, i, next));
            }
        }
        let Some((_, more, i, next)) = best else { return Ok(choices) };
        choices[i] = next;
        spent += more;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// Singular values that fall as a power.
    fn spectrum(d: usize, power: f64) -> Vec<f32> {
        (0..d).map(|i| (1.0 + i as f64).powf(-power) as f32).collect()
    }

    fn candidate(n: usize, k: usize, singular_values: &[f32]) -> Candidate<'_> {
        let importance = 1.0 / singular_values.iter().map(|&sigma| f64::from(sigma).powi(2)).sum::<f64>();
        Candidate { n, k, singular_values, importance, recurrent: false }
    }

    fn total(candidates: &[Candidate<'_>], choices: &[Choice]) -> (f64, f64) {
        let of =
            |f: &dyn Fn(&Candidate<'_>, Choice) -> f64| candidates.iter().zip(choices).map(|(c, &x)| f(c, x)).sum();
        (of(&|c, x| c.cost(&Cost::Parameters, x)), of(&|c, x| c.error(x)))
    }

    /// The least error of all choices within the limit.
    fn brute_force(candidates: &[Candidate<'_>], limit: f64) -> f64 {
        let options: Vec<Vec<Choice>> = candidates
            .iter()
            .map(|c| (1..=c.n.min(c.k)).map(|rank| c.choose(&Cost::Parameters, rank)).collect())
            .collect();
        let mut least = f64::INFINITY;
        let mut picked = vec![0; candidates.len()];
        loop {
            let choices: Vec<Choice> = picked.iter().zip(&options).map(|(&i, options)| options[i]).collect();
            let (cost, error) = total(candidates, &choices);
            if cost <= limit {
                least = least.min(error);
            }
            let Some(i) = (0..picked.len()).find(|&i| picked[i] + 1 < options[i].len()) else { return least };
            picked[i] += 1;
            picked[..i].fill(0);
        }
    }

    #[test]
    fn greedy_is_near_the_best_and_within_the_budget() {
        let spectra = [spectrum(6, 0.3), spectrum(5, 1.0), spectrum(7, 2.0)];
        let shapes = [(6, 40), (50, 5), (7, 30)];
        let candidates: Vec<Candidate<'_>> =
            shapes.iter().zip(&spectra).map(|(&(n, k), s)| candidate(n, k, s)).collect();
        let dense: f64 = candidates.iter().map(|c| (c.n * c.k) as f64).sum();
        let mut before = f64::INFINITY;
        for share in 2..=10 {
            let limit = dense * f64::from(share) / 10.0;
            let choices = allocate(&candidates, &Budget { limit, cost: Cost::Parameters }, 1).unwrap();
            let (cost, error) = total(&candidates, &choices);
            let best = brute_force(&candidates, limit);
            assert!(cost <= limit && error <= before, "{share}: {cost} of {limit}, {error}, before {before}");
            assert!(error <= best * 1.35 + 1e-12, "{share}: {error}, the best is {best}");
            before = error;
        }
        assert_eq!(before, 0.0);
    }

    #[test]
    fn of_equal_costs_greedy_is_the_best() {
        let spectra = [spectrum(6, 0.2), spectrum(6, 1.5), spectrum(6, 0.7)];
        let candidates: Vec<Candidate<'_>> = spectra.iter().map(|s| candidate(6, 100, s)).collect();
        for ranks in 3..15 {
            let limit = f64::from(ranks) * 106.0;
            let choices = allocate(&candidates, &Budget { limit, cost: Cost::Parameters }, 1).unwrap();
            assert!(total(&candidates, &choices).1 <= brute_force(&candidates, limit) + 1e-12);
        }
    }

    #[test]
    fn budgets_out_of_reach_name_the_least() {
        let sigma = spectrum(20, 1.0);
        let candidate = candidate(20, 40, &sigma);
        let with = |limit| allocate(&[candidate], &Budget { limit, cost: Cost::Parameters }, 2);
        assert_eq!(with(119.0), Err(Error::Budget { asked: 119.0, least: 120.0 }));
        assert!(matches!(with(f64::NAN), Err(Error::Budget { .. })));
        assert_eq!(with(120.0), Ok(vec![Choice::LowRank(2)]));
        assert_eq!(with(1e9), Ok(vec![Choice::Dense]));
        let empty = Candidate { singular_values: &[], ..candidate };
        assert!(matches!(
            allocate(&[empty], &Budget { limit: 1e9, cost: Cost::Parameters }, 2),
            Err(Error::Length { .. })
        ));
    }

    #[test]
    fn a_core_that_waits_for_memory_prefers_what_has_fewer_bytes() {
        let core = crate::compress::Core::CORTEX_A53;
        let format = Some(crate::kernels::WeightFormat::I8);
        let (dense, factors) = (Cost::Latency(core, format), Cost::Latency(core, format));
        assert!(factors.factors(3072, 1024, 128, true) < dense.matrix(3072, 1024, true) / 5.0);
        // A batch over time shares the weights.
        assert!(dense.matrix(3072, 1024, false) < dense.matrix(3072, 1024, true));
    }
}
