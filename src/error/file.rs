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
}

#[cfg(feature = "safetensors")]
impl FileError {
    /// A tensor with a problem.
    pub(crate) fn tensor(tensor: impl Into<String>, problem: TensorProblem) -> Error {
        FileError::Tensor { tensor: tensor.into(), problem }.into()
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

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io { path, reason } => write!(f, "{path}: {reason}"),
            FileError::Container { reason } => write!(f, "not a safetensors file: {reason}"),
            FileError::Header { key, reason } => write!(f, "model file, metadata {key}: {reason}"),
            FileError::Version { found, supported } => {
                write!(f, "model file of version {found}, this release reads version {supported}")
            }
            FileError::Tensor { tensor, problem } => write!(f, "tensor {tensor}: {problem}"),
            FileError::Layer { layer, problem } => write!(f, "layer {layer}: {problem}"),
            FileError::Order { layers, reason } => {
                write!(f, "the order of the layers ({}) is unknown: {reason}", layers.join(", "))
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
            TensorProblem::Shape { expected, found } => write!(f, "expected {expected}, found {found:?}"),
            TensorProblem::Invalid(cause) => write!(f, "{cause}"),
        }
    }
}
