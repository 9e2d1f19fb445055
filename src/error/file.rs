//! What can be wrong with a model file.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::Error;

/// Why a model file was refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be read or written.
    Io {
        /// The file.
        path: String,
        /// What the operating system said.
        reason: String,
    },
    /// It is not a safetensors file, or a damaged one.
    Container {
        /// What the parser said.
        reason: String,
    },
    /// The header's description of the model is missing or malformed.
    Header {
        /// The key of the metadata.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// The file's version is not one that this release reads.
    Version {
        /// The version in the file.
        found: String,
        /// The one that this release reads and writes.
        supported: &'static str,
    },
    /// A tensor is not what the model needs.
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// Tensors are what they should be, but do not make a layer, or the layer does not fit its neighbours.
    Layer {
        /// Its name.
        layer: String,
        /// Why.
        problem: Box<Error>,
    },
    /// The list of the layers asks for what there is not, or for what a layer does not take.
    LayerList {
        /// The part of the list at fault.
        item: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The order of the layers does not follow from the tensors' shapes.
    Order {
        /// The layers, as far as they are known.
        layers: Vec<String>,
        /// What makes it impossible.
        reason: String,
    },
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The file lacks it.
    Missing,
    /// The model has no use for it.
    Unexpected,
    /// It has another element type.
    Dtype {
        /// The types it may have.
        expected: &'static str,
        /// The type it has.
        found: String,
    },
    /// It has other dimensions.
    Shape {
        /// The dimensions it must have, in words.
        expected: String,
        /// The dimensions it has.
        found: Vec<usize>,
    },
    /// Its numbers cannot be used.
    Invalid(Box<Error>),
    /// It belongs to something that is not supported, or may belong to it.
    NotSupported {
        /// What that is, and what helps.
        reason: String,
    },
}

#[cfg(feature = "safetensors")]
impl FileError {
    /// A tensor with a problem.
    pub(crate) fn tensor(tensor: impl Into<String>, problem: TensorProblem) -> Error {
        FileError::Tensor { tensor: tensor.into(), problem }.into()
    }

    /// A tensor that belongs to something that is not supported.
    pub(crate) fn not_supported(tensor: impl Into<String>, reason: impl Into<String>) -> Error {
        Self::tensor(tensor, TensorProblem::NotSupported { reason: reason.into() })
    }

    /// A part of the list of layers that cannot be followed.
    pub(crate) fn layer_list(item: impl Into<String>, reason: impl Into<String>) -> Error {
        FileError::LayerList { item: item.into(), reason: reason.into() }.into()
    }

    /// A tensor whose numbers cannot be used.
    pub(crate) fn invalid(tensor: impl Into<String>, cause: Error) -> Error {
        Self::tensor(tensor, TensorProblem::Invalid(Box::new(cause)))
    }
}

impl FileError {
    /// A layer that cannot be made.
    pub(crate) fn layer(layer: impl Into<String>, cause: Error) -> Error {
        FileError::Layer { layer: layer.into(), problem: Box::new(cause) }.into()
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Error::File(error)
    }
}

/// Text of a file as messages quote it, control characters escaped, and cut where it is long: names.
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cut(self.0, 80, f)
    }
}

/// The same for sentences with text of a file in them.
struct Sentence<'a>(&'a str);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cut(self.0, 1000, f)
    }
}

fn write_cut(text: &str, most: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, c) in text.chars().enumerate() {
        if i == most {
            return write!(f, "... ({} bytes)", text.len());
        }
        if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
    }
    Ok(())
}

/// The first of some names, and how many more there are.
pub(crate) struct Names<'a, S>(pub &'a [S], pub &'static str);

impl<S> Names<'_, S> {
    /// Names that are shown.
    const MOST: usize = 12;
}

impl<S: AsRef<str>> fmt::Display for Names<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(names, separator) = *self;
        for (i, name) in names.iter().take(Self::MOST).enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { separator }, Quoted(name.as_ref()))?;
        }
        match names.len().saturating_sub(Self::MOST) {
            0 => Ok(()),
            more => write!(f, "{separator}... and {more} more"),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io { path, reason } => write!(f, "{path}: {reason}"),
            FileError::Container { reason } => write!(f, "not a safetensors file: {}", Sentence(reason)),
            FileError::Header { key, reason } => write!(f, "model file, metadata {key}: {}", Sentence(reason)),
            FileError::Version { found, supported } => {
                write!(f, "model file of version {}, this release reads version {supported}", Quoted(found))
            }
            FileError::Tensor { tensor, problem } => write!(f, "tensor {}: {problem}", Quoted(tensor)),
            FileError::Layer { layer, problem } => write!(f, "layer {}: {problem}", Quoted(layer)),
            FileError::LayerList { item, reason } => write!(f, "list of layers, `{}`: {reason}", Quoted(item)),
            FileError::Order { layers, reason } => {
                write!(f, "the order of the layers ({}) is unknown: {reason}", Names(layers, ", "))
            }
        }
    }
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TensorProblem::Missing => write!(f, "missing"),
            TensorProblem::Unexpected => write!(f, "the model has no use for it"),
            TensorProblem::Dtype { expected, found } => write!(f, "expected {expected}, found {found}"),
            TensorProblem::Shape { expected, found } if found.len() <= 8 => {
                write!(f, "expected {expected}, found {found:?}")
            }
            TensorProblem::Shape { expected, found } => {
                write!(f, "expected {expected}, found {} dimensions", found.len())
            }
            TensorProblem::Invalid(cause) => write!(f, "{cause}"),
            TensorProblem::NotSupported { reason } => write!(f, "{reason}"),
        }
    }
}
