//! Parsing of the names in a PyTorch state dict.

use alloc::format;
use alloc::string::{String, ToString};

/// A parsed tensor name: the prefix of its module, and its role there.
#[derive(Debug, PartialEq)]
pub(super) enum Name<'a> {
    /// The `weight` of a `Linear` or `Conv1d`, or a factor of it.
    Weight { prefix: &'a str },
    /// A parameter of a recurrent layer, or a part of it.
    Recurrent { prefix: &'a str, parameter: &'a str, layer: usize, reverse: bool },
    /// None of these.
    Other,
}

impl<'a> Name<'a> {
    /// Parses a name of PyTorch's state dicts, or of this crate's extensions: `.u` and `.v` for the factors of a
    /// weight, and `.0`, `.1`, ... for the gates of a weight stored gate by gate.
    pub fn parse(name: &'a str) -> Self {
        let weight = name.strip_suffix(".u").or_else(|| name.strip_suffix(".v")).unwrap_or(name);
        let of_weight = Self::parse_whole(weight);
        if of_weight != Name::Other {
            return of_weight;
        }
        match weight.rsplit_once('.') {
            Some((stacked, part)) if number(part).is_some() => match Self::parse_whole(stacked) {
                recurrent @ Name::Recurrent { .. } => recurrent,
                _ => Name::Other,
            },
            _ => Name::Other,
        }
    }

    fn parse_whole(name: &'a str) -> Self {
        let (prefix, last) = match name.rsplit_once('.') {
            // `.weight` would become `weight` when joined again.
            Some(("", _)) => return Name::Other,
            Some((prefix, last)) => (prefix, last),
            None => ("", name),
        };
        if last == "weight" {
            return Name::Weight { prefix };
        }
        let (stem, reverse) = match last.strip_suffix("_reverse") {
            Some(stem) => (stem, true),
            None => (last, false),
        };
        match stem.rsplit_once("_l").map(|(parameter, layer)| (parameter, number(layer))) {
            Some((
                parameter @ ("weight" | "weight_ih" | "weight_hh" | "weight_hr" | "bias_ih" | "bias_hh"),
                Some(layer),
            )) => Name::Recurrent { prefix, parameter, layer, reverse },
            _ => Name::Other,
        }
    }
}

/// Parses a number in its canonical form: neither `01` nor `+1`.
fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}

/// `prefix.last`, or `last` if the prefix is empty.
pub(super) fn joined(prefix: &str, last: &str) -> String {
    if prefix.is_empty() { last.to_string() } else { format!("{prefix}.{last}") }
}

/// The suffix of a recurrent layer's parameters, such as `_l0` or `_l0_reverse`.
pub(super) fn suffix(layer: usize, reverse: bool) -> String {
    format!("_l{layer}{}", if reverse { "_reverse" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let weight = |prefix| Name::Weight { prefix };
        assert_eq!(Name::parse("encoder.fc.weight"), weight("encoder.fc"));
        assert_eq!(Name::parse("weight"), weight(""));
        assert_eq!(Name::parse("a..weight"), weight("a."));
        assert_eq!(Name::parse("fc.weight.u"), weight("fc"));
        assert_eq!(Name::parse("\u{fc}.weight.v"), weight("\u{fc}"));
        let recurrent = |prefix, parameter, layer, reverse| Name::Recurrent { prefix, parameter, layer, reverse };
        assert_eq!(Name::parse("rnn.weight_hh_l12_reverse"), recurrent("rnn", "weight_hh", 12, true));
        assert_eq!(Name::parse("weight_ih_l0"), recurrent("", "weight_ih", 0, false));
        assert_eq!(Name::parse("bias_hh_l3"), recurrent("", "bias_hh", 3, false));
        assert_eq!(Name::parse("gru.weight_l1.u"), recurrent("gru", "weight", 1, false));
        assert_eq!(Name::parse("gru.weight_ih_l0_reverse.2.v"), recurrent("gru", "weight_ih", 0, true));
        let others = [
            "fc.bias",
            "weight_ih_lx",
            "weight_ih_l01",
            "weight_ih_l+1",
            "weight_ih_l18446744073709551616",
            "rnn.weight_xx_l0",
            "",
            ".",
            ".weight",
            "weight.",
            "fc.weight.0",
            "fc.weight.w",
            "rnn.weight_ih_l0.00.u",
            "u",
        ];
        for other in others {
            assert_eq!(Name::parse(other), Name::Other, "{other}");
        }
    }
}
