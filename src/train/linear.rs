//! A trainable fully connected layer.

use burn::tensor::{Device, Tensor};

use super::random::Random;
use super::tensors::{Parameters, parameter, values};
use super::weight::{Weight, uniform};
use crate::error::Result;
use crate::factored;

/// A fully connected layer `y = W x + b`, with a dense or factored weight.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `n x k`.
    pub weight: Weight,
    /// `1 x n`.
    pub bias: Tensor<2>,
}

impl Linear {
    /// A dense layer initialized as in PyTorch: uniform in `-1/sqrt(k)..1/sqrt(k)`.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn new(k: usize, n: usize, random: &mut Random, device: &Device) -> Result<Self> {
        let bound = (k.max(1) as f32).sqrt().recip();
        let weight = Weight::dense(uniform(n, k, bound, random)?.view(), device);
        Ok(Self { weight, bias: parameter(uniform(1, n, bound, random)?.view(), device) })
    }

    /// Maps `x` (`rows x k`) to `rows x n`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.matrix().transpose()) + self.bias.clone()
    }

    /// The layer for inference.
    ///
    /// # Errors
    /// Those of [`Weight::to_inference`].
    pub fn to_inference(&self) -> Result<factored::Linear> {
        factored::Linear::new(self.weight.to_inference()?, Some(values(self.bias.clone())))
    }

    pub(super) fn add_parameters<'a>(&'a mut self, prefix: &str, parameters: &mut Parameters<'a>) {
        self.weight.add_parameters(format!("{prefix}weight"), parameters);
        parameters.push((format!("{prefix}bias"), &mut self.bias));
    }
}
