//! The layers of a model.

use alloc::vec::Vec;

use super::frames::Frames;
use super::timing::Passage;
use crate::error::{Error, Result};
use crate::factored::{
    Bidirectional, Gru, GruState, Linear, Lstm, LstmState, Recurrent, Scratch, TimeConvolution, TimeConvolutionState,
};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::MatRef;

/// A layer of a [`Model`](super::Model).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Layer {
    /// Fully connected, frame by frame.
    Linear(Linear),
    /// A convolution over time.
    TimeConvolution(TimeConvolution),
    /// A gated recurrent unit.
    Gru(Gru),
    /// A long short-term memory.
    Lstm(Lstm),
    /// Two gated recurrent units, one of which runs backward.
    BidirectionalGru(Bidirectional<Gru>),
    /// Two long short-term memories, one of which runs backward.
    BidirectionalLstm(Bidirectional<Lstm>),
}

/// The state of a layer between frames.
#[derive(Clone, Debug)]
pub(super) enum LayerState {
    None,
    TimeConvolution(TimeConvolutionState),
    Gru(GruState),
    Lstm(LstmState),
    /// All frames so far, for a layer that needs the whole sequence.
    Frames(Vec<f32>),
}

/// Evaluates one expression for any kind of layer.
macro_rules! each {
    ($layer:expr, $inner:ident => $value:expr) => {
        match $layer {
            Layer::Linear($inner) => $value,
            Layer::TimeConvolution($inner) => $value,
            Layer::Gru($inner) => $value,
            Layer::Lstm($inner) => $value,
            Layer::BidirectionalGru($inner) => $value,
            Layer::BidirectionalLstm($inner) => $value,
        }
    };
}

impl Layer {
    /// Its kind, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Linear(_) => "linear",
            Layer::TimeConvolution(_) => "convolution over time",
            Layer::Gru(_) => "GRU",
            Layer::Lstm(_) => "LSTM",
            Layer::BidirectionalGru(_) => "bidirectional GRU",
            Layer::BidirectionalLstm(_) => "bidirectional LSTM",
        }
    }

    /// Features per input frame.
    pub fn input_size(&self) -> usize {
        each!(self, layer => layer.input_size())
    }

    /// Features per output frame.
    pub fn output_size(&self) -> usize {
        each!(self, layer => layer.output_size())
    }

    /// Input frames per output frame.
    pub fn stride(&self) -> usize {
        match self.passage() {
            Passage::Windows { stride, .. } => stride,
            Passage::Each | Passage::AtEnd | Passage::Once => 1,
        }
    }

    /// How its output frames follow from its input frames.
    pub(super) fn passage(&self) -> Passage {
        match self {
            Layer::Linear(_) | Layer::Gru(_) | Layer::Lstm(_) => Passage::Each,
            Layer::TimeConvolution(layer) => Passage::Windows {
                extent: layer.kernel(),
                stride: layer.stride(),
                before: layer.padding(),
                after: layer.padding(),
            },
            Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_) => Passage::AtEnd,
        }
    }

    /// Whether it is bidirectional, and so needs its whole input before it can begin.
    pub fn is_bidirectional(&self) -> bool {
        matches!(self, Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_))
    }

    /// Number of parameters, biases included.
    pub fn parameters(&self) -> usize {
        each!(self, layer => layer.parameters())
    }

    /// Bytes in memory, scales and biases included.
    pub fn bytes(&self) -> usize {
        each!(self, layer => layer.bytes())
    }

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`](crate::factored::Weight::quantize).
    pub fn quantize_to(&self, format: WeightFormat, tier: Tier) -> Result<Self> {
        Ok(match self {
            Layer::Linear(layer) => Layer::Linear(layer.quantize_to(format, tier)?),
            Layer::TimeConvolution(layer) => Layer::TimeConvolution(layer.quantize_to(format, tier)?),
            Layer::Gru(layer) => Layer::Gru(layer.quantize_to(format, tier)?),
            Layer::Lstm(layer) => Layer::Lstm(layer.quantize_to(format, tier)?),
            Layer::BidirectionalGru(layer) => Layer::BidirectionalGru(layer.quantize_to(format, tier)?),
            Layer::BidirectionalLstm(layer) => Layer::BidirectionalLstm(layer.quantize_to(format, tier)?),
        })
    }

    /// A state for the start of a stream.
    pub(super) fn state(&self) -> Result<LayerState> {
        Ok(match self {
            Layer::Linear(_) => LayerState::None,
            Layer::TimeConvolution(layer) => LayerState::TimeConvolution(layer.state()?),
            Layer::Gru(layer) => LayerState::Gru(layer.state()?),
            Layer::Lstm(layer) => LayerState::Lstm(layer.state()?),
            Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_) => LayerState::Frames(Vec::new()),
        })
    }

    /// Resets a state made by [`state`](Self::state) to the start of a stream.
    pub(super) fn reset(&self, state: &mut LayerState) {
        match (self, state) {
            (Layer::TimeConvolution(layer), LayerState::TimeConvolution(state)) => layer.reset(state),
            (_, LayerState::Gru(state)) => state.reset(),
            (_, LayerState::Lstm(state)) => state.reset(),
            (_, LayerState::Frames(frames)) => frames.clear(),
            (_, LayerState::None | LayerState::TimeConvolution(_)) => {}
        }
    }

    /// Takes the next frames `x` and appends the outputs that are ready to `out`. The state must come from
    /// [`state`](Self::state).
    pub(super) fn push(
        &self,
        x: MatRef<'_, f32>,
        state: &mut LayerState,
        out: &mut Frames,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let rows = x.rows();
        match (self, state) {
            (Layer::Linear(layer), _) => layer.forward(x, out.append(rows)?, scratch),
            (Layer::Gru(layer), LayerState::Gru(state)) => layer.forward(x, state, out.append(rows)?, scratch),
            (Layer::Lstm(layer), LayerState::Lstm(state)) => layer.forward(x, state, out.append(rows)?, scratch),
            (Layer::TimeConvolution(layer), LayerState::TimeConvolution(state)) => {
                let ready = layer.outputs(state, rows);
                layer.forward(x, state, out.append(ready)?, scratch).map(drop)
            }
            (Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_), LayerState::Frames(frames)) => {
                let bytes = size_of_val(x.as_slice());
                frames.try_reserve(x.as_slice().len()).map_err(|_| Error::Allocation { bytes })?;
                frames.extend_from_slice(x.as_slice());
                Ok(())
            }
            (layer, state) => unreachable!("a {} layer has no state {state:?}", layer.kind()),
        }
    }

    /// Ends the sequence and appends the remaining outputs, as in [`push`](Self::push).
    pub(super) fn finish(&self, state: &mut LayerState, out: &mut Frames, scratch: &mut Scratch) -> Result<()> {
        match (self, state) {
            (Layer::TimeConvolution(layer), LayerState::TimeConvolution(state)) => {
                let ready = layer.outputs_at_end(state);
                layer.finish(state, out.append(ready)?, scratch).map(drop)
            }
            (Layer::BidirectionalGru(layer), LayerState::Frames(frames)) => whole(layer, frames, out, scratch),
            (Layer::BidirectionalLstm(layer), LayerState::Frames(frames)) => whole(layer, frames, out, scratch),
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "svd")]
impl Layer {
    /// Runs a whole sequence and returns its outputs.
    pub(super) fn run(&self, x: MatRef<'_, f32>, scratch: &mut Scratch) -> Result<crate::matrix::Mat<f32>> {
        let (mut state, mut out) = (self.state()?, Frames::new(self.output_size()));
        self.push(x, &mut state, &mut out, scratch)?;
        self.finish(&mut state, &mut out, scratch)?;
        out.into_matrix()
    }
}

/// Runs a bidirectional layer over all its frames.
fn whole<L: Recurrent>(
    layer: &Bidirectional<L>,
    frames: &[f32],
    out: &mut Frames,
    scratch: &mut Scratch,
) -> Result<()> {
    let width = layer.input_size();
    let rows = frames.len() / width;
    layer.forward(MatRef::from_checked(frames, rows, width), out.append(rows)?, scratch)
}
