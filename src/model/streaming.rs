//! Layers in a stream: their states, frames in, frames out.

use alloc::vec::Vec;

use super::Layer;
use super::frames::Frames;
use crate::error::{Error, Result};
use crate::factored::{
    Bidirectional, GruState, LstmState, OverTimeState, Recurrent, RnnState, Scratch, TimeConvolutionState,
};
use crate::matrix::MatRef;

/// The state of a layer between frames.
#[derive(Clone, Debug)]
pub(super) enum LayerState {
    None,
    Convolution(TimeConvolutionState),
    Gru(GruState),
    Lstm(LstmState),
    Rnn(RnnState),
    OverTime(OverTimeState),
    /// All frames so far, for a layer that needs the whole sequence.
    Frames(Vec<f32>),
}

impl LayerState {
    /// The hidden vector, and the cell of an LSTM.
    pub fn vectors(&self) -> [Option<&[f32]>; 2] {
        match self {
            LayerState::Gru(state) => [Some(state.hidden()), None],
            LayerState::Lstm(state) => [Some(state.hidden()), Some(state.cell())],
            LayerState::Rnn(state) => [Some(state.hidden()), None],
            LayerState::None | LayerState::Convolution(_) | LayerState::OverTime(_) | LayerState::Frames(_) => {
                [None; 2]
            }
        }
    }

    /// The vector that a name stands for behind the name of its layer, `.h` or `.c`.
    pub fn vector_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        match (name, self) {
            (".h", LayerState::Gru(state)) => Some(state.hidden_mut()),
            (".h", LayerState::Lstm(state)) => Some(state.hidden_mut()),
            (".c", LayerState::Lstm(state)) => Some(state.cell_mut()),
            (".h", LayerState::Rnn(state)) => Some(state.hidden_mut()),
            _ => None,
        }
    }
}

impl Layer {
    /// A state for the start of a stream.
    pub(super) fn state(&self) -> Result<LayerState> {
        Ok(match self {
            Layer::TimeConvolution(layer) => LayerState::Convolution(layer.state()?),
            Layer::Depthwise(layer) => LayerState::Convolution(layer.state()?),
            Layer::Gru(layer) => LayerState::Gru(layer.state()?),
            Layer::Lstm(layer) => LayerState::Lstm(layer.state()?),
            Layer::Rnn(layer) => LayerState::Rnn(layer.state()?),
            Layer::OverTime(layer) => LayerState::OverTime(layer.state()?),
            Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_) | Layer::BidirectionalRnn(_) => {
                LayerState::Frames(Vec::new())
            }
            Layer::Linear(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Embedding(_)
            | Layer::Slice(_) => LayerState::None,
        })
    }

    /// Resets a state made by [`state`](Self::state) to the start of a stream.
    pub(super) fn reset(&self, state: &mut LayerState) {
        match (self, state) {
            (Layer::TimeConvolution(layer), LayerState::Convolution(state)) => layer.reset(state),
            (Layer::Depthwise(layer), LayerState::Convolution(state)) => layer.reset(state),
            (Layer::OverTime(layer), LayerState::OverTime(state)) => layer.reset(state),
            (_, LayerState::Gru(state)) => state.reset(),
            (_, LayerState::Lstm(state)) => state.reset(),
            (_, LayerState::Rnn(state)) => state.reset(),
            (_, LayerState::Frames(frames)) => frames.clear(),
            (_, LayerState::None | LayerState::Convolution(_) | LayerState::OverTime(_)) => {}
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
            (Layer::Mapping(layer), _) => layer.forward(x, out.append(rows)?),
            (Layer::Affine(layer), _) => layer.forward(x, out.append(rows)?),
            (Layer::LayerNorm(layer), _) => layer.forward(x, out.append(rows)?),
            (Layer::Embedding(layer), _) => layer.forward(x, out.append(rows)?),
            (Layer::Slice(layer), _) => layer.forward(x, out.append(rows)?),
            (Layer::Gru(layer), LayerState::Gru(state)) => layer.forward(x, state, out.append(rows)?, scratch),
            (Layer::Lstm(layer), LayerState::Lstm(state)) => layer.forward(x, state, out.append(rows)?, scratch),
            (Layer::Rnn(layer), LayerState::Rnn(state)) => layer.forward(x, state, out.append(rows)?, scratch),
            (Layer::OverTime(layer), LayerState::OverTime(state)) => layer.push(x, state),
            (Layer::TimeConvolution(layer), LayerState::Convolution(state)) => {
                let ready = layer.outputs(state, rows);
                layer.forward(x, state, out.append(ready)?, scratch).map(drop)
            }
            (Layer::Depthwise(layer), LayerState::Convolution(state)) => {
                let ready = layer.outputs(state, rows);
                layer.forward(x, state, out.append(ready)?).map(drop)
            }
            (
                Layer::BidirectionalGru(_) | Layer::BidirectionalLstm(_) | Layer::BidirectionalRnn(_),
                LayerState::Frames(frames),
            ) => {
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
            (Layer::TimeConvolution(layer), LayerState::Convolution(state)) => {
                let ready = layer.outputs_at_end(state);
                layer.finish(state, out.append(ready)?, scratch).map(drop)
            }
            (Layer::Depthwise(layer), LayerState::Convolution(state)) => {
                let ready = layer.outputs_at_end(state);
                layer.finish(state, out.append(ready)?).map(drop)
            }
            (Layer::OverTime(layer), LayerState::OverTime(state)) => {
                let ready = layer.outputs_at_end(state);
                layer.finish(state, out.append(ready)?)
            }
            (Layer::BidirectionalGru(layer), LayerState::Frames(frames)) => whole(layer, frames, out, scratch),
            (Layer::BidirectionalLstm(layer), LayerState::Frames(frames)) => whole(layer, frames, out, scratch),
            (Layer::BidirectionalRnn(layer), LayerState::Frames(frames)) => whole(layer, frames, out, scratch),
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "svd")]
impl Layer {
    /// Runs a whole sequence and returns its outputs, with the hidden vector before the first frame if there is one.
    /// `states` has names as in [`LayerState::vector_mut`], and vectors that fit.
    pub(super) fn run(
        &self,
        x: MatRef<'_, f32>,
        states: &[(&str, &[f32])],
        scratch: &mut Scratch,
    ) -> Result<(crate::matrix::Mat<f32>, Option<Vec<f32>>)> {
        let (mut state, mut out) = (self.state()?, Frames::new(self.output_size()));
        for (name, values) in states {
            if let Some(vector) = state.vector_mut(name) {
                crate::error::expect_length("state", vector.len(), values.len())?;
                vector.copy_from_slice(values);
            }
        }
        let h0 = state.vectors()[0].map(<[f32]>::to_vec);
        self.push(x, &mut state, &mut out, scratch)?;
        self.finish(&mut state, &mut out, scratch)?;
        Ok((out.into_matrix()?, h0))
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
