//! The nodes of a file that its outputs need, its constants, and who reads what.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::array::Array;
use super::fold::fold;
use super::proto::{Graph, Input, Node};
use crate::error::{Error, Result};
use crate::format::Format;

/// A graph, prepared to be built.
#[derive(Debug)]
pub(super) struct File {
    pub opset: i64,
    /// In an order in which they can run, without those whose outputs are constants or that nothing needs.
    pub nodes: Vec<Node>,
    pub constants: BTreeMap<String, Rc<Array>>,
    /// The inputs that are data.
    pub inputs: Vec<Input>,
    /// Inputs that are initial states of recurrent layers.
    pub states: BTreeSet<String>,
    /// Inputs that are lengths of sequences.
    pub lengths: BTreeSet<String>,
    pub outputs: Vec<String>,
    /// For each value the nodes that read it, and as which input.
    readers: BTreeMap<String, Vec<(usize, usize)>>,
}

/// Where a value goes, through operators that only move its elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Destinations {
    pub outputs: bool,
    pub states: bool,
    pub lengths: bool,
    pub others: bool,
}

/// Operators that move elements, or pick some of them.
const VIEWS: [&str; 13] = [
    "Identity",
    "Dropout",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Transpose",
    "Concat",
    "Slice",
    "Gather",
    "Split",
    "Cast",
    "Expand",
    "Flatten",
];

/// The error of a node.
pub(super) fn refused(node: &Node, reason: impl std::fmt::Display) -> Error {
    let kind = if node.domain.is_empty() { node.kind.clone() } else { format!("{}.{}", node.domain, node.kind) };
    Error::Layer { layer: node.title().into(), kind, reason: reason.to_string() }
}

impl File {
    pub fn new(graph: Graph, opset: i64) -> Result<Self> {
        if graph.has_sparse {
            return Err(Error::container(Format::Onnx, "sparse initializers are not supported"));
        }
        let mut constants = BTreeMap::new();
        // Those that nothing needs may be of any kind.
        let mut unreadable = BTreeMap::new();
        for initializer in graph.initializers {
            match initializer.array {
                Ok(array) => drop(constants.insert(initializer.name, Rc::new(array))),
                Err(reason) => drop(unreadable.insert(initializer.name, reason)),
            }
        }
        let mut needed: BTreeSet<&str> = graph.outputs.iter().map(String::as_str).collect();
        let mut kept = vec![false; graph.nodes.len()];
        for (node, kept) in graph.nodes.iter().zip(&mut kept).rev() {
            *kept = node.outputs.iter().any(|output| needed.contains(&output[..]));
            if *kept {
                needed.extend(node.inputs.iter().map(String::as_str).filter(|name| !name.is_empty()));
            }
        }
        for (name, reason) in unreadable {
            if needed.contains(&name[..]) {
                return Err(Error::tensor(name, reason));
            }
        }
        let mut inputs: Vec<Input> =
            graph.inputs.into_iter().filter(|input| needed.contains(&input.name[..])).collect();
        let mut nodes = Vec::new();
        for (node, _) in graph.nodes.iter().zip(kept).filter(|(_, kept)| *kept) {
            let arrays = node.inputs.iter().map(|name| constants.get(name).map(Rc::as_ref)).collect::<Vec<_>>();
            let is_constant = node.inputs.iter().zip(&arrays).all(|(name, array)| name.is_empty() || array.is_some());
            let [only] = &node.outputs[..] else {
                nodes.push(node.clone());
                continue;
            };
            let folded = if is_constant { fold(node, opset, &arrays).ok() } else { None };
            match folded {
                Some(array) => drop(constants.insert(only.clone(), Rc::new(array))),
                None => nodes.push(node.clone()),
            }
        }
        inputs.retain(|input| !constants.contains_key(&input.name));
        let mut readers: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for (i, node) in nodes.iter().enumerate() {
            for (place, name) in node.inputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                readers.entry(name.clone()).or_default().push((i, place));
            }
        }
        let (states, lengths) = (BTreeSet::new(), BTreeSet::new());
        let mut file = Self { opset, nodes, constants, inputs, states, lengths, outputs: graph.outputs, readers };
        for input in std::mem::take(&mut file.inputs) {
            match file.destinations(&input.name) {
                Destinations { states: true, lengths: false, outputs: false, others: false } => {
                    file.states.insert(input.name);
                }
                Destinations { lengths: true, states: false, outputs: false, others: false } => {
                    file.lengths.insert(input.name);
                }
                _ => file.inputs.push(input),
            }
        }
        Ok(file)
    }

    /// The nodes that read a value, and as which input.
    pub fn readers(&self, name: &str) -> &[(usize, usize)] {
        self.readers.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn is_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|output| output == name)
    }

    /// The only node that reads a value, unless the value is an output.
    pub fn only_reader(&self, name: &str) -> Option<usize> {
        match self.readers(name) {
            &[(node, _)] if !self.is_output(name) => Some(node),
            _ => None,
        }
    }

    pub fn constant(&self, name: Option<&str>) -> Option<&Array> {
        name.and_then(|name| self.constants.get(name)).map(Rc::as_ref)
    }

    /// Where a value goes.
    pub fn destinations(&self, name: &str) -> Destinations {
        let mut found = Destinations::default();
        let (mut seen, mut open) = (BTreeSet::from([name]), vec![name]);
        while let Some(name) = open.pop() {
            found.outputs |= self.is_output(name);
            for &(i, place) in self.readers(name) {
                let node = &self.nodes[i];
                match (&node.kind[..], place) {
                    ("GRU" | "LSTM" | "RNN" | "DynamicQuantizeLSTM", 4) => found.lengths = true,
                    ("GRU" | "LSTM" | "RNN" | "DynamicQuantizeLSTM", 5 | 6) => found.states = true,
                    _ if is_view(node, place) => {
                        open.extend(node.outputs.iter().map(String::as_str).filter(|name| seen.insert(name)));
                    }
                    // Its size is asked for.
                    ("Shape" | "Size", _) => {}
                    _ => found.others = true,
                }
            }
        }
        found
    }

    /// Whether a value goes to an output through operators that only move its elements.
    pub fn reaches(&self, name: &str, output: &str) -> bool {
        let (mut seen, mut open) = (BTreeSet::from([name]), vec![name]);
        while let Some(name) = open.pop() {
            if name == output {
                return true;
            }
            let views = self.readers(name).iter().filter(|(i, place)| is_view(&self.nodes[*i], *place));
            let moved = views.flat_map(|(i, _)| &self.nodes[*i].outputs).map(String::as_str);
            open.extend(moved.filter(|name| seen.insert(name)));
        }
        false
    }
}

/// Whether a node only moves elements of its input `place`, or picks some of them.
fn is_view(node: &Node, place: usize) -> bool {
    VIEWS.contains(&&node.kind[..]) && (place == 0 || node.kind == "Concat")
}
