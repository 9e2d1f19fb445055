//! Streaming of frames through a model.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::frames::Frames;
use super::graph::Operation;
use super::streaming::LayerState;
use super::{Model, Node};
use crate::error::{Error, FileError, Result, TensorProblem};
use crate::factored::Scratch;
use crate::kernels::Threads;
use crate::matrix::MatRef;

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
    /// Of the nodes.
    states: Vec<LayerState>,
    scratch: Scratch,
    /// The frames of each value that some reader has not taken yet.
    values: Vec<Frames>,
    /// For each read of a value ([`Graph::edges`](super::Graph::edges)), how many of its frames the reader has taken.
    taken: Vec<usize>,
    /// For each value, how many frames all its readers have taken. Working memory of [`drop_taken`](Self::drop_taken).
    by_all: Vec<usize>,
    /// Input frames that wait for a complete time batch.
    waiting: usize,
    /// What the last call made ready.
    outputs: Vec<Frames>,
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
        let state = |node: &Node| node.layer().map_or(Ok(LayerState::None), |(_, layer)| layer.state());
        let graph = &model.graph;
        let states = graph.nodes().iter().map(state).collect::<Result<_>>()?;
        let values: Vec<Frames> = graph.widths().map(Frames::new).collect();
        let outputs = graph.outputs().iter().map(|&(_, value)| Frames::new(graph.width(value))).collect();
        let (taken, by_all) = (graph.edges().map(|_| 0).collect(), values.iter().map(|_| 0).collect());
        Ok(Self { model, states, scratch, values, taken, by_all, waiting: 0, outputs })
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

    /// Takes any number of frames (`frames x input`) and returns the outputs that are ready (`ready x output`): those of
    /// the first output, if the model has several.
    ///
    /// # Errors
    /// [`Error::Shape`] for frames that do not fit; [`Error::Length`] for a model with several inputs. The stream is
    /// unchanged then. [`Error::Allocation`], and [`Error::File`] with the name of an embedding and an index that it does
    /// not have; then the stream cannot continue and the session should be [reset](Self::reset).
    pub fn push(&mut self, frames: MatRef<'_, f32>) -> Result<MatRef<'_, f32>> {
        self.push_all(&[frames])
    }

    /// Takes the same number of frames for each of the model's inputs, in their order ([`Model::inputs`]). Returns what is
    /// ready of the first output; [`output`](Self::output) has the others.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    /// use skinny::{MatRef, model::{Graph, Session}};
    ///
    /// let mut graph = Graph::new();
    /// let inputs = [graph.input("signal", 2)?, graph.input("gain", 1)?];
    /// let product = graph.multiply("product", &inputs)?;
    /// graph.output("louder", product)?;
    /// let mut session = Session::new(Arc::new(graph.build()?))?.with_time_batch(1)?;
    /// let y = session.push_all(&[MatRef::row_vector(&[0.5, -1.0]), MatRef::row_vector(&[3.0])])?;
    /// assert_eq!(y.row(0), [1.5, -3.0]);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn push_all(&mut self, inputs: &[MatRef<'_, f32>]) -> Result<MatRef<'_, f32>> {
        let rows = self.model.graph.expect_inputs(inputs)?;
        self.clear_outputs();
        let batch = self.frames_per_batch();
        let mut start = 0;
        while start < rows {
            // More frames than a batch may be waiting if the time batch was reduced in the middle of the stream.
            let count = batch.saturating_sub(self.waiting).min(rows - start);
            for (value, frames) in self.values.iter_mut().zip(inputs) {
                value.extend(frames.rows_range(start..start + count))?;
            }
            start += count;
            self.waiting += count;
            if self.waiting >= batch {
                self.run(false)?;
            }
        }
        Ok(self.ready())
    }

    /// What the last call of [`push`](Self::push), [`flush`](Self::flush) or [`finish`](Self::finish) made ready of an
    /// output of this name, or `None` if the model has no such output.
    pub fn output(&self, name: &str) -> Option<MatRef<'_, f32>> {
        let index = self.model.outputs().position(|(output, _)| output == name)?;
        Some(self.outputs[index].all())
    }

    /// Runs the frames that wait for a complete time batch and returns their outputs. The stream continues. The outputs
    /// are the same as without this call, only earlier.
    ///
    /// # Errors
    /// [`Error::Allocation`], as [`push`](Self::push).
    pub fn flush(&mut self) -> Result<MatRef<'_, f32>> {
        self.clear_outputs();
        if self.waiting > 0 {
            self.run(false)?;
        }
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
        self.model.nodes().iter().zip(&self.states).flat_map(|(node, state)| {
            let layer = node.name();
            let [h, c] = state.vectors();
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
        let nodes = self.model.nodes().iter().zip(&mut self.states);
        let of_name = nodes.filter_map(|(node, state)| state.vector_mut(name.strip_prefix(node.name())?));
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
        self.clear_outputs();
        self.run(true)?;
        self.reset();
        Ok(self.ready())
    }

    /// Resets to the start of a stream. Frames that were not run are dropped.
    pub fn reset(&mut self) {
        for (node, state) in self.model.nodes().iter().zip(&mut self.states) {
            if let Some((_, layer)) = node.layer() {
                layer.reset(state);
            }
        }
        self.values.iter_mut().for_each(Frames::clear);
        self.taken.fill(0);
        self.waiting = 0;
    }

    /// Runs the frames that wait through the nodes, and appends what becomes ready to the outputs. If the sequence ends
    /// with them, so do the layers.
    fn run(&mut self, end: bool) -> Result<()> {
        self.waiting = 0;
        let graph = &self.model.graph;
        let mut unused = &mut self.taken[..];
        for (i, (node, state)) in graph.nodes().iter().zip(&mut self.states).enumerate() {
            let (values, own) = self.values.split_at_mut(graph.inputs().len() + i);
            let (taken, rest) = unused.split_at_mut(node.reads().len());
            unused = rest;
            let arrived = node.reads().iter().zip(&*taken).map(|(value, taken)| values[value.0].rows() - taken);
            let rows = arrived.fold(usize::MAX, usize::min);
            let mut parts = node.reads().iter().zip(&*taken).map(|(value, &t)| values[value.0].view(t..t + rows));
            match node.operation() {
                Operation::Layer(layer) => {
                    if let Some(x) = parts.next().filter(|x| x.rows() > 0) {
                        layer.push(x, state, &mut own[0], &mut self.scratch).map_err(|cause| named(node, cause))?;
                    }
                    if end {
                        layer.finish(state, &mut own[0], &mut self.scratch)?;
                    }
                }
                Operation::Join(join) => join.run(parts, own[0].append(rows)?),
            }
            taken.iter_mut().for_each(|taken| *taken += rows);
        }
        for ((out, &(_, value)), taken) in self.outputs.iter_mut().zip(graph.outputs()).zip(unused) {
            let value = &self.values[value.0];
            out.extend(value.view(*taken..value.rows()))?;
            *taken = value.rows();
        }
        self.drop_taken();
        Ok(())
    }

    /// Drops the frames that all readers have taken.
    fn drop_taken(&mut self) {
        for (by_all, value) in self.by_all.iter_mut().zip(&self.values) {
            *by_all = value.rows();
        }
        let graph = &self.model.graph;
        for (value, &taken) in graph.edges().zip(&self.taken) {
            self.by_all[value.0] = self.by_all[value.0].min(taken);
        }
        for (value, taken) in graph.edges().zip(&mut self.taken) {
            *taken -= self.by_all[value.0];
        }
        for (value, &rows) in self.values.iter_mut().zip(&self.by_all) {
            value.drop_first(rows);
        }
    }

    fn clear_outputs(&mut self) {
        self.outputs.iter_mut().for_each(Frames::clear);
    }

    /// What is ready of the first output.
    fn ready(&self) -> MatRef<'_, f32> {
        self.outputs[0].all()
    }
}

/// An error with the name of the node, if it is about the frames and not about memory.
fn named(node: &Node, cause: Error) -> Error {
    match cause {
        Error::Parameter { .. } => FileError::layer(node.name(), cause),
        cause => cause,
    }
}

/// A second stream that continues from the current state, with its own memory.
impl Clone for Session {
    fn clone(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            states: self.states.clone(),
            scratch: self.scratch.fresh(),
            values: self.values.clone(),
            taken: self.taken.clone(),
            by_all: self.by_all.clone(),
            waiting: self.waiting,
            outputs: self.outputs.clone(),
        }
    }
}
