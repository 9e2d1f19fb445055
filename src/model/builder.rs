//! Building a graph: a method for each kind of node.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use super::graph::{Graph, Operation, Shape, Value, taken};
use super::timing::Timing;
use super::{Join, Layer, Model};
use crate::error::{Error, FileError, Result};
use crate::factored::{Function, Mapping, OverTime, Reduction, Slice, TimeConvolution};

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input with `features` features per frame.
    ///
    /// # Errors
    /// [`Error::File`] with the name, if it is taken, or without features.
    pub fn input(&mut self, name: impl Into<String>, features: usize) -> Result<Value> {
        self.add_input(name.into(), features, false)
    }

    /// The same as [`input`](Self::input). It is `bounded` if a layer with weights is known to read it.
    pub(super) fn add_input(&mut self, name: String, features: usize, bounded: bool) -> Result<Value> {
        if !self.nodes.is_empty() {
            let problem = Error::Length { what: "nodes before an input", expected: 0, found: self.nodes.len() };
            return Err(FileError::layer(name, problem));
        }
        let value = self.value(&name, Shape { features, timing: Timing::INPUT }, bounded)?;
        self.inputs.push(name);
        Ok(value)
    }

    /// Adds a layer that reads `value`.
    ///
    /// # Errors
    /// [`Error::File`] with the name: it is taken, the layer has no features or other ones than the value, or the value
    /// has a single frame per sequence and the layer needs several.
    pub fn layer(&mut self, name: impl Into<String>, layer: Layer, value: Value) -> Result<Value> {
        self.node(name.into(), Operation::Layer(layer), Vec::from([value]))
    }

    /// Adds a node that joins several values.
    ///
    /// # Errors
    /// [`Error::File`] with the name, if it is taken, or if there are fewer than two values or they do not fit each other.
    /// [`FileError::Paths`] if one value has more frames than another.
    pub fn join(&mut self, name: impl Into<String>, join: Join, values: &[Value]) -> Result<Value> {
        self.node(name.into(), Operation::Join(join), values.to_vec())
    }

    /// Adds a node that puts the features of several values side by side.
    ///
    /// # Errors
    /// Those of [`join`](Self::join).
    pub fn concat(&mut self, name: impl Into<String>, values: &[Value]) -> Result<Value> {
        self.join(name, Join::Concat, values)
    }

    /// Adds a node that adds several values.
    ///
    /// # Errors
    /// Those of [`join`](Self::join).
    pub fn add(&mut self, name: impl Into<String>, values: &[Value]) -> Result<Value> {
        self.join(name, Join::Add, values)
    }

    /// Adds a node that multiplies several values, feature by feature.
    ///
    /// # Errors
    /// Those of [`join`](Self::join).
    pub fn multiply(&mut self, name: impl Into<String>, values: &[Value]) -> Result<Value> {
        self.join(name, Join::Multiply, values)
    }

    /// Adds a node that computes a function of the frames of `value`.
    ///
    /// # Errors
    /// Those of [`layer`](Self::layer) and of [`Mapping::new`], with the name.
    pub fn function(&mut self, name: impl Into<String>, function: Function, value: Value) -> Result<Value> {
        self.sized(name.into(), value, |features| Ok(Layer::Mapping(Mapping::new(function, features)?)))
    }

    /// Adds a node that keeps some of the features of `value`.
    ///
    /// # Errors
    /// Those of [`layer`](Self::layer) and of [`Slice::new`], with the name.
    pub fn slice(&mut self, name: impl Into<String>, range: Range<usize>, value: Value) -> Result<Value> {
        self.sized(name.into(), value, |features| Ok(Layer::Slice(Slice::new(range, features)?)))
    }

    /// Adds a node that makes one frame of the sequence `value`, when it ends.
    ///
    /// # Errors
    /// Those of [`layer`](Self::layer).
    pub fn over_time(&mut self, name: impl Into<String>, reduction: Reduction, value: Value) -> Result<Value> {
        self.sized(name.into(), value, |features| Ok(Layer::OverTime(OverTime::new(reduction, features))))
    }

    /// Adds a convolution with groups: each of `groups` convolves its own features of `value`, one group after the other,
    /// and `name` is the concatenation of what they make. The nodes of group `i` are called `name.i.in` and `name.i`.
    ///
    /// # Errors
    /// Those of [`slice`](Self::slice), [`layer`](Self::layer) and [`concat`](Self::concat).
    pub fn grouped_convolution(
        &mut self,
        name: impl Into<String>,
        groups: Vec<TimeConvolution>,
        value: Value,
    ) -> Result<Value> {
        let (name, mut start, mut parts) = (name.into(), 0usize, Vec::new());
        for (i, group) in groups.into_iter().enumerate() {
            let end = start.saturating_add(group.input_size());
            let part = self.slice(format!("{name}.{i}.in"), start..end, value)?;
            parts.push(self.layer(format!("{name}.{i}"), Layer::TimeConvolution(group), part)?);
            start = end;
        }
        match self.shape(&name, value)?.features {
            features if features == start => self.concat(name, &parts),
            expected => {
                Err(FileError::layer(name, Error::Length { what: "features of all groups", expected, found: start }))
            }
        }
    }

    /// Adds a layer that is made for the number of features of `value`.
    fn sized(&mut self, name: String, value: Value, layer: impl FnOnce(usize) -> Result<Layer>) -> Result<Value> {
        let layer = layer(self.shape(&name, value)?.features).map_err(|cause| FileError::layer(name.clone(), cause))?;
        self.layer(name, layer, value)
    }

    /// Makes a value an output of the model. A value may have several names as an output.
    ///
    /// # Errors
    /// [`Error::File`] with the name, if another output has it or the graph has no such value.
    pub fn output(&mut self, name: impl Into<String>, value: Value) -> Result<()> {
        let name = name.into();
        self.shape(&name, value)?;
        if self.outputs.iter().any(|(other, _)| *other == name) {
            return Err(taken(name));
        }
        self.outputs.push((name, value));
        Ok(())
    }

    /// Features per frame of a value, or `None` if the graph has no such value.
    pub fn features(&self, value: Value) -> Option<usize> {
        self.values.get(value.0).map(|shape| shape.features)
    }

    /// The model.
    ///
    /// # Errors
    /// [`Error::Length`] if there is no node or no output. [`Error::File`] with the name of an input or a node whose
    /// value nothing reads.
    pub fn build(self) -> Result<Model> {
        for (what, found) in [("layers", self.nodes.len()), ("outputs", self.outputs.len())] {
            if found == 0 {
                return Err(Error::Length { what, expected: 1, found });
            }
        }
        let read: BTreeSet<usize> = self.edges().map(|value| value.0).collect();
        match (0..self.values.len()).find(|value| !read.contains(value)) {
            None => Ok(Model::of_graph(self)),
            Some(unread) => {
                let problem = Error::Length { what: "readers of its value", expected: 1, found: 0 };
                Err(FileError::layer(self.value_name(Value(unread)), problem))
            }
        }
    }
}
