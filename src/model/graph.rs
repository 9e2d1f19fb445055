//! A model as a graph: nodes that read earlier values.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

#[cfg(feature = "svd")]
use super::factorable::Seen;
#[cfg(feature = "svd")]
use super::sequence::Sequence;
use super::timing::Timing;
use super::{Join, Layer};
use crate::error::{Error, FileError, Result, expect_length};
#[cfg(feature = "svd")]
use crate::factored::Scratch;
#[cfg(feature = "svd")]
use crate::matrix::Mat;
use crate::matrix::MatRef;

/// Builds a [`Model`](super::Model) whose layers may read any earlier values.
///
/// A *value* is a sequence of frames: an input of the model, or what a node makes of the values that it reads. Inputs
/// advance together, one frame of each at a time. A node is a [`Layer`], which reads one value, or a [`Join`], which reads
/// several. Values that are joined must have as many frames as each other. One that is ready earlier waits for the others
/// in a buffer, so a path through a convolution that looks ahead can be added to one around it.
///
/// Each call checks what it adds. Errors name the node.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use skinny::model::{Graph, Layer, Session};
/// use skinny::{Mat, MatRef, factored::{Gru, Linear, TimeConvolution, Weight}};
///
/// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
/// let look_ahead = TimeConvolution::new(Linear::new(weight(2, 3 * 2)?, None)?, 3, 1, 1)?;
///
/// let mut graph = Graph::new();
/// let x = graph.input("sound", 2)?;
/// let h = graph.layer("conv", Layer::TimeConvolution(look_ahead), x)?;
/// let h = graph.add("residual", &[h, x])?;
/// let h = graph.layer("gru", Layer::Gru(Gru::new(weight(9, 2)?, weight(9, 3)?, None, None)?), h)?;
/// let y = graph.layer("fc", Layer::Linear(Linear::new(weight(4, 3)?, None)?), h)?;
/// graph.output("scores", y)?;
/// graph.output("state", h)?;
/// let model = Arc::new(graph.build()?);
/// assert_eq!(model.delay(), Some(1)); // the convolution waits for the next frame
///
/// let mut session = Session::new(model)?;
/// session.push(MatRef::new(&[0.5; 16], 8, 2)?)?;
/// assert_eq!(session.output("scores").unwrap().shape(), (7, 4));
/// assert_eq!(session.output("state").unwrap().shape(), (7, 3));
/// assert_eq!(session.finish()?.shape(), (1, 4));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Inputs and outputs by name; an output is a value.
    pub(super) inputs: Vec<String>,
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<(String, Value)>,
    /// Of the inputs, then of the nodes.
    pub(super) values: Vec<Shape>,
    /// The names of inputs and nodes.
    names: BTreeSet<String>,
    /// Features of all values together.
    features: usize,
}

/// A value of a [`Graph`]: one of its inputs, or what one of its nodes makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(super) usize);

#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub features: usize,
    pub timing: Timing,
}

/// A node of a [`Model`](super::Model): an operation and the values that it reads.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
    operation: Operation,
    reads: Vec<Value>,
}

/// What a node does.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "most nodes are layers")]
pub enum Operation {
    /// A layer, on one value.
    Layer(Layer),
    /// A combination of several values.
    Join(Join),
}

impl Node {
    /// Its name, which is also the name of its value.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Its name and its layer, if it is one.
    pub(super) fn layer(&self) -> Option<(&str, &Layer)> {
        match &self.operation {
            Operation::Layer(layer) => Some((&self.name, layer)),
            Operation::Join(_) => None,
        }
    }

    /// The values that it reads. [`Model::value_name`](super::Model::value_name) has their names.
    pub fn reads(&self) -> &[Value] {
        &self.reads
    }
}

impl Operation {
    /// Its kind, in a word or two.
    pub fn kind(&self) -> &'static str {
        match self {
            Operation::Layer(layer) => layer.kind(),
            Operation::Join(join) => join.name(),
        }
    }
}

/// The most features of all values of a graph together, which bounds what a session needs for a frame.
const MOST_FEATURES: usize = 1 << 24;

impl Graph {
    pub(super) fn node(&mut self, name: String, operation: Operation, reads: Vec<Value>) -> Result<Value> {
        let named = |cause| FileError::layer(name.clone(), cause);
        let shapes = reads.iter().map(|&value| self.shape(&name, value)).collect::<Result<Vec<Shape>>>()?;
        let shape = match &operation {
            Operation::Layer(layer) => {
                let &[Shape { features: expected, timing }] = &shapes[..] else {
                    return Err(named(Error::Length { what: "values of a layer", expected: 1, found: shapes.len() }));
                };
                let found = layer.input_size();
                if expected != found {
                    return Err(named(Error::Length { what: "input", expected, found }));
                }
                let timing = timing.behind(layer).map_err(|reason| FileError::Paths {
                    node: name.clone(),
                    paths: Vec::from([self.path(reads[0])]),
                    reason: reason.into(),
                })?;
                Shape { features: layer.output_size(), timing }
            }
            Operation::Join(join) => {
                let features = join.features(shapes.iter().map(|shape| shape.features)).map_err(named)?;
                let mut timing = shapes[0].timing;
                for (shape, &value) in shapes.iter().zip(&reads).skip(1) {
                    timing = timing.meet(shape.timing).map_err(|reason| FileError::Paths {
                        node: name.clone(),
                        paths: [reads[0], value].map(|value| self.path(value)).into(),
                        reason,
                    })?;
                }
                Shape { features, timing }
            }
        };
        let parameters = match &operation {
            Operation::Layer(layer) => layer.parameters(),
            Operation::Join(_) => 0,
        };
        let value = self.value(&name, shape, parameters > 0)?;
        self.nodes.push(Node { name, operation, reads });
        Ok(value)
    }

    /// Adds a value of this name, an input's or a node's. Values that are not `bounded` by the size of weights count
    /// towards a limit.
    pub(super) fn value(&mut self, name: &str, shape: Shape, bounded: bool) -> Result<Value> {
        if shape.features == 0 {
            return Err(without_features(name));
        }
        let features = self.features.saturating_add(shape.features);
        if !bounded && features > MOST_FEATURES {
            let (what, value) = ("features of all values together", features as f64);
            return Err(FileError::layer(name, Error::Parameter { what, value, expected: "at most 2^24" }));
        }
        if !self.names.insert(name.into()) {
            return Err(taken(name));
        }
        self.features = features;
        self.values.push(shape);
        Ok(Value(self.values.len() - 1))
    }

    pub(super) fn shape(&self, name: &str, value: Value) -> Result<Shape> {
        self.values.get(value.0).copied().ok_or_else(|| {
            let (what, expected) = ("index of a value", "a value of this graph");
            FileError::layer(name, Error::Parameter { what, value: value.0 as f64, expected })
        })
    }

    /// The names of the values that lead to a value, from an input on.
    fn path(&self, value: Value) -> Vec<String> {
        let mut path = Vec::from([self.value_name(value).into()]);
        let mut at = value;
        while let Some(node) = self.maker(at) {
            at = node.reads[0];
            path.push(self.value_name(at).into());
        }
        path.reverse();
        path
    }

    /// The node that makes a value, unless it is an input.
    fn maker(&self, value: Value) -> Option<&Node> {
        self.nodes.get(value.0.checked_sub(self.inputs.len())?)
    }

    pub(super) fn value_name(&self, value: Value) -> &str {
        match self.maker(value) {
            Some(node) => &node.name,
            None => &self.inputs[value.0],
        }
    }

    pub(super) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// Fails unless there is a matrix for each input, with its features and as many frames as the others. Returns their
    /// number.
    pub(super) fn expect_inputs(&self, inputs: &[MatRef<'_, f32>]) -> Result<usize> {
        expect_length("inputs", self.inputs.len(), inputs.len())?;
        let rows = inputs.first().map_or(0, MatRef::rows);
        for (frames, features) in inputs.iter().zip(self.widths()) {
            frames.expect_shape("frames", rows, features)?;
        }
        Ok(rows)
    }

    /// Features of each value, inputs first.
    pub(super) fn widths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.values.iter().map(|shape| shape.features)
    }

    /// Features of a value of this graph.
    pub(super) fn width(&self, value: Value) -> usize {
        self.values[value.0].features
    }

    /// Timings of all values, inputs first.
    pub(super) fn timings(&self) -> impl ExactSizeIterator<Item = Timing> {
        self.values.iter().map(|shape| shape.timing)
    }

    pub(super) fn timing(&self, value: Value) -> Timing {
        self.values[value.0].timing
    }

    /// Every value that is read, as often as it is: by the nodes in their order, then by the outputs.
    pub(super) fn edges(&self) -> impl Iterator<Item = Value> {
        let by_nodes = self.nodes.iter().flat_map(|node| &node.reads).copied();
        by_nodes.chain(self.outputs.iter().map(|&(_, value)| value))
    }

    /// The same graph with each operation replaced by `map` of it. An input has as many features as a layer takes that
    /// reads it.
    pub(super) fn map(&self, map: impl FnMut(&Node) -> Result<Operation>) -> Result<Self> {
        let operations = self.nodes.iter().map(map).collect::<Result<Vec<Operation>>>()?;
        let mut graph = Self::new();
        for (i, (name, features)) in self.inputs.iter().zip(self.widths()).enumerate() {
            let reader = self.nodes.iter().zip(&operations).find_map(|(node, operation)| match operation {
                Operation::Layer(layer) if node.reads == [Value(i)] => Some(layer.input_size()),
                _ => None,
            });
            graph.add_input(name.clone(), reader.unwrap_or(features), true)?;
        }
        for (node, operation) in self.nodes.iter().zip(operations) {
            graph.node(node.name.clone(), operation, node.reads.clone())?;
        }
        graph.outputs.clone_from(&self.outputs);
        Ok(graph)
    }
}

#[cfg(feature = "svd")]
impl Graph {
    /// Runs a whole sequence, and calls `see` for each layer with what was seen of it. The model must have the states that
    /// the sequence begins with.
    pub(super) fn run_whole(
        &self,
        sequence: &Sequence,
        scratch: &mut Scratch,
        mut see: impl FnMut(&Layer, Seen<'_>) -> Result<()>,
    ) -> Result<()> {
        let inputs = sequence.views();
        self.expect_inputs(&inputs)?;
        // Each value is dropped after the last node that reads it.
        let mut last = Vec::from_iter(self.values.iter().map(|_| 0));
        for (i, node) in self.nodes.iter().enumerate() {
            node.reads.iter().for_each(|value| last[value.0] = i);
        }
        let copy = |x: &MatRef<'_, f32>| Mat::from_vec(x.as_slice().to_vec(), x.rows(), x.cols());
        let mut values = inputs.iter().map(copy).collect::<Result<Vec<Mat<f32>>>>()?;
        for (i, node) in self.nodes.iter().enumerate() {
            let out = match &node.operation {
                Operation::Layer(layer) => {
                    let x = values[node.reads[0].0].view();
                    let of_layer =
                        sequence.states().filter_map(|(name, values)| Some((name.strip_prefix(&node.name)?, values)));
                    let (out, h0) = layer.run(x, &of_layer.collect::<Vec<_>>(), scratch)?;
                    see(layer, Seen { x, out: out.view(), h0: h0.as_deref() })?;
                    out
                }
                Operation::Join(join) => {
                    // Sequences too short for one of the paths have no more frames than that one makes.
                    let rows = node.reads.iter().map(|value| values[value.0].rows()).fold(usize::MAX, usize::min);
                    let mut out = Mat::zeros(rows, self.width(Value(self.inputs.len() + i)))?;
                    let parts = node.reads.iter().map(|value| values[value.0].view().rows_range(0..rows));
                    join.run(parts, out.view_mut());
                    out
                }
            };
            values.push(out);
            for value in node.reads.iter().filter(|value| last[value.0] == i) {
                values[value.0] = Mat::default();
            }
        }
        Ok(())
    }
}

/// The name of the output of a list of layers.
pub(super) const OUTPUT: &str = "output";

/// The name of the input of a list of layers, none of which has it.
pub(super) fn input_of_list(is_taken: impl Fn(&str) -> bool) -> String {
    free_name("input".into(), is_taken)
}

/// The name, or one like it that is not taken.
pub(super) fn free_name(mut name: String, is_taken: impl Fn(&str) -> bool) -> String {
    while is_taken(&name) {
        name.push('_');
    }
    name
}

/// The error that a layer has no features.
pub(super) fn without_features(name: &str) -> Error {
    FileError::layer(name, Error::Parameter { what: "features", value: 0.0, expected: "at least 1" })
}

/// The error that another input, node or output has this name.
pub(super) fn taken(name: impl Into<String>) -> Error {
    FileError::layer(name, Error::Parameter { what: "layers of this name", value: 2.0, expected: "1" })
}
