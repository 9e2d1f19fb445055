//! The graph of a model in its file: inputs, nodes and outputs by name. What is left out is as in a list of layers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize};

use super::file::header_error;
use super::graph::{OUTPUT, input_of_list};
use super::stored::{LayerKind, Reader, Stored, Writer};
use super::version::Version;
use super::{Graph, Join, Layer, Model, Operation, Value};
use crate::error::{Error, Result};

/// The entries of a file's header that describe the graph.
pub(super) struct GraphHeader {
    pub inputs: Option<Vec<InputHeader>>,
    pub layers: Vec<NodeHeader>,
    pub outputs: Option<Vec<OutputHeader>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputHeader {
    name: String,
    features: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputHeader {
    name: String,
    value: String,
}

/// A node: a layer or a join.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeHeader {
    name: String,
    /// The names of values; that of the node before, if left out.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    reads: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    layer: Option<LayerKind>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    join: Option<String>,
}

/// Reads an entry that may be left out but not null.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl GraphHeader {
    /// Describes the graph of a model, without what a reader assumes.
    pub fn write(model: &Model, writer: &mut Writer) -> Result<Self> {
        let name = |value| String::from(model.value_name(value));
        let mut layers = Vec::new();
        for (i, node) in model.nodes().iter().enumerate() {
            let before = Value(model.inputs().len() + i - 1);
            let reads = (node.reads() != [before]).then(|| node.reads().iter().map(|&value| name(value)).collect());
            let (layer, join) = match node.operation() {
                Operation::Layer(layer) => (Some(layer.write(node.name(), writer)?), None),
                Operation::Join(join) => (None, Some(join.name().into())),
            };
            layers.push(NodeHeader { name: node.name().into(), reads, layer, join });
        }
        let of_list = input_of_list(|name| model.nodes().iter().any(|node| node.name() == name));
        let assumed = layers.first().is_some_and(|node| node.layer.is_some() && node.reads.is_none());
        let inputs = (!assumed || model.inputs().map(|(name, _)| name).ne([&of_list]))
            .then(|| model.inputs().map(|(name, features)| InputHeader { name: name.into(), features }).collect());
        let last = Value(model.inputs().len() + model.nodes().len() - 1);
        let outputs = model.outputs().ne([(OUTPUT, last)]).then(|| {
            model.outputs().map(|(output, value)| OutputHeader { name: output.into(), value: name(value) }).collect()
        });
        if inputs.is_some() || outputs.is_some() || layers.iter().any(|node| node.reads.is_some()) {
            writer.needs(Version::GRAPHS);
        }
        Ok(Self { inputs, layers, outputs })
    }

    /// Reads the layers and puts them together.
    pub fn read(self, reader: &mut Reader<'_>) -> Result<Graph> {
        let Self { inputs, layers: nodes, outputs } = self;
        let version = reader.version;
        let expect_graphs =
            |there: bool, what: &str| if there { version.expect(Version::GRAPHS, what) } else { Ok(()) };
        expect_graphs(inputs.is_some(), "inputs")?;
        expect_graphs(outputs.is_some(), "outputs")?;
        let mut operations = Vec::new();
        for node in &nodes {
            expect_graphs(node.reads.is_some(), "reads")?;
            expect_graphs(node.join.is_some(), "join")?;
            operations.push(match (&node.layer, &node.join) {
                (Some(layer), None) => Operation::Layer(Layer::read(&node.name, layer, reader)?),
                (None, Some(join)) => {
                    let known = Join::ALL.into_iter().find(|known| known.name() == join);
                    let unknown = || header_error(format!("{:?}: there is no join {join:?}", node.name));
                    Operation::Join(known.ok_or_else(unknown)?)
                }
                _ => return Err(header_error(format!("{:?} is neither a layer nor a join, or both", node.name))),
            });
        }

        let (mut graph, mut values) = (Graph::new(), BTreeMap::new());
        let of_list = inputs.is_none();
        let inputs = match (inputs, operations.first()) {
            (Some(inputs), _) => inputs,
            (None, Some(Operation::Layer(layer))) => {
                let name = input_of_list(|name| nodes.iter().any(|node| node.name == name));
                Vec::from([InputHeader { name, features: layer.input_size() }])
            }
            (None, Some(Operation::Join(_))) => {
                return Err(header_error("a join begins the layers; it needs `inputs`"));
            }
            // Refused with the graph, which has no layers.
            (None, None) => Vec::new(),
        };
        let mut before = None;
        for InputHeader { name, features } in inputs {
            let value = graph.add_input(name.clone(), features, of_list)?;
            before = Some(value);
            values.insert(name, value);
        }
        for (node, operation) in nodes.into_iter().zip(operations) {
            let value = |name: &String| values.get(name).copied().ok_or_else(|| unknown_value(&node.name, name));
            let reads = match &node.reads {
                Some(names) => names.iter().map(value).collect::<Result<_>>()?,
                None => Vec::from_iter(before),
            };
            let made = graph.node(node.name.clone(), operation, reads)?;
            before = Some(made);
            values.insert(node.name, made);
        }
        match outputs {
            None => before.map_or(Ok(()), |last| graph.output(OUTPUT, last))?,
            Some(outputs) => {
                for OutputHeader { name, value } in outputs {
                    let of_name = values.get(&value).copied().ok_or_else(|| unknown_value(&name, &value))?;
                    graph.output(name, of_name)?;
                }
            }
        }
        Ok(graph)
    }
}

fn unknown_value(reader: &str, value: &str) -> Error {
    header_error(format!("{reader:?} reads {value:?}, which is no input and no earlier layer"))
}
