//! Which layers a PyTorch file holds, and in which order they follow one another.
//!
//! A state dict has names and shapes but no order. It follows from the shapes where only one order makes every layer's
//! output fit the next one's input; else the caller names it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::tensors::Tensors;
use crate::error::{Error, FileError, Result};
use crate::kernels::Activation;

/// Tensors with one prefix that make a layer, or a stack of recurrent layers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Group {
    /// `weight` (out x in) and perhaps `bias`.
    Linear { input: usize, output: usize },
    /// `weight` (out x in x kernel) and perhaps `bias`.
    Convolution { input: usize, output: usize },
    /// `weight_ih_l0`, `weight_hh_l0`, ...: this many layers in one or two directions.
    Recurrent { input: usize, output: usize, layers: usize, bidirectional: bool },
}

impl Group {
    fn sizes(&self) -> (usize, usize) {
        match *self {
            Group::Linear { input, output }
            | Group::Convolution { input, output }
            | Group::Recurrent { input, output, .. } => (input, output),
        }
    }
}

/// A layer as the caller names it: the prefix of its tensors, and what tensors do not tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerSpec {
    pub prefix: String,
    pub activation: Activation,
    /// Frames that a linear layer takes at once.
    pub stack: Option<usize>,
    pub stride: Option<usize>,
    pub padding: usize,
}

impl LayerSpec {
    fn plain(prefix: &str) -> Self {
        Self { prefix: prefix.into(), activation: Activation::Identity, stack: None, stride: None, padding: 0 }
    }

    /// Reads `prefix[:option]...`, options being `relu`, `clip=MAX`, `stack=FRAMES`, `stride=FRAMES`, `padding=FRAMES`.
    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut spec = Self::plain(parts.next().unwrap_or_default());
        for option in parts {
            let bad = || FileError::Header { key: "layers".into(), reason: format!("{text}: option {option:?}") };
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let frames = || value.parse().map_err(|_| Error::from(bad()));
            match key {
                "relu" if value.is_empty() => spec.activation = Activation::Relu,
                "clip" => {
                    let max: f32 = value.parse().map_err(|_| bad())?;
                    if !(max > 0.0 && max.is_finite()) {
                        return Err(bad().into());
                    }
                    spec.activation = Activation::ClippedRelu(max);
                }
                "stack" => spec.stack = Some(frames()?),
                "stride" => spec.stride = Some(frames()?),
                "padding" => spec.padding = frames()?,
                _ => return Err(bad().into()),
            }
        }
        Ok(spec)
    }

    /// Reads layers separated by blanks or commas.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        text.split([' ', ',', '\n', '\t']).filter(|item| !item.is_empty()).map(Self::parse).collect()
    }
}

/// What a tensor's name says: the prefix of its group, and its place in it.
pub(super) enum Name<'a> {
    Weight(&'a str),
    Recurrent { prefix: &'a str, matrix: &'a str, layer: usize, reverse: bool },
    Other,
}

impl<'a> Name<'a> {
    /// Reads names in the manner of PyTorch's state dicts.
    pub fn parse(name: &'a str) -> Self {
        let (prefix, last) = match name.rsplit_once('.') {
            Some((prefix, last)) => (prefix, last),
            None => ("", name),
        };
        if last == "weight" {
            return Name::Weight(prefix);
        }
        let (stem, reverse) = match last.strip_suffix("_reverse") {
            Some(stem) => (stem, true),
            None => (last, false),
        };
        match stem.rsplit_once("_l").map(|(matrix, layer)| (matrix, layer.parse())) {
            Some((matrix @ ("weight_ih" | "weight_hh" | "weight_hr"), Ok(layer))) => {
                Name::Recurrent { prefix, matrix, layer, reverse }
            }
            _ => Name::Other,
        }
    }
}

/// `prefix.last`, or `last` where the prefix is empty.
pub(super) fn joined(prefix: &str, last: &str) -> String {
    if prefix.is_empty() { last.to_string() } else { format!("{prefix}.{last}") }
}

/// The groups of a file, by prefix.
pub(super) fn groups(tensors: &Tensors<'_>) -> BTreeMap<String, Group> {
    let shapes: BTreeMap<&str, &[usize]> = tensors.remaining().collect();
    let mut groups = BTreeMap::new();
    for (&name, &shape) in &shapes {
        match (Name::parse(name), shape) {
            (Name::Weight(prefix), &[output, input]) => {
                groups.insert(prefix.to_string(), Group::Linear { input, output });
            }
            (Name::Weight(prefix), &[output, input, _]) => {
                groups.insert(prefix.to_string(), Group::Convolution { input, output });
            }
            (Name::Recurrent { prefix, matrix: "weight_ih", layer: 0, reverse: false }, &[_, input]) => {
                let shape_of = |last: &str| shapes.get(joined(prefix, last).as_str()).copied();
                let layers = (0..).take_while(|l| shape_of(&format!("weight_ih_l{l}")).is_some()).count();
                let bidirectional = shape_of("weight_ih_l0_reverse").is_some();
                // The output is what the recurrent weights take: the hidden vector, or its projection.
                let Some(&[_, hidden]) = shape_of("weight_hh_l0") else { continue };
                let output = if bidirectional { hidden.saturating_mul(2) } else { hidden };
                groups.insert(prefix.to_string(), Group::Recurrent { input, output, layers, bidirectional });
            }
            _ => {}
        }
    }
    groups
}

/// The order of `groups` in which each one's output fits the next one's input, if there is just one.
pub(super) fn infer(groups: &BTreeMap<String, Group>) -> Result<Vec<LayerSpec>> {
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let sizes: Vec<(usize, usize)> = groups.values().map(Group::sizes).collect();
    let unknown = |reason: String| {
        let layers = names.iter().map(|name| name.to_string()).collect();
        Error::from(FileError::Order { layers, reason })
    };
    if names.is_empty() {
        return Err(unknown("no tensor has the name of a PyTorch Linear, Conv1d, GRU or LSTM".into()));
    }
    if let Some((name, _)) = groups.iter().find(|(_, group)| matches!(group, Group::Convolution { .. })) {
        return Err(unknown(format!(
            "the stride and padding of {name}, a convolution, are not in its tensors, name it"
        )));
    }
    // Orders grow as the factorial; beyond this nobody wants to wait for a guess.
    if names.len() > 12 {
        return Err(unknown(format!("{} layers are too many to guess it, name it", names.len())));
    }
    let mut found = Vec::new();
    extend(&sizes, &mut vec![], &mut found);
    let listed = |order: &[usize]| order.iter().map(|&i| names[i]).collect::<Vec<_>>().join(" ");
    match &found[..] {
        [order] => Ok(order.iter().map(|&i| LayerSpec::plain(names[i])).collect()),
        [] => Err(unknown("in no order do all outputs fit the next inputs".into())),
        [first, second, ..] => Err(unknown(format!("`{}` and `{}` both fit, name it", listed(first), listed(second)))),
    }
}

/// Adds to `found` the orders that begin with `order`, until there are two.
fn extend(sizes: &[(usize, usize)], order: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    if order.len() == sizes.len() {
        found.push(order.clone());
        return;
    }
    for next in 0..sizes.len() {
        let fits = order.last().is_none_or(|&last| sizes[last].1 == sizes[next].0);
        if fits && !order.contains(&next) && found.len() < 2 {
            order.push(next);
            extend(sizes, order, found);
            order.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(input: usize, output: usize) -> Group {
        Group::Linear { input, output }
    }

    #[test]
    fn the_only_order_that_fits_is_found() {
        let groups = [("a", linear(30, 7)), ("b", linear(10, 20)), ("c", linear(20, 30))];
        let groups = groups.into_iter().map(|(name, group)| (name.to_string(), group)).collect();
        let order: Vec<_> = infer(&groups).unwrap().into_iter().map(|spec| spec.prefix).collect();
        assert_eq!(order, ["b", "c", "a"]);
    }

    #[test]
    fn an_order_that_is_not_the_only_one_is_asked_for() {
        for sizes in [[(4, 4), (4, 4)], [(4, 5), (6, 7)]] {
            let groups = sizes.iter().enumerate().map(|(i, &(k, n))| (i.to_string(), linear(k, n))).collect();
            assert!(matches!(infer(&groups), Err(Error::File(FileError::Order { .. }))));
        }
        let convolution = [("conv".to_string(), Group::Convolution { input: 4, output: 5 })].into_iter().collect();
        assert!(matches!(infer(&convolution), Err(Error::File(FileError::Order { .. }))));
        assert!(matches!(infer(&BTreeMap::new()), Err(Error::File(FileError::Order { .. }))));
    }

    #[test]
    fn layers_are_read_as_they_are_written() {
        let specs = LayerSpec::parse_list("conv:stride=2:padding=1:clip=20, gru fc:relu").unwrap();
        assert_eq!(specs[0].stride, Some(2));
        assert_eq!((specs[0].padding, specs[0].activation), (1, Activation::ClippedRelu(20.0)));
        assert_eq!(specs[1], LayerSpec::plain("gru"));
        assert_eq!(specs[2].activation, Activation::Relu);
        for bad in ["a:b", "a:clip=0", "a:clip=NaN", "a:stride=-1", "a:relu=1", "a:stack"] {
            assert!(LayerSpec::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_taken_apart() {
        assert!(matches!(Name::parse("encoder.fc.weight"), Name::Weight("encoder.fc")));
        assert!(matches!(
            Name::parse("rnn.weight_hh_l12_reverse"),
            Name::Recurrent { prefix: "rnn", matrix: "weight_hh", layer: 12, reverse: true }
        ));
        assert!(matches!(Name::parse("weight_ih_l0"), Name::Recurrent { prefix: "", reverse: false, .. }));
        for other in ["fc.bias", "weight_ih_lx", "rnn.weight_xx_l0", ""] {
            assert!(matches!(Name::parse(other), Name::Other), "{other}");
        }
    }
}
