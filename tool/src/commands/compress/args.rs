//! The options of `skinny compress`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use skinny::compress::{Core, RANK_MULTIPLE};
use skinny::factored::Scheme;

use crate::files::model::ModelArgs;
use crate::precision::Precision;
use crate::values::{at_least_one, core, positive, share};

pub const EXAMPLES: &str = "\
Examples:
  skinny compress model.safetensors --out small/model.safetensors --budget 0.3
      keeps 30% of the weights, in int8
  skinny compress model.safetensors --out small.safetensors --latency 500 --core cortex-a53 \\
      --calibration recordings --correct --plot small.svg
      takes at most half a millisecond per step on a Raspberry Pi 3; recordings show where cuts cost least";

/// Makes a trained model small: factors and quantizes its weights, and reports the errors
///
/// Each weight matrix W becomes a product of two thin matrices, U V. They are stored in 8, 4 or 2 bits. One of --budget,
/// --parameters, --bytes, --latency, --variance and --rank says how far to cut. Without any of them, weights are
/// quantized but not cut. A budget applies to the whole model, which is cut where the error grows least.
///
/// --calibration weighs errors by the data that the weights are multiplied with. The model is then more accurate at the
/// same size. The report also has the signal-to-noise ratio of its outputs.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct CompressArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Write the compressed model to this file; missing folders are created
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Keep at most this share of the weights, above 0 and at most 1
    #[arg(long, value_name = "SHARE", group = "cut", value_parser = share)]
    pub budget: Option<f64>,

    /// Keep at most this many weights
    #[arg(long, value_name = "WEIGHTS", group = "cut", value_parser = positive)]
    pub parameters: Option<f64>,

    /// Keep at most this many bytes of weights and scales
    #[arg(long, value_name = "BYTES", group = "cut", value_parser = positive)]
    pub bytes: Option<f64>,

    /// Take at most this many microseconds per step, as predicted for --core
    #[arg(long, value_name = "MICROSECONDS", group = "cut", value_parser = positive)]
    pub latency: Option<f64>,

    /// Keep this share of each weight's variance, above 0 and at most 1
    #[arg(long, value_name = "SHARE", group = "cut", value_parser = share)]
    pub variance: Option<f64>,

    /// Cut each weight to this rank
    #[arg(long, value_name = "RANK", group = "cut", value_parser = at_least_one)]
    pub rank: Option<usize>,

    /// Budgets choose ranks that are multiples of this; the kernels process 16 at once
    #[arg(long, value_name = "N", default_value_t = RANK_MULTIPLE, value_parser = at_least_one)]
    pub rank_multiple: usize,

    /// The core that --latency predicts the time on: cortex-a53, cortex-a72, cortex-a76, or a file that describes one
    #[arg(long, value_name = "CORE", default_value = "cortex-a53", value_parser = core)]
    pub core: Core,

    /// Calibrate with this folder of recordings (.wav) or features (.npy, .npz, .safetensors, .csv; time x features)
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,

    /// Use at most this many files of --calibration
    #[arg(long, value_name = "FILES", default_value_t = 200, value_parser = at_least_one)]
    pub calibration_files: usize,

    /// Cut by the weights alone; use the calibration data only to measure
    #[arg(long)]
    pub plain: bool,

    /// Which gate matrices are factored together
    #[arg(long, value_enum, default_value_t = SchemeArg::PartiallyJoint)]
    pub scheme: SchemeArg,

    /// How weights are stored
    #[arg(long, visible_alias = "storage", value_enum, default_value_t = Precision::Int8)]
    pub precision: Precision,

    /// Store a layer in another precision, e.g. fc=f32; can be repeated
    #[arg(long, value_name = "LAYER=PRECISION", value_parser = layer_precision)]
    pub layer_precision: Vec<(String, Precision)>,

    /// Let V compensate for the rounding of U, and U for the rounding of V
    #[arg(long)]
    pub correct: bool,

    /// Draw the singular values with their cuts, and the error at other budgets
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,

    /// Print the report as JSON, with all singular values
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemeArg {
    /// Factor each gate matrix separately
    Split,
    /// Factor the input matrices together, and the state matrices together
    PartiallyJoint,
    /// Factor all gate matrices together
    Joint,
}

impl SchemeArg {
    /// The library's scheme.
    pub fn scheme(self) -> Scheme {
        match self {
            SchemeArg::Split => Scheme::Split,
            SchemeArg::PartiallyJoint => Scheme::PartiallyJoint,
            SchemeArg::Joint => Scheme::Joint,
        }
    }
}

fn layer_precision(text: &str) -> Result<(String, Precision), String> {
    let (layer, precision) = text.split_once('=').ok_or("expected LAYER=PRECISION")?;
    Ok((layer.into(), Precision::from_str(precision, true)?))
}
