//! Models that exist only as shapes, with random weights.

use std::str::FromStr;

use skinny::Mat;
use skinny::factored::{Gru, Linear, LowRank, Lstm, TimeConvolution, Weight};
use skinny::model::{Layer, Model};

use crate::error::{Failure, Result};
use crate::random::Random;

/// A layer of `--shape`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    kind: Kind,
    rank: Option<Rank>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gru { hidden: usize, layers: usize },
    Lstm { hidden: usize, layers: usize },
    Linear { input: usize, output: usize },
    Convolution { input: usize, output: usize, kernel: usize, stride: usize },
}

/// The rank of each matrix of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rank {
    Of(usize),
    /// A share of the full rank.
    Share(f64),
}

/// The widest layer. Beyond this a typing mistake would fill the memory.
const MOST: usize = 1 << 16;

/// The most weights in all layers together.
const MOST_WEIGHTS: usize = 1 << 29;

/// What `--shape` expects.
const GRAMMAR: &str = "gru:HIDDENxLAYERS, lstm:HIDDENxLAYERS, linear:INxOUT or conv:INxOUT:kernel=K:stride=S, with optional \
                       :rank=R (a number, or a share of the full rank such as 0.25)";

impl FromStr for Shape {
    type Err = String;

    /// Parses `gru:1024x3`, `lstm:512`, `linear:320x6144` or `conv:161x256:kernel=11:stride=2`. An optional `:rank=R` at
    /// the end makes factors of that rank.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}`: expected {GRAMMAR}");
        let mut parts = text.split(':');
        let (kind, sizes) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(bad)?);
        let number = |text: &str| text.parse().ok().filter(|&number| 0 < number && number <= MOST).ok_or_else(bad);
        let (first, second) = match sizes.split_once('x') {
            None => (number(sizes)?, None),
            Some((first, second)) => (number(first)?, Some(number(second)?)),
        };
        let mut kind = match (kind, second) {
            ("gru", layers) => Kind::Gru { hidden: first, layers: layers.unwrap_or(1) },
            ("lstm", layers) => Kind::Lstm { hidden: first, layers: layers.unwrap_or(1) },
            ("linear", Some(output)) => Kind::Linear { input: first, output },
            ("conv", Some(output)) => Kind::Convolution { input: first, output, kernel: 1, stride: 1 },
            _ => return Err(bad()),
        };
        let (mut rank, mut given) = (None, Vec::new());
        for part in parts {
            let (option, value) = part.split_once('=').ok_or_else(bad)?;
            match (option, &mut kind) {
                _ if given.contains(&option) => return Err(bad()),
                ("rank", _) => rank = Some(value.parse().map_err(|()| bad())?),
                ("kernel", Kind::Convolution { kernel, .. }) => *kernel = number(value)?,
                ("stride", Kind::Convolution { stride, .. }) => *stride = number(value)?,
                _ => return Err(bad()),
            }
            given.push(option);
        }
        Ok(Self { kind, rank })
    }
}

impl FromStr for Rank {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.parse::<usize>() {
            Ok(rank) if 0 < rank && rank <= MOST => Ok(Rank::Of(rank)),
            Ok(_) => Err(()),
            Err(_) => text.parse().ok().filter(|share| 0.0 < *share && *share <= 1.0).map(Rank::Share).ok_or(()),
        }
    }
}

impl Rank {
    /// The rank of an `n x k` matrix.
    fn of(self, n: usize, k: usize) -> usize {
        let full = n.min(k);
        match self {
            Rank::Of(rank) => rank.min(full),
            Rank::Share(share) => ((share * full as f64).round() as usize).clamp(1, full),
        }
    }
}

/// The model of Kliegl et al., "Trace norm regularization and faster inference for embedded speech recognition RNNs"
/// (arXiv 1710.09026), as a shape: 161 spectrogram bins every 10 ms, and a step every 20 ms. Convolutions over time stand
/// in for the paper's, which run over time and frequency. GRUs and the fully connected layer have a share of their full
/// rank; convolutions and the layer of characters are dense.
pub fn paper(rank_share: f64) -> Vec<Shape> {
    // A full rank in two factors would take more weights than the matrix.
    let rank = Some(Rank::Share(rank_share)).filter(|_| rank_share < 1.0);
    let convolution = |input, output, stride| Kind::Convolution { input, output, kernel: 11, stride };
    let gru = |hidden| (Kind::Gru { hidden, layers: 1 }, rank);
    let layers = [
        (convolution(161, 256, 2), None),
        (convolution(256, 512, 1), None),
        gru(768),
        gru(1024),
        gru(1280),
        (Kind::Linear { input: 1280, output: 1536 }, rank),
        (Kind::Linear { input: 1536, output: 29 }, None),
    ];
    layers.into_iter().map(|(kind, rank)| Shape { kind, rank }).collect()
}

/// Frames of sound per second of [`paper`].
pub const PAPER_FRAMES: f64 = 100.0;

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
            Kind::Convolution { input, output, kernel, stride } => {
                let linear = Linear::new(weight(output, input * kernel)?, None)?;
                // As many frames of zeros before the first frame as keep outputs in the middle of their frames.
                let convolution = TimeConvolution::new(linear, kernel, stride, kernel / 2)?;
                layers.push((format!("{i}.conv"), Layer::TimeConvolution(convolution)));
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
    fn next(&mut self, n: usize, k: usize, rank: Option<Rank>) -> Result<Weight> {
        let rank = rank.map(|rank| rank.of(n, k));
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
    use crate::weights;

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
            "gru:4:kernel=3",
            "gru:4:rank=2:rank=2",
            "gru:4:rank=1.5",
            "gru:4:rank=-0.5",
            "conv:4",
            "conv:4x4:kernel=0",
            "conv:4x4:stride",
        ] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn convolutions_have_kernels_and_strides_and_ranks_may_be_shares() {
        let shapes: Vec<Shape> = ["conv:10x8:kernel=3:stride=2:rank=0.5", "conv:8x6", "gru:6:rank=0.01"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let model = model(&shapes, None).unwrap();
        assert_eq!((model.input_size(), model.output_size(), model.stride()), (10, 6, 2));
        // Rank 4 of an 8 x 30 matrix; a dense 6 x 8; rank 1, the least there is, of two 18 x 6.
        let (first, second, gru) = (4 * (8 + 30), 6 * 8, 2 * (18 + 6));
        assert_eq!(model.parameters(), first + second + gru);
    }

    /// The sizes of the paper's layers, written out.
    #[test]
    fn the_papers_model_has_its_layers() {
        let dense = model(&paper(1.0), None).unwrap();
        assert_eq!((dense.input_size(), dense.output_size(), dense.stride()), (161, 29, 2));
        let convolutions = 256 * 161 * 11 + 512 * 256 * 11;
        let grus = 3 * 768 * (512 + 768) + 3 * 1024 * (768 + 1024) + 3 * 1280 * (1024 + 1280);
        let (connected, characters) = (1536 * 1280, 29 * 1536);
        let weights = |model: &Model| -> usize {
            model.layers().flat_map(|(_, layer)| weights::of(layer)).map(|part| part.macs()).sum()
        };
        assert_eq!(weights(&dense), convolutions + grus + connected + characters);
        let quarter = model(&paper(0.25), None).unwrap();
        let factors = |n: usize, k: usize| n.min(k) / 4 * (n + k);
        let grus = [(768, 512), (1024, 768), (1280, 1024)]
            .map(|(hidden, input)| factors(3 * hidden, input) + factors(3 * hidden, hidden));
        let expected = convolutions + grus.iter().sum::<usize>() + factors(1536, 1280) + characters;
        assert_eq!(weights(&quarter), expected);
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
