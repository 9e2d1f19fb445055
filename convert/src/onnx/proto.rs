//! The messages of ONNX, as far as they are read.

use std::collections::BTreeMap;

use super::array::Array;
use super::wire::{Damaged, Field, Fields};

/// A model: its graph, and the version of the standard operators.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub opset: i64,
    pub graph: Option<Graph>,
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub initializers: Vec<Initializer>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<String>,
    /// Whether there are initializers in a sparse form.
    pub has_sparse: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub name: String,
    pub kind: String,
    pub domain: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: BTreeMap<String, Attribute>,
}

/// The value of an attribute. Graphs are not read.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Float(f32),
    Integer(i64),
    Text(String),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    Texts(Vec<String>),
    Tensor(Result<Array, String>),
    Other,
}

/// A constant, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Initializer {
    pub name: String,
    pub array: Result<Array, String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    pub name: String,
    /// `TensorProto.DataType`.
    pub dtype: i64,
    /// The dimensions, unless the file leaves out how many there are.
    pub shape: Option<Vec<Dimension>>,
}

/// A dimension of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dimension {
    Fixed(usize),
    /// It may have any size. The name may be empty.
    Named(String),
}

/// Calls `see` for each field of a message.
pub(super) fn each<'a>(
    message: &'a [u8],
    mut see: impl FnMut(u64, Field<'a>) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    Fields::new(message).try_for_each(|field| field.and_then(|(number, field)| see(number, field)))
}

impl Model {
    pub fn parse(message: &[u8]) -> Result<Self, Damaged> {
        let mut model = Self::default();
        each(message, |number, field| {
            match number {
                7 => model.graph = Some(Graph::parse(field.bytes()?)?),
                8 => {
                    let (mut domain, mut version) = (String::new(), 0);
                    each(field.bytes()?, |number, field| {
                        match number {
                            1 => domain = field.text()?,
                            2 => version = field.integer()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if is_standard(&domain) {
                        model.opset = version;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }
}

/// Whether a domain is that of the standard operators.
fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl Graph {
    fn parse(message: &[u8]) -> Result<Self, Damaged> {
        let mut graph = Self::default();
        each(message, |number, field| {
            match number {
                1 => graph.nodes.push(Node::parse(field.bytes()?)?),
                5 => {
                    let (name, array) = Array::parse(field.bytes()?)?;
                    graph.initializers.push(Initializer { name, array });
                }
                11 => graph.inputs.push(Input::parse(field.bytes()?)?),
                12 => graph.outputs.push(Input::parse(field.bytes()?)?.name),
                15 => graph.has_sparse = true,
                _ => {}
            }
            Ok(())
        })?;
        Ok(graph)
    }
}

impl Node {
    fn parse(message: &[u8]) -> Result<Self, Damaged> {
        let mut node = Self::default();
        each(message, |number, field| {
            match number {
                1 => node.inputs.push(field.text()?),
                2 => node.outputs.push(field.text()?),
                3 => node.name = field.text()?,
                4 => node.kind = field.text()?,
                5 => {
                    let (name, attribute) = Attribute::parse(field.bytes()?)?;
                    node.attributes.insert(name, attribute);
                }
                7 => node.domain = field.text()?,
                _ => {}
            }
            Ok(())
        })?;
        if is_standard(&node.domain) {
            node.domain.clear();
        }
        Ok(node)
    }

    /// What messages call it: its name, or that of its first output.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { self.outputs.first().map_or("without a name", String::as_str) } else { &self.name }
    }

    /// The name of an input, unless it is left out.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.inputs.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The name of an output, unless it is left out.
    pub fn output(&self, i: usize) -> Option<&str> {
        self.outputs.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        if let Some(Attribute::Integer(value)) = self.attributes.get(name) { Some(*value) } else { None }
    }

    pub fn float(&self, name: &str) -> Option<f32> {
        if let Some(Attribute::Float(value)) = self.attributes.get(name) { Some(*value) } else { None }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(Attribute::Text(value)) = self.attributes.get(name) { Some(value) } else { None }
    }

    pub fn integers(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attribute::Integers(values)) = self.attributes.get(name) { Some(values) } else { None }
    }
}

impl Attribute {
    fn parse(message: &[u8]) -> Result<(String, Self), Damaged> {
        let (mut name, mut kind) = (String::new(), None);
        let (mut float, mut integer, mut text, mut tensor) = (0.0, 0, String::new(), None);
        let (mut floats, mut integers, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        each(message, |number, field| {
            match number {
                1 => name = field.text()?,
                2 => float = field.float()?,
                3 => integer = field.integer()?,
                4 => text = field.text()?,
                5 => tensor = Some(Array::parse(field.bytes()?)?.1),
                7 => field.floats(&mut floats)?,
                8 => field.integers(&mut integers)?,
                9 => texts.push(field.text()?),
                20 => kind = Some(field.integer()?),
                _ => {}
            }
            Ok(())
        })?;
        let value = match kind {
            Some(1) => Attribute::Float(float),
            Some(2) => Attribute::Integer(integer),
            Some(3) => Attribute::Text(text),
            Some(4) => tensor.map_or(Attribute::Other, Attribute::Tensor),
            Some(6) => Attribute::Floats(floats),
            Some(7) => Attribute::Integers(integers),
            Some(8) => Attribute::Texts(texts),
            _ => Attribute::Other,
        };
        Ok((name, value))
    }
}

impl Input {
    fn parse(message: &[u8]) -> Result<Self, Damaged> {
        let mut input = Self::default();
        each(message, |number, field| {
            match number {
                1 => input.name = field.text()?,
                // TypeProto, of which field 1 is a tensor: its type and its shape.
                2 => each(field.bytes()?, |number, field| {
                    let tensor = if number == 1 { field.bytes()? } else { &[] };
                    each(tensor, |number, field| {
                        match number {
                            1 => input.dtype = field.integer()?,
                            2 => input.shape = Some(dimensions(field.bytes()?)?),
                            _ => {}
                        }
                        Ok(())
                    })
                })?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(input)
    }
}

fn dimensions(message: &[u8]) -> Result<Vec<Dimension>, Damaged> {
    let mut dimensions = Vec::new();
    each(message, |number, field| {
        if number == 1 {
            let mut dimension = Dimension::Named(String::new());
            each(field.bytes()?, |number, field| {
                match number {
                    1 => {
                        // Some exporters write 0 or -1 for any size.
                        if let Ok(size @ 1..) = usize::try_from(field.integer()?) {
                            dimension = Dimension::Fixed(size);
                        }
                    }
                    2 => dimension = Dimension::Named(field.text()?),
                    _ => {}
                }
                Ok(())
            })?;
            dimensions.push(dimension);
        }
        Ok(())
    })?;
    Ok(dimensions)
}
