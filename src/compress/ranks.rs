//! Allocation of ranks to many weights under one budget.

use alloc::vec::Vec;

use super::{Budget, Candidate, Choice, Cost};
use crate::error::{Error, Result};
use crate::factored::expect_finite;

/// One choice for a weight, with its cost and its weighted squared error.
#[derive(Clone, Copy, Debug)]
struct Level {
    choice: Choice,
    cost: f64,
    error: f64,
}

impl Level {
    /// The error saved per unit of cost by going from here to `other`, which costs more.
    fn rate(&self, other: &Level) -> f64 {
        let more = other.cost - self.cost;
        if more > 0.0 { (self.error - other.error) / more } else { f64::INFINITY }
    }
}

/// The choices for a candidate, from the cheapest to the most expensive, which is the matrix itself or its full rank.
fn levels(candidate: &Candidate<'_>, cost: &Cost, multiple: usize) -> Vec<Level> {
    let sigma = candidate.singular_values;
    // Summed from the smallest up, so that small tails keep their digits.
    let mut tails = alloc::vec![0.0; sigma.len() + 1];
    for (i, &sigma) in sigma.iter().enumerate().rev() {
        tails[i] = tails[i + 1] + sigma * sigma;
    }
    let mut levels = Vec::new();
    let mut rank = 0usize;
    loop {
        rank = rank.saturating_add(multiple);
        let choice = candidate.choose(cost, rank);
        let error = match choice {
            Choice::LowRank(rank) => candidate.importance * tails[rank],
            Choice::Dense => 0.0,
        };
        levels.push(Level { choice, cost: candidate.cost(cost, choice), error });
        if choice == Choice::Dense || rank >= sigma.len() {
            return levels;
        }
    }
}

/// The levels of all candidates, and the current level of each.
struct Allocation<'l> {
    levels: &'l [Vec<Level>],
    at: Vec<usize>,
    spent: f64,
    limit: f64,
}

impl<'l> Allocation<'l> {
    /// All candidates at their cheapest level.
    fn new(levels: &'l [Vec<Level>], limit: f64) -> Self {
        Self::starting(levels, alloc::vec![0; levels.len()], limit)
    }

    /// All candidates at their most expensive level.
    fn dense(levels: &'l [Vec<Level>], limit: f64) -> Self {
        Self::starting(levels, levels.iter().map(|levels| levels.len() - 1).collect(), limit)
    }

    fn starting(levels: &'l [Vec<Level>], at: Vec<usize>, limit: f64) -> Self {
        let mut allocation = Self { levels, at, spent: 0.0, limit };
        allocation.spent = allocation.sum();
        allocation
    }

    /// The total cost, added up in the candidates' order, so that it equals a caller's own sum to the last bit.
    fn sum(&self) -> f64 {
        self.levels.iter().zip(&self.at).map(|(levels, &at)| levels[at].cost).sum()
    }

    fn error(&self) -> f64 {
        self.levels.iter().zip(&self.at).map(|(levels, &at)| levels[at].error).sum()
    }

    /// Moves candidate `i` to level `to` if that fits the limit.
    fn raise(&mut self, i: usize, to: usize) -> bool {
        let from = core::mem::replace(&mut self.at[i], to);
        let spent = self.sum();
        let fits = spent <= self.limit;
        if fits {
            self.spent = spent;
        } else {
            self.at[i] = from;
        }
        fits
    }

    /// Raises the candidate whose error falls most per unit of cost, until nothing more fits. One move is at most
    /// `reach` levels.
    fn fill(&mut self, reach: usize) {
        loop {
            let mut best: Option<(f64, usize, usize)> = None;
            for (i, levels) in self.levels.iter().enumerate() {
                let from = levels[self.at[i]];
                for (to, level) in levels.iter().enumerate().skip(self.at[i] + 1).take(reach) {
                    if self.spent + (level.cost - from.cost) > self.limit {
                        break;
                    }
                    // The first of equals, so that the result is deterministic.
                    let rate = from.rate(level);
                    if best.is_none_or(|(best, ..)| rate > best) {
                        best = Some((rate, i, to));
                    }
                }
            }
            match best {
                Some((_, i, to)) if self.raise(i, to) => (),
                // Nothing fits, or only seemed to because of rounding.
                _ => return,
            }
        }
    }

    /// Raises candidates along the lower convex hulls of their errors over their costs, the steepest edge of all first.
    /// A candidate stops at the first edge that does not fit.
    fn climb(&mut self) {
        let mut edges: Vec<(f64, usize, usize, usize)> = Vec::new();
        for (i, levels) in self.levels.iter().enumerate() {
            let mut from = 0;
            while from + 1 < levels.len() {
                let rate = |to: usize| levels[from].rate(&levels[to]);
                // The furthest of equals, so that collinear levels make one edge.
                let to = (from + 1..levels.len()).max_by(|&a, &b| rate(a).total_cmp(&rate(b))).unwrap_or(from + 1);
                edges.push((rate(to), i, from, to));
                from = to;
            }
        }
        // The sort is stable: equals keep the order of candidates, and of each candidate's edges.
        edges.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, i, from, to) in edges {
            if self.at[i] == from {
                self.raise(i, to);
            }
        }
    }
}

/// Chooses what each weight becomes, so that their total cost is within the budget and their error is small.
///
/// Every weight starts at rank `multiple`, the smallest there is. A weight whose factors would cost as much as itself
/// becomes dense. The ranks then grow greedily, by `multiple` at a time: each move raises the weight whose squared
/// error, times its importance, falls most per unit of cost. It ends when nothing more fits.
///
/// The last move, to the dense weight, removes all remaining error and often costs little, but a greedy search does not
/// see it coming. So there is a second allocation, which follows the convex hull of each weight's error over cost and
/// then fills the rest of the budget with moves of any size. The better of the two is returned.
///
/// This is a heuristic for a knapsack problem. It is near the optimum if moves are small compared with the budget. With
/// a few large weights, a larger budget may occasionally give a slightly larger error. A budget that all dense weights
/// fit leaves them all dense.
///
/// # Errors
/// [`Error::Budget`] with the smallest possible cost if the limit is below it or NaN. [`Error::Length`] unless each
/// candidate has `min(n, k)` singular values and at least one. [`Error::NotFinite`] for a singular value that is
/// infinite or NaN. [`Error::Parameter`] for a multiple of 0.
///
/// # Example
/// ```
/// use skinny::compress::{Budget, Candidate, Choice, Cost, allocate};
///
/// let (steep, flat) = (&[8.0, 1.0, 0.1, 0.0, 0.0, 0.0], &[1.0; 6]);
/// let candidate = |singular_values: &'static [f64]| {
///     let importance = 1.0 / singular_values.iter().map(|sigma| sigma * sigma).sum::<f64>();
///     Candidate { n: 6, k: 30, singular_values, importance, recurrent: false, pinned: false }
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
    let levels: Vec<Vec<Level>> =
        candidates.iter().map(|candidate| levels(candidate, &budget.cost, multiple)).collect();
    let mut stepwise = Allocation::new(&levels, budget.limit);
    if stepwise.spent.partial_cmp(&budget.limit).is_none_or(|order| order.is_gt()) {
        let (asked, least, unit) = (budget.limit, stepwise.spent, budget.cost.unit());
        return Err(Error::Budget { asked, least, unit });
    }
    let dense = Allocation::dense(&levels, budget.limit);
    let best = if dense.spent <= budget.limit {
        dense
    } else {
        let mut hull = Allocation::new(&levels, budget.limit);
        stepwise.fill(1);
        hull.climb();
        hull.fill(usize::MAX);
        if hull.error() < stepwise.error() { hull } else { stepwise }
    };
    Ok(levels.iter().zip(best.at).map(|(levels, at)| levels[at].choice).collect())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::compress::{Core, RANK_MULTIPLE};

    /// Singular values that fall as a power.
    fn spectrum(d: usize, power: f64) -> Vec<f64> {
        (0..d).map(|i| (1.0 + i as f64).powf(-power)).collect()
    }

    fn candidate(n: usize, k: usize, singular_values: &[f64]) -> Candidate<'_> {
        let importance = 1.0 / singular_values.iter().map(|sigma| sigma * sigma).sum::<f64>();
        Candidate { n, k, singular_values, importance, recurrent: false, pinned: false }
    }

    fn total(candidates: &[Candidate<'_>], choices: &[Choice]) -> (f64, f64) {
        let of =
            |f: &dyn Fn(&Candidate<'_>, Choice) -> f64| candidates.iter().zip(choices).map(|(c, &x)| f(c, x)).sum();
        (of(&|c, x| c.cost(&Cost::Parameters, x)), of(&|c, x| c.error(x)))
    }

    /// The smallest error of all choices within the limit.
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
    fn with_equal_costs_greedy_is_optimal() {
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
        assert_eq!(with(119.0), Err(Error::Budget { asked: 119.0, least: 120.0, unit: "parameters" }));
        assert!(matches!(with(f64::NAN), Err(Error::Budget { .. })));
        assert_eq!(with(120.0), Ok(vec![Choice::LowRank(2)]));
        assert_eq!(with(1e9), Ok(vec![Choice::Dense]));
        let empty = Candidate { singular_values: &[], ..candidate };
        assert!(matches!(
            allocate(&[empty], &Budget { limit: 1e9, cost: Cost::Parameters }, 2),
            Err(Error::Length { .. })
        ));
    }

    /// At the size of the paper's model, compared with a lower bound on every allocation.
    #[test]
    fn many_large_weights_get_near_optimal_ranks_and_errors_fall_with_the_budget() {
        let shapes = [(2304, 768), (2304, 320), (3072, 768), (3072, 1024), (3840, 1024), (3840, 1280), (1536, 1280)];
        let spectra: Vec<Vec<f64>> =
            shapes.iter().enumerate().map(|(i, &(n, k))| spectrum(n.min(k), 0.1 + 0.1 * i as f64)).collect();
        let candidates: Vec<Candidate<'_>> = shapes
            .iter()
            .zip(&spectra)
            .enumerate()
            .map(|(i, (&(n, k), s))| Candidate { recurrent: i % 2 == 0, ..candidate(n, k, s) })
            .collect();
        let format = Some(crate::kernels::WeightFormat::I8);
        // Constants that no count changes.
        let core = Core {
            bytes_per_us: 4000.0,
            exposed: 0.0,
            i8_macs_per_cycle: [7.38, 7.58, 7.65, 7.66],
            call_cycles: 398.0,
            column_cycles: 261.0,
            input_cycles: 1.3,
            ..Core::named("cortex-a72").unwrap()
        };
        for cost in [Cost::Parameters, Cost::Bytes(format), Cost::Latency(core, format)] {
            let sum = |choices: &[Choice]| -> (f64, f64) {
                let all = || candidates.iter().zip(choices);
                (all().map(|(c, &x)| c.cost(&cost, x)).sum(), all().map(|(c, &x)| c.error(x)).sum())
            };
            let dense = sum(&[Choice::Dense; 7]).0;
            let mut before = f64::INFINITY;
            for share in 5..=40 {
                let limit = dense * f64::from(share) / 40.0;
                let Ok(choices) = allocate(&candidates, &Budget { limit, cost: cost.clone() }, RANK_MULTIPLE) else {
                    continue;
                };
                let (spent, error) = sum(&choices);
                assert!(spent <= limit && error <= before, "{share}: {spent} of {limit}, {error}, before {before}");
                let all: Vec<Vec<Level>> = candidates.iter().map(|c| levels(c, &cost, RANK_MULTIPLE)).collect();
                let bound = least_by_fractions(&all, limit);
                assert!(error <= bound * 1.3 + 0.02, "{share}: {error}, no less than {bound}");
                before = error;
            }
            assert_eq!(before, 0.0);
        }
    }

    /// A lower bound on the error: the smallest error if weights could lie between levels, from the best multiplier on
    /// the cost.
    fn least_by_fractions(levels: &[Vec<Level>], limit: f64) -> f64 {
        let dual = |price: f64| {
            let cheapest = |levels: &Vec<Level>| {
                levels.iter().map(|level| level.error + price * level.cost).fold(f64::INFINITY, f64::min)
            };
            levels.iter().map(cheapest).sum::<f64>() - price * limit
        };
        // Concave in the price, and any price gives a bound.
        (-400..100).map(|i| dual(1.1f64.powi(i))).fold(0.0, f64::max)
    }

    #[test]
    fn the_move_to_the_dense_weight_is_foreseen() {
        // With nearly equal singular values each move saves little, and the last one, to the dense weight, saves most.
        // Move by move, both weights would end halfway (ranks 20, an error of 1.30).
        let spectra = [spectrum(64, 0.05), spectrum(64, 0.06)];
        let candidates = spectra.each_ref().map(|sigma| candidate(64, 64, sigma));
        let budget = Budget { limit: 64.0 * 64.0 + 8.0 * 128.0, cost: Cost::Parameters };
        let choices = allocate(&candidates, &budget, 1).unwrap();
        assert_eq!(choices, [Choice::Dense, Choice::LowRank(8)]);
        let error: f64 = candidates.iter().zip(choices).map(|(c, x)| c.error(x)).sum();
        assert!((error - brute_force(&candidates, budget.limit)).abs() < 1e-12);
    }

    #[test]
    fn pinned_weights_stay_and_are_paid_for() {
        let sigma = spectrum(20, 1.0);
        let free = candidate(20, 40, &sigma);
        let candidates = [free, Candidate { pinned: true, ..free }];
        let with = |limit| allocate(&candidates, &Budget { limit, cost: Cost::Parameters }, 2);
        assert_eq!(with(919.0), Err(Error::Budget { asked: 919.0, least: 920.0, unit: "parameters" }));
        assert_eq!(with(920.0), Ok(vec![Choice::LowRank(2), Choice::Dense]));
    }

    #[test]
    fn zeros_ties_and_huge_multiples_are_handled() {
        // Zeros have no error; the first of equals wins; a multiple above all ranks leaves the matrices dense.
        let (zeros, sigma) = ([0.0; 6], spectrum(6, 1.0));
        let with = |candidates: &[Candidate<'_>], limit, multiple| {
            allocate(candidates, &Budget { limit, cost: Cost::Parameters }, multiple)
        };
        assert_eq!(
            with(&[Candidate { importance: 0.0, ..candidate(6, 60, &zeros) }], 66.0, 1),
            Ok(vec![Choice::LowRank(1)])
        );
        let equals = [candidate(6, 60, &sigma); 2];
        assert_eq!(with(&equals, 200.0, 1), Ok(vec![Choice::LowRank(2), Choice::LowRank(1)]));
        assert_eq!(with(&equals, 720.0, usize::MAX), Ok(vec![Choice::Dense; 2]));
        assert_eq!(with(&[], 0.0, 1), Ok(vec![]));
    }

    #[test]
    fn a_memory_bound_core_prefers_fewer_bytes() {
        let core = Core::named("cortex-a53").unwrap();
        let cost = Cost::Latency(core, Some(crate::kernels::WeightFormat::I8));
        assert!(cost.factors(3072, 1024, 128, true) < cost.matrix(3072, 1024, true) / 5.0);
        // A batch over time shares the weights.
        assert!(cost.matrix(3072, 1024, false) < cost.matrix(3072, 1024, true));
    }
}
