//! The weights of a layer: their names, matrices and costs.

use skinny::compress::Core;
use skinny::factored::{DenseWeight, Gru, Linear, Lstm, Quantization, Rnn, Weight};
use skinny::kernels::Activation;
use skinny::model::Layer;

use crate::precision;

/// A weight of a layer.
#[derive(Clone, Debug)]
pub struct LayerWeight<'m> {
    /// Its name within the layer.
    pub name: String,
    pub weight: &'m Weight,
    /// Whether it has one product per step. Other weights have one product per time batch.
    pub recurrent: bool,
}

/// The weights of a layer, in the order of their products.
pub fn of(layer: &Layer) -> Vec<LayerWeight<'_>> {
    match layer {
        Layer::Linear(layer) => linear(layer),
        Layer::TimeConvolution(layer) => linear(layer.linear()),
        Layer::Gru(layer) => gru(layer, ""),
        Layer::Lstm(layer) => lstm(layer, ""),
        Layer::Rnn(layer) => rnn(layer, ""),
        Layer::BidirectionalRnn(layers) => {
            let (forward, reverse) = layers.layers();
            [rnn(forward, "forward."), rnn(reverse, "reverse.")].concat()
        }
        Layer::BidirectionalGru(layers) => {
            let (forward, reverse) = layers.layers();
            [gru(forward, "forward."), gru(reverse, "reverse.")].concat()
        }
        Layer::BidirectionalLstm(layers) => {
            let (forward, reverse) = layers.layers();
            [lstm(forward, "forward."), lstm(reverse, "reverse.")].concat()
        }
        _ => Vec::new(),
    }
}

fn linear(layer: &Linear) -> Vec<LayerWeight<'_>> {
    vec![LayerWeight { name: "weight".into(), weight: layer.weight(), recurrent: false }]
}

fn gru<'m>(layer: &'m Gru, direction: &str) -> Vec<LayerWeight<'m>> {
    let recurrent = [("weight_hh", Some(layer.weight_hh())), ("weight_hh_n", layer.weight_hh_n())];
    gates(direction, layer.weight_ih(), recurrent)
}

fn lstm<'m>(layer: &'m Lstm, direction: &str) -> Vec<LayerWeight<'m>> {
    let recurrent = [("weight_hh", Some(layer.weight_hh())), ("weight_hr", layer.weight_hr())];
    gates(direction, layer.weight_ih(), recurrent)
}

fn rnn<'m>(layer: &'m Rnn, direction: &str) -> Vec<LayerWeight<'m>> {
    gates(direction, layer.weight_ih(), [("weight_hh", Some(layer.weight_hh())), ("", None)])
}

fn gates<'m>(direction: &str, input: &'m Weight, recurrent: [(&str, Option<&'m Weight>); 2]) -> Vec<LayerWeight<'m>> {
    let weight = |name: &str, weight, recurrent| LayerWeight { name: format!("{direction}{name}"), weight, recurrent };
    let recurrent = recurrent.into_iter().filter_map(|(name, found)| Some(weight(name, found?, true)));
    [weight("weight_ih", input, false)].into_iter().chain(recurrent).collect()
}

impl LayerWeight<'_> {
    /// The matrices of the weight, in the order of their products.
    pub fn matrices(&self) -> Vec<&DenseWeight> {
        matrices(self.weight)
    }

    /// Multiply-accumulates of one product with one vector.
    pub fn macs(&self) -> usize {
        self.weight.parameters()
    }

    /// The formats that its matrices are stored in.
    pub fn stored(&self) -> String {
        let mut names: Vec<&str> = self.matrices().iter().map(|matrix| precision::name(matrix.stored_as())).collect();
        names.dedup();
        names.join(", ")
    }

    /// The ranks of its factors, if it is factored.
    pub fn rank(&self) -> Option<String> {
        match self.weight {
            Weight::Stacked(stack) => {
                let ranks = stack.parts().iter().map(|part| part.rank().map_or("-".into(), |rank| rank.to_string()));
                Some(ranks.collect::<Vec<_>>().join("+")).filter(|ranks| ranks.contains(|c: char| c.is_ascii_digit()))
            }
            weight => weight.rank().map(|rank| rank.to_string()),
        }
    }

    /// Bytes of weights read per step. Weights that are not recurrent are read once per `time_batch` steps.
    pub fn bytes_per_step(&self, time_batch: usize) -> f64 {
        self.weight.bytes() as f64 / if self.recurrent { 1.0 } else { time_batch as f64 }
    }

    /// The microseconds per step that the model of a core predicts. Weights that are not recurrent are read once per
    /// `time_batch` steps.
    pub fn predicted_us(&self, core: &Core, time_batch: usize) -> f64 {
        let batch = if self.recurrent { 1 } else { time_batch };
        let product = |matrix: &&DenseWeight| {
            let stored = matrix.stored_as();
            // An activation in 16 bits is two columns of a batch.
            let columns = if stored == Some(Quantization::I8X16) { 2 * batch } else { batch };
            core.call_us(matrix.n(), matrix.k(), stored.map(Quantization::weights), columns) / batch.max(1) as f64
        };
        self.matrices().iter().map(product).sum()
    }
}

fn matrices(weight: &Weight) -> Vec<&DenseWeight> {
    match weight {
        Weight::Dense(weight) => vec![weight],
        Weight::LowRank(weight) => vec![weight.v(), weight.u()],
        Weight::Stacked(stack) => stack.parts().iter().flat_map(matrices).collect(),
        _ => Vec::new(),
    }
}

/// The name of a layer's activation, if it has one.
pub fn activation(layer: &Layer) -> Option<String> {
    let activation = match layer {
        Layer::Linear(layer) => layer.activation(),
        Layer::TimeConvolution(layer) => layer.linear().activation(),
        _ => return None,
    };
    match activation {
        Activation::Identity => None,
        Activation::Relu => Some("relu".into()),
        Activation::ClippedRelu(max) => Some(format!("clip={max}")),
        _ => Some("unknown".into()),
    }
}
