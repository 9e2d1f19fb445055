//! What a Keras model says about its layers, in JSON.

use serde_json::Value;

use super::h5::bad;
use crate::error::{Error, Result};

/// A layer's description.
#[derive(Clone, Debug)]
pub(super) struct Described<'c> {
    pub class: &'c str,
    pub name: &'c str,
    pub config: &'c Value,
    /// The name of its group in files of Keras 3: its class in lower case, and a number if there are several of the class.
    pub group: String,
}

impl<'c> Described<'c> {
    fn new(layer: &'c Value) -> Result<Self> {
        let text = |value: &'c Value| value.as_str();
        let (class, config) = (layer.get("class_name").and_then(text), layer.get("config"));
        let name = config.and_then(|config| config.get("name")).and_then(text).or(layer.get("name").and_then(text));
        match (class, config, name) {
            (Some(class), Some(config), Some(name)) => Ok(Self { class, name, config, group: String::new() }),
            _ => Err(bad("a layer without a class, a name or a configuration")),
        }
    }

    /// The layer within this one, such as the GRU of a Bidirectional.
    pub fn inner(&self, key: &str) -> Option<Self> {
        let mut inner = Self::new(self.config.get(key)?).ok()?;
        inner.name = self.name;
        Some(inner)
    }

    /// The error that this layer is not supported.
    pub fn refused(&self, reason: impl std::fmt::Display) -> Error {
        Error::Layer { layer: self.name.into(), kind: self.class.into(), reason: reason.to_string() }
    }

    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.config.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.config.get(key).and_then(Value::as_f64)
    }

    /// A whole number, or the only one of a list: `3` or `[3]`.
    pub fn whole(&self, key: &str, default: usize) -> Result<usize> {
        let value = match self.config.get(key) {
            None | Some(Value::Null) => return Ok(default),
            Some(Value::Array(items)) if items.len() == 1 => &items[0],
            Some(value) => value,
        };
        let whole = value.as_u64().and_then(|value| usize::try_from(value).ok());
        whole.ok_or_else(|| self.refused(format!("{key} is {value}, which is not one whole number")))
    }

    /// A text, or the name of what stands in its place.
    pub fn text(&self, key: &str, default: &'c str) -> &'c str {
        match self.config.get(key) {
            Some(Value::String(text)) => text,
            Some(Value::Object(object)) => object
                .get("config")
                .and_then(Value::as_str)
                .or(object.get("class_name").and_then(Value::as_str))
                .unwrap_or("unknown"),
            _ => default,
        }
    }
}

/// The layers of a Sequential model, or of a Functional model in which each layer feeds one other, in order.
pub(super) fn layers(model: &Value) -> Result<Vec<Described<'_>>> {
    let class = model.get("class_name").and_then(Value::as_str).unwrap_or("unknown");
    let config = model.get("config").unwrap_or(&Value::Null);
    let listed = config.get("layers").or(Some(config)).and_then(Value::as_array);
    let listed = listed.ok_or_else(|| {
        bad(format!(
            "a model of class {class}, whose layers are not in the file; save a Sequential or Functional model"
        ))
    })?;
    let mut layers = listed.iter().map(Described::new).collect::<Result<Vec<_>>>()?;
    for i in 0..layers.len() {
        let before = layers[..i].iter().filter(|other| other.class == layers[i].class).count();
        let name = snake_case(layers[i].class);
        layers[i].group = if before == 0 { name } else { format!("{name}_{before}") };
    }
    match class {
        "Sequential" => Ok(layers),
        "Functional" | "Model" => chained(layers, listed),
        _ => Err(bad(format!("a model of class {class}; only Sequential and Functional models are read"))),
    }
}

/// Keras's own way: `TimeDistributed` becomes `time_distributed`, `GRU` and `Conv1D` become `gru` and `conv1d`.
fn snake_case(class: &str) -> String {
    let class: Vec<char> = class.chars().filter(|c| c.is_alphanumeric()).collect();
    let mut name = String::new();
    for (i, c) in class.iter().enumerate() {
        let next_is_lower = class.get(i + 1).is_some_and(|next| next.is_lowercase());
        let after_lower = i > 0 && (class[i - 1].is_lowercase() || class[i - 1].is_numeric());
        if i > 0 && c.is_uppercase() && (next_is_lower || after_lower && class[i - 1].is_lowercase()) {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// Puts the layers of a Functional model in the order of their connections.
fn chained<'c>(mut layers: Vec<Described<'c>>, listed: &[Value]) -> Result<Vec<Described<'c>>> {
    let mut inputs: Vec<Vec<String>> = Vec::new();
    for (layer, listed) in layers.iter().zip(listed) {
        let mut names = Vec::new();
        sources(listed.get("inbound_nodes").unwrap_or(&Value::Null), &mut names);
        if names.len() > 1 {
            return Err(layer
                .refused(format!("reads {}; only models whose layers read one other are read", names.join(" and "))));
        }
        inputs.push(names);
    }
    let mut order: Vec<usize> = Vec::new();
    let mut next: Vec<usize> = (0..layers.len()).filter(|&i| inputs[i].is_empty()).collect();
    while let [only] = next[..] {
        order.push(only);
        let name = layers[only].name;
        next = (0..layers.len())
            .filter(|&i| !order.contains(&i) && inputs[i].first().is_some_and(|input| input == name))
            .collect();
    }
    if order.len() < layers.len() {
        let at = next.first().copied().unwrap_or_else(|| (0..layers.len()).find(|i| !order.contains(i)).unwrap_or(0));
        return Err(layers[at]
            .refused("is one of several branches, or apart from the others; only models without branches are read"));
    }
    let mut sorted: Vec<Option<Described<'c>>> = layers.drain(..).map(Some).collect();
    Ok(order.into_iter().filter_map(|i| sorted[i].take()).collect())
}

/// The layers that a description of connections names: lists that begin with a name and two numbers.
fn sources(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => match &items[..] {
            [Value::String(name), Value::Number(_), Value::Number(_), ..] => names.push(name.clone()),
            _ => items.iter().for_each(|item| sources(item, names)),
        },
        Value::Object(entries) => entries.values().for_each(|entry| sources(entry, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_called_as_keras_calls_them() {
        for (class, name) in [
            ("Dense", "dense"),
            ("GRU", "gru"),
            ("Conv1D", "conv1d"),
            ("TimeDistributed", "time_distributed"),
            ("BatchNormalization", "batch_normalization"),
            ("InputLayer", "input_layer"),
            ("SpatialDropout1D", "spatial_dropout1d"),
            ("ReLU", "re_lu"),
            ("SimpleRNN", "simple_rnn"),
            ("Bidirectional", "bidirectional"),
        ] {
            assert_eq!(snake_case(class), name);
        }
    }
}
