//! Compression of a whole model. Its matrices are decomposed once; then they can be truncated to a budget and quantized
//! any number of times.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::calibration::Calibration;
use super::factorable::{Cuts, Factorable};
use super::part::Part;
use super::{Evaluation, Fidelity, Layer, Model};
use crate::compress::{Budget, Candidate, Choice, Cost, allocate};
use crate::error::{Error, FileError, Result};
use crate::factored::{Quantization, RankPolicy, Scheme, Table};
use crate::kernels::Tier;

/// The decomposed matrices of a model: [`plan`](Self::plan) what they become and [`build`](Self::build) the model.
#[derive(Debug)]
pub struct Decomposed<'m> {
    model: &'m Model,
    scheme: Scheme,
    parts: Vec<Part>,
}

/// The error by which matrices are truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weighting {
    /// The error of the weights, `|W - A|_F`.
    Weights,
    /// The error of the products with the calibration inputs; without a calibration, the error of the weights.
    #[default]
    Data,
}

/// How the ranks of a model's matrices are chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cutting {
    /// Each matrix on its own. A rank above the full rank means the full rank.
    Each(RankPolicy),
    /// All matrices together under one budget, with ranks that are multiples of `rank_multiple`
    /// ([`RANK_MULTIPLE`](crate::compress::RANK_MULTIPLE) suits the kernels).
    Together {
        /// The limit on the total cost of the matrices.
        budget: Budget,
        /// Ranks are multiples of this.
        rank_multiple: usize,
    },
}

/// How the weights of a compressed model are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage {
    /// 8, 4 or 2 bits, with activations in 8 bits or 16; `None` is `f32`.
    pub format: Option<Quantization>,
    /// Whether factors are rounded so that they compensate each other's error
    /// ([`round_corrected`](crate::compress::round_corrected)).
    pub correct: bool,
}

/// A compressed model, and a report for each of its matrices.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Compressed {
    /// The model.
    pub model: Model,
    /// A report for each matrix that was or could have been factored.
    pub matrices: Vec<MatrixReport>,
}

/// What a cut to a share of the parameters leaves of the outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BudgetPoint {
    /// The share of the matrices' parameters.
    pub share: f64,
    /// The outputs.
    pub fidelity: Fidelity,
}

/// What a matrix became, and the error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MatrixReport {
    /// Its name: layer, weight, and gate if gates are factored separately.
    pub name: String,
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
    /// What it became.
    pub choice: Choice,
    /// How it is quantized; `None` is `f32`.
    pub format: Option<Quantization>,
    /// Its singular values.
    pub singular_values: Vec<f64>,
    /// The share of the sum of their squares that was kept.
    pub kept_variance: f64,
    /// The nondimensional trace norm coefficient, [`nu`](crate::compress::nu).
    pub nu: f64,
    /// Bytes of the matrix in `f32`.
    pub bytes_before: f64,
    /// Bytes of what it became, including scales, without padding.
    pub bytes_after: f64,
    /// `|W - A|_F / |W|_F`, rounding included.
    pub relative_error: f64,
    /// Signal-to-noise ratio of its products with the calibration inputs, in dB. It includes the rounding of weights
    /// but not of activations.
    pub signal_to_noise: Option<f64>,
}

impl Model {
    /// Decomposes the matrices that `scheme` factors. Errors are measured with the inputs seen by `calibration`, and
    /// weighted by them if `weighting` says so. Quantized weights are dequantized first. `progress` is called before
    /// each matrix with its name, the number of matrices begun before it, and the total number.
    ///
    /// With the feature `rayon`, matrices are decomposed in parallel on the calling thread pool. The result is
    /// bit-identical for any number of threads.
    ///
    /// # Errors
    /// [`Error::Stored`] for a calibration with another scheme. [`Error::Length`] for a calibration of a model with
    /// other layers. [`FileError::Layer`] with the matrix's name and [`Error::Shape`] for a
    /// calibration with inputs of another size. [`Error::Allocation`].
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, Tier, compress::{Budget, Cost, RANK_MULTIPLE}, factored::{Linear, Scheme, Weight}, kernels::WeightFormat};
    /// use skinny::model::{Cutting, Layer, Model, Storage, Weighting};
    ///
    /// let w = Mat::from_vec((0..64 * 48).map(|i| (i % 7) as f32 - 3.0).collect(), 64, 48)?;
    /// let layer = Layer::Linear(Linear::new(Weight::dense(w)?, None)?);
    /// let model = Model::new(vec![("fc".into(), layer)])?;
    ///
    /// let decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ())?;
    /// let budget = Budget { limit: 0.6 * 64.0 * 48.0, cost: Cost::Parameters };
    /// let plan = decomposed.plan(&Cutting::Together { budget, rank_multiple: RANK_MULTIPLE })?;
    /// let storage = Storage { format: Some(WeightFormat::I8.into()), correct: true };
    /// let small = decomposed.build(&plan, |_| storage, Tier::select()?)?;
    /// assert!(small.model.parameters() == 16 * (64 + 48) && small.matrices[0].relative_error < 0.02);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn decompose(
        &self,
        scheme: Scheme,
        calibration: Option<&Calibration>,
        weighting: Weighting,
        mut progress: impl FnMut(&str, usize, usize),
    ) -> Result<Decomposed<'_>> {
        if let Some(calibration) = calibration
            && calibration.scheme != scheme
        {
            return Err(Error::Stored {
                operation: "decompose",
                expected: "calibrated for the same scheme",
                found: "calibrated for another",
            });
        }
        let (mut matrices, mut counts) = (Vec::new(), Vec::new());
        for (i, (layer_name, layer)) in self.layers().enumerate() {
            let of_layer = layer.matrices(scheme)?;
            counts.push(of_layer.len());
            for (j, matrix) in of_layer.into_iter().enumerate() {
                let moment = calibration.and_then(|calibration| calibration.moment(i, j)).cloned();
                matrices.push((layer_name, matrix, moment));
            }
        }
        calibration.map_or(Ok(()), |calibration| calibration.expect_matrices(&counts))?;
        let count = matrices.len();
        let mut waiting = matrices.into_iter();
        let mut parts = Vec::new();
        while parts.len() < count {
            let turn: Vec<_> = waiting.by_ref().take(threads()).collect();
            for (done, (layer, matrix, _)) in turn.iter().enumerate() {
                progress(&format!("{layer}.{}", matrix.name), parts.len() + done, count);
            }
            parts.extend(map(turn, |(layer, matrix, moment)| Part::new(layer, matrix, moment, weighting))?);
        }
        Ok(Decomposed { model: self, scheme, parts })
    }
}

/// Number of threads to decompose matrices on.
fn threads() -> usize {
    #[cfg(feature = "rayon")]
    return rayon::current_num_threads().max(1);
    #[cfg(not(feature = "rayon"))]
    1
}

/// Applies `f` to each item on the calling thread pool. Results are in the order of the items; the first error in that
/// order wins.
fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> Result<R> + Send + Sync) -> Result<Vec<R>> {
    #[cfg(feature = "rayon")]
    let results: Vec<Result<R>> = {
        use rayon::iter::{IntoParallelIterator, ParallelIterator};
        items.into_par_iter().map(f).collect()
    };
    #[cfg(not(feature = "rayon"))]
    let results = items.into_iter().map(f);
    results.into_iter().collect()
}

impl Decomposed<'_> {
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let candidate = |part| {
            let Part { matrix, decomposition, .. }: &Part = part;
            let (n, k) = matrix.weight.view().shape();
            let singular_values = decomposition.singular_values();
            // Errors on the data are errors in the inputs of gates and activations, whose slopes are similar, so they
            // are comparable as they are. Errors of weights may differ in scale, so each is taken relative to its
            // weight.
            let energy: f64 = singular_values.iter().map(|sigma| sigma * sigma).sum();
            let relative = if energy > 0.0 { 1.0 / energy } else { 0.0 };
            let importance = if part.weighted { 1.0 } else { relative };
            let pinned = matrix.dense || part.pinned == Some(Choice::Dense);
            Candidate { n, k, singular_values, importance, recurrent: matrix.recurrent, pinned }
        };
        self.parts.iter().map(candidate).collect()
    }

    /// Decides what a matrix becomes, or each matrix of a layer, whatever a plan or a budget says: factors of this rank, or
    /// for `None` the matrix as it is. `name` is that of a layer or of a matrix ([`MatrixReport::name`]).
    ///
    /// # Errors
    /// [`Error::File`] with the name if there is no such matrix. [`Error::Rank`] for a rank that one of them cannot have;
    /// projections stay as they are.
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, compress::{Choice, RANK_MULTIPLE}, factored::{Gru, RankPolicy, Scheme, Weight}};
    /// use skinny::model::{Cutting, Layer, Model, Weighting};
    ///
    /// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
    /// let gru = Gru::new(weight(24, 9)?, weight(24, 8)?, None, None)?;
    /// let model = Model::new(vec![("gru".into(), Layer::Gru(gru))])?;
    /// let mut decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ())?;
    /// decomposed.pin("gru.weight_hh", None)?;
    /// let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(2)))?;
    /// assert_eq!(plan, [Choice::LowRank(2), Choice::Dense]);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn pin(&mut self, name: &str, rank: Option<usize>) -> Result<()> {
        let mut found = 0;
        for part in self.parts.iter().filter(|part| part.layer == name || part.name == name) {
            found += 1;
            let max = part.decomposition.singular_values().len();
            if let Some(rank) = rank.filter(|rank| !(1..=max).contains(rank)) {
                return Err(FileError::layer(part.name.clone(), Error::Rank { rank, max }));
            }
        }
        if found == 0 {
            let problem = Error::Length { what: "matrices of this name", expected: 1, found: 0 };
            return Err(FileError::layer(name, problem));
        }
        for part in self.parts.iter_mut().filter(|part| part.layer == name || part.name == name) {
            let rank = rank.filter(|_| !part.matrix.dense);
            part.pinned = Some(rank.map_or(Choice::Dense, Choice::LowRank));
        }
        Ok(())
    }

    /// Plans what each matrix becomes. A matrix whose factors would cost as much as itself stays dense, and so do
    /// projections. Matrices that are [pinned](Self::pin) become what was decided, and count in a budget.
    ///
    /// # Errors
    /// [`Error::Budget`] for a budget out of reach, [`Error::Parameter`] for a rank multiple of 0; those of
    /// [`RankPolicy::rank`].
    pub fn plan(&self, cutting: &Cutting) -> Result<Vec<Choice>> {
        let candidates = self.candidates();
        let policy = match cutting {
            Cutting::Together { budget, rank_multiple } => return self.plan_together(budget, *rank_multiple),
            Cutting::Each(policy) => *policy,
        };
        let choose = |(candidate, part): (&Candidate<'_>, &Part)| {
            if let Some(pinned) = part.pinned {
                return Ok(pinned);
            }
            let full = candidate.singular_values.len();
            let rank = match policy {
                RankPolicy::Fixed(rank) if rank > full => full,
                policy => policy.rank(candidate.singular_values)?,
            };
            Ok(candidate.choose(&Cost::Parameters, rank))
        };
        candidates.iter().zip(&self.parts).map(choose).collect()
    }

    /// The matrices whose rank is pinned are paid first, and the others share what is left of the budget.
    fn plan_together(&self, budget: &Budget, rank_multiple: usize) -> Result<Vec<Choice>> {
        let (mut free, mut spent) = (Vec::new(), 0.0);
        for (candidate, part) in self.candidates().into_iter().zip(&self.parts) {
            match part.pinned {
                Some(pinned @ Choice::LowRank(_)) => spent += candidate.cost(&budget.cost, pinned),
                _ => free.push(candidate),
            }
        }
        let rest = Budget { limit: budget.limit - spent, cost: budget.cost.clone() };
        let choices = allocate(&free, &rest, rank_multiple).map_err(|cause| match cause {
            Error::Budget { least, unit, .. } => Error::Budget { asked: budget.limit, least: least + spent, unit },
            cause => cause,
        })?;
        let mut choices = choices.into_iter();
        let choice = |part: &Part| match part.pinned {
            Some(pinned @ Choice::LowRank(_)) => pinned,
            _ => choices.next().unwrap_or(Choice::Dense),
        };
        Ok(self.parts.iter().map(choice).collect())
    }

    /// Measures what cuts to shares of the parameters leave of the outputs, over the sequences of `evaluation`, with weights in
    /// `f32`. Shares that are out of reach are left out. `progress` is called before each with its number and their total.
    ///
    /// # Errors
    /// Those of [`build`](Self::build) and [`Evaluation::measure`]; [`Error::Parameter`] for a rank multiple of 0.
    pub fn measure_budgets(
        &self,
        shares: &[f64],
        rank_multiple: usize,
        evaluation: &Evaluation,
        tier: Tier,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<BudgetPoint>> {
        let dense = self.cost(&self.dense(), &Cost::Parameters);
        let mut points = Vec::new();
        for (i, &share) in shares.iter().enumerate() {
            progress(i, shares.len());
            let budget = Budget { limit: share * dense, cost: Cost::Parameters };
            let plan = match self.plan(&Cutting::Together { budget, rank_multiple }) {
                Err(Error::Budget { .. }) => continue,
                plan => plan?,
            };
            let model = self.build(&plan, |_| Storage { format: None, correct: false }, tier)?.model;
            points.push(BudgetPoint { share, fidelity: evaluation.measure(&model)? });
        }
        Ok(points)
    }

    /// The plan that leaves all matrices as they are.
    pub fn dense(&self) -> Vec<Choice> {
        self.parts.iter().map(|_| Choice::Dense).collect()
    }

    /// The total cost of the matrices under a plan.
    pub fn cost(&self, plan: &[Choice], cost: &Cost) -> f64 {
        self.candidates().iter().zip(plan).map(|(candidate, &choice)| candidate.cost(cost, choice)).sum()
    }

    /// The predicted error of a plan: the root of its squared error divided by the squared error of cutting everything
    /// that can be cut, with the matrices weighted as in [`allocate`].
    pub fn error(&self, plan: &[Choice]) -> f64 {
        let candidates = self.candidates();
        // A matrix that stays dense has no inputs in a calibration, so its error would be in other units.
        let cuttable = candidates.iter().filter(|candidate| !candidate.pinned);
        let all: f64 = cuttable.map(|candidate| candidate.error(Choice::LowRank(0))).sum();
        let cut: f64 = candidates.iter().zip(plan).map(|(candidate, &choice)| candidate.error(choice)).sum();
        if all > 0.0 { (cut / all).sqrt() } else { 0.0 }
    }

    /// Fails for a name that no layer has.
    pub(super) fn expect_layers<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<()> {
        match names.into_iter().find(|name| self.model.layers().all(|(layer, _)| layer != *name)) {
            None => Ok(()),
            Some(name) => {
                let problem = Error::Length { what: "layers of this name", expected: 1, found: 0 };
                Err(FileError::layer(name, problem))
            }
        }
    }

    /// Builds the compressed model. `storage` says, by a layer's name, how its weights are stored. An embedding has 8 bits or
    /// `f32`.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is one choice per matrix. [`Error::Rank`] for a rank that a matrix cannot have.
    /// [`Error::NotFinite`] if a bias correction overflows `f32`. [`Error::TierUnavailable`], [`Error::Allocation`].
    pub fn build(&self, plan: &[Choice], storage: impl Fn(&str) -> Storage, tier: Tier) -> Result<Compressed> {
        if plan.len() != self.parts.len() {
            return Err(Error::Length { what: "plan", expected: self.parts.len(), found: plan.len() });
        }
        let (mut cuts, mut matrices) = (Vec::new(), Vec::new());
        for (part, &choice) in self.parts.iter().zip(plan) {
            let storage = storage(&part.layer);
            let cut = part.cut(choice, storage, tier)?;
            matrices.push(part.report(choice, storage.format, &cut)?);
            cuts.push(cut);
        }
        let mut cuts = Cuts(cuts.into_iter());
        let model = self.model.map_layers(|name, layer| match layer.rebuild(self.scheme, &mut cuts)? {
            Layer::Embedding(embedding) => Ok(Layer::Embedding(match (embedding.table(), storage(name).format) {
                (Table::F32(_), Some(_)) => embedding.quantize()?,
                (Table::I8(_), None) => embedding.dequantize()?,
                _ => embedding,
            })),
            layer => Ok(layer),
        })?;
        Ok(Compressed { model, matrices })
    }
}
