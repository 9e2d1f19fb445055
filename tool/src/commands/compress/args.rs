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
/// same size, layers that 8 bits would ruin are stored more exactly, and the report says what each layer costs the outputs.
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
    ///
    /// Arrays of a file that are called as states of the model (decoder.h) are what its sequences begin with; without them
    /// states are zeros. Every fourth sequence, counted from the last, is held out: the report is about those. Of a single sequence
    /// the last quarter is held out.
    #[arg(long, value_name = "DIR")]
    pub calibration: Option<PathBuf>,

    /// Use at most this many files of --calibration
    #[arg(long, value_name = "FILES", default_value_t = 200, value_parser = at_least_one)]
    pub calibration_files: usize,

    /// Cut a layer, or one matrix, to this rank, or to `full`, which leaves it as it is; can be repeated
    #[arg(long, value_name = "LAYER=RANK", value_parser = layer_rank)]
    pub layer_rank: Vec<(String, Option<usize>)>,

    /// Do not cut a layer, or one matrix; the same as --layer-rank LAYER=full
    #[arg(long, value_name = "LAYER")]
    pub keep_dense: Vec<String>,

    /// Cut by the weights alone; use the calibration data only to measure
    #[arg(long)]
    pub plain: bool,

    /// Which gate matrices are factored together
    #[arg(long, value_enum, default_value_t = SchemeArg::PartiallyJoint)]
    pub scheme: SchemeArg,

    /// How weights are stored. By default int8, and more exactly where that would cost the outputs too much (--min-db)
    #[arg(long, visible_alias = "storage", value_enum)]
    pub precision: Option<Precision>,

    /// Keep the outputs at this signal-to-noise ratio, in dB, on calibration data that is held out
    ///
    /// Layers get the cheapest precision that keeps it, from --precision or int8 on: 8 bits, 8 bits with activations of 16
    /// (int8x16), f32. If none does, the exit code is 1 and nothing is written. Without this option but with calibration data and
    /// without --precision, rounding may cost the outputs as much as leaves 30 dB; cuts are not counted then.
    #[arg(long, value_name = "DB", value_parser = decibels, requires = "calibration")]
    pub min_db: Option<f64>,

    /// Leave features as they are; by default those of very different sizes are scaled before 8 bits round them
    #[arg(long)]
    pub no_equalize: bool,

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

impl CompressArgs {
    /// The precision of weights, or the cheapest that they may have.
    pub fn cheapest(&self) -> Precision {
        self.precision.unwrap_or(Precision::Int8)
    }

    /// The precision that was given for a layer; the last counts.
    pub fn named_precision(&self, layer: &str) -> Option<Precision> {
        self.layer_precision.iter().rev().find(|(name, _)| name == layer).map(|(_, precision)| *precision)
    }

    /// Whether weights are cut.
    pub fn cuts(&self) -> bool {
        self.budget.is_some()
            || self.parameters.is_some()
            || self.bytes.is_some()
            || self.latency.is_some()
            || self.variance.is_some()
            || self.rank.is_some()
            || self.layer_rank.iter().any(|(_, rank)| rank.is_some())
    }
}

fn decibels(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|ratio: &f64| ratio.is_finite()).ok_or_else(|| "expected a number of decibels".into())
}

fn layer_rank(text: &str) -> Result<(String, Option<usize>), String> {
    let expected = "expected LAYER=RANK or LAYER=full";
    let (layer, rank) = text.split_once('=').ok_or(expected)?;
    match rank {
        "full" => Ok((layer.into(), None)),
        _ => rank.parse().ok().filter(|&rank| rank > 0).map(|rank| (layer.into(), Some(rank))).ok_or(expected.into()),
    }
}

fn layer_precision(text: &str) -> Result<(String, Precision), String> {
    let (layer, precision) = text.split_once('=').ok_or("expected LAYER=PRECISION")?;
    Ok((layer.into(), Precision::from_str(precision, true)?))
}
