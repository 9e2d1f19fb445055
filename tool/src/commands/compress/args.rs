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
      30% of the weights, in int8
  skinny compress model.safetensors --out small.safetensors --latency 500 --core cortex-a53 \\
      --calibration recordings --correct --plot small.svg
      at most half a millisecond per step on a Raspberry Pi 3, cut where recordings say that it hurts least";

/// Makes a small model of a trained one: factors its weights, quantizes them, and tells what that cost
///
/// Each weight matrix W becomes two thin ones, U V, and these are stored in 8 or 4 bits. One of --budget, --parameters,
/// --bytes, --latency, --variance and --rank says how far weights are cut; without any nothing is cut and the weights
/// are only stored otherwise. Budgets are spent over the whole model where the error grows least.
///
/// With --calibration errors are weighed by what the weights are multiplied with, which costs less accuracy at the same
/// size, and the report tells the signal-to-noise ratio that is left.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct CompressArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Where the compressed model goes; folders are made
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

    /// Ranks that budgets choose are multiples of this; the kernels take 16 at once
    #[arg(long, value_name = "N", default_value_t = RANK_MULTIPLE, value_parser = at_least_one)]
    pub rank_multiple: usize,

    /// The core whose time --latency predicts
    #[arg(long, value_name = "CORE", default_value = "cortex-a53", value_parser = core)]
    pub core: Core,

    /// A folder of recordings (.wav) or features (.npy, .npz, .safetensors, .csv; time x features)
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,

    /// Use at most this many files of --calibration
    #[arg(long, value_name = "FILES", default_value_t = 200, value_parser = at_least_one)]
    pub calibration_files: usize,

    /// Cut by the weights alone, and measure on the calibration data
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

    /// Draw the singular values with their cuts, and the error of other budgets
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,

    /// Write the report as JSON, with all singular values
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemeArg {
    /// Each gate matrix by itself
    Split,
    /// Those of the input, and those of the state
    PartiallyJoint,
    /// All at once
    Joint,
}

impl SchemeArg {
    /// The library's name for it.
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
