//! Import of PyTorch models.

mod groups;
mod list;
mod modules;
mod names;
mod order;
mod unsupported;
mod weights;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use groups::{Detail, Group, Kind};
use list::LayerSpec;
use names::joined;
use order::Orders;

use super::tensors::Tensors;
use super::{Attachment, Model, file};
use crate::error::{Error, FileError, Names, Result};
use crate::kernels::Tier;

/// What a PyTorch file does not say about its model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    /// The layers in order, separated by blanks or commas. Each is written `prefix[:option]...`: the prefix of its
    /// tensors (`rnn` for `rnn.weight_ih_l0`), and options that the tensors do not imply:
    ///
    /// | layer | options |
    /// |---|---|
    /// | `Linear` | a following `relu`, or `clip=MAX`, a ReLU clipped at MAX; `stack=FRAMES` if it takes several frames at once, and then `stride=FRAMES` (default: the number stacked) and `padding=FRAMES` (default: 0) |
    /// | `Conv1d` | `relu` or `clip=MAX`; `stride=FRAMES` (default: 1), `padding=FRAMES` (default: 0) |
    /// | `GRU`, `LSTM` | none |
    ///
    /// Each may also name its kind: `linear`, `conv`, `gru` or `lstm`. `linear` is required for a weight without a bias
    /// that could be the table of an `Embedding`: if it is the first layer, or has a name like `embedding`.
    ///
    /// The default is the entry `skinny.layers` of the file's metadata. Without that entry, the order is inferred if
    /// only one order connects each layer's output to the next layer's input, and no activations are assumed. A file
    /// with convolutions needs a list.
    pub layers: Option<String>,
    /// Tensors that belong to the model but to no layer. They become its [attachments](Model::attachments) and must be
    /// floats. In a name, `*` stands for any text.
    pub keep: Vec<String>,
    /// Tensors to ignore, unless `keep` names them. In a name, `*` stands for any text: `bn.*`,
    /// `*.num_batches_tracked`.
    pub drop: Vec<String>,
}

/// The metadata key of the list of layers.
const KEY: &str = "skinny.layers";

/// An imported model, and the assumptions made to import it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Import {
    /// The model.
    pub model: Model,
    /// What neither the tensors nor the list of layers say, one sentence each: the order of the layers, absent
    /// activations, strides. Empty for a file of this crate, which is complete.
    pub assumptions: Vec<String>,
}

impl Import {
    /// Reads a file like [`Model::from_pytorch`] and lists the assumptions made.
    ///
    /// # Errors
    /// Those of [`Model::from_pytorch`].
    ///
    /// # Example
    /// ```
    /// use skinny::model::{Import, ImportOptions};
    ///
    /// // torch.nn.Linear(2, 1).state_dict(), written by safetensors.torch.save.
    /// let header = br#"{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
    ///     "weight":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#;
    /// let numbers = [0.5f32, 1.0, -2.0].map(f32::to_le_bytes);
    /// let file = [&(header.len() as u64).to_le_bytes(), &header[..], numbers.as_flattened()].concat();
    ///
    /// let import = Import::from_pytorch(&file, &ImportOptions::default())?;
    /// assert_eq!(import.model.parameters(), 3);
    /// assert_eq!(import.assumptions, ["no activation after linear"]);
    ///
    /// let options = ImportOptions { layers: Some(":linear:relu".into()), ..ImportOptions::default() };
    /// assert!(Import::from_pytorch(&file, &options)?.assumptions.is_empty());
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn from_pytorch(bytes: &[u8], options: &ImportOptions) -> Result<Self> {
        let mut tensors = Tensors::new(bytes)?;
        if tensors.metadata().contains_key(file::KEY) {
            let reason = "a model file of this crate, not a state dict of PyTorch".into();
            return Err(FileError::Header { key: file::KEY.into(), reason }.into());
        }
        let mut attachments = BTreeMap::new();
        for name in tensors.matching(&options.keep) {
            let (shape, values) = tensors.take_kept(&name)?;
            attachments.insert(name, Attachment::new(shape, values)?);
        }
        for name in tensors.matching(&options.drop) {
            if !attachments.contains_key(&name) {
                tensors.discard(&name)?;
            }
        }
        let mut metadata = tensors.metadata().clone();
        let written = metadata.remove(KEY);
        let listed = options.layers.as_ref().or(written.as_ref());
        let listed = listed.map(|layers| LayerSpec::parse_list(layers)).transpose()?;

        unsupported::expect_supported(&tensors)?;
        let said = |prefix: &str| listed.iter().flatten().find(|spec| spec.prefix == prefix)?.kind;
        let groups = groups::groups(&tensors, said)?;
        let (specs, mut assumptions) = match listed {
            Some(specs) => (specs, Vec::new()),
            None => infer(&groups)?,
        };
        let mut layers = Vec::new();
        let mut before: Option<(&str, usize)> = None;
        for (i, spec) in specs.iter().enumerate() {
            let group = spec.group(&groups)?;
            if let Detail::Plain { perhaps_embedding: true } = group.detail
                && (i == 0 || is_called_embedding(&spec.prefix))
                && spec.kind.is_none()
                && spec.stack.is_none()
            {
                return Err(perhaps_embedding(&specs, i, group));
            }
            if let Some(before) = before {
                modules::expect_one_group(&spec.prefix, group, before)?;
            }
            assumptions.extend(assumed(spec, group));
            match &group.detail {
                Detail::Recurrent(stack) => {
                    layers.extend(modules::recurrent(&mut tensors, &spec.prefix, group, stack)?)
                }
                Detail::Plain { .. } if group.kind == Kind::Convolution => {
                    layers.push(modules::convolution(&mut tensors, spec)?);
                }
                Detail::Plain { .. } => layers.push(modules::linear(&mut tensors, spec)?),
            }
            before = Some((&spec.prefix, group.output));
        }
        tensors.expect_empty()?;
        let model = Model::new(layers)?.with_attached(metadata, attachments);
        Ok(Self { model, assumptions })
    }

    /// Reads a file like [`Model::read`] and lists the assumptions made.
    ///
    /// # Errors
    /// Those of [`Model::read`].
    pub fn read(bytes: &[u8], options: &ImportOptions, tier: Tier) -> Result<Self> {
        if Tensors::new(bytes)?.metadata().contains_key(file::KEY) {
            Ok(Self { model: Model::from_bytes(bytes, tier)?, assumptions: Vec::new() })
        } else {
            Self::from_pytorch(bytes, options)
        }
    }
}

impl Model {
    /// Reads a safetensors file of a PyTorch state dict, in f32, f16 or bf16, into a model in `f32`. It may hold
    /// `Linear`, `Conv1d` (one group, no dilation), `GRU` and `LSTM` modules. `GRU` and `LSTM` may have any number of
    /// layers, in one direction or two, and `LSTM` may have a projection (`proj_size`).
    ///
    /// A weight may also be two factors, `fc.weight.u` (`n x rank`) and `fc.weight.v` (`rank x k`). A recurrent layer's
    /// weights may be stored gate by gate (`rnn.weight_ih_l0.0`, `.1`, ...), or with input and recurrent weights side
    /// by side (`rnn.weight_l0`). These are the forms that `train::Recognizer::to_safetensors` writes.
    ///
    /// [`Import`] lists the assumptions made.
    ///
    /// # Errors
    /// [`Error::File`] names the tensor, layer or entry at fault and says why. Refused are: a tensor that belongs to no
    /// layer and is neither kept nor dropped; a tensor that belongs, or may belong, to an unsupported module (a
    /// BatchNorm, an `Embedding`, a weight under weight_norm); layers whose order does not follow from their shapes;
    /// and a list of layers that does not fit the file. The error names other formats that it recognizes, such as
    /// PyTorch's own and ONNX.
    ///
    /// # Example
    /// ```
    /// use skinny::model::{ImportOptions, Model};
    ///
    /// // torch.nn.Linear(2, 1).state_dict(), written by safetensors.torch.save.
    /// let header = br#"{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
    ///     "weight":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#;
    /// let numbers = [0.5f32, 1.0, -2.0].map(f32::to_le_bytes);
    /// let file = [&(header.len() as u64).to_le_bytes(), &header[..], numbers.as_flattened()].concat();
    ///
    /// let model = Model::from_pytorch(&file, &ImportOptions::default())?;
    /// assert_eq!((model.input_size(), model.output_size(), model.parameters()), (2, 1, 3));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn from_pytorch(bytes: &[u8], options: &ImportOptions) -> Result<Self> {
        Ok(Import::from_pytorch(bytes, options)?.model)
    }

    /// Reads a file with [`from_pytorch`](Self::from_pytorch).
    ///
    /// # Errors
    /// Those of [`from_pytorch`](Self::from_pytorch); [`FileError::Io`] if the file cannot be read.
    #[cfg(feature = "std")]
    pub fn load_pytorch(path: impl AsRef<std::path::Path>, options: &ImportOptions) -> Result<Self> {
        Self::from_pytorch(&file::read(path.as_ref())?, options)
    }

    /// Reads a file of either kind: [one of this crate](Self::from_bytes), for the kernels of `tier`, or [one of
    /// PyTorch](Self::from_pytorch), in `f32`.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes) and [`from_pytorch`](Self::from_pytorch).
    pub fn read(bytes: &[u8], options: &ImportOptions, tier: Tier) -> Result<Self> {
        Ok(Import::read(bytes, options, tier)?.model)
    }
}

/// Infers the order of the layers, if only one connects each output to the next input, and lists what that assumes.
fn infer(groups: &BTreeMap<String, Group>) -> Result<(Vec<LayerSpec>, Vec<String>)> {
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let sizes: Vec<(usize, usize)> = groups.values().map(|group| (group.input, group.output)).collect();
    let unknown = |reason: String| Error::from(FileError::Order { layers: groups.keys().cloned().collect(), reason });
    if names.is_empty() {
        return Err(unknown("no tensor has the name of a PyTorch Linear, Conv1d, GRU or LSTM".into()));
    }
    if let Some((name, _)) = groups.iter().find(|(_, group)| group.kind == Kind::Convolution) {
        let reason = "a Conv1d, are not in its tensors; list the layers (option `layers`)";
        return Err(unknown(format!("the stride and padding of {name}, {reason}")));
    }
    let order = match Orders::of(&sizes) {
        Orders::Only(order) => order,
        Orders::Several(orders) => {
            let [first, second] = order::shown(&orders, &names);
            return Err(unknown(format!("`{first}` and `{second}` both fit; list the layers (option `layers`)")));
        }
        Orders::None => {
            let perhaps = groups.iter().find(|(_, group)| group.detail == Detail::Plain { perhaps_embedding: true });
            return Err(unknown(match perhaps {
                Some((name, group)) => format!(
                    "no order connects each output to the next input; {name} may be an Embedding ({} x {}, no bias), which \
                     is not supported",
                    group.output, group.input
                ),
                None => "no order connects each output to the next input".into(),
            }));
        }
    };
    let names: Vec<&str> = order.into_iter().map(|layer| names[layer]).collect();
    let mut assumptions = Vec::new();
    if names.len() > 1 {
        assumptions.push(format!("the order of the layers is {}, the only one that fits", Names(&names, " ")));
    }
    let linear: Vec<String> = names
        .iter()
        .filter(|&&name| groups[name].kind == Kind::Linear)
        .map(|&name| modules::layer_name(name, Kind::Linear))
        .collect();
    if !linear.is_empty() {
        assumptions.push(format!("no activation after {}", Names(&linear, ", ")));
    }
    Ok((names.into_iter().map(LayerSpec::plain).collect(), assumptions))
}

/// What is assumed about a listed layer.
fn assumed(spec: &LayerSpec, group: &Group) -> Vec<String> {
    let name = modules::layer_name(&spec.prefix, group.kind);
    let mut assumed = Vec::new();
    if group.kind == Kind::Convolution {
        let default = [(spec.stride, "stride=1"), (spec.padding, "padding=0")].into_iter();
        let default = default.filter(|(said, _)| said.is_none()).map(|(_, default)| default);
        // The padding mode matters only if there is padding.
        let mode = (spec.padding > Some(0)).then_some("padding_mode=zeros");
        let default: Vec<&str> = default.chain(mode).chain(["dilation=1", "groups=1"]).collect();
        assumed.push(format!("{name} is a Conv1d with {}, not transposed", default.join(", ")));
    }
    if let Detail::Recurrent(stack) = &group.detail
        && stack.guessed
    {
        assumed.push(format!("{name} is {}, as its name says", group.kind));
    }
    assumed
}

/// Whether a module's name suggests an `Embedding`.
fn is_called_embedding(prefix: &str) -> bool {
    const WORDS: [&str; 10] = ["emb", "embs", "word", "words", "token", "tokens", "vocab", "lookup", "wte", "wpe"];
    let lowercase = prefix.to_lowercase();
    let mut words = lowercase.split(|c: char| !c.is_alphabetic());
    lowercase.contains("embed") || words.any(|word| WORDS.contains(&word))
}

/// The error that layer `i` may be an `Embedding`, with the list of layers that would declare it a `Linear`.
fn perhaps_embedding(specs: &[LayerSpec], i: usize, group: &Group) -> Error {
    let list: Vec<String> =
        specs
            .iter()
            .enumerate()
            .map(|(j, spec)| {
                if i == j {
                    LayerSpec { kind: Some(Kind::Linear), ..spec.clone() }.to_string()
                } else {
                    spec.to_string()
                }
            })
            .collect();
    let reason = format!(
        "{} x {} without a bias may be the table of an Embedding, which is not supported; if it is a Linear, say so in \
         the list of layers: `{}` (option `layers`)",
        group.output,
        group.input,
        Names(&list, " ")
    );
    FileError::not_supported(joined(&specs[i].prefix, "weight"), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_named_like_embeddings_are_recognized() {
        for prefix in ["emb", "embedding", "encoder.word_emb", "Embed", "token2", "wte", "model.embed_tokens", "lookup"]
        {
            assert!(is_called_embedding(prefix), "{prefix}");
        }
        for prefix in ["", "fc", "remember", "november.fc", "sword", "tokenizer"] {
            assert!(!is_called_embedding(prefix), "{prefix}");
        }
    }
}
