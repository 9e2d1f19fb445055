//! The trainable model: GRU layers and a linear layer over classes.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use super::ctc::greedy;
use super::data::Batch;
use super::gru::Gru;
use super::linear::Linear;
use super::random::Random;
use super::tensors::{Parameters, values};
use super::weight::{Weight, WeightKind};
use crate::error::{Error, FileError, Result};
use crate::error_rate::ErrorCount;
use crate::factored::{LowRank, RankPolicy, Scheme};
use crate::matrix::Mat;

/// The sizes of a recognizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Features per step.
    pub input: usize,
    /// State features of each GRU layer, in order.
    pub hidden: Vec<usize>,
    /// Number of classes, including the blank.
    pub classes: usize,
}

/// How the weights of the GRU layers are initialized. The linear layer and the biases are initialized as in PyTorch,
/// and so are all weights before factoring, except with `RandomFactors`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initialization {
    /// Dense.
    Dense,
    /// Full-rank balanced factors of the dense weights, as in stage 1 of the paper. They start as the same function.
    Factored(Scheme),
    /// Balanced factors of the dense weights, truncated to a low rank: spectral initialization (Khodak et al., arXiv
    /// 2105.01029).
    Spectral(Scheme, RankPolicy),
    /// Random factors of a low rank.
    RandomFactors(Scheme, RankPolicy),
}

/// A recognizer: forward GRU layers, each feeding the next, and a linear layer that gives the scores of classes.
#[derive(Clone, Debug)]
pub struct Recognizer {
    /// The GRU layers, at least one.
    pub layers: Vec<Gru>,
    /// The layer for the scores of classes. It is small, so it is never factored.
    pub output: Linear,
    device: Device,
}

impl Recognizer {
    /// Makes a model on `device` with random weights, determined by `random`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for sizes that are 0, those of [`RankPolicy::rank`].
    pub fn new(shape: &Shape, initialization: Initialization, random: &mut Random, device: &Device) -> Result<Self> {
        let least = shape.hidden.iter().copied().min().unwrap_or(0).min(shape.input).min(shape.classes);
        if least == 0 {
            return Err(Error::Parameter { what: "size of a layer", value: 0.0, expected: "at least 1" });
        }
        let device = device.clone().without_autodiff();
        let mut layers = Vec::new();
        let mut input = shape.input;
        for &hidden in &shape.hidden {
            let mut gru = Gru::new(input, hidden, random, &device)?;
            let full = RankPolicy::Variance(1.0);
            let spectral = |scheme, policy, gru: &Gru| {
                gru.weights
                    .refactor(scheme, |w, _| Ok(Weight::factored(&LowRank::truncate(w.view(), policy)?, &device)))
            };
            match initialization {
                Initialization::Dense => {}
                Initialization::Factored(scheme) => gru.weights = spectral(scheme, full, &gru)?,
                Initialization::Spectral(scheme, policy) => gru.weights = spectral(scheme, policy, &gru)?,
                Initialization::RandomFactors(scheme, policy) => {
                    let bound = (hidden as f32).sqrt().recip();
                    gru.weights = gru.weights.refactor(scheme, |w, _| {
                        let (n, k) = w.view().shape();
                        let rank = match policy {
                            RankPolicy::Fixed(rank) => rank,
                            policy => policy.rank(&crate::factored::singular_values(w.view())?)?,
                        };
                        Weight::random_factors([n, k], rank, bound, random, &device)
                    })?;
                }
            }
            layers.push(gru);
            input = hidden;
        }
        let output = Linear::new(input, shape.classes, random, &device)?;
        Ok(Self { layers, output, device })
    }

    /// The device it computes on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Features per step.
    pub fn input_size(&self) -> usize {
        self.layers[0].input_size()
    }

    /// The scores of classes, before the softmax: `x` is `(steps batch) x input`, the result is
    /// `(steps batch) x classes`.
    pub fn forward(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x, batch));
        self.output.forward(x)
    }

    /// The scores of a batch.
    ///
    /// # Errors
    /// [`Error::Length`] if the number of features is not the model's, [`Error::Parameter`] for a target that is not
    /// one of its classes.
    pub fn scores(&self, batch: &Batch) -> Result<Tensor<2>> {
        self.expect_fitting(batch)?;
        let rows = batch.features.len() / batch.input;
        let x = TensorData::new(batch.features.clone(), [rows, batch.input]);
        Ok(self.forward(Tensor::from_data(x, &self.device), batch.len()))
    }

    /// Fails unless the model can be trained and tested with this batch.
    pub(super) fn expect_fitting(&self, batch: &Batch) -> Result<()> {
        if batch.input != self.input_size() {
            return Err(Error::Length { what: "features of a step", expected: self.input_size(), found: batch.input });
        }
        let [classes, _] = self.output.weight.shape();
        batch.expect_classes(classes)
    }

    /// Fails unless [`truncate`](Self::truncate) can satisfy this policy.
    pub(super) fn expect_rank(&self, policy: RankPolicy) -> Result<()> {
        for (name, _, weight) in self.weights() {
            let [n, k] = weight.shape();
            // Whether such a rank exists depends only on the number of singular values.
            let ones = vec![1.0; n.min(k)];
            policy.rank(&ones).map_err(|cause| FileError::layer(name, cause))?;
        }
        Ok(())
    }

    /// Transcribes each sequence of a batch by greedy decoding.
    ///
    /// # Errors
    /// Those of [`scores`](Self::scores).
    pub fn transcribe(&self, batch: &Batch) -> Result<Vec<Vec<usize>>> {
        let scores = self.without_gradients().scores(batch)?;
        let [_, classes] = scores.dims();
        let scores = values(scores);
        let step = |t: usize, i: usize| &scores[(t * batch.len() + i) * classes..][..classes];
        Ok(batch.lengths.iter().enumerate().map(|(i, &n)| greedy((0..n).map(|t| step(t, i)))).collect())
    }

    /// Counts the model's errors on these batches.
    ///
    /// # Errors
    /// Those of [`scores`](Self::scores).
    pub fn evaluate(&self, batches: &[Batch]) -> Result<ErrorCount> {
        let mut errors = ErrorCount::default();
        for batch in batches {
            for (found, wanted) in self.transcribe(batch)?.iter().zip(&batch.targets) {
                errors.add(found, wanted);
            }
        }
        Ok(errors)
    }

    /// The weights of the GRU layers, to which penalties and truncation apply, with PyTorch's names
    /// (`gru.weight_ih_l0`).
    pub fn weights(&self) -> Vec<(String, WeightKind, &Weight)> {
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(l, layer)| layer.weights.weights("gru.", &format!("_l{l}"))).collect()
    }

    /// The same weights, mutable.
    pub(super) fn weights_mut(&mut self) -> Vec<(String, &mut Weight)> {
        let layers = self.layers.iter_mut().enumerate();
        layers.flat_map(|(l, layer)| layer.weights.weights_mut("gru.", &format!("_l{l}"))).collect()
    }

    /// All tensors, mutable, with PyTorch's names. Factors are `NAME.u` and `NAME.v`; biases have one row.
    pub fn parameters_mut(&mut self) -> Vec<(String, &mut Tensor<2>)> {
        let mut parameters = Parameters::new();
        for (l, layer) in self.layers.iter_mut().enumerate() {
            layer.add_parameters("gru.", &format!("_l{l}"), &mut parameters);
        }
        self.output.add_parameters("fc.", &mut parameters);
        parameters
    }

    /// The same tensors, read-only.
    pub fn parameters(&self) -> Vec<(String, Tensor<2>)> {
        self.clone().parameters_mut().into_iter().map(|(name, tensor)| (name, tensor.clone())).collect()
    }

    /// Number of trainable parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, tensor)| tensor.dims().iter().product::<usize>()).sum()
    }

    /// Makes the transition from stage 1 to stage 2: replaces each weight by balanced low-rank factors, with the rank
    /// chosen by `policy`. Dense weights are factored by the partially joint scheme.
    ///
    /// # Errors
    /// Those of [`Weight::truncate`].
    pub fn truncate(&self, policy: RankPolicy) -> Result<Self> {
        let mut model = self.clone();
        for layer in &mut model.layers {
            layer.weights = layer.weights.truncate(policy, &self.device)?;
        }
        Ok(model)
    }

    /// Replaces all weights by zero factors of these ranks.
    pub(super) fn set_ranks(&mut self, ranks: &BTreeMap<String, usize>) -> Result<()> {
        let device = self.device.clone();
        for (name, weight) in self.weights_mut() {
            let [n, k] = weight.shape();
            let (rank, max) = (ranks.get(&name).copied().unwrap_or(0), n.min(k));
            if !(1..=max).contains(&rank) {
                return Err(FileError::layer(name, Error::Rank { rank, max }));
            }
            *weight = Weight::factored(&LowRank::from_factors(Mat::zeros(n, rank)?, Mat::zeros(rank, k)?)?, &device);
        }
        Ok(())
    }

    /// A copy outside any graph, which runs faster.
    pub(super) fn without_gradients(&self) -> Self {
        let mut model = self.clone();
        for (_, tensor) in model.parameters_mut() {
            *tensor = tensor.clone().without_autodiff();
        }
        model
    }
}
