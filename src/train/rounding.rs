//! Training with rounded weights, as they will run.

use burn::tensor::Tensor;

use super::gates::GateWeights;
use super::recognizer::Recognizer;
use super::tensors::{matrix, tensor};
use super::weight::Weight;
use crate::error::Result;
use crate::factored::Unpacked;
use crate::kernels::WeightFormat;

/// The values of `w` after quantization, with the gradient of `w` (the straight-through estimator: Bengio et al., arXiv
/// 1308.3432).
fn rounded(w: &Tensor<2>, format: WeightFormat) -> Result<Tensor<2>> {
    let numbers = Unpacked::quantize(matrix(w)?.view(), format)?.dequantize()?;
    // Adds a zero that carries the gradient, so that the sum equals the rounded values to the bit.
    Ok(w.clone() - w.clone().detach() + tensor(numbers.view(), &w.device()))
}

impl Weight {
    /// The weight with each matrix rounded separately, and `V` rounded in separate column ranges.
    fn rounded(&self, format: WeightFormat, columns: &[usize]) -> Result<Self> {
        let apart = |w: &Tensor<2>| {
            let parts = w.clone().split_with_sizes(columns.to_vec(), 1);
            Ok::<_, crate::Error>(Tensor::cat(
                parts.iter().map(|part| rounded(part, format)).collect::<Result<_>>()?,
                1,
            ))
        };
        Ok(match self {
            Weight::Dense(w) => Weight::Dense(apart(w)?),
            Weight::Factored { u, v } => Weight::Factored { u: rounded(u, format)?, v: apart(v)? },
        })
    }

    fn rounded_whole(&self, format: WeightFormat) -> Result<Self> {
        self.rounded(format, &[self.shape()[1]])
    }
}

impl GateWeights {
    fn rounded(&self, format: WeightFormat) -> Result<Self> {
        let all = |weights: &[Weight]| weights.iter().map(|w| w.rounded_whole(format)).collect::<Result<_>>();
        Ok(match self {
            GateWeights::Split { ih, hh } => GateWeights::Split { ih: all(ih)?, hh: all(hh)? },
            GateWeights::PartiallyJoint { ih, hh } => {
                GateWeights::PartiallyJoint { ih: ih.rounded_whole(format)?, hh: hh.rounded_whole(format)? }
            }
            GateWeights::Joint { both, input } => {
                let columns = [*input, both.shape()[1] - input];
                GateWeights::Joint { both: both.rounded(format, &columns)?, input: *input }
            }
        })
    }
}

impl Recognizer {
    /// The model with rounded weights, in `f32`. They equal, to the bit, the weights that
    /// [`Model::quantize_to`](crate::model::Model::quantize_to) makes from [`to_model`](Self::to_model). The result is
    /// part of the graph: gradients pass through to the weights before rounding. Biases and activations are not
    /// rounded.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Allocation`](crate::Error::Allocation).
    pub fn rounded(&self, format: WeightFormat) -> Result<Self> {
        let mut model = self.clone();
        for layer in &mut model.layers {
            layer.weights = layer.weights.rounded(format)?;
        }
        model.output.weight = model.output.weight.rounded_whole(format)?;
        Ok(model)
    }
}
