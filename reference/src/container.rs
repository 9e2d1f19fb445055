//! safetensors, and the objects of its JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A result, or what is wrong with a file.
pub type Result<T> = std::result::Result<T, String>;

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// `"F32"`, `"F16"`, `"BF16"`, `"I8"` or `"U8"` in model files.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, row by row, little-endian.
    pub bytes: Vec<u8>,
}

/// The JSON object of the entry `skinny`, and the tensors by their names.
///
/// # Errors
/// A file that is no safetensors file, or has no such entry.
pub fn open(file: &[u8]) -> Result<(Value, BTreeMap<String, Tensor>)> {
    let (length, rest) = file.split_first_chunk().ok_or("the file is shorter than 8 bytes")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (header, data) = rest.split_at_checked(length).ok_or("the header is longer than the file")?;
    let mut header = Entries::parse("the header", header)?;
    let mut metadata = Entries::new("__metadata__", header.take("__metadata__")?)?;
    let model = metadata.text("skinny")?;
    let model = serde_json::from_str(&model).map_err(|error| format!("skinny: {error}"))?;
    let mut tensors = BTreeMap::new();
    let mut ranges = vec![];
    for (name, entry) in header.map {
        let mut entry = Entries::new(&name, entry)?;
        let dtype = entry.text("dtype")?;
        let shape = numbers(&name, entry.take("shape")?)?;
        let [begin, end] = numbers(&name, entry.take("data_offsets")?)?[..] else {
            return Err(format!("{name}: there must be two offsets"));
        };
        entry.end()?;
        let bytes = data.get(begin..end).ok_or(format!("{name}: it does not lie inside the file"))?.to_vec();
        let size = match dtype.as_str() {
            "F32" => 4,
            "F16" | "BF16" => 2,
            "I8" | "U8" => 1,
            _ => return Err(format!("{name}: {dtype} is not read")),
        };
        if shape.iter().try_fold(size, |product: usize, &n| product.checked_mul(n)) != Some(bytes.len()) {
            return Err(format!("{name}: {} bytes are not {dtype} of shape {shape:?}", bytes.len()));
        }
        ranges.push((begin, end));
        tensors.insert(name, Tensor { dtype, shape, bytes });
    }
    ranges.sort_unstable();
    let covered = ranges.iter().try_fold(0, |at, &(begin, end)| (at == begin).then_some(end));
    if covered != Some(data.len()) {
        return Err("the tensors do not lie one behind the other up to the end of the file".into());
    }
    Ok((model, tensors))
}

fn numbers(what: &str, value: Value) -> Result<Vec<usize>> {
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let numbers = value.as_array().and_then(|array| array.iter().map(number).collect());
    numbers.ok_or(format!("{what}: {value} is not an array of numbers"))
}

/// The entries of a JSON object. Each is taken; what is left at the end is an error.
pub struct Entries {
    what: String,
    map: Map<String, Value>,
}

impl Entries {
    /// Of a text.
    pub fn parse(what: &str, text: &[u8]) -> Result<Self> {
        Self::new(what, serde_json::from_slice(text).map_err(|error| format!("{what}: {error}"))?)
    }

    /// Of an object.
    pub fn new(what: &str, value: Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { what: what.into(), map }),
            _ => Err(format!("{what}: {value} is not an object")),
        }
    }

    /// An entry that may be left out.
    pub fn optional(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key)
    }

    /// An entry that must be there.
    pub fn take(&mut self, key: &str) -> Result<Value> {
        self.optional(key).ok_or(format!("{}: {key} is missing", self.what))
    }

    /// A string.
    pub fn text(&mut self, key: &str) -> Result<String> {
        let value = self.take(key)?;
        value.as_str().map(String::from).ok_or(format!("{}: {key} is not a string", self.what))
    }

    /// A number of things, at least `least`.
    pub fn count(&mut self, key: &str, least: usize) -> Result<usize> {
        let value = self.take(key)?;
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n >= least);
        count.ok_or(format!("{}: {key} is {value} and not a number from {least} on", self.what))
    }

    /// Whether something is there.
    pub fn flag(&mut self, key: &str) -> Result<bool> {
        self.take(key)?.as_bool().ok_or(format!("{}: {key} is neither true nor false", self.what))
    }

    /// Fails if entries are left.
    pub fn end(self) -> Result<()> {
        self.map.keys().next().map_or(Ok(()), |key| Err(format!("{}: {key} is not understood", self.what)))
    }
}

/// A finite parameter, above `above` if that is given.
pub fn parameter(what: &str, value: &Value, above: Option<f32>) -> Result<f32> {
    let number = value.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && above.is_none_or(|above| *x > above));
    number.ok_or(format!("{what}: the parameter {value} is out of range"))
}

/// An object with one entry: the name of a kind, and what belongs to it.
pub fn variant(what: &str, value: Value) -> Result<(String, Value)> {
    match value {
        Value::Object(map) if map.len() == 1 => Ok(map.into_iter().next().expect("there is one")),
        other => Err(format!("{what}: {other} is not an object with one entry")),
    }
}

/// A JSON array.
pub fn array(what: &str, value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(format!("{what}: {other} is not an array")),
    }
}
