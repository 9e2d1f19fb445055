//! One stream of frames on its way through a model.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Model;
use super::layer::LayerState;
use crate::error::{Error, FileError, Result, TensorProblem};
use crate::factored::Scratch;
use crate::kernels::Threads;
use crate::matrix::{MatRef, grow};

/// A stream of frames through a [`Model`]: the states of its layers, and the memory they work in.
///
/// Frames are gathered until the input products of a time batch can be done at once, [`time_batch`](Self::time_batch)
/// steps of the recurrent layers: more is faster, as weights are read less often, and later. The outputs are the same
/// bits for any time batch and however the frames are cut into calls.
///
/// Sessions are independent; any number on any threads share a model.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use skinny::{Mat, MatRef, factored::{Gru, Weight}, model::{Layer, Model, Session}};
///
/// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
/// let gru = Gru::new(weight(6, 3)?, weight(6, 2)?, None, None)?;
/// let model = Arc::new(Model::new(vec![("gru".into(), Layer::Gru(gru))])?);
///
/// let frames = [0.5; 15]; // five frames of three features
/// let mut session = Session::new(model)?.with_time_batch(4)?;
/// let ready = session.push(MatRef::new(&frames, 5, 3)?)?;
/// assert_eq!(ready.shape(), (4, 2));
/// let rest = session.finish()?; // and the session is as new
/// assert_eq!(rest.shape(), (1, 2));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    states: Vec<LayerState>,
    scratch: Scratch,
    /// Input frames that wait for their time batch to be complete.
    pending: Vec<f32>,
    /// Frames between two layers: one's output, the next one's input.
    frames: Vec<f32>,
    next: Vec<f32>,
    outputs: Vec<f32>,
}

impl Session {
    /// A stream that has not begun, on the caller's thread, with the default time batch.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn new(model: Arc<Model>) -> Result<Self> {
        Self::with_scratch(model, Scratch::new())
    }

    /// A stream that has not begun, its large products on `threads`.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn with_threads(model: Arc<Model>, threads: Threads) -> Result<Self> {
        Self::with_scratch(model, Scratch::with_threads(threads))
    }

    fn with_scratch(model: Arc<Model>, scratch: Scratch) -> Result<Self> {
        let states = model.layers().map(|(_, layer)| layer.state()).collect::<Result<_>>()?;
        let (pending, frames, next, outputs) = Default::default();
        Ok(Self { model, states, scratch, pending, frames, next, outputs })
    }

    /// Sets the steps of the recurrent layers whose input products are done at once, at the start of a stream or in the
    /// middle of it.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is in `1..=MAX_TIME_BATCH`.
    pub fn with_time_batch(mut self, steps: usize) -> Result<Self> {
        self.scratch = self.scratch.with_time_batch(steps)?;
        Ok(self)
    }

    /// Steps of the recurrent layers whose input products are done at once.
    pub fn time_batch(&self) -> usize {
        self.scratch.time_batch()
    }

    /// Input frames that make a time batch: the time batch times the [stride](Model::stride) of the model.
    pub fn frames_per_batch(&self) -> usize {
        self.time_batch().saturating_mul(self.model.stride())
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes the next frames (`any number x input`) and returns the outputs that are ready (`some x output`).
    ///
    /// # Errors
    /// [`Error::Shape`] for frames that do not fit, when nothing has happened; [`Error::Allocation`], after which the
    /// stream cannot go on and the session should be [reset](Self::reset).
    pub fn push(&mut self, frames: MatRef<'_, f32>) -> Result<MatRef<'_, f32>> {
        let width = self.model.input_size();
        frames.expect_shape("frames", frames.rows(), width)?;
        self.outputs.clear();
        let batch = self.frames_per_batch();
        let mut start = 0;
        while start < frames.rows() {
            // More may be waiting than make a batch, if that was set to less in the middle of the stream.
            let count = batch.saturating_sub(self.pending.len() / width).min(frames.rows() - start);
            append(&mut self.pending, frames.rows_range(start..start + count).as_slice())?;
            start += count;
            if self.pending.len() / width >= batch {
                self.run_pending()?;
            }
        }
        Ok(self.ready())
    }

    /// Runs the frames that wait for their time batch and returns their outputs; the stream goes on. The outputs are the
    /// same bits as without this call, they come earlier.
    ///
    /// # Errors
    /// [`Error::Allocation`], as [`push`](Self::push).
    pub fn flush(&mut self) -> Result<MatRef<'_, f32>> {
        self.outputs.clear();
        self.run_pending()?;
        Ok(self.ready())
    }

    /// The states of the recurrent layers after the last frame that was run: `LAYER.h`, the hidden vector (of an LSTM
    /// with a projection, the projected one), and `LAYER.c`, the cell of an LSTM. Frames that wait for their time batch
    /// are not in them; [`flush`](Self::flush) first. Layers in two directions have no state to tell, and what a
    /// convolution keeps of past frames is not told.
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    /// use skinny::{Mat, MatRef, factored::{Gru, Weight}, model::{Layer, Model, Session}};
    ///
    /// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
    /// let gru = Gru::new(weight(6, 3)?, weight(6, 2)?, None, None)?;
    /// let model = Arc::new(Model::new(vec![("gru".into(), Layer::Gru(gru))])?);
    ///
    /// let mut session = Session::new(Arc::clone(&model))?;
    /// session.push(MatRef::row_vector(&[0.5, 0.25, 1.0]))?;
    /// let first = session.flush()?.row(0).to_vec();
    /// let (name, h) = session.states().next().unwrap();
    /// assert_eq!((name.as_str(), h), ("gru.h", &first[..]));
    ///
    /// // Another stream goes on from there.
    /// let mut other = Session::new(model)?;
    /// other.set_state("gru.h", &first)?;
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn states(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.model.layers().zip(&self.states).flat_map(|((layer, _), state)| {
            let (h, c) = match state {
                LayerState::Gru(state) => (Some(state.hidden()), None),
                LayerState::Lstm(state) => (Some(state.hidden()), Some(state.cell())),
                LayerState::None | LayerState::TimeConvolution(_) | LayerState::Frames(_) => (None, None),
            };
            let h = h.map(|values| (format!("{layer}.h"), values));
            h.into_iter().chain(c.map(|values| (format!("{layer}.c"), values)))
        })
    }

    /// Sets a state by the name that [`states`](Self::states) has for it: the stream goes on from there. Frames that
    /// wait for their time batch will be run from this state.
    ///
    /// # Errors
    /// [`Error::File`] with the name: [`TensorProblem::Unexpected`] if no layer has such a state,
    /// [`TensorProblem::Invalid`] for values that are too few, too many, or not finite. Nothing has changed then.
    pub fn set_state(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let refused = |problem| Err(Error::File(FileError::Tensor { tensor: name.into(), problem }));
        let invalid = |cause| refused(TensorProblem::Invalid(Box::new(cause)));
        let layers = self.model.layers().zip(&mut self.states);
        let of_name = layers.filter_map(|((layer, _), state)| match (name.strip_prefix(layer)?, state) {
            (".h", LayerState::Gru(state)) => Some(state.hidden_mut()),
            (".h", LayerState::Lstm(state)) => Some(state.hidden_mut()),
            (".c", LayerState::Lstm(state)) => Some(state.cell_mut()),
            _ => None,
        });
        let Some(state) = of_name.last() else { return refused(TensorProblem::Unexpected) };
        if state.len() != values.len() {
            return invalid(Error::Length { what: "state", expected: state.len(), found: values.len() });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return invalid(Error::NotFinite { what: "state", index, value: values[index] });
        }
        state.copy_from_slice(values);
        Ok(())
    }

    /// Ends the stream: returns the outputs that were still to come, and makes the session as new. A stream without
    /// frames has none.
    ///
    /// # Errors
    /// [`Error::Allocation`], as [`push`](Self::push).
    pub fn finish(&mut self) -> Result<MatRef<'_, f32>> {
        self.outputs.clear();
        self.run_pending()?;
        let model = Arc::clone(&self.model);
        for (i, (_, layer)) in model.layers().enumerate() {
            let rows = layer.finish(&mut self.states[i], &mut self.frames, &mut self.scratch)?;
            if rows > 0 {
                self.run(i + 1, rows, None)?;
            }
        }
        self.reset();
        Ok(self.ready())
    }

    /// Back to the start of a stream; frames that were not run are dropped.
    pub fn reset(&mut self) {
        self.pending.clear();
        for ((_, layer), state) in self.model.layers().zip(&mut self.states) {
            layer.reset(state);
        }
    }

    /// Takes the pending frames through the model.
    fn run_pending(&mut self) -> Result<()> {
        let rows = self.pending.len() / self.model.input_size();
        if rows == 0 {
            return Ok(());
        }
        // Out of the session while the layers use the rest of it.
        let mut pending = core::mem::take(&mut self.pending);
        let done = self.run(0, rows, Some(&pending));
        pending.clear();
        self.pending = pending;
        done
    }

    /// Takes the first `rows` of `input`, or of `frames`, through the layers from number `first` on, and adds what
    /// comes out to the outputs.
    fn run(&mut self, first: usize, mut rows: usize, mut input: Option<&[f32]>) -> Result<()> {
        let model = Arc::clone(&self.model);
        for (i, (_, layer)) in model.layers().enumerate().skip(first) {
            let x = &input.take().unwrap_or(&self.frames)[..rows * layer.input_size()];
            let x = MatRef::from_checked(x, rows, layer.input_size());
            rows = layer.push(x, &mut self.states[i], &mut self.next, &mut self.scratch)?;
            if rows == 0 {
                return Ok(());
            }
            core::mem::swap(&mut self.frames, &mut self.next);
            // As large as the other, since they change places: else a later run would allocate again.
            grow(&mut self.next, self.frames.len())?;
        }
        let len = rows * model.output_size();
        append(&mut self.outputs, &input.unwrap_or(&self.frames)[..len])
    }

    fn ready(&self) -> MatRef<'_, f32> {
        let width = self.model.output_size();
        MatRef::from_checked(&self.outputs, self.outputs.len() / width, width)
    }
}

/// A second stream that goes on from where this one is, with memory of its own.
impl Clone for Session {
    fn clone(&self) -> Self {
        let (frames, next, outputs) = Default::default();
        Self {
            model: Arc::clone(&self.model),
            states: self.states.clone(),
            scratch: self.scratch.fresh(),
            pending: self.pending.clone(),
            frames,
            next,
            outputs,
        }
    }
}

fn append(to: &mut Vec<f32>, values: &[f32]) -> Result<()> {
    let bytes = size_of_val(values);
    to.try_reserve(values.len()).map_err(|_| Error::Allocation { bytes })?;
    to.extend_from_slice(values);
    Ok(())
}
