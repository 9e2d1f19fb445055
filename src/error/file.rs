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
    /// The file is not in the safetensors format, or is damaged.
    Container {
        /// What the parser said.
        reason: String,
    },
    /// The model's description in the header is missing or malformed.
    Header {
        /// The metadata key.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// This release does not read the file's version.
    Version {
        /// The version in the file.
        found: String,
        /// The versions that this release reads.
        supported: &'static str,
    },
    /// A tensor is not what the model needs.
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: TensorProblem,
    },
    /// The tensors are valid but do not form a layer, or the layer does not fit its neighbours.
    Layer {
        /// Its name.
        layer: String,
        /// Why.
        problem: Box<Error>,
    },
    /// Values cannot be read by a node as their frames come: they have different strides or numbers of frames.
    Paths {
        /// The name of the node.
        node: String,
        /// For each of the values, the names of those that lead to it from an input of the model, and its own.
        paths: Vec<Vec<String>>,
        /// How their frames differ.
        reason: String,
    },
    /// The list of layers names a layer that does not exist, or an option that its layer does not take.
    LayerList {
        /// The part of the list at fault.
        item: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The order of the layers does not follow from the tensors' shapes.
    Order {
        /// The layers known so far.
        layers: Vec<String>,
        /// Why the order is unknown.
        reason: String,
    },
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The file does not have it.
    Missing,
    /// The model has no use for it.
    Unexpected,
    /// Its element type is wrong.
    Dtype {
        /// The types it may have.
        expected: &'static str,
        /// The type it has.
        found: String,
    },
    /// Its dimensions are wrong.
    Shape {
        /// The dimensions it must have, in words.
        expected: String,
        /// The dimensions it has.
        found: Vec<usize>,
    },
    /// Its values cannot be used.
    Invalid(Box<Error>),
    /// It belongs, or may belong, to something that is not supported.
    NotSupported {
        /// What is not supported, and the remedy.
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

    /// An entry of the list of layers that cannot be followed.
    pub(crate) fn layer_list(item: impl Into<String>, reason: impl Into<String>) -> Error {
        FileError::LayerList { item: item.into(), reason: reason.into() }.into()
    }

    /// A tensor whose values cannot be used.
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

/// A name from a file, quoted in a message: control characters are escaped, and a long name is cut.
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_cut(self.0, 80, f)
    }
}

/// A sentence with text from a file in it, escaped and cut in the same way.
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

/// The first few names, and how many more there are.
pub(crate) struct Names<'a, S>(pub &'a [S], pub &'static str);

impl<S> Names<'_, S> {
    /// Number of names shown.
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
                write!(f, "model file of version {}; this release reads version {supported}", Quoted(found))
            }
            FileError::Tensor { tensor, problem } => write!(f, "tensor {}: {problem}", Quoted(tensor)),
            FileError::Layer { layer, problem } => write!(f, "layer {}: {problem}", Quoted(layer)),
            FileError::Paths { node, paths, reason } => {
                write!(f, "layer {}: ", Quoted(node))?;
                for (i, path) in paths.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { " and " }, Names(path, " > "))?;
                }
                write!(f, ": {reason}")
            }
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
