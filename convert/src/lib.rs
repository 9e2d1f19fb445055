//! Reads trained models that are not safetensors files: those of PyTorch, NumPy, Keras and ONNX.
//!
//! ```text
//! bytes -> Format -> named tensors, or layers with their weights -> safetensors bytes, for `skinny::model::Import`
//! ```
//!
//! The format is told by the content of a file, never by its name. A file may be hostile: sizes, offsets and nesting are checked
//! before memory is taken, which stays in proportion to the size of the file.

pub mod archive;
mod cursor;
mod error;
mod format;
mod keras;
pub mod npy;
pub mod npz;
mod onnx;
mod select;
mod tensor;
mod torch;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use error::{Error, Result};
pub use format::Format;
pub use select::{Rename, Selection};
pub use tensor::{Tensor, Tensors, to_safetensors};

/// A model file as safetensors.
#[derive(Clone, Debug)]
pub struct Converted<'a> {
    /// The format that was read.
    pub format: Format,
    /// A safetensors file: a state dict with PyTorch's names, or a model of the library.
    pub bytes: Cow<'a, [u8]>,
    /// What was assumed, one sentence each.
    pub assumptions: Vec<String>,
}

/// Reads a model file of any format.
///
/// Files that are no model of a known format are returned as they are: the library says what is wrong with them.
///
/// # Errors
/// [`Error`] says what is wrong, with the name of the tensor, layer or node at fault.
pub fn convert<'a>(bytes: &'a [u8], selection: &Selection) -> Result<Converted<'a>> {
    let unchanged = |format| Converted { format, bytes: Cow::Borrowed(bytes), assumptions: Vec::new() };
    let format = match Format::of(bytes) {
        None | Some(Format::Safetensors) if selection.is_all() => return Ok(unchanged(Format::Safetensors)),
        None => return Ok(unchanged(Format::Safetensors)),
        Some(format) => format,
    };
    if format.describes_layers() {
        if !selection.is_all() {
            let reason = format!("{format} describes its layers, whose names do not matter");
            return Err(Error::selection("prefix, rename", reason));
        }
        let (model, assumptions) = if format == Format::Keras { keras::read(bytes)? } else { onnx::read(bytes)? };
        return Ok(Converted { format, bytes: model.to_bytes()?.into(), assumptions });
    }
    let mut metadata = BTreeMap::new();
    let (tensors, nested) = match format {
        Format::Safetensors => match tensor::from_safetensors(bytes) {
            Some((_, found)) if found.contains_key("skinny") => {
                return Err(Error::selection("prefix, rename", "a model of skinny's own has no names to change"));
            }
            Some((tensors, found)) => {
                metadata = found;
                (tensors, Vec::new())
            }
            None => return Ok(unchanged(format)),
        },
        Format::Torch => torch::read(bytes)?,
        Format::Npz => {
            let mut tensors = Tensors::new();
            for (name, array) in npz::decode(bytes)? {
                if tensors.insert(name.clone(), array).is_some() {
                    return Err(Error::tensor(name, "two arrays have this name"));
                }
            }
            (tensors, Vec::new())
        }
        Format::Npy | Format::Keras | Format::Onnx => {
            let reason = "one array without a name is no model; save named arrays with numpy.savez";
            return Err(Error::container(format, reason));
        }
    };
    let (tensors, assumptions) = selection.of(tensors, &nested)?;
    Ok(Converted { format, bytes: to_safetensors(tensors, metadata)?.into(), assumptions })
}
