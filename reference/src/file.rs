//! The model file, version by version.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::container::{Entries, Result, Tensor, array, open};
use crate::layer::Count;
use crate::model::{Join, Model, Node, Operation};

/// Reads a model.
///
/// # Errors
/// What is wrong with the file, and where.
pub fn read(file: &[u8]) -> Result<Model> {
    let (header, tensors) = open(file)?;
    let mut header = Entries::new("the model", header)?;
    let version = match header.text("version")?.as_str() {
        "1" => 1,
        "2" => 2,
        other => return Err(format!("version {other} is not understood")),
    };
    let mut reader = Reader { version, tensors };
    let model = reader.model(&mut header)?;
    header.end()?;
    match reader.tensors.keys().next() {
        Some(name) => Err(format!("the tensor {name} belongs to nothing")),
        None => Ok(model),
    }
}

/// The frames of inputs.
const INPUT: Count = Count::Frames { more: 0, stride: 1 };

/// What is left of a file: its tensors, which are taken one by one.
pub(crate) struct Reader {
    version: u32,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Reader {
    /// Fails in a file of version 1.
    pub(crate) fn of_version_2(&self, what: &str) -> Result<()> {
        if self.version >= 2 { Ok(()) } else { Err(format!("{what} needs version 2")) }
    }

    /// An optional entry of version 2.
    pub(crate) fn newer(&self, entries: &mut Entries, key: &str) -> Result<Option<Value>> {
        let value = entries.optional(key);
        value.map(|value| self.of_version_2(key).map(|()| value)).transpose()
    }

    fn model(&mut self, header: &mut Entries) -> Result<Model> {
        let entries = array("layers", header.take("layers")?)?;
        let names: Vec<String> = entries.iter().filter_map(|entry| entry["name"].as_str().map(String::from)).collect();
        let declared = self.newer(header, "inputs")?;
        let of_list = declared.is_none();
        let mut values = Values::default();
        for input in array("inputs", declared.unwrap_or_else(|| Value::Array(vec![])))? {
            let mut input = Entries::new("an input", input)?;
            values.add(input.text("name")?, input.count("features", 1)?, INPUT, true)?;
            input.end()?;
        }
        let mut nodes = vec![];
        for entry in entries {
            let mut entry = Entries::new("an entry of layers", entry)?;
            let name = entry.text("name")?;
            let reads = self.newer(&mut entry, "reads")?;
            let operation = match self.newer(&mut entry, "join")? {
                None => Operation::Layer(Box::new(self.layer(&name, entry.take("layer")?)?)),
                Some(join) => Operation::Join(match join.as_str() {
                    Some("concat") => Join::Concat,
                    Some("add") => Join::Add,
                    Some("multiply") => Join::Multiply,
                    _ => return Err(format!("{name}: the join {join} is not understood")),
                }),
            };
            entry.end()?;
            if let (Operation::Layer(layer), true, true) = (&operation, of_list, nodes.is_empty()) {
                let mut input = String::from("input");
                while names.contains(&input) {
                    input.push('_');
                }
                values.add(input, layer.features().0, INPUT, false)?;
            }
            let reads: Vec<usize> = match reads {
                Some(reads) => array("reads", reads)?.iter().map(|read| values.find(read)).collect::<Result<_>>()?,
                None => vec![values.all.len().checked_sub(1).ok_or(format!("{name} has nothing to read"))?],
            };
            let of_read: Vec<usize> = reads.iter().map(|&value| values.all[value].1).collect();
            let features = match &operation {
                Operation::Layer(layer) => (of_read == [layer.features().0]).then_some(layer.features().1),
                Operation::Join(join) => join.features(&of_read).filter(|_| reads.len() >= 2),
            };
            let features = features.ok_or(format!("{name} does not fit the {of_read:?} features that it reads"))?;
            let first = values.counts[reads[0]];
            let (count, is_free) = match &operation {
                Operation::Layer(layer) => (layer.count(first), layer.has_no_weights()),
                Operation::Join(_) if reads.iter().all(|&value| values.counts[value] == first) => (Ok(first), true),
                Operation::Join(_) => (Err("its values differ in their number of frames".into()), true),
            };
            values.read.extend(&reads);
            values.add(name.clone(), features, count.map_err(|error| format!("{name}: {error}"))?, is_free)?;
            nodes.push(Node { name, reads, operation });
        }
        if nodes.is_empty() {
            return Err("there are no layers".into());
        }
        let outputs = self.outputs(header, &mut values)?;
        if let Some(value) = (0..values.all.len()).find(|value| !values.read.contains(value)) {
            return Err(format!("nothing reads {}", values.all[value].0));
        }
        let mut attachments = BTreeMap::new();
        for name in array("attachments", header.optional("attachments").unwrap_or_else(|| Value::Array(vec![])))? {
            let name = name.as_str().ok_or("the name of an attachment is not a string")?.to_string();
            let attachment = self.attachment(&name)?;
            attachments.insert(name, attachment);
        }
        let mut metadata = BTreeMap::new();
        if let Some(texts) = header.optional("metadata") {
            let Value::Object(texts) = texts else { return Err("metadata is not an object".into()) };
            for (key, text) in texts {
                let text = text.as_str().ok_or(format!("{key} in metadata is not a string"))?.to_string();
                metadata.insert(key, text);
            }
        }
        values.all.truncate(values.all.len() - nodes.len());
        Ok(Model { inputs: values.all, nodes, outputs, attachments, metadata })
    }

    /// Names and values of the outputs.
    fn outputs(&mut self, header: &mut Entries, values: &mut Values) -> Result<Vec<(String, usize)>> {
        let mut outputs: Vec<(String, usize)> = vec![];
        match self.newer(header, "outputs")? {
            None => outputs.push(("output".into(), values.all.len() - 1)),
            Some(entries) => {
                for output in array("outputs", entries)? {
                    let mut output = Entries::new("an output", output)?;
                    let (name, value) = (output.text("name")?, values.find(&output.take("value")?)?);
                    output.end()?;
                    if outputs.iter().any(|(other, _)| *other == name) {
                        return Err(format!("there are two outputs called {name}"));
                    }
                    outputs.push((name, value));
                }
            }
        }
        values.read.extend(outputs.iter().map(|(_, value)| value));
        Ok(outputs)
    }
}

/// The values of a graph: its inputs, then its layers and joins.
#[derive(Default)]
struct Values {
    /// Names and features.
    all: Vec<(String, usize)>,
    /// How many frames they have.
    counts: Vec<Count>,
    /// Those that something reads.
    read: Vec<usize>,
}

impl Values {
    /// Adds a value. One that is free, because no weights bound its features, must not be too large.
    fn add(&mut self, name: String, features: usize, count: Count, is_free: bool) -> Result<()> {
        let total = self.all.iter().fold(features, |total, (_, features)| total.saturating_add(*features));
        if is_free && total > 1 << 24 {
            return Err(format!("{name}: {total} features of all values together are too many"));
        }
        if self.all.iter().any(|(other, _)| *other == name) {
            return Err(format!("there are two values called {name}"));
        }
        self.all.push((name, features));
        self.counts.push(count);
        Ok(())
    }

    fn find(&self, name: &Value) -> Result<usize> {
        let value = self.all.iter().position(|(other, _)| Some(other.as_str()) == name.as_str());
        value.ok_or(format!("there is no earlier value {name}"))
    }
}
