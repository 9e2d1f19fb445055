//! The modules of a state dict: tensors with a common prefix that form a layer or a stack of recurrent layers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::fmt;

use super::names::{Name, joined, suffix};
use super::weights;
use crate::error::{FileError, Result, TensorProblem};
use crate::model::tensors::{Tensors, wrong_shape};

/// The kind of a module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Linear,
    Convolution,
    Gru,
    Lstm,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Linear, Kind::Convolution, Kind::Gru, Kind::Lstm];

    /// The option that names this kind in the list of layers.
    pub fn option(self) -> &'static str {
        match self {
            Kind::Linear => "linear",
            Kind::Convolution => "conv",
            Kind::Gru => "gru",
            Kind::Lstm => "lstm",
        }
    }

    /// Number of gates stacked in the weights of a recurrent layer.
    pub fn gates(self) -> usize {
        match self {
            Kind::Linear | Kind::Convolution => 1,
            Kind::Gru => 3,
            Kind::Lstm => 4,
        }
    }
}

/// PyTorch's name, with its article.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Linear => "a Linear",
            Kind::Convolution => "a Conv1d",
            Kind::Gru => "a GRU",
            Kind::Lstm => "an LSTM",
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub kind: Kind,
    /// Features per input frame and per output frame.
    pub input: usize,
    pub output: usize,
    pub detail: Detail,
}

/// Properties of only some kinds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Detail {
    /// A `Linear` or `Conv1d`. It may also be an `Embedding` if it has two dimensions and no bias.
    Plain {
        perhaps_embedding: bool,
    },
    Recurrent(Stack),
}

/// The layers of a recurrent module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stack {
    pub layers: usize,
    pub bidirectional: bool,
    pub projection: bool,
    pub bias: bool,
    /// Whether input and recurrent weights are stored side by side in one matrix, `weight_l0`.
    pub joint: bool,
    /// Whether its kind is only guessed from its name.
    pub guessed: bool,
}

/// The parameters of a recurrent module that a file has.
type Parameters<'a> = BTreeSet<(usize, bool, &'a str)>;

/// The modules of a file, by prefix. `said` gives the kind that the list of layers names for a prefix, if any.
pub(super) fn groups(tensors: &Tensors<'_>, said: impl Fn(&str) -> Option<Kind>) -> Result<BTreeMap<String, Group>> {
    let mut groups = BTreeMap::new();
    let mut stacks: BTreeMap<&str, Parameters<'_>> = BTreeMap::new();
    for (name, _) in tensors.remaining() {
        match Name::parse(name) {
            Name::Weight { prefix } if !groups.contains_key(prefix) => {
                groups.insert(prefix.to_string(), plain(tensors, prefix)?);
            }
            Name::Recurrent { prefix, parameter, layer, reverse } => {
                stacks.entry(prefix).or_default().insert((layer, reverse, parameter));
            }
            Name::Weight { .. } | Name::Other => {}
        }
    }
    for (prefix, parameters) in stacks {
        if groups.contains_key(prefix) {
            let reason = "its module also has the parameters of a recurrent layer";
            return Err(FileError::not_supported(joined(prefix, "weight"), reason));
        }
        groups.insert(prefix.to_string(), recurrent(tensors, prefix, &parameters, said(prefix))?);
    }
    Ok(groups)
}

fn plain(tensors: &Tensors<'_>, prefix: &str) -> Result<Group> {
    let name = joined(prefix, "weight");
    let group = |kind, [output, input]: [usize; 2], perhaps_embedding| {
        Ok(Group { kind, input, output, detail: Detail::Plain { perhaps_embedding } })
    };
    let reason = match *tensors.shape(&name).unwrap_or_default() {
        [output, input] => {
            let perhaps_embedding = !tensors.contains(&joined(prefix, "bias"));
            return group(Kind::Linear, [output, input], perhaps_embedding);
        }
        [output, input, _] => return group(Kind::Convolution, [output, input], false),
        [_] => {
            "a weight with one dimension belongs to a normalization (BatchNorm, LayerNorm), a PReLU or a loss, none of \
             which is supported; fold it into its neighbours, or drop it (option `drop`) or keep it (option `keep`) \
             if the model does not need it"
        }
        [_, _, _, _] => "a weight with four dimensions belongs to a Conv2d, which is not supported",
        [_, _, _, _, _] => "a weight with five dimensions belongs to a Conv3d, which is not supported",
        [] if !tensors.contains(&name) => return group(Kind::Linear, weights::shape(tensors, &name)?, false),
        ref other => return Err(wrong_shape(&name, "two dimensions (Linear) or three (Conv1d)".into(), other)),
    };
    Err(FileError::not_supported(name, reason))
}

fn recurrent(tensors: &Tensors<'_>, prefix: &str, parameters: &Parameters<'_>, said: Option<Kind>) -> Result<Group> {
    let has = |parameter: &str| parameters.iter().any(|&(_, _, name)| name == parameter);
    let bidirectional = parameters.iter().any(|&(_, reverse, _)| reverse);
    let (joint, projection) = (has("weight"), has("weight_hr"));
    let bias = has("bias_ih") || has("bias_hh");
    let mut needed = if joint { vec!["weight"] } else { vec!["weight_ih", "weight_hh"] };
    needed.extend(projection.then_some("weight_hr"));
    needed.extend(bias.then_some(["bias_ih", "bias_hh"]).into_iter().flatten());
    let layers = expect_whole(prefix, parameters, bidirectional, &needed)?;
    if joint && projection {
        let reason = "a projection is not supported for weights stored side by side in one matrix";
        return Err(FileError::not_supported(joined(prefix, "weight_hr_l0"), reason));
    }
    let named = |parameter: &str| joined(prefix, &format!("{parameter}_l0"));
    let (kind, input, guessed);
    if joint {
        let [rows, cols] = weights::shape(tensors, &named("weight"))?;
        (kind, guessed) = joint_kind(prefix, [rows, cols], said)?;
        input = cols - rows / kind.gates();
    } else {
        input = weights::shape(tensors, &named("weight_ih"))?[1];
        let [rows, state] = weights::shape(tensors, &named("weight_hh"))?;
        let hidden = if projection { weights::shape(tensors, &named("weight_hr"))?[1] } else { state };
        let gates = rows.checked_div(hidden).filter(|gates| gates.checked_mul(hidden) == Some(rows));
        kind = match gates {
            Some(3) if !projection => Kind::Gru,
            Some(4) => Kind::Lstm,
            Some(1) => {
                let reason =
                    format!("{rows} x {state} is the weight of a plain RNN (nn.RNN): only GRU and LSTM are supported");
                return Err(FileError::not_supported(named("weight_hh"), reason));
            }
            _ => {
                let expected = format!("3 x {hidden} (GRU) or 4 x {hidden} (LSTM) rows");
                return Err(wrong_shape(&named("weight_hh"), expected, &[rows, state]));
            }
        };
        guessed = false;
    }
    // Layers of this crate's own files may differ in size; PyTorch's do not.
    let last = |parameter: &str| weights::shape(tensors, &joined(prefix, &format!("{parameter}_l{}", layers - 1)));
    let state = match (joint, projection) {
        (true, _) => last("weight")?[0] / kind.gates(),
        (false, true) => last("weight_hr")?[0],
        (false, false) => last("weight_hh")?[1],
    };
    let output = if bidirectional { state.saturating_mul(2) } else { state };
    let stack = Stack { layers, bidirectional, projection, bias, joint, guessed };
    Ok(Group { kind, input, output, detail: Detail::Recurrent(stack) })
}

/// Fails at the first parameter missing from a layer or direction; otherwise returns the number of layers.
fn expect_whole(prefix: &str, parameters: &Parameters<'_>, bidirectional: bool, needed: &[&str]) -> Result<usize> {
    let directions = if bidirectional { &[false, true][..] } else { &[false] };
    // A very large layer number does not make this slow: the first missing layer ends the loop.
    let layers = parameters.last().map_or(0, |&(layer, ..)| layer.saturating_add(1));
    for layer in 0..layers {
        for &reverse in directions {
            if let Some(parameter) = needed.iter().find(|&&name| !parameters.contains(&(layer, reverse, name))) {
                let name = joined(prefix, &format!("{parameter}{}", suffix(layer, reverse)));
                return Err(FileError::tensor(name, TensorProblem::Missing));
            }
        }
    }
    Ok(layers)
}

/// The kind of a recurrent layer whose weights are one matrix, and whether it is a guess. It is the kind named in the
/// list of layers, or else the only one that the shape allows, or else the one in the module's name.
fn joint_kind(prefix: &str, [rows, cols]: [usize; 2], said: Option<Kind>) -> Result<(Kind, bool)> {
    let name = joined(prefix, "weight_l0");
    let said = said.filter(|kind| matches!(kind, Kind::Gru | Kind::Lstm));
    let fits = |kind: Kind| rows.is_multiple_of(kind.gates()) && cols > rows / kind.gates();
    let lowercase = prefix.to_lowercase();
    let is_called = |kind: Kind| lowercase.contains(kind.option());
    let no_shape_of = |gates: &str| {
        let expected = format!("{gates} x hidden rows and more than hidden columns");
        Err(wrong_shape(&name, expected, &[rows, cols]))
    };
    match (said, fits(Kind::Gru), fits(Kind::Lstm)) {
        (Some(kind), ..) if fits(kind) => Ok((kind, false)),
        (Some(kind), ..) => no_shape_of(&kind.gates().to_string()),
        (None, false, false) => no_shape_of("3 (GRU) or 4 (LSTM)"),
        (None, true, false) => Ok((Kind::Gru, false)),
        (None, false, true) => Ok((Kind::Lstm, false)),
        (None, true, true) => match (is_called(Kind::Gru), is_called(Kind::Lstm)) {
            (true, false) => Ok((Kind::Gru, true)),
            (false, true) => Ok((Kind::Lstm, true)),
            _ => {
                let reason = format!(
                    "{rows} x {cols} may be the weights of a GRU or of an LSTM side by side: name it `{prefix}:gru` or \
                     `{prefix}:lstm` (option `layers`)"
                );
                Err(FileError::not_supported(name, reason))
            }
        },
    }
}
