//! A trainable long short-term memory.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use super::gates::GateWeights;
use super::gru::BLOCK;
use super::random::Random;
use super::tensors::{Parameters, parameter, values};
use super::weight::uniform;
use crate::error::Result;
use crate::factored;

/// A forward LSTM in PyTorch's form, like [`factored::Lstm`], with gates in the order i, f, g, o.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// `4 hidden x input` and `4 hidden x hidden`.
    pub weights: GateWeights,
    /// `1 x 4 hidden`.
    pub bias_ih: Tensor<2>,
    /// `1 x 4 hidden`.
    pub bias_hh: Tensor<2>,
}

impl Lstm {
    /// A dense layer initialized as in PyTorch: uniform in `-1/sqrt(hidden)..1/sqrt(hidden)`.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn new(input: usize, hidden: usize, random: &mut Random, device: &Device) -> Result<Self> {
        let bound = (hidden.max(1) as f32).sqrt().recip();
        let ih = uniform(4 * hidden, input, bound, random)?;
        let hh = uniform(4 * hidden, hidden, bound, random)?;
        let mut bias = || Ok::<_, crate::Error>(parameter(uniform(1, 4 * hidden, bound, random)?.view(), device));
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

    /// The outputs for a batch of sequences, starting from zero. `x` is `(steps batch) x input`, step by step, with all
    /// sequences of a step together. The result, `(steps batch) x hidden`, has the same order.
    pub fn forward(&self, x: Tensor<2>, batch: usize) -> Tensor<2> {
        let [rows, _] = x.dims();
        let (steps, hidden) = (rows / batch, self.hidden_size());
        let zeros = Tensor::zeros([batch, hidden], &x.device().without_autodiff());
        let (products, w_hh) = self.weights.input_products(x);
        let w_hh = w_hh.transpose();
        let gates = products + (self.bias_ih.clone() + self.bias_hh.clone());

        let (mut h, mut c) = (zeros.clone(), zeros);
        let mut outputs = Vec::with_capacity(steps);
        for first in (0..steps).step_by(BLOCK) {
            let block = first..(first + BLOCK).min(steps);
            let of_block = gates.clone().slice([block.start * batch..block.end * batch, 0..4 * hidden]);
            for step in 0..block.len() {
                let x = of_block.clone().slice([step * batch..(step + 1) * batch, 0..4 * hidden]);
                let gates = h.matmul(w_hh.clone()) + x;
                let gate = |i: usize| gates.clone().slice([0..batch, i * hidden..(i + 1) * hidden]);
                let (i, f, g, o) = (sigmoid(gate(0)), sigmoid(gate(1)), gate(2).tanh(), sigmoid(gate(3)));
                c = f * c + i * g;
                h = o * c.clone().tanh();
                outputs.push(h.clone());
            }
        }
        Tensor::cat(outputs, 0)
    }

    /// The layer for inference.
    ///
    /// # Errors
    /// Those of [`GateWeights::to_inference`].
    pub fn to_inference(&self) -> Result<factored::Lstm> {
        let (ih, hh) = self.weights.to_inference()?;
        factored::Lstm::new(ih, hh, Some(values(self.bias_ih.clone())), Some(values(self.bias_hh.clone())))
    }

    /// The parameters with PyTorch's names: `prefix`, the parameter, `suffix` (`_l0`).
    pub fn parameters_mut<'a>(&'a mut self, prefix: &str, suffix: &str) -> Vec<(String, &'a mut Tensor<2>)> {
        let mut parameters = Parameters::new();
        self.weights.add_parameters(prefix, suffix, &mut parameters);
        parameters.push((format!("{prefix}bias_ih{suffix}"), &mut self.bias_ih));
        parameters.push((format!("{prefix}bias_hh{suffix}"), &mut self.bias_hh));
        parameters
    }
}
