//! Compression of a whole model: its matrices are decomposed once, then cut to a budget and quantized, as often as one
//! likes.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::Model;
use super::matrices::{Cut, Cuts, Factorable, Matrix, Replaced};
use crate::compress::{
    Budget, Candidate, Choice, Cost, Decomposition, Moment, RoundedFactors, allocate, explained_variance, nu,
    relative_error, round_corrected, signal_to_noise,
};
use crate::error::{Error, FileError, Result};
use crate::factored::{
    DenseWeight, LowRank, LowRankLinear, RankPolicy, Scheme, Scratch, Unpacked, Weight, beside, columns,
    singular_values,
};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::{Mat, MatRef};

/// Second moments of what the matrices of a model are multiplied with, from sequences that are like those it is for.
///
/// A layer's own inputs are its input frames and, for recurrent matrices, its outputs of the step before. What a layer
/// computes on the way is not seen: of a projection's input nothing is known, and for the candidate of a GRU whose reset
/// comes before the product the outputs stand for what the reset leaves of them.
#[derive(Clone, Debug)]
pub struct Calibration {
    scheme: Scheme,
    frames: usize,
    /// For each layer: the moments of its distinct inputs, and which of them each of its matrices has.
    layers: Vec<(Vec<Moment>, Vec<Option<usize>>)>,
}

impl Calibration {
    /// Nothing seen yet, of a model that is to be factored by `scheme`.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, frames: 0, layers: Vec::new() }
    }

    /// Runs `model` over a sequence (`time x input`) from its start to its end, and takes the moments of what its
    /// layers get.
    ///
    /// # Errors
    /// [`Error::Shape`] for frames that do not fit the model or for another model than before,
    /// [`Error::NotFinite`], [`Error::Allocation`].
    pub fn add(&mut self, model: &Model, frames: MatRef<'_, f32>) -> Result<()> {
        frames.expect_shape("frames", frames.rows(), model.input_size())?;
        let mut scratch = Scratch::new();
        let mut x = Mat::from_vec(frames.as_slice().to_vec(), frames.rows(), frames.cols())?;
        for (i, (_, layer)) in model.layers().enumerate() {
            let out = layer.run(x.view(), &mut scratch)?;
            let inputs = layer.inputs(self.scheme, x.view(), out.view())?;
            if self.layers.len() == i {
                let moments = inputs.distinct.iter().map(|input| Moment::new(input.cols()));
                self.layers.push((moments.collect::<Result<_>>()?, inputs.of));
            }
            for (moment, input) in self.layers[i].0.iter_mut().zip(&inputs.distinct) {
                moment.add(input.view())?;
            }
            x = out;
        }
        self.frames += frames.rows();
        Ok(())
    }

    /// Frames seen.
    pub fn frames(&self) -> usize {
        self.frames
    }

    fn moment(&self, layer: usize, matrix: usize) -> Option<&Moment> {
        let (moments, of) = self.layers.get(layer)?;
        moments.get((*of.get(matrix)?)?)
    }
}

/// The matrices of a model, decomposed: [`plan`](Self::plan) what becomes of them and [`build`](Self::build) it.
#[derive(Debug)]
pub struct Decomposed<'m> {
    model: &'m Model,
    scheme: Scheme,
    parts: Vec<Part>,
}

/// A matrix of a model.
#[derive(Debug)]
struct Part {
    /// The layer's name and the matrix's within it.
    layer: String,
    name: String,
    matrix: Matrix,
    decomposition: Decomposition,
    /// To measure errors by, and to weigh them by if that is asked for.
    moment: Option<Moment>,
    weighted: bool,
}

/// By which error matrices are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weighting {
    /// That of the weights, `|W - A|_F`.
    Weights,
    /// That of the products with the inputs that the calibration saw; without one, that of the weights.
    #[default]
    Data,
}

/// How far the matrices of a model are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cutting {
    /// Each by itself. A rank beyond a matrix's is its full one.
    Each(RankPolicy),
    /// All together, to a budget, in ranks that are multiples of `rank_multiple`
    /// ([`RANK_MULTIPLE`](crate::compress::RANK_MULTIPLE) is the kernels').
    Together {
        /// What the matrices may cost.
        budget: Budget,
        /// What ranks are multiples of.
        rank_multiple: usize,
    },
}

/// How the weights of a compressed model are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage {
    /// In 8 or 4 bits; none is `f32`.
    pub format: Option<WeightFormat>,
    /// Whether factors make up for each other's rounding ([`round_corrected`]).
    pub correct: bool,
}

/// A compressed model, and what it cost matrix by matrix.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// The model.
    pub model: Model,
    /// A report for each matrix that was or could have been factored.
    pub matrices: Vec<MatrixReport>,
}

/// What became of a matrix.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MatrixReport {
    /// Its name: layer, weight, and gate if gates are factored apart.
    pub name: String,
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
    /// What it became.
    pub choice: Choice,
    /// The format of its numbers; none is `f32`.
    pub format: Option<WeightFormat>,
    /// Its singular values.
    pub singular_values: Vec<f64>,
    /// The share of their squares that was kept.
    pub kept_variance: f64,
    /// The nondimensional trace norm coefficient, [`nu`].
    pub nu: f64,
    /// Bytes of the matrix in `f32`.
    pub bytes_before: f64,
    /// Bytes of what it became, with scales, unpadded.
    pub bytes_after: f64,
    /// `|W - A|_F / |W|_F`, rounding included.
    pub relative_error: f64,
    /// Signal-to-noise ratio of its products with the calibration inputs in dB, rounding of weights included, that of
    /// activations not.
    pub signal_to_noise: Option<f64>,
}

impl Model {
    /// Decomposes the matrices that `scheme` factors. What `calibration` saw of their inputs serves to weigh errors, if
    /// `weighting` says so, and to measure them. Weights are taken for what they stand for, whatever they are stored
    /// as. `progress` is told the name of each matrix before its turn, and how many were done of how many.
    ///
    /// # Errors
    /// [`Error::Stored`] for a calibration of another scheme, [`Error::Shape`] for one of another model, with the name of the
    /// matrix; [`Error::Allocation`].
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
        let mut matrices = Vec::new();
        for (i, (layer_name, layer)) in self.layers().enumerate() {
            for (j, matrix) in layer.matrices(scheme)?.into_iter().enumerate() {
                matrices.push((i, j, layer_name, matrix));
            }
        }
        let count = matrices.len();
        let mut parts = Vec::new();
        for (done, (i, j, layer, matrix)) in matrices.into_iter().enumerate() {
            let name = format!("{layer}.{}", matrix.name);
            progress(&name, done, count);
            let moment = calibration.and_then(|calibration| calibration.moment(i, j)).cloned();
            let weigh = moment.as_ref().filter(|_| weighting == Weighting::Data);
            let weighted = weigh.is_some();
            let decomposition = Decomposition::new(matrix.weight.view(), weigh)
                .map_err(|cause| FileError::layer(name.clone(), cause))?;
            parts.push(Part { layer: layer.into(), name, matrix, decomposition, moment, weighted });
        }
        Ok(Decomposed { model: self, scheme, parts })
    }
}

impl Decomposed<'_> {
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let candidate = |part| {
            let Part { matrix, decomposition, .. }: &Part = part;
            let (n, k) = matrix.weight.view().shape();
            let singular_values = decomposition.singular_values();
            // Errors on the data are errors of what goes into gates and activations, whose slopes are much alike, so
            // they count as they are. Those of weights are not known to be in one unit, so each is taken relative to
            // its weight.
            let energy: f64 = singular_values.iter().map(|sigma| sigma * sigma).sum();
            let relative = if energy > 0.0 { 1.0 / energy } else { 0.0 };
            let importance = if part.weighted { 1.0 } else { relative };
            Candidate { n, k, singular_values, importance, recurrent: matrix.recurrent, pinned: false }
        };
        self.parts.iter().map(candidate).collect()
    }

    /// What is to become of each matrix. One whose factors would cost as much as itself stays dense, and so do projections.
    ///
    /// # Errors
    /// [`Error::Budget`] for a budget out of reach; those of [`RankPolicy::rank`].
    pub fn plan(&self, cutting: &Cutting) -> Result<Vec<Choice>> {
        let candidates = self.candidates();
        let mut plan = self.dense();
        let free: Vec<usize> = (0..plan.len()).filter(|&i| !self.parts[i].matrix.dense).collect();
        match cutting {
            Cutting::Together { budget: Budget { limit, cost }, rank_multiple } => {
                let dense = self.parts.iter().zip(&candidates).filter(|(part, _)| part.matrix.dense);
                let spent: f64 = dense.map(|(_, candidate)| candidate.cost(cost, Choice::Dense)).sum();
                let chosen: Vec<Candidate<'_>> = free.iter().map(|&i| candidates[i]).collect();
                let budget = Budget { limit: limit - spent, cost: *cost };
                for (&i, choice) in free.iter().zip(allocate(&chosen, &budget, *rank_multiple)?) {
                    plan[i] = choice;
                }
            }
            Cutting::Each(policy) => {
                for i in free {
                    let full = candidates[i].singular_values.len();
                    let rank = match *policy {
                        RankPolicy::Fixed(rank) if rank > full => full,
                        policy => policy.rank(candidates[i].singular_values)?,
                    };
                    plan[i] = candidates[i].choose(&Cost::Parameters, rank);
                }
            }
        }
        Ok(plan)
    }

    /// The plan that leaves all matrices as they are.
    pub fn dense(&self) -> Vec<Choice> {
        self.parts.iter().map(|_| Choice::Dense).collect()
    }

    /// What the matrices cost if this becomes of them.
    pub fn cost(&self, plan: &[Choice], cost: &Cost) -> f64 {
        self.candidates().iter().zip(plan).map(|(candidate, &choice)| candidate.cost(cost, choice)).sum()
    }

    /// The error that a plan predicts: the root of the squared error that is cut over that of cutting everything, as
    /// [`allocate`] weighs the matrices.
    pub fn error(&self, plan: &[Choice]) -> f64 {
        let candidates = self.candidates();
        let all: f64 = candidates.iter().map(|candidate| candidate.error(Choice::LowRank(0))).sum();
        let cut: f64 = candidates.iter().zip(plan).map(|(candidate, &choice)| candidate.error(choice)).sum();
        if all > 0.0 { (cut / all).sqrt() } else { 0.0 }
    }

    /// The compressed model. `storage` says for each layer, by its name, how its weights are stored.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is a choice for each matrix, [`Error::Rank`] for a rank that a matrix cannot
    /// have, [`Error::TierUnavailable`], [`Error::Allocation`].
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

impl Part {
    /// The widths of the parts of its columns that are weights of their own.
    fn widths(&self) -> Vec<usize> {
        let k = self.matrix.weight.cols();
        self.matrix.halves.map_or(Vec::from([k]), |half| Vec::from([half, k - half]))
    }

    fn cut(&self, choice: Choice, storage: Storage, tier: Tier) -> Result<Cut> {
        let w = self.matrix.weight.view();
        let store = |w: Mat<f32>| match storage.format {
            None => Ok(Unpacked::F32(w)),
            Some(format) => Unpacked::quantize(w.view(), format),
        };
        let split = |w: MatRef<'_, f32>| {
            let mut start = 0;
            let part = |width: usize| {
                start += width;
                store(columns(w, start - width..start)?)
            };
            self.widths().into_iter().map(part).collect::<Result<Vec<Unpacked>>>()
        };
        let pack = |part: Unpacked| part.pack(tier);
        let weights: Vec<Weight> = match choice {
            Choice::Dense => split(w)?.into_iter().map(|part| Ok(Weight::Dense(pack(part)?))).collect::<Result<_>>()?,
            Choice::LowRank(rank) => {
                let low_rank = self.decomposition.truncate(rank)?;
                let RoundedFactors { u, v } = match storage {
                    Storage { format: Some(format), correct: true } => round_corrected(
                        w,
                        &low_rank,
                        format,
                        self.moment.as_ref().filter(|_| self.weighted),
                        &self.widths(),
                    )?,
                    _ => {
                        let (u, v): (Mat<f32>, Mat<f32>) = LowRank::into_factors(low_rank);
                        RoundedFactors { u: store(u)?, v: split(v.view())? }
                    }
                };
                let u: Arc<DenseWeight> = Arc::new(pack(u)?);
                let weight = |v| Ok(LowRankLinear::from_parts(Arc::clone(&u), pack(v)?)?.into());
                v.into_iter().map(weight).collect::<Result<_>>()?
            }
        };
        let replaced = |(i, weight): (usize, Weight)| {
            let columns = if i == 0 { 0..weight.k() } else { w.cols() - weight.k()..w.cols() };
            Ok(Replaced { shift: self.shift(columns, &weight)?, weight })
        };
        let mut weights = weights.into_iter().enumerate().map(replaced).collect::<Result<Vec<Replaced>>>()?.into_iter();
        match (weights.next(), weights.next()) {
            (Some(first), Some(second)) => Ok(Cut::Halves([first, second])),
            (Some(whole), None) => Ok(Cut::Whole(whole)),
            (None, _) => Err(Error::Length { what: "weights", expected: 1, found: 0 }),
        }
    }

    /// The mean of what products with some columns of the matrix had more than those of the weight in their place have:
    /// `(W - A) E[x]`.
    fn shift(&self, range: Range<usize>, weight: &Weight) -> Result<Option<Vec<f32>>> {
        let Some(moment) = self.moment.as_ref().filter(|_| self.weighted) else { return Ok(None) };
        let (mean, became) = (moment.mean(), weight.dequantize()?);
        let of_row = |row: usize| {
            let w = &self.matrix.weight.view().row(row)[range.clone()];
            let terms = w.iter().zip(became.view().row(row)).zip(&mean[range.clone()]);
            terms.map(|((&w, &a), mean)| (f64::from(w) - f64::from(a)) * mean).sum::<f64>() as f32
        };
        Ok(Some((0..weight.n()).map(of_row).collect()))
    }

    fn report(&self, choice: Choice, format: Option<WeightFormat>, cut: &Cut) -> Result<MatrixReport> {
        let w = &self.matrix.weight;
        let (n, k) = (w.rows(), w.cols());
        let became = match cut {
            Cut::Whole(replaced) => replaced.weight.dequantize()?,
            Cut::Halves([first, second]) => {
                beside(first.weight.dequantize()?.view(), second.weight.dequantize()?.view())?
            }
        };
        let sigma = match self.moment {
            // The decomposition's may be weighted.
            None => self.decomposition.singular_values().to_vec(),
            Some(_) => singular_values(w.view())?,
        };
        let bytes = Cost::Bytes(format);
        Ok(MatrixReport {
            name: self.name.clone(),
            n,
            k,
            choice,
            format,
            kept_variance: match choice {
                Choice::Dense => 1.0,
                Choice::LowRank(rank) => explained_variance(&sigma, rank),
            },
            nu: nu(&sigma),
            bytes_before: Cost::Bytes(None).matrix(n, k, false),
            bytes_after: match choice {
                Choice::Dense => bytes.matrix(n, k, false),
                Choice::LowRank(rank) => bytes.factors(n, k, rank, false),
            },
            relative_error: relative_error(w.view(), became.view())?,
            signal_to_noise: match &self.moment {
                None => None,
                Some(moment) => Some(signal_to_noise(w.view(), became.view(), moment)?),
            },
            singular_values: sigma,
        })
    }
}
