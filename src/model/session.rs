//! Streaming of frames through a model.

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

/// A stream of frames through a [`Model`]: the states of its layers and their working memory.
///
/// Frames are collected until the input products of [`time_batch`](Self::time_batch) steps of the recurrent layers can
/// be computed at once. A larger time batch is faster, because weights are read less often, but adds latency. The
/// outputs are bit-identical for any time batch and however the frames are split into calls.
///
/// Sessions are independent. Any number of them, on any threads, can share a model.
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
/// let rest = session.finish()?; // and the session starts over
/// assert_eq!(rest.shape(), (1, 2));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    states: Vec<LayerState>,
    scratch: Scratch,
    /// Input frames that wait for a complete time batch.
    pending: Vec<f32>,
    /// Frames between two layers: the output of one, the input of the next.
    frames: Vec<f32>,
    next: Vec<f32>,
    outputs: Vec<f32>,
}

impl Session {
    /// Starts a stream on the caller's thread, with the default time batch.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn new(model: Arc<Model>) -> Result<Self> {
        Self::with_scratch(model, Scratch::new())
    }

    /// Starts a stream whose large products run on `threads`.
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

    /// Sets the number of steps of the recurrent layers whose input products are computed at once. It may change in the
    /// middle of a stream.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless it is in `1..=MAX_TIME_BATCH`.
    pub fn with_time_batch(mut self, steps: usize) -> Result<Self> {
        self.scratch = self.scratch.with_time_batch(steps)?;
        Ok(self)
    }

    /// Number of steps of the recurrent layers whose input products are computed at once.
    pub fn time_batch(&self) -> usize {
        self.scratch.time_batch()
    }

    /// Input frames per time batch: the time batch times the [stride](Model::stride) of the model.
    pub fn frames_per_batch(&self) -> usize {
        self.time_batch().saturating_mul(self.model.stride())
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Takes any number of frames (`frames x input`) and returns the outputs that are ready (`ready x output`).
    ///
    /// # Errors
    /// [`Error::Shape`] for frames that do not fit; the stream is unchanged then. [`Error::Allocation`], after which
    /// the stream cannot continue and the session should be [reset](Self::reset).
    pub fn push(&mut self, frames: MatRef<'_, f32>) -> Result<MatRef<'_, f32>> {
        let width = self.model.input_size();
        frames.expect_shape("frames", frames.rows(), width)?;
        self.outputs.clear();
        let batch = self.frames_per_batch();
        let mut start = 0;
        while start < frames.rows() {
            // More frames than a batch may be waiting if the time batch was reduced in the middle of the stream.
            let count = batch.saturating_sub(self.pending.len() / width).min(frames.rows() - start);
            append(&mut self.pending, frames.rows_range(start..start + count).as_slice())?;
            start += count;
            if self.pending.len() / width >= batch {
                self.run_pending()?;
            }
        }
        Ok(self.ready())
    }

    /// Runs the frames that wait for a complete time batch and returns their outputs. The stream continues. The outputs
    /// are the same as without this call, only earlier.
    ///
    /// # Errors
    /// [`Error::Allocation`], as [`push`](Self::push).
    pub fn flush(&mut self) -> Result<MatRef<'_, f32>> {
        self.outputs.clear();
        self.run_pending()?;
        Ok(self.ready())
    }

    /// The states of the recurrent layers after the last frame that was run. `LAYER.h` is the hidden vector (for an
    /// LSTM with a projection, the projected vector); `LAYER.c` is the cell of an LSTM. Frames that still wait for a
    /// time batch are not included; call [`flush`](Self::flush) first. Bidirectional layers have no state, and the
    /// frames that a convolution holds are not listed.
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
    /// // Another stream continues from there.
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

    /// Sets a state by its name in [`states`](Self::states); the stream continues from it. Frames that still wait for a
    /// time batch will run from this state.
    ///
    /// # Errors
    /// [`Error::File`] with the name: [`TensorProblem::Unexpected`] if no layer has such a state,
    /// [`TensorProblem::Invalid`] if the number of values is wrong or a value is not finite. Nothing is changed then.
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

    /// Ends the stream: returns the remaining outputs and resets the session. A stream without frames has no outputs.
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

    /// Resets to the start of a stream. Frames that were not run are dropped.
    pub fn reset(&mut self) {
        self.pending.clear();
        for ((_, layer), state) in self.model.layers().zip(&mut self.states) {
            layer.reset(state);
        }
    }

    /// Runs the pending frames through the model.
    fn run_pending(&mut self) -> Result<()> {
        let rows = self.pending.len() / self.model.input_size();
        if rows == 0 {
            return Ok(());
        }
        // Taken out of the session while the layers use the rest of it.
        let mut pending = core::mem::take(&mut self.pending);
        let done = self.run(0, rows, Some(&pending));
        pending.clear();
        self.pending = pending;
        done
    }

    /// Runs the first `rows` rows of `input`, or of `frames`, through the layers from index `first` on, and appends the
    /// result to the outputs.
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
            // As large as the other, because they swap: otherwise a later run would allocate again.
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

/// A second stream that continues from the current state, with its own memory.
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
