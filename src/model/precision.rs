//! The cheapest precision of each layer with which the outputs keep a signal-to-noise ratio.

use alloc::string::String;
use alloc::vec::Vec;

use super::compress::{Decomposed, Storage};
use super::evaluation::mixed;
use super::{Evaluation, Model};
use crate::compress::Choice;
use crate::error::{Error, Result};
use crate::factored::Quantization;
use crate::kernels::{Tier, WeightFormat};

/// The precisions of layers, and what they have to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand<'a> {
    /// The least signal-to-noise ratio of the outputs, in dB.
    pub decibels: f64,
    /// The cheapest precision that a layer may have; `None` is `f32`.
    pub cheapest: Option<Quantization>,
    /// Layers whose precision is given.
    pub fixed: &'a [(String, Option<Quantization>)],
    /// Whether rounded factors compensate each other's error ([`Storage::correct`]).
    pub correct: bool,
}

/// The precision that was chosen for a layer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerPrecision {
    /// The layer's name.
    pub name: String,
    /// `None` is `f32`.
    pub precision: Option<Quantization>,
    /// If it is not the cheapest: the next cheaper precision, and the ratio that the outputs would have with it, in dB.
    pub cheaper: Option<(Option<Quantization>, f64)>,
}

/// Precisions from the cheapest to the most exact. Between 8 bits and `f32` there are activations in 16 bits.
const LADDER: [Option<Quantization>; 6] = [
    Some(Quantization::Weights(WeightFormat::I2Group64)),
    Some(Quantization::Weights(WeightFormat::I4)),
    Some(Quantization::Weights(WeightFormat::I4Group32)),
    Some(Quantization::Weights(WeightFormat::I8)),
    Some(Quantization::I8X16),
    None,
];

/// What a weight costs: its bytes, and half as much again where its arithmetic is doubled.
fn cost(precision: Option<Quantization>) -> f64 {
    match precision {
        Some(Quantization::Weights(WeightFormat::I2Group64)) => 0.27,
        Some(Quantization::Weights(WeightFormat::I4)) => 0.5,
        Some(Quantization::Weights(WeightFormat::I4Group32)) => 0.53,
        Some(Quantization::Weights(WeightFormat::I8)) => 1.0,
        Some(Quantization::I8X16) => 1.5,
        None => 4.0,
    }
}

/// A layer whose precision is to be chosen.
struct Searched {
    name: String,
    parameters: f64,
    /// Its level on the ladder.
    at: usize,
    /// For each level, the noise of the outputs, relative to the signal, with only this layer rounded.
    noise: Vec<f64>,
    /// The ratio measured with the next cheaper level.
    cheaper: Option<f64>,
}

/// Noise relative to the signal. What is not a number is as bad as can be.
fn noise(decibels: f64) -> f64 {
    let noise = 10f64.powf(-decibels / 10.0);
    if noise.is_nan() { f64::INFINITY } else { noise }
}

impl Decomposed<'_> {
    /// Chooses for each layer the cheapest precision with which the outputs keep `demand.decibels` over the sequences of
    /// `evaluation`. `progress` is called before each measurement with what is measured.
    ///
    /// All layers begin with the cheapest precision. If that is not enough, each is measured alone at every level of more
    /// exactness: 2, 4 and 8 bits, 8 bits with activations in 16, `f32`. The layer whose noise falls most for its cost is
    /// raised, until the outputs keep the ratio. Then each raised layer is lowered again as far as the outputs allow, so
    /// that none could be cheaper by itself. A weight costs its bytes; with activations in 16 bits it costs half as much
    /// again.
    ///
    /// # Errors
    /// [`Error::Accuracy`] if no precisions keep the ratio. [`Error::Parameter`] for a ratio that is not finite.
    /// [`Error::File`] if a fixed layer does not exist. Those of [`build`](Self::build) and
    /// [`Evaluation::measure`].
    pub fn choose_precision(
        &self,
        plan: &[Choice],
        evaluation: &Evaluation,
        demand: &Demand<'_>,
        tier: Tier,
        mut progress: impl FnMut(&str),
    ) -> Result<Vec<LayerPrecision>> {
        let asked = demand.decibels;
        if !asked.is_finite() {
            return Err(Error::Parameter { what: "signal-to-noise ratio", value: asked, expected: "finite" });
        }
        let fixed = |name: &str| demand.fixed.iter().rev().find(|(layer, _)| layer == name).map(|(_, p)| *p);
        self.expect_layers(demand.fixed.iter().map(|(name, _)| name.as_str()))?;
        let start = LADDER.iter().position(|level| *level == demand.cheapest).unwrap_or(LADDER.len() - 1);
        let ladder = &LADDER[start..];
        let top = ladder.len() - 1;
        let build = |level: &Option<Quantization>| {
            let storage = |name: &str| Storage { format: fixed(name).unwrap_or(*level), correct: demand.correct };
            self.build(plan, storage, tier).map(|built| built.model)
        };
        let models = ladder.iter().map(build).collect::<Result<Vec<Model>>>()?;
        let exact = &models[top];
        let layers = exact.layers().filter(|(name, layer)| layer.has_matrices() && fixed(name).is_none());
        let mut searched: Vec<Searched> = layers
            .map(|(name, layer)| Searched {
                name: name.into(),
                parameters: layer.parameters() as f64,
                at: 0,
                noise: Vec::new(),
                cheaper: None,
            })
            .collect();
        let measure = |searched: &[Searched]| {
            let level = |name: &str| searched.iter().find(|layer| layer.name == name).map_or(top, |layer| layer.at);
            Ok(evaluation.measure(&mixed(exact, |name| &models[level(name)])?)?.decibels())
        };

        progress("the cheapest precision");
        let mut reached = measure(&searched)?;
        if reached.is_nan() || reached < asked {
            progress("the most exact precision");
            let best = evaluation.measure(exact)?.decibels();
            if best.is_nan() || best < asked {
                return Err(Error::Accuracy { asked, reached: best });
            }
            for layer in &mut searched {
                progress(&layer.name);
                for model in &models {
                    let only = mixed(exact, |name| if name == layer.name { model } else { exact })?;
                    layer.noise.push(noise(evaluation.measure(&only)?.decibels()));
                }
            }
            while reached.is_nan() || reached < asked {
                if !raise(&mut searched, ladder, noise(asked)) {
                    return Err(Error::Accuracy { asked, reached });
                }
                progress("a choice");
                reached = measure(&searched)?;
            }
            self::lower(&mut searched, ladder, asked, measure, progress)?;
        }
        let chosen = |layer: Searched| LayerPrecision {
            precision: ladder[layer.at],
            cheaper: layer.cheaper.map(|ratio| (ladder[layer.at - 1], ratio)),
            name: layer.name,
        };
        Ok(searched.into_iter().map(chosen).collect())
    }
}

/// Raises layers until the sum of their noise is below `limit`, at least one. False if all are as exact as can be.
fn raise(searched: &mut [Searched], ladder: &[Option<Quantization>], limit: f64) -> bool {
    let mut raised = false;
    loop {
        let sum: f64 = searched.iter().map(|layer| layer.noise[layer.at]).sum();
        if raised && sum <= limit {
            return true;
        }
        let mut best: Option<(f64, usize, usize)> = None;
        for (i, layer) in searched.iter().enumerate() {
            for to in layer.at + 1..ladder.len() {
                let more = layer.parameters * (cost(ladder[to]) - cost(ladder[layer.at]));
                // Noise may be infinite, and there may be none to lose.
                let less = (layer.noise[layer.at].min(1e30) - layer.noise[to].min(1e30)).max(0.0);
                let rate = less / more.max(1.0);
                if best.is_none_or(|(best, ..)| rate > best) {
                    best = Some((rate, i, to));
                }
            }
        }
        match best {
            Some((_, i, to)) => searched[i].at = to,
            None => return raised,
        }
        raised = true;
    }
}

/// Lowers each layer as far as the outputs keep the ratio, those that save most first.
fn lower(
    searched: &mut [Searched],
    ladder: &[Option<Quantization>],
    asked: f64,
    measure: impl Fn(&[Searched]) -> Result<f64>,
    mut progress: impl FnMut(&str),
) -> Result<()> {
    let mut order: Vec<usize> = (0..searched.len()).collect();
    let saves = |layer: &Searched| layer.parameters * (cost(ladder[layer.at]) - cost(ladder[0]));
    order.sort_by(|&a, &b| saves(&searched[b]).total_cmp(&saves(&searched[a])));
    for i in order {
        let chosen = searched[i].at;
        progress(&searched[i].name);
        for level in 0..chosen {
            searched[i].at = level;
            let ratio = measure(searched)?;
            if ratio >= asked {
                break;
            }
            searched[i].at = chosen;
            searched[i].cheaper = Some(ratio);
        }
    }
    Ok(())
}
