//! Model files on the command line: which one, and what its tensors do not tell.

use std::path::{Path, PathBuf};

use clap::Args;
use skinny::model::{ImportOptions, Model};
use skinny::{Error, FileError, Tier};

use super::read;
use crate::error::{About, Result};

/// The model that a command is about.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// The model: a file of skinny's own, or a PyTorch state dict in safetensors
    #[arg(value_name = "FILE")]
    pub model: PathBuf,

    #[command(flatten)]
    pub import: ImportArgs,
}

/// What the tensors of a foreign model do not tell.
#[derive(Clone, Debug, Default, Args)]
pub struct ImportArgs {
    /// The layers in order, e.g. "conv:stride=2:relu gru fc", where the tensors do not tell
    ///
    /// Separated by blanks or commas, each the prefix of its tensors (`rnn` of `rnn.weight_ih_l0`), with options behind
    /// colons: `relu` or `clip=MAX` for the activation, `stride=FRAMES`, `padding=FRAMES` and `stack=FRAMES` for layers
    /// over several frames.
    #[arg(long, value_name = "LAYERS")]
    pub layers: Option<String>,

    /// Keep a tensor that belongs to no layer, as an attachment of the model; `NAME*` for all that begin so
    #[arg(long, value_name = "TENSOR")]
    pub keep: Vec<String>,

    /// Leave out a tensor that belongs to no layer; `NAME*` for all that begin so
    #[arg(long, value_name = "TENSOR")]
    pub drop: Vec<String>,
}

impl ImportArgs {
    /// The same for the library. What belongs to the features of a model is always kept.
    pub fn options(&self) -> ImportOptions {
        let keep = self.keep.iter().cloned().chain(["features.*".into()]).collect();
        ImportOptions { layers: self.layers.clone(), keep }
    }
}

/// A model, and the file that it was read from.
#[derive(Debug)]
pub struct Loaded {
    pub model: Model,
    /// Bytes of the file.
    pub size: usize,
}

impl ModelArgs {
    /// Reads the model and packs it for the kernels of `tier`.
    pub fn load(&self, tier: Tier) -> Result<Loaded> {
        let bytes = read(&self.model)?;
        let model = Model::read(&bytes, &self.import.options(), tier);
        Ok(Loaded { model: model.map_err(|cause| remedy(&cause)).about(&self.model)?, size: bytes.len() })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.model
    }
}

/// The error in words, with the option that helps.
pub fn remedy(error: &Error) -> String {
    match error {
        Error::File(FileError::Order { .. }) => format!("{error} with --layers"),
        Error::File(FileError::Tensor { problem: skinny::TensorProblem::Unexpected, .. }) => {
            format!("{error}; --keep or --drop it, or name its layer with --layers")
        }
        _ => error.to_string(),
    }
}
