//! A trainable gated recurrent unit.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use super::gates::GateWeights;
use super::random::Random;
use super::sweep;
use super::tensors::{Parameters, parameter, values};
use super::weight::uniform;
use crate::error::Result;
use crate::factored;

/// Number of time steps sliced from the sequence at once, before slicing single steps. The gradient of a slice is as
/// large as the tensor it was cut from, so slicing the whole sequence at every step would make the backward pass
/// quadratic in its length.
pub(super) const BLOCK: usize = 8;

/// A forward GRU in PyTorch's form, like [`factored::Gru`], with gates in the order r, z, n.
#[derive(Clone, Debug)]
pub struct Gru {
    /// `3 hidden x input` and `3 hidden x hidden`.
    pub weights: GateWeights,
    /// `1 x 3 hidden`.
    pub bias_ih: Tensor<2>,
    /// `1 x 3 hidden`.
    pub bias_hh: Tensor<2>,
}

impl Gru {
    /// A dense layer initialized as in PyTorch: uniform in `-1/sqrt(hidden)..1/sqrt(hidden)`.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn new(input: usize, hidden: usize, random: &mut Random, device: &Device) -> Result<Self> {
        let bound = (hidden.max(1) as f32).sqrt().recip();
        let ih = uniform(3 * hidden, input, bound, random)?;
        let hh = uniform(3 * hidden, hidden, bound, random)?;
        let mut bias = || Ok::<_, crate::Error>(parameter(uniform(1, 3 * hidden, bound, random)?.view(), device));
        let (bias_ih, bias_hh) = (bias()?, bias()?);
        Ok(Self { weights: GateWeights::dense(&ih, &hh, device), bias_ih, bias_hh })
    }

    /// Input features.
    pub fn input_size(&self) -> usize {
        self.weights.input_size()
    }

    /// State features.
    pub fn hidden_size(&self) -> usize {
        self.weights.hidden_size()
    }

    /// The states for a batch of sequences, starting from zero. `x` is `(steps batch) x input`, step by step, with all
    /// sequences of a step together. The result, `(steps batch) x hidden`, has the same order.
    pub fn forward(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let (products, w_hh) = self.weights.input_products(x);
        let gates = products + self.bias_ih.clone();
        sweep::states(&gates, &w_hh, &self.bias_hh, batch)
            .unwrap_or_else(|| step_by_step(gates, w_hh, self.bias_hh.clone(), batch))
    }

    /// The layer for inference.
    ///
    /// # Errors
    /// Those of [`GateWeights::to_inference`].
    pub fn to_inference(&self) -> Result<factored::Gru> {
        let (ih, hh) = self.weights.to_inference()?;
        factored::Gru::new(ih, hh, Some(values(self.bias_ih.clone())), Some(values(self.bias_hh.clone())))
    }

    pub(super) fn add_parameters<'a>(&'a mut self, prefix: &str, suffix: &str, parameters: &mut Parameters<'a>) {
        self.weights.add_parameters(prefix, suffix, parameters);
        parameters.push((format!("{prefix}bias_ih{suffix}"), &mut self.bias_ih));
        parameters.push((format!("{prefix}bias_hh{suffix}"), &mut self.bias_hh));
    }
}

/// The states, computed by tensor operations on any device. `x` is `(steps batch) x 3 hidden`, the input products with
/// their biases; `w` is `3 hidden x hidden`; `b` is `1 x 3 hidden`.
pub(super) fn step_by_step(x: Tensor<2>, w: Tensor<2>, b: Tensor<2>, batch: usize) -> Tensor<2> {
    let ([rows, _], [_, hidden]) = (x.dims(), w.dims());
    let steps = rows / batch;
    let (rz, n) = (0..2 * hidden, 2 * hidden..3 * hidden);

    // The number of operations, not the arithmetic, determines the time of a step, so everything possible is done here,
    // once. The biases of r and z are added together. The bias of n's recurrent product stays separate, because r
    // multiplies it.
    let w_rz = w.clone().slice([rz.clone(), 0..hidden]).transpose();
    let w_n = w.slice([n.clone(), 0..hidden]).transpose();
    let b_rz = b.clone().slice([0..1, rz.clone()]);
    let b_n = b.slice([0..1, n.clone()]).expand([batch, hidden]);
    let x_rz = x.clone().slice([0..rows, rz]) + b_rz;
    let x_n = x.clone().slice([0..rows, n]);

    let mut h = Tensor::zeros([batch, hidden], &x.device().without_autodiff());
    let mut states = Vec::with_capacity(steps);
    for first in (0..steps).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(steps);
        let range = block.start * batch..block.end * batch;
        let x_rz = x_rz.clone().slice([range.clone(), 0..2 * hidden]);
        let x_n = x_n.clone().slice([range, 0..hidden]);
        for step in 0..block.len() {
            let range = step * batch..(step + 1) * batch;
            let x_rz = x_rz.clone().slice([range.clone(), 0..2 * hidden]);
            let x_n = x_n.clone().slice([range, 0..hidden]);
            let rz = sigmoid(h.clone().matmul(w_rz.clone()) + x_rz);
            let r = rz.clone().slice([0..batch, 0..hidden]);
            let z = rz.slice([0..batch, hidden..2 * hidden]);
            let n = ((h.clone().matmul(w_n.clone()) + b_n.clone()) * r + x_n).tanh();
            // (1 - z) n + z h with one operation fewer.
            h = (h - n.clone()) * z + n;
            states.push(h.clone());
        }
    }
    Tensor::cat(states, 0)
}
