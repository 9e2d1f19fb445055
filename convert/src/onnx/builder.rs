//! Builds a graph of the library of the nodes of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use skinny::model::{self, Graph, Layer, Model};

use super::array::{Array, is_float};
use super::axes::{Axis, Data, Dim, features};
use super::file::{File, refused};
use super::fold;
use super::proto::{Dimension, Node};
use super::quantized::Quantized;
use crate::error::{Error, Result};
use crate::format::Format;

/// What a name of the file stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Rc<Array>),
    /// Dimensions, in a list or alone.
    Shape {
        dims: Vec<Dim>,
        alone: bool,
    },
    Data(Data),
    /// An input that is the initial state of a recurrent layer, or a part of it: zeros when a sequence begins.
    InitialState,
    /// The last state of a recurrent layer, which the session keeps.
    LastState,
    /// Lengths of sequences.
    Lengths,
    Quantized(Quantized),
}

/// A graph that grows node by node.
pub(super) struct Builder<'a> {
    pub file: &'a File,
    pub graph: Graph,
    pub values: BTreeMap<&'a str, Value>,
    /// Nodes that were taken together with an earlier one.
    pub taken: BTreeSet<usize>,
    /// Number of nodes that were read: the index of the one that is read now.
    pub done: usize,
    /// The last of the nodes that are read as one with it so far.
    pub last: usize,
    names: BTreeSet<String>,
    assumptions: BTreeSet<String>,
    clocks: u32,
}

impl<'a> Builder<'a> {
    pub fn new(file: &'a File) -> Self {
        Self {
            file,
            graph: Graph::new(),
            values: BTreeMap::new(),
            taken: BTreeSet::new(),
            done: 0,
            last: 0,
            names: BTreeSet::new(),
            assumptions: BTreeSet::new(),
            clocks: 0,
        }
    }

    /// Reads all nodes, with these axes of the inputs.
    pub fn run(&mut self, axes: &[Vec<Axis>]) -> Result<()> {
        let file = self.file;
        for (input, axes) in file.inputs.iter().zip(axes) {
            let name = self.name(&input.name);
            let value = self.graph.input(name, features(axes))?;
            let time = axes.iter().position(|&axis| axis == Axis::Time);
            let frames = match time.and_then(|time| input.shape.as_ref()?.get(time)) {
                Some(Dimension::Fixed(frames)) => Some(*frames),
                _ => None,
            };
            if let Some(frames @ 2..) = frames {
                self.assume(format!(
                    "sequences may have any length, where the file has {frames} frames of {}",
                    input.name
                ));
            }
            let integers = !is_float(input.dtype);
            let data = Data { value, axes: axes.clone(), clock: 0, frames, pad: [0; 2], integers };
            self.values.insert(&input.name, Value::Data(data));
        }
        for name in &file.states {
            self.assume(format!(
                "the input {name} is a state, which the session keeps; it is 0 when a sequence begins"
            ));
            self.values.insert(name, Value::InitialState);
        }
        for name in &file.lengths {
            self.assume(format!("the input {name} is left out: a sequence has the frames that it is given"));
            self.values.insert(name, Value::Lengths);
        }
        for (name, array) in &file.constants {
            self.values.insert(name, Value::Constant(Rc::clone(array)));
        }
        for (i, node) in file.nodes.iter().enumerate() {
            if !self.taken.contains(&i) {
                self.last = i;
                self.node(node)?;
            }
            self.done = i + 1;
        }
        self.outputs()
    }

    /// The model, and what was assumed.
    pub fn finish(self) -> Result<(Model, Vec<String>)> {
        Ok((self.graph.build()?, self.assumptions.into_iter().collect()))
    }

    fn outputs(&mut self) -> Result<()> {
        let mut states = Vec::new();
        for name in &self.file.outputs {
            let bad = |reason: &str| Err(Error::tensor(name, reason));
            match self.values.get(&name[..]) {
                None => return bad("no node makes this output"),
                Some(Value::Data(data)) if data.pad != [0; 2] => {
                    return bad("padding of frames is supported before a convolution");
                }
                Some(Value::Data(data)) => self.graph.output(name, data.value)?,
                Some(Value::LastState) => states.push(name),
                Some(Value::Constant(_) | Value::Shape { .. }) => {
                    return bad("an output that is constant is not supported");
                }
                Some(_) => return bad("an output of this kind is not supported; cut the graph before it"),
            }
        }
        if states.len() == self.file.outputs.len() {
            return Err(Error::container(Format::Onnx, "all its outputs are states"));
        }
        for name in states {
            self.assume(format!(
                "the output {name} is left out: it is the last state of a layer, which the session keeps"
            ));
        }
        Ok(())
    }

    fn node(&mut self, node: &'a Node) -> Result<()> {
        for name in node.inputs.iter().filter(|name| !name.is_empty()) {
            if !self.values.contains_key(&name[..]) {
                return Err(refused(node, format!("reads {name}, which no earlier node makes")));
            }
        }
        let inputs: Vec<Option<Rc<Array>>> = (0..node.inputs.len()).map(|i| self.constant_of(node, i)).collect();
        let is_constant = inputs.iter().zip(&node.inputs).all(|(array, name)| name.is_empty() || array.is_some());
        if is_constant && node.outputs.len() == 1 {
            let arrays: Vec<Option<&Array>> = inputs.iter().map(Option::as_deref).collect();
            let array = fold::fold(node, self.file.opset, &arrays).map_err(|reason| refused(node, reason))?;
            return self.set(node, 0, Value::Constant(Rc::new(array)));
        }
        match (&node.domain[..], &node.kind[..]) {
            ("", "GRU" | "LSTM" | "RNN") => self.recurrent(node),
            ("", "MatMul") => self.matrix_product(node),
            ("", "Gemm") => self.gemm(node),
            ("", "Conv") => self.convolution(node),
            ("", "BatchNormalization") => self.batch_normalization(node),
            ("", "LayerNormalization") => self.layer_normalization(node),
            ("", "Add" | "Sub" | "Mul" | "Div") => self.arithmetic(node),
            ("", "ReduceMean" | "ReduceMax" | "ReduceSum" | "GlobalAveragePool" | "GlobalMaxPool") => {
                self.reduction(node)
            }
            ("", "Pad") => self.pad(node),
            (
                "",
                "Identity" | "Dropout" | "Cast" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose"
                | "Expand" | "Shape" | "Concat" | "Slice" | "Split" | "Gather",
            ) => self.view(node),
            (
                "",
                "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "MatMulInteger" | "QLinearMatMul",
            )
            | ("com.microsoft", "DynamicQuantizeLSTM" | "DynamicQuantizeMatMul" | "MatMulIntegerToFloat") => {
                self.quantized(node)
            }
            ("", _) => self.function(node),
            ("com.microsoft", "Gelu") => self.function(node),
            _ => {
                Err(refused(node, "operators of other domains are not supported; export the model with standard ones"))
            }
        }
    }

    /// The constant that an input is. Dimensions that are all known are one.
    fn constant_of(&self, node: &Node, i: usize) -> Option<Rc<Array>> {
        if let Value::Constant(array) = self.values.get(node.input(i)?)? { Some(Rc::clone(array)) } else { None }
    }

    pub fn constant(&self, node: &Node, i: usize, what: &str) -> Result<Rc<Array>> {
        self.constant_of(node, i)
            .ok_or_else(|| refused(node, format!("its {what} is not constant, which is not supported")))
    }

    /// The constant that an input is, if there is one. An input that is no constant is an error.
    pub fn optional(&self, node: &Node, i: usize, what: &str) -> Result<Option<Rc<Array>>> {
        node.input(i).map(|_| self.constant(node, i, what)).transpose()
    }

    /// Whether an input is a constant.
    pub fn is_constant(&self, node: &Node, i: usize) -> bool {
        self.constant_of(node, i).is_some()
    }

    pub fn value(&self, node: &Node, i: usize) -> Result<&Value> {
        let value = node.input(i).and_then(|name| self.values.get(name));
        value.ok_or_else(|| refused(node, format!("has no input {i}")))
    }

    /// The data that an input is.
    pub fn data(&self, node: &Node, i: usize) -> Result<Data> {
        let reason = match self.value(node, i)? {
            Value::Data(data) if data.pad != [0; 2] => "padding of frames is supported only before a convolution",
            Value::Data(data) => return Ok(data.clone()),
            Value::Constant(_) => "a constant in this place is not supported",
            Value::Shape { .. } => "computes with the number of frames, which is not supported",
            Value::InitialState | Value::LastState => "computes with the state of a layer, which is not supported",
            Value::Lengths => "computes with the lengths of sequences, which is not supported",
            Value::Quantized(_) => {
                "computes with quantized numbers, which is not supported here; convert the file before \
                                    it was quantized: skinny quantizes by itself"
            }
        };
        Err(refused(node, reason))
    }

    /// Sets an output of a node.
    pub fn set(&mut self, node: &'a Node, i: usize, value: Value) -> Result<()> {
        if let Some(name) = node.output(i)
            && self.values.insert(name, value).is_some()
        {
            return Err(refused(node, format!("another node makes {name} too")));
        }
        Ok(())
    }

    pub fn set_data(&mut self, node: &'a Node, data: Data) -> Result<()> {
        self.set(node, 0, Value::Data(data))
    }

    /// Sets the output of the last node of a chain that was read as one.
    pub fn set_of(&mut self, i: usize, data: Data) -> Result<()> {
        self.set_data(&self.file.nodes[i], data)
    }

    /// Adds a layer that reads a value.
    pub fn layer(&mut self, node: &Node, layer: Layer, value: model::Value) -> Result<model::Value> {
        let name = self.name(node.title());
        Ok(self.graph.layer(name, layer, value)?)
    }

    /// A name for an input or a node that no other has.
    pub fn name(&mut self, wanted: &str) -> String {
        let wanted = wanted.trim_matches('/');
        let wanted = if wanted.is_empty() { "node" } else { wanted };
        let mut name = wanted.to_owned();
        for i in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{i}");
        }
        name
    }

    pub fn assume(&mut self, assumption: String) {
        self.assumptions.insert(assumption);
    }

    /// A clock for values that have another number of frames than all others.
    pub fn clock(&mut self) -> u32 {
        self.clocks += 1;
        self.clocks
    }
}
