//! Why a file was refused.

use std::fmt;

use crate::Format;

/// The result of reading a file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a file was refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The file is damaged, or its format is not one that is read.
    Container {
        /// The format that it begins like.
        format: Format,
        /// What is wrong.
        reason: String,
    },
    /// A pickle calls something other than what makes tensors.
    Call {
        /// The function or class, with its module.
        name: String,
    },
    /// A tensor cannot be read.
    Tensor {
        /// Its name.
        tensor: String,
        /// Why.
        reason: String,
    },
    /// A layer is not supported.
    Layer {
        /// Its name.
        layer: String,
        /// Its class.
        kind: String,
        /// What is not supported, and what could be done.
        reason: String,
    },
    /// The library refuses the layers.
    Model(skinny::Error),
    /// The selection of tensors does not fit the file.
    Selection {
        /// The option, or the part of it, at fault.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn container(format: Format, reason: impl fmt::Display) -> Self {
        Error::Container { format, reason: reason.to_string() }
    }

    pub(crate) fn tensor(tensor: impl Into<String>, reason: impl fmt::Display) -> Self {
        Error::Tensor { tensor: tensor.into(), reason: reason.to_string() }
    }

    pub(crate) fn selection(option: impl Into<String>, reason: impl fmt::Display) -> Self {
        Error::Selection { option: option.into(), reason: reason.to_string() }
    }
}

/// The most characters of a name or sentence from a file that a message shows.
const MOST: usize = 400;

/// Text from a file in a message: control characters are escaped, and long text is cut.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.0.chars().enumerate() {
            if i == MOST {
                return write!(f, "... ({} bytes)", self.0.len());
            }
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Container { format, reason } => write!(f, "{format}: {}", Shown(reason)),
            Error::Call { name } => write!(
                f,
                "the file calls {}, and only calls that make tensors are followed; save the model's state dict: \
                 torch.save(model.state_dict(), FILE)",
                Shown(name)
            ),
            Error::Tensor { tensor, reason } => write!(f, "tensor {}: {}", Shown(tensor), Shown(reason)),
            Error::Layer { layer, kind, reason } => {
                write!(f, "layer {} ({}): {}", Shown(layer), Shown(kind), Shown(reason))
            }
            Error::Model(cause) => cause.fmt(f),
            Error::Selection { option, reason } => write!(f, "{}: {}", Shown(option), Shown(reason)),
        }
    }
}

impl std::error::Error for Error {}

impl From<skinny::Error> for Error {
    fn from(cause: skinny::Error) -> Self {
        Error::Model(cause)
    }
}
