//! Tests of training with rounded weights.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::{Patterns, SCHEMES, in_pieces, numbers, short, small, whole};
use crate::Tier;
use crate::factored::{self, RankPolicy};
use crate::kernels::WeightFormat;
use crate::matrix::Mat;
use crate::model::Layer;
use crate::train::tensors::{leaf, matrix, values};
use crate::train::{Data, GateWeights, Initialization, Random, Recognizer, Schedule, Shape, Trainer, Weight, ctc_loss};

/// The matrices of an exported weight, as they are stored: `U` and `V` of each part.
fn stored(weight: &factored::Weight, found: &mut Vec<Mat<f32>>) {
    let matrix = |w: &factored::DenseWeight| w.unpack().unwrap().dequantize().unwrap();
    match weight {
        factored::Weight::Dense(w) => found.push(matrix(w)),
        factored::Weight::LowRank(w) => found.extend([matrix(w.u()), matrix(w.v())]),
        factored::Weight::Stacked(stack) => stack.parts().iter().for_each(|part| stored(part, found)),
    }
}

/// The same for a trainable model.
fn trained(weight: &Weight, found: &mut Vec<Mat<f32>>) {
    match weight {
        Weight::Dense(w) => found.push(matrix(w).unwrap()),
        Weight::Factored { u, v } => found.extend([matrix(u).unwrap(), matrix(v).unwrap()]),
    }
}

#[test]
fn rounded_weights_are_those_of_the_exported_model_to_the_bit() {
    let device = Device::flex();
    // Inputs and states with more than one group of 32, and with incomplete groups.
    let shape = Shape { input: 41, hidden: vec![35, 70], classes: 5 };
    let kinds = SCHEMES.map(|scheme| Initialization::Spectral(scheme, RankPolicy::Fixed(33)));
    for kind in kinds.into_iter().chain([Initialization::Dense]) {
        let model = Recognizer::new(&shape, kind, &mut Random::new(3), &device).unwrap();
        for format in WeightFormat::ALL {
            let rounded = model.rounded(format).unwrap();
            let exported = model.to_model(BTreeMap::new(), BTreeMap::new()).unwrap();
            let exported = exported.quantize_to(format, Tier::select().unwrap()).unwrap();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            for (_, layer) in exported.layers() {
                match layer {
                    Layer::Gru(gru) => {
                        stored(gru.weight_ih(), &mut expected);
                        stored(gru.weight_hh(), &mut expected);
                    }
                    Layer::Linear(linear) => stored(linear.weight(), &mut expected),
                    _ => unreachable!(),
                }
            }
            for layer in &rounded.layers {
                match &layer.weights {
                    GateWeights::Split { ih, hh } => ih.iter().chain(hh).for_each(|w| trained(w, &mut found)),
                    GateWeights::PartiallyJoint { ih, hh } => [ih, hh].into_iter().for_each(|w| trained(w, &mut found)),
                    GateWeights::Joint { both: Weight::Factored { u, v }, input } => {
                        let (u, v) = (matrix(u).unwrap(), matrix(v).unwrap());
                        for range in [0..*input, *input..v.cols()] {
                            found.extend([u.clone(), factored::columns(v.view(), range).unwrap()]);
                        }
                    }
                    GateWeights::Joint { .. } => unreachable!(),
                }
            }
            trained(&rounded.output.weight, &mut found);
            assert_eq!(found.len(), expected.len());
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let bits = |w: &Mat<f32>| w.as_slice().iter().map(|w| w.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(found), bits(expected), "{kind:?}, {format:?}, matrix {i}");
            }
        }
    }
}

/// The gradient at the rounded weights, for each weight before rounding.
#[test]
fn gradients_go_straight_through() {
    let batch = &Patterns::new().validation()[0].clone();
    for scheme in SCHEMES {
        let model = small(Initialization::Spectral(scheme, RankPolicy::Fixed(3)));
        let mut before = model.clone();
        let gradients =
            ctc_loss(model.rounded(WeightFormat::I4).unwrap().scores(batch).unwrap(), batch).unwrap().backward();
        // The same values as leaves of a separate graph.
        let mut there = model.rounded(WeightFormat::I4).unwrap();
        for (_, parameter) in there.parameters_mut() {
            *parameter = leaf(parameter.clone());
        }
        let expected = ctc_loss(there.scores(batch).unwrap(), batch).unwrap().backward();
        for ((name, start), (_, there)) in before.parameters_mut().into_iter().zip(there.parameters_mut()) {
            let found = values(start.grad(&gradients).expect(&name));
            assert_eq!(found, values(there.grad(&expected).unwrap()), "{scheme:?}, {name}");
        }
    }
}

fn schedule(format: Option<WeightFormat>) -> Schedule {
    Schedule { format, ..short() }
}

#[test]
fn a_run_for_few_bits_resumes_to_the_same_weights() {
    for scheme in SCHEMES {
        let initialization = Initialization::Factored(scheme);
        let runs = [None, Some(WeightFormat::I8), Some(WeightFormat::I4Group32)].map(|format| {
            let whole = numbers(&whole(initialization, &schedule(format)));
            assert_eq!(numbers(&in_pieces("rounded", initialization, &schedule(format))), whole, "{scheme:?}");
            whole
        });
        assert!(runs[0] != runs[1] && runs[1] != runs[2] && runs[0] != runs[2], "{scheme:?}");
    }
}

#[test]
fn errors_are_counted_on_rounded_weights() {
    let mut run = Trainer::new(small(Initialization::Dense), schedule(Some(WeightFormat::I4))).unwrap();
    while let Some(report) = run.train_epoch(&mut Patterns::new()).unwrap() {
        let data = Patterns::new();
        let runs = if report.stage == 2 { run.model().rounded(WeightFormat::I4).unwrap() } else { run.model().clone() };
        assert_eq!(report.errors, runs.evaluate(data.validation()).unwrap(), "{report}");
    }
}
