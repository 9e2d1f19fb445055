//! Model files on the command line: which one, and what its tensors do not tell.

use std::path::{Path, PathBuf};

use clap::Args;
use skinny::model::{Import, ImportOptions, Model};
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

/// The heading of the options that skinny's own files make unnecessary.
const FOREIGN: &str = "Options for state dicts of PyTorch";

/// What the tensors of a foreign model do not tell.
#[derive(Clone, Debug, Default, Args)]
pub struct ImportArgs {
    /// The layers in order, e.g. "conv:stride=2:relu gru fc", where the tensors do not tell
    ///
    /// Separated by blanks or commas, each the prefix of its tensors (`rnn` of `rnn.weight_ih_l0`), with options behind
    /// colons: `relu` or `clip=MAX` for the activation of a linear layer or a convolution; `stride=FRAMES`,
    /// `padding=FRAMES` and `stack=FRAMES` for those over several frames; and the kind, `linear`, `conv`, `gru` or
    /// `lstm`, where a weight could be of something else.
    #[arg(long, value_name = "LAYERS", help_heading = FOREIGN)]
    pub layers: Option<String>,

    /// Keep a tensor that belongs to no layer, as an attachment of the model; `*` stands for any text
    #[arg(long, value_name = "TENSOR", help_heading = FOREIGN)]
    pub keep: Vec<String>,

    /// Leave out a tensor, whatever it is, e.g. "*.num_batches_tracked"
    #[arg(long, value_name = "TENSOR", help_heading = FOREIGN)]
    pub drop: Vec<String>,
}

impl ImportArgs {
    /// The same for the library. What belongs to the features of a model is always kept.
    pub fn options(&self) -> ImportOptions {
        let keep = self.keep.iter().cloned().chain(["features.*".into()]).collect();
        ImportOptions { layers: self.layers.clone(), keep, drop: self.drop.clone() }
    }
}

/// A model, and the file that it was read from.
#[derive(Debug)]
pub struct Loaded {
    pub model: Model,
    /// What was taken for granted to read it, a sentence each.
    pub assumptions: Vec<String>,
    /// Bytes of the file.
    pub size: usize,
}

impl ModelArgs {
    /// Reads the model and packs it for the kernels of `tier`.
    pub fn load(&self, tier: Tier) -> Result<Loaded> {
        let bytes = read(&self.model)?;
        let import = Import::read(&bytes, &self.import.options(), tier).map_err(|cause| remedy(&cause));
        let Import { model, assumptions, .. } = import.about(&self.model)?;
        Ok(Loaded { model, assumptions, size: bytes.len() })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.model
    }
}

/// The error in words, with the option that helps. Those of the library have the same names here.
pub fn remedy(error: &Error) -> String {
    let text = ["layers", "keep", "drop"]
        .iter()
        .fold(error.to_string(), |text, name| text.replace(&format!("option `{name}`"), &format!("--{name}")));
    match error {
        Error::File(FileError::Tensor { problem: skinny::TensorProblem::Unexpected, .. }) => {
            format!("{text}; --keep or --drop it, or name its layer with --layers")
        }
        _ => text,
    }
}
