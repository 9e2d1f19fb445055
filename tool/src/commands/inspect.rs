//! `skinny inspect`: what a file holds, and how it is understood.

use clap::Args;
use serde_json::{Value, json};
use skinny::Tier;
use skinny::model::{Import, Model, TensorFile, TensorInfo};
use skinny_convert::Format;

use crate::console::{ATTENTION, Console};
use crate::error::{About, Failure, Result, printable};
use crate::files::model::{ModelArgs, remedy};
use crate::report::{Side, Table, count, dimensions};
use crate::weights::{self, LayerWeight};

pub const EXAMPLES: &str = "\
Examples:
  skinny inspect model.safetensors
      shows the layers of a PyTorch state dict as skinny understands them, and all tensors
  skinny inspect small.safetensors --json | jq '.layers[] | {name, parameters, macs_per_step}'
      prints the same for a program";

/// Shows the layers, tensors and costs of a model file
///
/// Reads a file written by skinny, a PyTorch state dict in safetensors, or a file of another program. Shows the kind, sizes, stride and activation
/// of each layer, and the rank and storage of its matrices. Also shows its parameters, its bytes, and its
/// multiply-accumulates (MACs) per step. A step is one output frame of the model: a layer before a stride of 2 runs
/// twice per step.
///
/// If neither the tensors nor --layers determine something, inspect assumes it and says so. If the file is not a model,
/// or is not understood, inspect still shows the tensors and the problem, and exits with 1.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &InspectArgs, console: Console) -> Result<()> {
    let tier = Tier::select()?;
    let path = args.model.path();
    let opened = args.model.open()?;
    let file = TensorFile::new(&opened.bytes).about(path)?;
    let tensors = file.tensors();
    let import = Import::read(&opened.bytes, &args.model.import.options(), tier);
    let problem = import.as_ref().err().map(remedy);
    let model = import.as_ref().map(|import| &import.model);
    let assumed = import.as_ref().map(|import| import.assumptions.clone()).unwrap_or_default();
    let assumptions = [opened.assumptions, assumed].concat();
    let (kind, what) = match opened.format {
        Format::Safetensors if file.metadata().contains_key("skinny") => ("skinny", "a model of skinny's own".into()),
        Format::Safetensors => ("safetensors", "safetensors".into()),
        format => (format.name(), format.to_string()),
    };
    if args.json {
        let layers = model.map_or(Value::Null, layers_json);
        let tensors: Vec<Value> = tensors.iter().map(tensor_json).collect();
        console.json(&json!({
            "file": path.display().to_string(),
            "file_bytes": opened.size,
            "kind": kind,
            "layers": layers,
            "total": model.map_or(Value::Null, total_json),
            "assumptions": assumptions,
            "problem": problem,
            "metadata": model.map_or(file.metadata(), Model::metadata),
            "tensors": tensors,
        }))?;
    } else {
        let size = count(opened.size);
        console.answer(format_args!("{}: {what}, {size} bytes\n\n", path.display()))?;
        if let Ok(model) = model {
            console.answer(format_args!("{}\n", layers(model)))?;
        }
        for assumption in &assumptions {
            console.answer(format_args!("assumed: {}\n", printable(assumption)))?;
        }
        if !assumptions.is_empty() {
            console.answer("\n")?;
        }
        if let Some(problem) = &problem {
            let problem = printable(problem);
            console.answer(format_args!("{ATTENTION}not understood:{ATTENTION:#} {problem}\n\n"))?;
        }
        console.answer(tensor_table(&tensors))?;
    }
    match problem {
        None => Ok(()),
        Some(problem) => Err(Failure::No(format!("{}: {problem}", path.display()))),
    }
}

/// MACs per output frame of the model.
fn macs(parts: &[LayerWeight<'_>], runs: usize) -> usize {
    parts.iter().map(LayerWeight::macs).sum::<usize>() * runs
}

fn layers(model: &Model) -> Table {
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new([
        ("layer", left),
        ("kind", left),
        ("shape", left),
        ("stride", right),
        ("activation", left),
        ("rank", right),
        ("stored as", left),
        ("parameters", right),
        ("bytes", right),
        ("MACs per step", right),
    ]);
    let dash = || "-".to_owned();
    let mut total = 0;
    for ((name, layer), runs) in model.layers().zip(model.runs_per_output()) {
        let parts = weights::of(layer);
        let macs = macs(&parts, runs);
        total += macs;
        table.row([
            name.into(),
            layer.kind().into(),
            format!("{} -> {}", layer.input_size(), layer.output_size()),
            layer.stride().to_string(),
            weights::activation(layer).unwrap_or_else(dash),
            String::new(),
            String::new(),
            count(layer.parameters()),
            count(layer.bytes()),
            count(macs),
        ]);
        for part in &parts {
            table.row([
                format!("  {}", part.name),
                String::new(),
                format!("{} x {}", part.weight.n(), part.weight.k()),
                String::new(),
                String::new(),
                part.rank().unwrap_or_else(dash),
                part.stored(),
                count(part.weight.parameters()),
                count(part.weight.bytes()),
                count(part.macs() * runs),
            ]);
        }
    }
    let empty = String::new;
    table.row([
        "total".into(),
        empty(),
        format!("{} -> {}", model.input_size(), model.output_size()),
        model.stride().to_string(),
        empty(),
        empty(),
        empty(),
        count(model.parameters()),
        count(model.bytes()),
        count(total),
    ]);
    table
}

fn layers_json(model: &Model) -> Value {
    let layer = |((name, layer), runs): ((&str, &skinny::model::Layer), usize)| {
        let parts = weights::of(layer);
        let weight = |part: &LayerWeight<'_>| {
            json!({
                "name": part.name,
                "n": part.weight.n(),
                "k": part.weight.k(),
                "rank": part.rank(),
                "stored_as": part.stored(),
                "recurrent": part.recurrent,
                "parameters": part.weight.parameters(),
                "bytes": part.weight.bytes(),
                "macs_per_step": part.macs() * runs,
            })
        };
        json!({
            "name": name,
            "kind": layer.kind(),
            "input": layer.input_size(),
            "output": layer.output_size(),
            "stride": layer.stride(),
            "activation": weights::activation(layer),
            "parameters": layer.parameters(),
            "bytes": layer.bytes(),
            "macs_per_step": macs(&parts, runs),
            "weights": parts.iter().map(weight).collect::<Vec<_>>(),
        })
    };
    model.layers().zip(model.runs_per_output()).map(layer).collect()
}

fn total_json(model: &Model) -> Value {
    let layers = model.layers().zip(model.runs_per_output());
    let macs: usize = layers.map(|((_, layer), runs)| macs(&weights::of(layer), runs)).sum();
    json!({
        "input": model.input_size(),
        "output": model.output_size(),
        "stride": model.stride(),
        "streaming": model.is_streaming(),
        "parameters": model.parameters(),
        "bytes": model.bytes(),
        "macs_per_step": macs,
    })
}

fn tensor_table(tensors: &[TensorInfo]) -> Table {
    let mut table =
        Table::new([("tensor", Side::Left), ("type", Side::Left), ("shape", Side::Left), ("bytes", Side::Right)]);
    for tensor in tensors {
        table.row([tensor.name.clone(), tensor.dtype.clone(), dimensions(&tensor.shape), count(tensor.bytes)]);
    }
    table
}

fn tensor_json(tensor: &TensorInfo) -> Value {
    json!({ "name": tensor.name, "type": tensor.dtype, "shape": tensor.shape, "bytes": tensor.bytes })
}
