//! Which layers read features whose sizes nothing is known about.

use alloc::vec::Vec;

use super::graph::{Node, Operation};
use super::{Layer, Model};
use crate::factored::{Function, Reduction, RnnFunction};
use crate::kernels::Activation;

impl Model {
    /// The names of the layers whose weights are multiplied with features of unknown range: inputs of the model, and what
    /// layers without bounds make of anything. If the sizes of such features differ much, 8 bits lose the small ones, and only
    /// data can tell ([`Evaluation`](super::Evaluation)). Ranges are known of what saturating functions, gates, embeddings
    /// and layer normalizations make.
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{Gru, Linear, Weight}, model::{Layer, Model}};
    ///
    /// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
    /// let gru = Layer::Gru(Gru::new(weight(6, 3)?, weight(6, 2)?, None, None)?);
    /// let fc = Layer::Linear(Linear::new(weight(4, 2)?, None)?);
    /// let model = Model::new(vec![("gru".into(), gru), ("fc".into(), fc)])?;
    /// assert_eq!(model.layers_of_unknown_range(), ["gru"]); // fc reads what gates make
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn layers_of_unknown_range(&self) -> Vec<&str> {
        let known = self.known_ranges();
        let unknown = |node: &&Node| match node.operation() {
            // An embedding reads indices, which are not multiplied.
            Operation::Layer(Layer::Embedding(_)) | Operation::Join(_) => false,
            Operation::Layer(layer) => layer.has_matrices() && node.reads().iter().any(|value| !known[value.0]),
        };
        self.nodes().iter().filter(unknown).map(Node::name).collect()
    }

    /// For each value, inputs first, whether its range is known.
    pub(super) fn known_ranges(&self) -> Vec<bool> {
        let mut known: Vec<bool> = self.inputs().map(|_| false).collect();
        for node in self.nodes() {
            let inputs_known = node.reads().iter().all(|value| known[value.0]);
            known.push(match node.operation() {
                // Sums and products of a few bounded values are bounded.
                Operation::Join(_) => inputs_known,
                Operation::Layer(layer) => is_bounded(layer, inputs_known),
            });
        }
        known
    }
}

/// Whether the range of a layer's outputs is known.
fn is_bounded(layer: &Layer, inputs_known: bool) -> bool {
    match layer {
        Layer::Linear(layer) => matches!(layer.activation(), Activation::ClippedRelu(_)),
        Layer::TimeConvolution(layer) => matches!(layer.linear().activation(), Activation::ClippedRelu(_)),
        Layer::Gru(_) | Layer::BidirectionalGru(_) | Layer::Embedding(_) | Layer::LayerNorm(_) => true,
        // A projection sums any number of bounded values.
        Layer::Lstm(layer) => layer.weight_hr().is_none(),
        Layer::BidirectionalLstm(layers) => layers.layers().0.weight_hr().is_none(),
        Layer::Rnn(layer) => layer.function() == RnnFunction::Tanh,
        Layer::BidirectionalRnn(layers) => layers.layers().0.function() == RnnFunction::Tanh,
        Layer::Mapping(mapping) => inputs_known || saturates(mapping.function()),
        Layer::Depthwise(_) | Layer::Affine(_) | Layer::Slice(_) => inputs_known,
        Layer::OverTime(layer) => inputs_known && layer.reduction() != Reduction::Sum,
    }
}

/// Whether a function's values lie in a small range, whatever its input.
fn saturates(function: Function) -> bool {
    match function {
        Function::Tanh
        | Function::Sigmoid
        | Function::ClippedRelu(_)
        | Function::HardSigmoid { .. }
        | Function::Softmax
        | Function::Normalize { .. } => true,
        Function::Relu
        | Function::LeakyRelu(_)
        | Function::Silu
        | Function::Gelu
        | Function::GeluTanh
        | Function::HardSwish
        | Function::Absolute
        | Function::Square
        | Function::SquareRoot
        | Function::LogSoftmax => false,
    }
}
