//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use skinny::compress::RANK_MULTIPLE;
use skinny::kernels::WeightFormat;

/// Makes a small model of a trained one: factors its weights, quantizes them, and reports what that cost.
///
/// The input is a safetensors file of a PyTorch state dict (Linear, Conv1d, GRU, LSTM). How far weights are cut is said
/// by one of --budget, --latency, --variance and --rank.
#[derive(Debug, Parser)]
#[command(name = "compress")]
pub struct Args {
    /// A PyTorch state dict in safetensors
    pub model: PathBuf,

    /// Where the compressed model goes; beside it .json with the report and .svg with its plots
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Keep at most this share of the weights, spread over the model by greedy marginal error
    #[arg(long, value_name = "SHARE", group = "cut")]
    pub budget: Option<f64>,

    /// Keep at most this predicted time a step in microseconds, on --core, spread likewise
    #[arg(long, value_name = "MICROSECONDS", group = "cut")]
    pub latency: Option<f64>,

    /// Keep this share of each weight's variance
    #[arg(long, value_name = "SHARE", group = "cut")]
    pub variance: Option<f32>,

    /// Cut each weight to this rank
    #[arg(long, value_name = "RANK", group = "cut")]
    pub rank: Option<usize>,

    /// Ranks that --budget and --latency choose are multiples of this; the kernels take 16 at once, and pad to that
    #[arg(long, value_name = "N", default_value_t = RANK_MULTIPLE)]
    pub rank_multiple: usize,

    /// The core whose time --latency predicts
    #[arg(long, value_name = "CORE", default_value = "cortex-a53")]
    pub core: String,

    /// Recordings (.wav, if the model's metadata says how its features are made) or features (.safetensors, each tensor
    /// time x features) to weigh errors by and to measure them on
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,

    /// Use at most this many files of --calibration
    #[arg(long, value_name = "FILES", default_value_t = 200)]
    pub calibration_files: usize,

    /// Cut by the weights alone even if there is calibration data
    #[arg(long)]
    pub plain: bool,

    /// Which gate matrices are factored together
    #[arg(long, value_enum, default_value_t = SchemeArg::PartiallyJoint)]
    pub scheme: SchemeArg,

    /// How weights are stored
    #[arg(long, value_enum, default_value_t = Precision::Int8)]
    pub precision: Precision,

    /// Another precision for a layer, e.g. fc=f32; may be given again
    #[arg(long, value_name = "LAYER=PRECISION", value_parser = layer_precision)]
    pub layer_precision: Vec<(String, Precision)>,

    /// Let V make up for the rounding of U, and U for V's
    #[arg(long)]
    pub correct: bool,

    /// The layers in order, e.g. "conv:stride=2:relu gru fc", where shapes do not tell
    #[arg(long, value_name = "LAYERS")]
    pub layers: Option<String>,

    /// Tensors that belong to no layer but are to be kept; a prefix that ends in * keeps all that begin so
    #[arg(long, value_name = "TENSOR")]
    pub keep: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum SchemeArg {
    /// Each gate matrix by itself
    Split,
    /// Those of the input, and those of the state
    PartiallyJoint,
    /// All at once
    Joint,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Precision {
    /// As it was trained
    F32,
    Int8,
    Int4,
    /// Int4 with a scale for each group of 32
    Int4Groups,
}

impl Precision {
    /// The crate's name for it; none for `f32`.
    pub fn format(self) -> Option<WeightFormat> {
        match self {
            Precision::F32 => None,
            Precision::Int8 => Some(WeightFormat::I8),
            Precision::Int4 => Some(WeightFormat::I4),
            Precision::Int4Groups => Some(WeightFormat::I4Group32),
        }
    }
}

fn layer_precision(text: &str) -> Result<(String, Precision), String> {
    let (layer, precision) = text.split_once('=').ok_or("expected LAYER=PRECISION")?;
    Ok((layer.into(), Precision::from_str(precision, true)?))
}
