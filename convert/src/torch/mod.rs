//! Files that `torch.save` and `torch.jit.save` wrote.

mod container;
mod pickle;
mod view;

use std::collections::{BTreeSet, HashSet};

use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::format::Format;
use crate::tensor::Tensors;
use container::Parts;
use pickle::{Id, Pickle, Value};
use view::Reader;

/// The most dictionaries within dictionaries. State dicts of optimizers have four.
const DEPTH: usize = 64;

/// The most values that are looked at for one byte of the pickle. Each costs a byte, but may be part of several others.
const VISITS_PER_BYTE: usize = 4;

/// The most characters of a tensor's name, which is made of keys that may be repeated.
const NAME: usize = 1000;

/// The tensors of a file, by the keys that lead to them, joined by dots. Also the entries of the file that hold them, if all lie in
/// entries of entries.
pub(crate) fn read(bytes: &[u8]) -> Result<(Tensors, Vec<String>)> {
    let parts = Parts::read(bytes)?;
    let pickle = pickle::read(&mut Cursor(&parts.pickle))?;
    let left = parts.pickle.len().saturating_mul(VISITS_PER_BYTE);
    let reader = Reader::new(&pickle, &parts, bytes.len());
    let mut walk = Walk { pickle: &pickle, reader, left, tensors: Tensors::new() };
    walk.value(pickle.root, "", 0, None)?;
    let tensors = walk.tensors;
    if tensors.is_empty() {
        return Err(Error::container(Format::Torch, "it holds no tensors"));
    }
    let nested = nested(&pickle, &tensors);
    Ok((tensors, nested))
}

/// The keys of the root that hold tensors, if it is a dictionary of dictionaries.
fn nested(pickle: &Pickle<'_>, tensors: &Tensors) -> Vec<String> {
    let Value::Dict(items) = pickle.get(pickle.root) else { return Vec::new() };
    let holds =
        |prefix: &str| tensors.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix));
    let mut names = BTreeSet::new();
    for &[key, value] in items.as_chunks().0 {
        let Some(key) = pickle.key(key) else { continue };
        match pickle.get(value) {
            Value::Tensor(_) => return Vec::new(),
            Value::Dict(_) | Value::Object { .. } | Value::Sequence(_) if holds(&format!("{key}.")) => {
                names.insert(key);
            }
            _ => {}
        }
    }
    names.into_iter().collect()
}

/// A walk from the root of a pickle to its tensors.
struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    reader: Reader<'p, 'a>,
    /// Values that may still be visited.
    left: usize,
    tensors: Tensors,
}

impl<'p> Walk<'p, '_> {
    /// Counts visits of values, and fails if there are too many.
    fn charge(&mut self, visits: usize) -> Result<()> {
        self.left = self.left.checked_sub(visits).ok_or_else(|| {
            let reason = "its pickle refers to the same values over and over, which torch.save does not do";
            Error::container(Format::Torch, reason)
        })?;
        Ok(())
    }

    /// Takes the tensors of a value. `within` is the object that it belongs to, if that is no module.
    fn value(&mut self, id: Id, name: &str, depth: usize, within: Option<&str>) -> Result<()> {
        self.charge(1)?;
        if name.len() > NAME {
            return Err(Error::container(Format::Torch, format!("a tensor's name has more than {NAME} bytes")));
        }
        if depth > DEPTH {
            return Err(Error::container(Format::Torch, format!("its entries are nested more than {DEPTH} deep")));
        }
        let pickle: &'p Pickle<'_> = self.pickle;
        match pickle.get(id) {
            Value::Tensor(view) => {
                if let Some(class) = within {
                    let reason =
                        format!("belongs to an object of class {class}, which is not known; save the state dict");
                    return Err(Error::tensor(name, reason));
                }
                let tensor = self.reader.tensor(name, view)?;
                match self.tensors.insert(name.to_owned(), tensor) {
                    None => Ok(()),
                    Some(_) => Err(Error::tensor(name, "two tensors have this name")),
                }
            }
            Value::Dict(items) => {
                for &[key, value] in items.as_chunks().0 {
                    if let Some(key) = pickle.key(key) {
                        self.value(value, &joined(name, &key), depth + 1, within)?;
                    }
                }
                Ok(())
            }
            Value::Sequence(items) => {
                for (i, &item) in items.iter().enumerate() {
                    self.value(item, &joined(name, &i.to_string()), depth + 1, within)?;
                }
                Ok(())
            }
            &Value::Object { class, attributes: Some(attributes) } => {
                self.object(class, attributes, name, depth, within)
            }
            _ => Ok(()),
        }
    }

    /// Takes the tensors of a module that was saved as a whole: those that `state_dict()` would give.
    fn object(&mut self, class: Id, attributes: Id, name: &str, depth: usize, within: Option<&str>) -> Result<()> {
        let pickle: &'p Pickle<'_> = self.pickle;
        let class = match pickle.get(class) {
            Value::Global(module, class) => format!("{module}.{class}"),
            _ => "without a name".into(),
        };
        if let Value::Dict(items) = pickle.get(attributes) {
            self.charge(items.len())?;
            // TorchScript's objects have their parameters and modules as attributes, and lists of them besides.
            if class.starts_with("__torch__.") {
                for &[key, value] in items.as_chunks().0 {
                    if let Some(key) = pickle.key(key)
                        && matches!(pickle.get(value), Value::Tensor(_) | Value::Object { .. })
                    {
                        self.value(value, &joined(name, &key), depth + 1, within)?;
                    }
                }
                return Ok(());
            }
        }
        let attribute = |wanted: &str| match pickle.get(attributes) {
            Value::Dict(items) => {
                let mut pairs = items.as_chunks().0.iter();
                pairs.find(|[key, _]| *pickle.get(*key) == Value::Text(wanted)).map(|&[_, value]| value)
            }
            _ => None,
        };
        let [Some(parameters), Some(modules)] = ["_parameters", "_modules"].map(attribute) else {
            return self.value(attributes, name, depth + 1, Some(within.unwrap_or(&class)));
        };
        let not_saved: HashSet<String> = match attribute("_non_persistent_buffers_set").map(|set| pickle.get(set)) {
            Some(Value::Sequence(names)) => names.iter().filter_map(|&name| pickle.key(name)).collect(),
            _ => HashSet::new(),
        };
        self.value(parameters, name, depth + 1, within)?;
        if let Some(buffers) = attribute("_buffers")
            && let Value::Dict(items) = pickle.get(buffers)
        {
            for &[key, value] in items.as_chunks().0 {
                if let Some(key) = pickle.key(key).filter(|key| !not_saved.contains(key)) {
                    self.value(value, &joined(name, &key), depth + 1, within)?;
                }
            }
        }
        self.value(modules, name, depth + 1, within)
    }
}

fn joined(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}
