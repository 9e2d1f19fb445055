//! The list of layers: their order, and options that tensors do not imply.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::groups::{Group, Kind};
use crate::error::{FileError, Names, Result};
use crate::kernels::Activation;

/// An entry of the list: the prefix of the layer's tensors, and its options.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerSpec {
    pub prefix: String,
    /// The kind that the list names.
    pub kind: Option<Kind>,
    pub activation: Option<Activation>,
    /// Number of frames that a linear layer takes at once.
    pub stack: Option<usize>,
    pub stride: Option<usize>,
    pub padding: Option<usize>,
}

impl LayerSpec {
    pub fn plain(prefix: &str) -> Self {
        Self { prefix: prefix.into(), kind: None, activation: None, stack: None, stride: None, padding: None }
    }

    /// Reads `prefix[:option]...`.
    fn parse(text: &str) -> Result<Self> {
        let bad = |reason: String| Err(FileError::layer_list(text, reason));
        let mut parts = text.split(':');
        let mut spec = Self::plain(parts.next().unwrap_or_default());
        for option in parts {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option, None),
            };
            let kind = Kind::ALL.into_iter().find(|kind| kind.option() == key);
            let twice = match (key, kind) {
                (_, Some(kind)) if value.is_none() => spec.kind.replace(kind).is_some(),
                ("relu", _) if value.is_none() => spec.activation.replace(Activation::Relu).is_some(),
                ("relu", _) | (_, Some(_)) => return bad(format!("{key} takes no value")),
                ("clip", _) => match value.map(str::parse::<f32>) {
                    Some(Ok(max)) if max > 0.0 && max.is_finite() => {
                        spec.activation.replace(Activation::ClippedRelu(max)).is_some()
                    }
                    _ => return bad(format!("{option}: the maximum must be a positive number, as in clip=20")),
                },
                ("stack" | "stride" | "padding", _) => {
                    let Some(Ok(frames)) = value.map(str::parse::<usize>) else {
                        return bad(format!("{option}: {key} is a number of frames, as in {key}=2"));
                    };
                    let field = match key {
                        "stack" => &mut spec.stack,
                        "stride" => &mut spec.stride,
                        _ => &mut spec.padding,
                    };
                    field.replace(frames).is_some()
                }
                ("dilation" | "groups", _) => return bad(format!("a Conv1d with {key} is not supported")),
                _ => {
                    return bad(format!(
                        "unknown option {key:?}; the options are relu, clip=MAX, stride=FRAMES, padding=FRAMES, \
                         stack=FRAMES and the kinds linear, conv, gru, lstm"
                    ));
                }
            };
            if twice {
                return bad(format!("{option} repeats or contradicts an earlier option"));
            }
        }
        Ok(spec)
    }

    /// Reads layers separated by blanks or commas.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        let mut seen = BTreeSet::new();
        let mut specs = Vec::new();
        for item in text.split([' ', ',', '\n', '\r', '\t']).filter(|item| !item.is_empty()) {
            let spec = Self::parse(item)?;
            if !seen.insert(spec.prefix.clone()) {
                return Err(FileError::layer_list(item, "the layer is listed twice"));
            }
            specs.push(spec);
        }
        if specs.is_empty() { Err(FileError::layer_list(text, "no layer is listed")) } else { Ok(specs) }
    }

    /// The options in the list's notation.
    fn options(&self) -> impl Iterator<Item = String> {
        let frames = [("stack", self.stack), ("stride", self.stride), ("padding", self.padding)];
        let frames = frames.into_iter().filter_map(|(key, frames)| frames.map(|frames| format!("{key}={frames}")));
        let activation = self.activation.map(|activation| match activation {
            Activation::ClippedRelu(max) => format!("clip={max}"),
            _ => "relu".into(),
        });
        frames.chain(activation)
    }

    /// The module of this entry. Fails if there is none, or if it does not take the entry's options.
    pub fn group<'g>(&self, groups: &'g BTreeMap<String, Group>) -> Result<&'g Group> {
        let bad = |reason: String| Err(FileError::layer_list(self.to_string(), reason));
        let Some(group) = groups.get(&self.prefix) else {
            let there: Vec<&String> = groups.keys().collect();
            return bad(format!("the file has no such layer; it has {}", Names(&there, ", ")));
        };
        if let Some(said) = self.kind
            && said != group.kind
        {
            return bad(format!("the layer is {}, not {said}", group.kind));
        }
        let (takes, refused) = match group.kind {
            Kind::Linear if self.stack.is_some() => ("", None),
            Kind::Linear => (
                "relu, clip=MAX, stack=FRAMES and, together with stack, stride=FRAMES and padding=FRAMES",
                self.stride.map(|_| "stride").or(self.padding.map(|_| "padding")),
            ),
            Kind::Convolution => ("relu, clip=MAX, stride=FRAMES and padding=FRAMES", self.stack.map(|_| "stack")),
            Kind::Gru | Kind::Lstm => ("no options", self.options().next().map(|_| "")),
        };
        if let Some(key) = refused {
            let option = self.options().find(|option| option.starts_with(key)).unwrap_or_default();
            return bad(format!("{option} does not apply to {}, which takes {takes}", group.kind));
        }
        if let Some(stack) = self.stack
            && group.input.checked_rem(stack) != Some(0)
        {
            return bad(format!("the layer's {} inputs are not {stack} frames of equal size", group.input));
        }
        Ok(group)
    }
}

/// In the list's notation.
impl core::fmt::Display for LayerSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.prefix)?;
        self.kind.map_or(Ok(()), |kind| write!(f, ":{}", kind.option()))?;
        self.options().try_for_each(|option| write!(f, ":{option}"))
    }
}
