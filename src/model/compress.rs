//! Compression of a whole model. Its matrices are decomposed once; then they can be truncated to a budget and quantized
//! any number of times.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Model;
use super::calibration::Calibration;
use super::factorable::{Cuts, Factorable};
use super::part::Part;
use crate::compress::{Budget, Candidate, Choice, Cost, allocate};
use crate::error::{Error, Result};
use crate::factored::{RankPolicy, Scheme};
use crate::kernels::{Tier, WeightFormat};

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
    /// 8, 4 or 2 bits; `None` is `f32`.
    pub format: Option<WeightFormat>,
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
    /// The format of its numbers; `None` is `f32`.
    pub format: Option<WeightFormat>,
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
    /// other layers. [`FileError::Layer`](crate::FileError::Layer) with the matrix's name and [`Error::Shape`] for a
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
    /// let storage = Storage { format: Some(WeightFormat::I8), correct: true };
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
            Candidate { n, k, singular_values, importance, recurrent: matrix.recurrent, pinned: matrix.dense }
        };
        self.parts.iter().map(candidate).collect()
    }

    /// Plans what each matrix becomes. A matrix whose factors would cost as much as itself stays dense, and so do
    /// projections.
    ///
    /// # Errors
    /// [`Error::Budget`] for a budget out of reach, [`Error::Parameter`] for a rank multiple of 0; those of
    /// [`RankPolicy::rank`].
    pub fn plan(&self, cutting: &Cutting) -> Result<Vec<Choice>> {
        let candidates = self.candidates();
        let policy = match cutting {
            Cutting::Together { budget, rank_multiple } => return allocate(&candidates, budget, *rank_multiple),
            Cutting::Each(policy) => *policy,
        };
        let choose = |candidate: &Candidate<'_>| {
            let full = candidate.singular_values.len();
            let rank = match policy {
                RankPolicy::Fixed(rank) if rank > full => full,
                policy => policy.rank(candidate.singular_values)?,
            };
            Ok(candidate.choose(&Cost::Parameters, rank))
        };
        candidates.iter().map(choose).collect()
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

    /// Builds the compressed model. `storage` says, by a layer's name, how its weights are stored.
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
        let model = self.model.map_layers(|_, layer| layer.rebuild(self.scheme, &mut cuts))?;
        Ok(Compressed { model, matrices })
    }
}
