//! The layers of a model.

use super::timing::Passage;
use crate::error::Result;
use crate::factored::{
    Affine, Bidirectional, DepthwiseConvolution, Embedding, Gru, LayerNorm, Linear, Lstm, Mapping, OverTime,
    Quantization, Rnn, Slice, TimeConvolution, Windows,
};
use crate::kernels::Tier;

/// A layer of a [`Model`](super::Model): an operation on the frames of one value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Layer {
    /// Fully connected, frame by frame.
    Linear(Linear),
    /// A convolution over time.
    TimeConvolution(TimeConvolution),
    /// A convolution over time of each feature by itself.
    Depthwise(DepthwiseConvolution),
    /// A gated recurrent unit.
    Gru(Gru),
    /// A long short-term memory.
    Lstm(Lstm),
    /// A recurrent layer without gates.
    Rnn(Rnn),
    /// Two gated recurrent units, one of which runs backward.
    BidirectionalGru(Bidirectional<Gru>),
    /// Two long short-term memories, one of which runs backward.
    BidirectionalLstm(Bidirectional<Lstm>),
    /// Two recurrent layers without gates, one of which runs backward.
    BidirectionalRnn(Bidirectional<Rnn>),
    /// A function of each frame.
    Mapping(Mapping),
    /// A scale and a shift for each feature.
    Affine(Affine),
    /// Normalization of each frame.
    LayerNorm(LayerNorm),
    /// A row of a table for each index.
    Embedding(Embedding),
    /// Some of the features.
    Slice(Slice),
    /// One frame of the whole sequence.
    OverTime(OverTime),
}

impl Layer {
    /// Its kind, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Linear(_) => "linear",
            Layer::TimeConvolution(_) => "convolution over time",
            Layer::Depthwise(_) => "depthwise convolution",
            Layer::Gru(_) => "GRU",
            Layer::Lstm(_) => "LSTM",
            Layer::Rnn(_) => "RNN",
            Layer::BidirectionalGru(_) => "bidirectional GRU",
            Layer::BidirectionalLstm(_) => "bidirectional LSTM",
            Layer::BidirectionalRnn(_) => "bidirectional RNN",
            Layer::Mapping(_) => "function",
            Layer::Affine(_) => "scale and shift",
            Layer::LayerNorm(_) => "layer normalization",
            Layer::Embedding(_) => "embedding",
            Layer::Slice(_) => "slice",
            Layer::OverTime(layer) => layer.reduction().name(),
        }
    }

    /// Features per input frame and per output frame.
    fn sizes(&self) -> [usize; 2] {
        match self {
            Layer::Linear(layer) => [layer.input_size(), layer.output_size()],
            Layer::TimeConvolution(layer) => [layer.input_size(), layer.output_size()],
            Layer::Depthwise(layer) => [layer.features(); 2],
            Layer::Gru(layer) => [layer.input_size(), layer.output_size()],
            Layer::Lstm(layer) => [layer.input_size(), layer.output_size()],
            Layer::Rnn(layer) => [layer.input_size(), layer.output_size()],
            Layer::BidirectionalGru(layer) => [layer.input_size(), layer.output_size()],
            Layer::BidirectionalLstm(layer) => [layer.input_size(), layer.output_size()],
            Layer::BidirectionalRnn(layer) => [layer.input_size(), layer.output_size()],
            Layer::Mapping(layer) => [layer.features(); 2],
            Layer::Affine(layer) => [layer.features(); 2],
            Layer::LayerNorm(layer) => [layer.features(); 2],
            Layer::Embedding(layer) => [1, layer.output_size()],
            Layer::Slice(layer) => [layer.input_size(), layer.output_size()],
            Layer::OverTime(layer) => [layer.features(); 2],
        }
    }

    /// Number of parameters, and their bytes.
    fn costs(&self) -> [usize; 2] {
        match self {
            Layer::Linear(layer) => [layer.parameters(), layer.bytes()],
            Layer::TimeConvolution(layer) => [layer.parameters(), layer.bytes()],
            Layer::Depthwise(layer) => [layer.parameters(), layer.bytes()],
            Layer::Gru(layer) => [layer.parameters(), layer.bytes()],
            Layer::Lstm(layer) => [layer.parameters(), layer.bytes()],
            Layer::Rnn(layer) => [layer.parameters(), layer.bytes()],
            Layer::BidirectionalGru(layer) => [layer.parameters(), layer.bytes()],
            Layer::BidirectionalLstm(layer) => [layer.parameters(), layer.bytes()],
            Layer::BidirectionalRnn(layer) => [layer.parameters(), layer.bytes()],
            Layer::Affine(layer) => [layer.parameters(), layer.bytes()],
            Layer::LayerNorm(layer) => [layer.parameters(), layer.bytes()],
            Layer::Embedding(layer) => [layer.parameters(), layer.bytes()],
            Layer::Mapping(_) | Layer::Slice(_) | Layer::OverTime(_) => [0; 2],
        }
    }

    /// How its output frames follow from its input frames.
    pub(super) fn passage(&self) -> Passage {
        match self {
            Layer::TimeConvolution(layer) => Passage::Windows(layer.windows()),
            Layer::Depthwise(layer) => Passage::Windows(layer.windows()),
            Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_) | Layer::BidirectionalRnn(_) => Passage::AtEnd,
            Layer::OverTime(_) => Passage::Once,
            Layer::Linear(_)
            | Layer::Gru(_)
            | Layer::Lstm(_)
            | Layer::Rnn(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Embedding(_)
            | Layer::Slice(_) => Passage::Each,
        }
    }

    /// Features per input frame.
    pub fn input_size(&self) -> usize {
        self.sizes()[0]
    }

    /// Features per output frame.
    pub fn output_size(&self) -> usize {
        self.sizes()[1]
    }

    /// Input frames per output frame.
    pub fn stride(&self) -> usize {
        match self.passage() {
            Passage::Windows(Windows { stride, .. }) => stride,
            Passage::Each | Passage::AtEnd | Passage::Once => 1,
        }
    }

    /// Whether it is bidirectional, and so needs its whole input before it can begin.
    pub fn is_bidirectional(&self) -> bool {
        matches!(self.passage(), Passage::AtEnd)
    }

    /// Whether it has matrices that can be stored in fewer bits.
    #[cfg(feature = "svd")]
    pub(super) fn has_matrices(&self) -> bool {
        match self {
            Layer::Linear(_)
            | Layer::TimeConvolution(_)
            | Layer::Gru(_)
            | Layer::Lstm(_)
            | Layer::Rnn(_)
            | Layer::BidirectionalGru(_)
            | Layer::BidirectionalLstm(_)
            | Layer::BidirectionalRnn(_)
            | Layer::Embedding(_) => true,
            Layer::Depthwise(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Slice(_)
            | Layer::OverTime(_) => false,
        }
    }

    /// Number of parameters, biases included.
    pub fn parameters(&self) -> usize {
        self.costs()[0]
    }

    /// Bytes in memory, scales and biases included.
    pub fn bytes(&self) -> usize {
        self.costs()[1]
    }

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`. An embedding has 8 bits at least. Layers whose weights
    /// are few, or none, stay in `f32`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`](crate::factored::Weight::quantize).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        let format = format.into();
        Ok(match self {
            Layer::Linear(layer) => Layer::Linear(layer.quantize_to(format, tier)?),
            Layer::TimeConvolution(layer) => Layer::TimeConvolution(layer.quantize_to(format, tier)?),
            Layer::Gru(layer) => Layer::Gru(layer.quantize_to(format, tier)?),
            Layer::Lstm(layer) => Layer::Lstm(layer.quantize_to(format, tier)?),
            Layer::Rnn(layer) => Layer::Rnn(layer.quantize_to(format, tier)?),
            Layer::BidirectionalGru(layer) => Layer::BidirectionalGru(layer.quantize_to(format, tier)?),
            Layer::BidirectionalLstm(layer) => Layer::BidirectionalLstm(layer.quantize_to(format, tier)?),
            Layer::BidirectionalRnn(layer) => Layer::BidirectionalRnn(layer.quantize_to(format, tier)?),
            Layer::Embedding(layer) => Layer::Embedding(layer.quantize()?),
            Layer::Depthwise(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Slice(_)
            | Layer::OverTime(_) => self.clone(),
        })
    }
}
