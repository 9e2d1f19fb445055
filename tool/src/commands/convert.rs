//! `skinny convert`: a file of another program becomes one of skinny's.

use std::path::PathBuf;

use clap::Args;
use skinny::Tier;

use crate::console::Console;
use crate::error::{Result, printable};
use crate::files::model::ModelArgs;
use crate::files::output;

pub const EXAMPLES: &str = "\
Examples:
  skinny convert checkpoint.pt --prefix model --out model.safetensors
      takes the model out of a checkpoint of PyTorch
  skinny convert weights.npz --rename \"cell.*=gru.*_l0\" --layers \"gru out:relu\" --out model.safetensors
      gives the tensors PyTorch's names, and says which layers they form";

/// Reads a model of another program and writes it as a model file
///
/// Reads what torch.save writes (.pt, .pth: state dicts, checkpoints, whole modules, TorchScript), NumPy's .npz, models of
/// Keras (.keras, .h5), ONNX (.onnx), and state dicts in safetensors. The format is told by the content of the file, not by its name.
/// Nothing in the file is executed.
///
/// The model file has the weights in f32 and needs no options any more. The other commands read the same files with
/// the same options, so converting is not required. --tensors writes the tensors as they are, whatever they are for.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ConvertArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// The model file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Write the tensors, after --prefix and --rename, instead of a model
    #[arg(long, conflicts_with_all = ["layers", "keep", "drop"])]
    pub tensors: bool,
}

pub fn run(args: &ConvertArgs, console: Console) -> Result<()> {
    output::prepare(&args.out)?;
    let (bytes, assumptions) = if args.tensors {
        let opened = args.model.open()?;
        (opened.bytes, opened.assumptions)
    } else {
        let loaded = args.model.load(Tier::select()?)?;
        (loaded.model.to_bytes()?, loaded.assumptions)
    };
    output::write(&args.out, &bytes)?;
    console.remark(format_args!("wrote {}", args.out.display()));
    for assumption in assumptions {
        console.remark(format_args!("assumed: {}", printable(&assumption)));
    }
    Ok(())
}
