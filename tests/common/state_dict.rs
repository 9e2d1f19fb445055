//! Safetensors files made by hand, and what reading them gives.

#![allow(dead_code, reason = "each user uses some of it")]

use skinny::Error;
use skinny::model::{Import, ImportOptions, Model};

/// A file, tensor by tensor.
#[derive(Clone, Default)]
pub struct StateDict {
    metadata: Vec<(String, String)>,
    entries: Vec<String>,
    data: Vec<u8>,
}

impl StateDict {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// A tensor of any type, with these bytes.
    pub fn tensor(mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) -> Self {
        let (start, end) = (self.data.len(), self.data.len() + bytes.len());
        let name = serde_json::to_string(name).unwrap();
        self.entries.push(format!(r#"{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#));
        self.data.extend_from_slice(bytes);
        self
    }

    pub fn values(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, "F32", shape, &bytes)
    }

    /// Floats that differ from each other and from those of other names.
    pub fn floats(self, name: &str, shape: &[usize]) -> Self {
        let values = pattern(name, shape.iter().product());
        self.values(name, shape, &values)
    }

    /// A `Linear`: weight and bias.
    pub fn linear(self, prefix: &str, output: usize, input: usize) -> Self {
        self.floats(&format!("{prefix}.weight"), &[output, input]).floats(&format!("{prefix}.bias"), &[output])
    }

    /// A layer of a recurrent module with that many gates. The names of its parameters end in `suffix`.
    pub fn recurrent(self, prefix: &str, suffix: &str, gates: usize, hidden: usize, input: usize) -> Self {
        let name = |parameter: &str| format!("{prefix}.{parameter}{suffix}");
        self.floats(&name("weight_ih"), &[gates * hidden, input])
            .floats(&name("weight_hh"), &[gates * hidden, hidden])
            .floats(&name("bias_ih"), &[gates * hidden])
            .floats(&name("bias_hh"), &[gates * hidden])
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        if !self.metadata.is_empty() {
            let metadata: std::collections::BTreeMap<_, _> = self.metadata.iter().cloned().collect();
            entries.push(format!(r#""__metadata__":{}"#, serde_json::to_string(&metadata).unwrap()));
        }
        entries.extend(self.entries.iter().cloned());
        file(&format!("{{{}}}", entries.join(",")), &self.data)
    }
}

/// A header and what is behind it.
pub fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Numbers in -0.5..0.5.
pub fn pattern(name: &str, len: usize) -> Vec<f32> {
    let salt: usize = name.bytes().map(usize::from).sum();
    (0..len).map(|i| ((i * 37 + salt * 11) % 101) as f32 / 101.0 - 0.5).collect()
}

pub fn listed(layers: &str) -> ImportOptions {
    ImportOptions { layers: Some(layers.into()), ..ImportOptions::default() }
}

pub fn dropping(drop: &[&str]) -> ImportOptions {
    ImportOptions { drop: drop.iter().map(|name| name.to_string()).collect(), ..ImportOptions::default() }
}

pub fn keeping(keep: &[&str]) -> ImportOptions {
    ImportOptions { keep: keep.iter().map(|name| name.to_string()).collect(), ..ImportOptions::default() }
}

pub fn import(dict: &StateDict, options: &ImportOptions) -> Import {
    Import::from_pytorch(&dict.bytes(), options).unwrap_or_else(|error| panic!("{error}"))
}

/// The message with which a file is refused.
pub fn refused_file(file: &[u8], options: &ImportOptions) -> String {
    match Model::from_pytorch(file, options) {
        Err(Error::File(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

pub fn refused(dict: &StateDict, options: &ImportOptions) -> String {
    refused_file(&dict.bytes(), options)
}

/// The same, without options.
pub fn refused_plain(dict: &StateDict) -> String {
    refused(dict, &ImportOptions::default())
}

pub fn gru_and_fc() -> StateDict {
    StateDict::new().recurrent("rnn", "_l0", 3, 4, 5).linear("fc", 2, 4)
}

pub fn kinds(model: &Model) -> Vec<String> {
    model.layers().map(|(name, layer)| format!("{name}: {}", layer.kind())).collect()
}
