//! Detection of tensors that, by their names, belong to an unsupported module.

use alloc::format;
use alloc::string::String;

use super::names::joined;
use crate::error::{FileError, Result};
use crate::model::tensors::{Tensors, empty};

/// Fails at the first tensor of a known but unsupported module. The error names the module and the remedy.
pub(super) fn expect_supported(tensors: &Tensors<'_>) -> Result<()> {
    for (name, shape) in tensors.remaining() {
        if shape.contains(&0) {
            return Err(empty(name, shape));
        }
        let (prefix, last) = name.rsplit_once('.').unwrap_or(("", name));
        let reason =
            reparametrized(tensors, prefix, last).or_else(|| cell(prefix, last, shape)).or_else(|| other(last));
        if let Some(reason) = reason {
            return Err(FileError::not_supported(name, reason));
        }
    }
    Ok(())
}

/// Detects parameters that PyTorch computes from others, by hooks of `torch.nn.utils` or by its `parametrizations`.
fn reparametrized(tensors: &Tensors<'_>, prefix: &str, last: &str) -> Option<String> {
    let remove = |what: &str, function: &str, module: &str, parameter: &str| {
        format!(
            "{what} computes `{parameter}` from it; before saving, call torch.nn.utils.{function}(model.get_submodule(\"{module}\"), \
             \"{parameter}\")"
        )
    };
    let there = |end: &str| tensors.contains(&joined(prefix, end));
    // `MODULE.parametrizations.PARAMETER.original`, or `original0` and `original1` for weight_norm.
    if let Some((module, parameter)) = prefix.rsplit_once("parametrizations.")
        && let Some(number) = last.strip_prefix("original")
        && !parameter.contains('.')
    {
        let what = if number.is_empty() { "a parametrization (spectral_norm, orthogonal, ...)" } else { "weight_norm" };
        let module = module.strip_suffix('.').unwrap_or(module);
        return Some(remove(what, "parametrize.remove_parametrizations", module, parameter));
    }
    if let Some(parameter) = last.strip_suffix("_g")
        && there(&format!("{parameter}_v"))
    {
        return Some(remove("weight_norm", "remove_weight_norm", prefix, parameter));
    }
    let parameter = last.strip_suffix("_orig")?;
    if there(&format!("{parameter}_mask")) {
        Some(remove("pruning", "prune.remove", prefix, parameter))
    } else if there(&format!("{parameter}_u")) {
        Some(remove("spectral_norm", "remove_spectral_norm", prefix, parameter))
    } else {
        None
    }
}

/// Detects a cell, whose parameters have no layer number.
fn cell(prefix: &str, last: &str, shape: &[usize]) -> Option<String> {
    let &[rows, hidden] = shape else { return None };
    if last != "weight_hh" || hidden == 0 {
        return None;
    }
    let (cell, layer) = match (rows / hidden, rows % hidden) {
        (1, 0) => ("an RNNCell", None),
        (3, 0) => ("a GRUCell", Some("a GRU")),
        (4, 0) => ("an LSTMCell", Some("an LSTM")),
        _ => return None,
    };
    Some(match layer {
        None => format!("belongs to {cell}, which is not supported; only GRU and LSTM are"),
        Some(layer) => {
            let names = ["weight_hh", "weight_hh_l0"].map(|last| joined(prefix, last));
            format!(
                "belongs to {cell}, which is not supported; to use it as {layer}, rename its tensors, such as {} to {}",
                names[0], names[1]
            )
        }
    })
}

fn other(last: &str) -> Option<String> {
    let (what, help) = match last {
        "running_mean" | "running_var" | "num_batches_tracked" => {
            ("a BatchNorm", "fold it into the layer before it, then drop it")
        }
        "in_proj_weight" | "in_proj_bias" => ("attention (MultiheadAttention)", "there is no such layer"),
        "_packed_params" | "zero_point" => ("a model that PyTorch quantized", "save the one it was made from, in f32"),
        _ => return None,
    };
    Some(format!("belongs to {what}, which is not supported; {help}"))
}
