//! Models that exist only as shapes, with random weights.

use std::str::FromStr;

use skinny::Mat;
use skinny::factored::{Gru, Linear, LowRank, Lstm, Weight};
use skinny::model::{Layer, Model};

use crate::error::{Failure, Result};
use crate::random::Random;

/// A layer of `--shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    kind: Kind,
    rank: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gru { hidden: usize, layers: usize },
    Lstm { hidden: usize, layers: usize },
    Linear { input: usize, output: usize },
}

/// The widest layer. Beyond this a typing mistake would fill the memory.
const MOST: usize = 1 << 16;

/// The most weights in all layers together.
const MOST_WEIGHTS: usize = 1 << 29;

impl FromStr for Shape {
    type Err = String;

    /// Parses `gru:1024x3`, `lstm:512` or `linear:320x6144`. An optional `:rank=R` at the end makes factors of that
    /// rank.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("`{text}`: expected gru:HIDDENxLAYERS, lstm:HIDDENxLAYERS or linear:INxOUT, with optional :rank=R")
        };
        let mut parts = text.split(':');
        let (kind, sizes) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(bad)?);
        let number = |text: &str| text.parse().ok().filter(|&number| 0 < number && number <= MOST).ok_or_else(bad);
        let (first, second) = match sizes.split_once('x') {
            None => (number(sizes)?, None),
            Some((first, second)) => (number(first)?, Some(number(second)?)),
        };
        let kind = match (kind, second) {
            ("gru", layers) => Kind::Gru { hidden: first, layers: layers.unwrap_or(1) },
            ("lstm", layers) => Kind::Lstm { hidden: first, layers: layers.unwrap_or(1) },
            ("linear", Some(output)) => Kind::Linear { input: first, output },
            _ => return Err(bad()),
        };
        let rank = match parts.next() {
            None => None,
            Some(option) => Some(number(option.strip_prefix("rank=").ok_or_else(bad)?)?),
        };
        if parts.next().is_some() { Err(bad()) } else { Ok(Self { kind, rank }) }
    }
}

/// A model of these layers in sequence. A recurrent first layer has `features` inputs, or by default its hidden size.
pub fn model(shapes: &[Shape], features: Option<usize>) -> Result<Model> {
    let mut weights = RandomWeights { random: Random::new(1), left: MOST_WEIGHTS };
    let mut layers: Vec<(String, Layer)> = Vec::new();
    for (i, Shape { kind, rank }) in shapes.iter().enumerate() {
        let mut weight = |n: usize, k: usize| weights.next(n, k, *rank);
        let before = layers.last().map(|(_, layer)| layer.output_size()).or(features);
        match *kind {
            Kind::Linear { input, output } => {
                let linear = Linear::new(weight(output, input)?, None)?;
                layers.push((format!("{i}.linear"), Layer::Linear(linear)));
            }
            Kind::Gru { hidden, layers: count } => {
                for l in 0..count {
                    let input = if l == 0 { before.unwrap_or(hidden) } else { hidden };
                    let gru = Gru::new(weight(3 * hidden, input)?, weight(3 * hidden, hidden)?, None, None)?;
                    layers.push((format!("{i}.gru.l{l}"), Layer::Gru(gru)));
                }
            }
            Kind::Lstm { hidden, layers: count } => {
                for l in 0..count {
                    let input = if l == 0 { before.unwrap_or(hidden) } else { hidden };
                    let lstm = Lstm::new(weight(4 * hidden, input)?, weight(4 * hidden, hidden)?, None, None)?;
                    layers.push((format!("{i}.lstm.l{l}"), Layer::Lstm(lstm)));
                }
            }
        }
    }
    Ok(Model::new(layers)?)
}

/// Makes random weights, about as large as trained ones.
struct RandomWeights {
    random: Random,
    /// How many more weights may be made.
    left: usize,
}

impl RandomWeights {
    fn next(&mut self, n: usize, k: usize, rank: Option<usize>) -> Result<Weight> {
        let rank = rank.map(|rank| rank.min(n).min(k));
        let count = rank.map_or(n.saturating_mul(k), |rank| rank.saturating_mul(n.saturating_add(k)));
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| Failure::input(format!("more weights than {MOST_WEIGHTS}")))?;
        let mut matrix = |rows: usize, cols: usize| {
            let scale = 1.0 / (cols as f32).sqrt();
            let values = self.random.floats(rows * cols).into_iter().map(|value| value * scale);
            Mat::from_vec(values.collect(), rows, cols)
        };
        Ok(match rank {
            None => Weight::dense(matrix(n, k)?)?,
            Some(rank) => LowRank::from_factors(matrix(n, rank)?, matrix(rank, k)?)?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_and_become_models() {
        let shapes: Vec<Shape> =
            ["linear:20x24", "gru:16x2", "lstm:8:rank=4"].iter().map(|text| text.parse().unwrap()).collect();
        let model = model(&shapes, None).unwrap();
        let names: Vec<&str> = model.layers().map(|(name, _)| name).collect();
        assert_eq!(names, ["0.linear", "1.gru.l0", "1.gru.l1", "2.lstm.l0"]);
        assert_eq!((model.input_size(), model.output_size()), (20, 8));
        let (linear, gru, lstm) = (20 * 24, 48 * (24 + 16) + 48 * (16 + 16), 4 * (32 + 16) + 4 * (32 + 8));
        assert_eq!(model.parameters(), linear + gru + lstm);
        for bad in [
            "",
            "gru",
            "gru:",
            "gru:0",
            "gru:1x0",
            "linear:4",
            "gru:4:rank",
            "gru:4:rank=0",
            "gru:4:rank=2:x",
            "rnn:4",
            "gru:99999999",
        ] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let shapes: Vec<Shape> = ["gru:16", "linear:20x24"].iter().map(|text| text.parse().unwrap()).collect();
        assert!(model(&shapes, None).is_err());
        let huge = ["gru:65536x65536".parse().unwrap()];
        assert!(model(&huge, None).unwrap_err().to_string().contains("more weights"));
        assert_eq!(model(&shapes[..1], Some(5)).unwrap().input_size(), 5);
    }
}
