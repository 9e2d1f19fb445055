//! What a pickle may make by calls: tensors, dictionaries, objects without behaviour.

use super::{Id, Machine, Storage, Value, View, damaged};
use crate::error::{Error, Result};

/// PyTorch's own limit.
const DIMENSIONS: usize = 64;

impl<'a> Machine<'a> {
    /// The value that a call makes, of the functions that are known.
    pub(super) fn call(&mut self, function: Id, arguments: Id) -> Result<Id> {
        let &Value::Global(module, name) = self.get(function) else {
            return Err(Error::Call { name: self.global_name(function) });
        };
        // No function that is known has more arguments.
        let arguments: Vec<Id> = match self.get(arguments) {
            Value::Sequence(arguments) => arguments.iter().take(9).copied().collect(),
            _ => return Err(damaged("a call without arguments")),
        };
        let value = match (module, name, &arguments[..]) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                self.view(storage, offset, shape, strides, None)?
            }
            ("torch._utils", "_rebuild_tensor_v3", &[storage, offset, shape, strides, _, _, dtype, ..]) => {
                self.view(storage, offset, shape, strides, Some(dtype))?
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", &[tensor, ..]) => {
                return Ok(tensor);
            }
            ("torch._tensor", "_rebuild_from_type_v2", &[function, _, arguments, ..])
                if self.is_tensor_maker(function) =>
            {
                return self.call(function, arguments);
            }
            ("collections", "OrderedDict" | "defaultdict", items) => self.ordered(items)?,
            // Sets, sizes, and the lists of numbers in TorchScript.
            ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple", &[items])
            | ("torch", "Size", &[items])
            | ("torch.jit._pickle", _, &[items, ..]) => return Ok(items),
            ("copy_reg" | "copyreg", "_reconstructor", &[class, ..]) => Value::Object { class, attributes: None },
            // Values that say nothing about a model: devices, layouts, numbers of numpy, bytes.
            ("torch", "device", _)
            | ("torch.serialization", "_get_layout", _)
            | ("numpy", "dtype", _)
            | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar", _)
            | ("_codecs", "encode", _) => Value::Other,
            _ => return Err(Error::Call { name: self.global_name(function) }),
        };
        self.add(value)
    }

    /// Whether a function is one that makes a tensor, so that calls of it do not nest.
    fn is_tensor_maker(&self, function: Id) -> bool {
        matches!(self.get(function), Value::Global("torch._utils", name) if name.starts_with("_rebuild"))
    }

    /// A function or class in a message.
    pub(super) fn global_name(&self, id: Id) -> String {
        match self.get(id) {
            Value::Global(module, name) => format!("{module}.{name}"),
            _ => "a value that is no function".into(),
        }
    }

    /// The dictionary of `OrderedDict()` or `OrderedDict([(key, value), ...])`.
    fn ordered(&mut self, arguments: &[Id]) -> Result<Value<'a>> {
        let mut dict = Vec::new();
        if let [items] = arguments
            && let Value::Sequence(items) = self.get(*items)
        {
            let copies = self.copies.checked_sub(items.len());
            let copies = copies.ok_or_else(|| damaged("it makes dictionaries of the same list over and over"))?;
            for &item in items {
                match self.get(item) {
                    Value::Sequence(pair) if pair.len() == 2 => dict.extend(pair),
                    _ => return Err(damaged("a dictionary of something other than pairs")),
                }
            }
            self.copies = copies;
        }
        Ok(Value::Dict(dict))
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id, dtype: Option<Id>) -> Result<Value<'a>> {
        let number = |id| match *self.get(id) {
            Value::Int(number) => u64::try_from(number).map_err(|_| damaged("a tensor with a size or stride below 0")),
            _ => Err(damaged("a tensor with a size that is no number")),
        };
        let numbers = |id| match self.get(id) {
            Value::Sequence(items) if items.len() <= DIMENSIONS => {
                items.iter().map(|&item| number(item)).collect::<Result<Vec<u64>>>()
            }
            _ => Err(damaged("a tensor without dimensions, or with more than 64")),
        };
        let (shape, strides) = (numbers(shape)?, numbers(strides)?);
        if !matches!(self.get(storage), Value::Storage(_)) || shape.len() != strides.len() {
            return Err(damaged("a tensor without storage, or with strides for other dimensions"));
        }
        let offset = number(offset)?;
        Ok(Value::Tensor(Box::new(View { storage, dtype, offset, shape, strides })))
    }

    /// Gives an object its attributes.
    pub(super) fn build(&mut self, object: Id, attributes: Id) -> Result<()> {
        match &mut self.values[object.0 as usize] {
            Value::Object { attributes: known, .. } => *known = Some(attributes),
            // The `_metadata` of a state dict, the state of a dtype.
            Value::Dict(_) | Value::Other => {}
            _ => return Err(damaged("attributes for what is no object")),
        }
        Ok(())
    }

    /// The storage of a persistent id: `("storage", CLASS, KEY, LOCATION, ELEMENTS)`, and in old files a view, which is `None`.
    pub(super) fn storage(&self, id: Id) -> Result<Value<'a>> {
        let unknown = || damaged("a storage that is not described as torch.save does");
        let Value::Sequence(parts) = self.get(id) else { return Err(unknown()) };
        let (&[kind, class, key, _, elements] | &[kind, class, key, _, elements, _]) = &parts[..] else {
            return Err(unknown());
        };
        if let Some(&view) = parts.get(5)
            && *self.get(view) != Value::Other
        {
            return Err(damaged("a view of a storage, as PyTorch before 0.4 wrote it; save it with a later release"));
        }
        match (self.get(kind), self.get(class), self.get(key), self.get(elements)) {
            (Value::Text("storage"), &Value::Global(_, class), &Value::Text(key), &Value::Int(elements)) => {
                let elements = u64::try_from(elements).map_err(|_| unknown())?;
                Ok(Value::Storage(Storage { class, key, elements }))
            }
            _ => Err(unknown()),
        }
    }
}
