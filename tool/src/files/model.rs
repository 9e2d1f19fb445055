//! Options for model files: the path, and what the tensors do not say.

use std::path::{Path, PathBuf};

use clap::Args;
use skinny::model::{Import, ImportOptions, Model};
use skinny::{Error, FileError, Tier};
use skinny_convert::{Format, Rename, Selection};

use super::read;
use crate::error::{About, Result};

/// The model that a command works on.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// The model: a file written by skinny, a state dict in safetensors, or a file of another program (.pt, .npz, .keras, .h5, .onnx)
    #[arg(value_name = "FILE")]
    pub model: PathBuf,

    #[command(flatten)]
    pub import: ImportArgs,
}

/// The heading of the options that skinny's own files do not need.
const FOREIGN: &str = "Options for files of other programs";

/// What the tensors of a foreign model do not say.
#[derive(Clone, Debug, Default, Args)]
pub struct ImportArgs {
    /// Take only the tensors whose names begin with this and a dot, and cut that off, e.g. "model" of a checkpoint
    #[arg(long, value_name = "NAME", help_heading = FOREIGN)]
    pub prefix: Option<String>,

    /// Change names of tensors, e.g. "cell.*=gru.*_l0"; `*` matches any text. Other options take the new names
    #[arg(long, value_name = "OLD=NEW", value_parser = rename, help_heading = FOREIGN)]
    pub rename: Vec<Rename>,

    /// The layers in order, if the tensors do not determine it, e.g. "conv:stride=2:relu gru fc"
    ///
    /// Blanks or commas separate the layers. A layer is named by the prefix of its tensors: `rnn` for
    /// `rnn.weight_ih_l0`. Options follow after colons. `relu` or `clip=MAX` is the activation of a linear layer or a
    /// convolution. `stride=FRAMES`, `padding=FRAMES` and `stack=FRAMES` are for layers over several frames. `linear`,
    /// `conv`, `gru` or `lstm` says the kind, where a weight fits more than one.
    #[arg(long, value_name = "LAYERS", help_heading = FOREIGN)]
    pub layers: Option<String>,

    /// Keep a tensor that belongs to no layer as an attachment of the model; `*` matches any text
    #[arg(long, value_name = "TENSOR", help_heading = FOREIGN)]
    pub keep: Vec<String>,

    /// Ignore a tensor, whatever it holds, e.g. "*.num_batches_tracked"
    #[arg(long, value_name = "TENSOR", help_heading = FOREIGN)]
    pub drop: Vec<String>,
}

impl ImportArgs {
    /// The library's options. Tensors that describe a model's features are always kept.
    pub fn options(&self) -> ImportOptions {
        let keep = self.keep.iter().cloned().chain(["features.*".into()]).collect();
        ImportOptions { layers: self.layers.clone(), keep, drop: self.drop.clone() }
    }

    /// The tensors of a file that belong to the model, and their names.
    fn selection(&self) -> Selection {
        Selection { prefix: self.prefix.clone(), rename: self.rename.clone() }
    }
}

fn rename(text: &str) -> Result<Rename, String> {
    text.parse().map_err(|cause: skinny_convert::Error| cause.to_string())
}

/// A model and the file it was read from.
#[derive(Debug)]
pub struct Loaded {
    pub model: Model,
    /// The assumptions made to read it, one sentence each.
    pub assumptions: Vec<String>,
    /// The size of the file in bytes.
    pub size: usize,
}

/// A file of any format, as safetensors.
#[derive(Debug)]
pub struct Opened {
    pub bytes: Vec<u8>,
    pub format: Format,
    /// The assumptions made to read it, one sentence each.
    pub assumptions: Vec<String>,
    /// The size of the file in bytes.
    pub size: usize,
}

impl ModelArgs {
    /// Reads the file, and converts it if it is not safetensors.
    pub fn open(&self) -> Result<Opened> {
        let file = read(&self.model)?;
        let converted = skinny_convert::convert(&file, &self.import.selection());
        let converted = converted.map_err(|cause| option_of(&cause)).about(&self.model)?;
        let (format, assumptions, size) = (converted.format, converted.assumptions, file.len());
        let ImportArgs { layers, keep, drop, .. } = &self.import;
        if format.describes_layers() && (layers.is_some() || !keep.is_empty() || !drop.is_empty()) {
            let reason = format!("--layers, --keep and --drop do not apply to {format}, which describes its layers");
            return Err(reason).about(&self.model);
        }
        Ok(Opened { bytes: converted.bytes.into_owned(), format, assumptions, size })
    }

    /// Reads the model and packs it for the kernels of `tier`.
    pub fn load(&self, tier: Tier) -> Result<Loaded> {
        let opened = self.open()?;
        let import = Import::read(&opened.bytes, &self.import.options(), tier).map_err(|cause| remedy(&cause));
        let Import { model, assumptions, .. } = import.about(&self.model)?;
        Ok(Loaded { model, assumptions: [opened.assumptions, assumptions].concat(), size: opened.size })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.model
    }
}

/// The message of an error of the converter. Its options are those here.
fn option_of(error: &skinny_convert::Error) -> String {
    match error {
        skinny_convert::Error::Selection { .. } => format!("--{error}"),
        _ => error.to_string(),
    }
}

/// The message of an error, with the option that helps. Options have the same names here and in the library.
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
