//! 8 bits that do not ruin a model: what layers cost, precisions that keep a ratio, equalization, calibration from states.

#[path = "common/layers.rs"]
mod common;

use std::sync::Arc;

use common::{Random, bits};
use skinny::compress::{Budget, Choice, Cost};
use skinny::factored::{
    Affine, Embedding, Function, Gru, Linear, Lstm, Mapping, OverTime, Quantization, RankPolicy, Reduction, Scheme,
    TimeConvolution, Weight,
};
use skinny::kernels::{Activation, WeightFormat};
use skinny::model::{
    Calibration, Cutting, Demand, Evaluation, Graph, Layer, Model, Sequence, Session, Storage, Weighting,
};
use skinny::{Error, FileError, Mat, Tier};

const BANDS: usize = 24;
const INT8: Option<Quantization> = Some(Quantization::Weights(WeightFormat::I8));
const WIDE: Option<Quantization> = Some(Quantization::I8X16);

fn dense(w: Mat<f32>) -> Weight {
    Weight::dense(w).unwrap()
}

/// A matrix whose column `i` has magnitudes up to `size(i)`.
fn columns(random: &mut Random, rows: usize, cols: usize, size: impl Fn(usize) -> f32) -> Mat<f32> {
    let mut w = random.mat(rows, cols, 1.0);
    for row in 0..rows {
        w.view_mut().row_mut(row).iter_mut().enumerate().for_each(|(i, w)| *w *= size(i));
    }
    w
}

/// How large the powers of a band are: they fall by a factor of 1000 from the lowest to the highest.
fn power(band: usize) -> f32 {
    10f32.powf(1.0 - 3.0 * band as f32 / (BANDS - 1) as f32)
}

/// Mel powers without a logarithm, loud and soft.
fn mel_powers(seed: u64, frames: usize) -> Mat<f32> {
    let random = &mut Random(seed);
    let mut x = Mat::zeros(frames, BANDS).unwrap();
    for t in 0..frames {
        for (band, x) in x.view_mut().row_mut(t).iter_mut().enumerate() {
            *x = power(band) * random.next().powi(2);
        }
    }
    x
}

/// A speaker encoder as Resemblyzer's: LSTMs on mel powers, the last output, a linear layer with ReLU, a unit vector.
fn speaker_encoder() -> Model {
    // A trained layer has learned to listen to soft bands.
    encoder(|band| 0.7 / power(band))
}

/// The same, listening to soft bands alone: rounding of weights costs it little, rounding of activations much.
fn listener() -> Model {
    encoder(|band| if band < BANDS / 2 { 1e-4 } else { 4.0 })
}

fn encoder(size: impl Fn(usize) -> f32) -> Model {
    let random = &mut Random(11);
    let hidden = 20;
    let mut graph = Graph::new();
    let x = graph.input("mel", BANDS).unwrap();
    let w = columns(random, 4 * hidden, BANDS, size);
    let lstm = Lstm::new(dense(w), dense(random.mat(4 * hidden, hidden, 0.3)), Some(random.vec(4 * hidden, 0.2)), None);
    let h = graph.layer("lstm", Layer::Lstm(lstm.unwrap()), x).unwrap();
    let last = Layer::OverTime(OverTime::new(Reduction::Last, hidden));
    let h = graph.layer("last", last, h).unwrap();
    let fc = Linear::new(dense(random.mat(16, hidden, 0.5)), Some(random.vec(16, 0.1))).unwrap();
    let h = graph.layer("fc", Layer::Linear(fc.with_activation(Activation::Relu)), h).unwrap();
    let h = graph.function("unit", Function::Normalize { epsilon: 1e-12 }, h).unwrap();
    graph.output("voice", h).unwrap();
    graph.build().unwrap()
}

fn speakers(seeds: std::ops::Range<u64>) -> Vec<Sequence> {
    seeds.map(|seed| Sequence::new(mel_powers(100 + seed, 12))).collect()
}

fn calibrated(model: &Model, sequences: &[Sequence]) -> Calibration {
    let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    sequences.iter().for_each(|sequence| calibration.add_sequence(model, sequence).unwrap());
    calibration
}

fn quantized(model: &Model, precision: Option<Quantization>) -> Model {
    precision.map_or_else(|| model.clone(), |precision| model.quantize_to(precision, Tier::Portable).unwrap())
}

fn outputs(model: &Model, sequence: &Sequence) -> Vec<f32> {
    let mut session = Session::new(Arc::new(model.clone())).unwrap();
    let inputs: Vec<_> = sequence.inputs().iter().map(Mat::view).collect();
    let mut y = session.push_all(&inputs).unwrap().as_slice().to_vec();
    y.extend_from_slice(session.finish().unwrap().as_slice());
    y
}

#[test]
fn a_speaker_encoder_on_mel_powers_is_equalized() {
    let model = speaker_encoder();
    let [seen, held_out] = Sequence::hold_out(speakers(0..12)).unwrap();
    let calibration = calibrated(&model, &seen);
    let (equalized, _) = model
        .equalize_for(&calibration, &Evaluation::new(&model, seen).unwrap(), WeightFormat::I8, Tier::Portable)
        .unwrap();
    assert_eq!(equalized.values, ["mel"]);
    for sequence in &held_out {
        assert_eq!(bits(&outputs(&equalized.model, sequence)), bits(&outputs(&model, sequence)));
    }
    let evaluation = Evaluation::new(&model, held_out).unwrap();
    let decibels = |model: &Model, precision| evaluation.measure(&quantized(model, precision)).unwrap().decibels();
    let (before, after) = (decibels(&model, INT8), decibels(&equalized.model, INT8));
    assert!(before < 25.0 && after > before + 8.0, "{before:.1} dB became {after:.1} dB");

    // It goes through a file, and loads with the same outputs.
    let small = quantized(&equalized.model, INT8);
    let again = Model::from_bytes(&small.to_bytes().unwrap(), Tier::Portable).unwrap();
    assert_eq!(evaluation.measure(&again).unwrap(), evaluation.measure(&small).unwrap());
}

#[test]
fn each_layer_gets_the_cheapest_precision_that_keeps_the_outputs() {
    let model = listener();
    let evaluation = Evaluation::new(&model, speakers(0..4)).unwrap();
    let decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ()).unwrap();
    let plan = decomposed.dense();
    let choose = |decibels, cheapest, fixed: &[(String, Option<Quantization>)]| {
        let demand = Demand { decibels, cheapest, fixed, correct: false };
        decomposed.choose_precision(&plan, &evaluation, &demand, Tier::Portable, |_| ())
    };
    let built = |chosen: &[(&str, Option<Quantization>)]| {
        let storage =
            |name: &str| Storage { format: chosen.iter().find(|(layer, _)| *layer == name).unwrap().1, correct: false };
        let model = decomposed.build(&plan, storage, Tier::Portable).unwrap().model;
        evaluation.measure(&model).unwrap()
    };
    let of_int8 = evaluation.measure(&quantized(&model, INT8)).unwrap().decibels();
    for (decibels, cheapest) in
        [(of_int8 - 1.0, INT8), (30.0, INT8), (45.0, INT8), (30.0, Some(WeightFormat::I4.into())), (200.0, INT8)]
    {
        let chosen = choose(decibels, cheapest, &[]).unwrap();
        let pairs: Vec<_> = chosen.iter().map(|layer| (layer.name.as_str(), layer.precision)).collect();
        assert_eq!(pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["lstm", "fc"]);
        assert!(built(&pairs).keeps(decibels), "{decibels}: {chosen:?}");
        for layer in &chosen {
            // With the next cheaper precision the outputs did not keep the ratio.
            match layer.cheaper {
                None => assert_eq!(layer.precision, cheapest, "{decibels}: {chosen:?}"),
                Some((_, ratio)) => assert!(ratio < decibels, "{decibels}: {chosen:?}"),
            }
        }
        if decibels < of_int8 {
            assert!(chosen.iter().all(|layer| layer.precision == INT8));
        }
        if decibels == 30.0 && cheapest == INT8 {
            assert!(of_int8 < 20.0 && pairs[0] == ("lstm", WIDE), "{of_int8} dB in int8, {chosen:?}");
        }
        if decibels == 200.0 {
            assert!(chosen.iter().all(|layer| layer.precision.is_none()));
        }
    }

    // A layer that must stay as it is may make the ratio impossible.
    let fixed = [("lstm".to_owned(), INT8)];
    let refused = choose(60.0, INT8, &fixed).unwrap_err();
    let Error::Accuracy { asked, reached } = refused else { panic!("{refused}") };
    assert!(asked == 60.0 && reached < 30.0, "{refused}");
    assert_eq!(choose(of_int8 - 1.0, INT8, &fixed).unwrap().len(), 1);
    let refused = choose(30.0, INT8, &[("gru".to_owned(), None)]).unwrap_err();
    assert!(matches!(&refused, Error::File(FileError::Layer { layer, .. }) if layer == "gru"), "{refused}");
    for decibels in [f64::NAN, f64::INFINITY] {
        assert!(matches!(choose(decibels, INT8, &[]), Err(Error::Parameter { .. })));
    }
}

#[test]
fn reports_say_which_layer_loses_the_outputs() {
    let model = speaker_encoder();
    let evaluation = Evaluation::new(&model, speakers(0..4)).unwrap();
    let int8 = quantized(&model, INT8);
    let mut told = Vec::new();
    let losses = evaluation.layers(&model, &int8, |name, done, all| told.push(format!("{name} {done}/{all}"))).unwrap();
    assert_eq!(told, ["lstm 0/2", "fc 1/2"]);
    let [lstm, fc] = &losses[..] else { panic!("{losses:?}") };
    // With two layers, all but one is the other alone.
    assert_eq!((&lstm.only, &fc.only), (&fc.without, &lstm.without));
    assert!(lstm.only.decibels() < 25.0 && fc.only.decibels() > 35.0, "{losses:?}");
    let all = evaluation.measure(&int8).unwrap().decibels();
    assert!(all < 25.0 && (all - lstm.only.decibels()).abs() < 3.0);
    let exact = evaluation.layers(&model, &model, |_, _, _| ()).unwrap();
    assert!(exact.iter().all(|loss| loss.only.decibels() == f64::INFINITY));
    // What does not fit is refused.
    let other = Model::new(vec![("a".into(), Layer::Mapping(Mapping::new(Function::Relu, BANDS).unwrap()))]).unwrap();
    assert!(evaluation.measure(&other).is_err() && evaluation.layers(&other, &model, |_, _, _| ()).is_err());
}

/// Two inputs, a convolution with ReLU, normalization, joins, pooling, a layer that reads an input which others read too.
fn graph(random: &mut Random, sizes: [f32; 2]) -> Model {
    let mut graph = Graph::new();
    let size = |i: usize| sizes[i % 2];
    let a = graph.input("a", 5).unwrap();
    let b = graph.input("b", 3).unwrap();
    let w = columns(random, 6, 15, |i| 1.0 / size(i % 5));
    let conv = Linear::new(dense(w), Some(random.vec(6, 1.0))).unwrap().with_activation(Activation::Relu);
    let conv = TimeConvolution::new(conv, 3, 1, 1).unwrap();
    let h = graph.layer("conv", Layer::TimeConvolution(conv), a).unwrap();
    let norm = Affine::new((0..6).map(|i| size(i) * 0.5).collect(), random.vec(6, 0.1)).unwrap();
    let h = graph.layer("norm", Layer::Affine(norm), h).unwrap();
    let h = graph.function("leaky", Function::LeakyRelu(0.25), h).unwrap();
    let weight = dense(columns(random, 4, 6, |i| 1.0 / size(i)));
    let h = graph.layer("fc", Layer::Linear(Linear::new(weight, Some(random.vec(4, 1.0))).unwrap()), h).unwrap();
    let both = graph.concat("both", &[h, b, a]).unwrap();
    let gru = |random: &mut Random, k| {
        let w = columns(random, 9, k, |i| if i < 4 { 1.0 } else { 0.2 / size(i) });
        Layer::Gru(Gru::new(dense(w), dense(random.mat(9, 3, 0.5)), None, None).unwrap())
    };
    let layer = gru(random, 12);
    let y = graph.layer("gru", layer, both).unwrap();
    let layer = Layer::Linear(Linear::new(dense(random.mat(2, 3, 1.0)), None).unwrap());
    let y = graph.layer("end", layer, y).unwrap();
    let layer = Layer::Linear(Linear::new(dense(columns(random, 2, 3, |i| 1.0 / size(i))), None).unwrap());
    let side = graph.layer("side", layer, b).unwrap();
    graph.output("y", y).unwrap();
    graph.output("side", side).unwrap();
    graph.output("fc", h).unwrap();
    graph.build().unwrap()
}

fn graph_sequence(random: &mut Random, sizes: [f32; 2], frames: usize) -> Sequence {
    let mut constant = columns(random, frames, 5, |i| sizes[i % 2]);
    // Features that are always the same, zeros among them.
    (0..frames).for_each(|t| {
        constant.view_mut().row_mut(t)[3] = sizes[1];
        constant.view_mut().row_mut(t)[4] = 0.0;
    });
    Sequence::of_inputs(vec![constant, columns(random, frames, 3, |i| sizes[i % 2])])
}

#[test]
fn equalization_changes_no_bit_of_any_graph() {
    for sizes in [[1.0, 1e-3], [1e-20, 1.0], [1e20, 1e14], [1e-8, 1e8], [3.0, 3.0]] {
        let random = &mut Random(7);
        let model = graph(random, sizes);
        let sequences: Vec<Sequence> = (0..3).map(|i| graph_sequence(random, sizes, 6 + i)).collect();
        let calibration = calibrated(&model, &sequences);
        let evaluation = Evaluation::new(&model, sequences).unwrap();
        for power in [0.0, 0.5, 1.0] {
            let equalized = model.equalize(&calibration, power).unwrap();
            let fidelity = evaluation.measure(&equalized.model).unwrap();
            assert_eq!(fidelity.decibels(), f64::INFINITY, "{sizes:?}, {power}: {:?}", equalized.values);
            let tier = Tier::Portable;
            equalized.model.quantize_to(WeightFormat::I8, tier).unwrap().to_bytes().unwrap();
            let names = &equalized.values;
            if power == 1.0 && sizes[0] != sizes[1] {
                // The joined value and `b` are scaled apart; what leaky ReLU makes is scaled by the normalization before it.
                assert!(
                    ["a", "b", "leaky", "both"].iter().all(|name| names.iter().any(|found| found == name)),
                    "{names:?}"
                );
                let of = |name: &str| equalized.model.layers().find(|(layer, _)| *layer == name).unwrap().1;
                let Layer::Affine(norm) = of("norm") else { panic!("no normalization") };
                let Layer::Affine(before) = model.layers().find(|(layer, _)| *layer == "norm").unwrap().1 else {
                    panic!()
                };
                assert_ne!(norm.scale(), before.scale());
                // An output of the model keeps its scale.
                assert!(!names.iter().any(|name| name == "fc"));
            }
        }
        if sizes[0] / sizes[1] != 1.0 {
            let decibels = |model: &Model| evaluation.measure(&quantized(model, INT8)).unwrap().decibels();
            let (best, [before, after]) =
                model.equalize_for(&calibration, &evaluation, WeightFormat::I8, Tier::Portable).unwrap();
            assert_eq!((decibels(&model), decibels(&best.model)), (before, after));
            assert!(after > before + 5.0, "{sizes:?}: {before} dB became {after} dB");
        }
    }
    let model = graph(&mut Random(7), [1.0, 2.0]);
    let other = calibrated(&speaker_encoder(), &speakers(0..1));
    assert!(matches!(model.equalize(&other, 0.5), Err(Error::Length { .. })));
    for power in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(model.equalize(&Calibration::new(Scheme::Split), power), Err(Error::Parameter { .. })));
    }
    // Without data nothing is scaled.
    assert!(model.equalize(&Calibration::new(Scheme::Split), 0.5).unwrap().values.is_empty());
}

/// Names that the scale layers would have are taken.
#[test]
fn scale_layers_have_free_names_and_layers_before_take_scales() {
    let random = &mut Random(8);
    let mut graph = Graph::new();
    let x = graph.input("x", 4).unwrap();
    let layer = |w: Mat<f32>| Layer::Linear(Linear::new(dense(w), None).unwrap());
    let h = graph.layer("x.scaled", layer(columns(random, 6, 4, |i| 10f32.powi(i as i32))), x).unwrap();
    let h = graph.function("relu", Function::Relu, h).unwrap();
    let h = graph.layer("sum", Layer::OverTime(OverTime::new(Reduction::Sum, 6)), h).unwrap();
    let h = graph.layer("fc", layer(columns(random, 3, 6, |i| 10f32.powi(-(i as i32)))), h).unwrap();
    graph.output("y", h).unwrap();
    let model = graph.build().unwrap();
    let sequences = vec![Sequence::new(columns(random, 9, 4, |i| 10f32.powi(-(i as i32))))];
    let calibration = calibrated(&model, &sequences);
    let evaluation = Evaluation::new(&model, sequences).unwrap();
    let equalized = model.equalize(&calibration, 0.5).unwrap();
    assert_eq!(equalized.values, ["x", "sum"]);
    assert!(equalized.model.layers().any(|(name, _)| name == "x.scaled_"));
    assert_eq!(evaluation.measure(&equalized.model).unwrap().decibels(), f64::INFINITY);
    // The scales of the sum went through ReLU and pooling into the first layer: nothing else was put in.
    assert_eq!(equalized.model.nodes().len(), model.nodes().len() + 1);
}

/// A decoder whose input says little: it lives on the state that it begins with.
fn decoder() -> Model {
    let random = &mut Random(21);
    let hidden = 24;
    let recurrent = random.mat(3 * hidden, hidden, 0.7);
    // The update gate keeps most of the state.
    let bias = (0..3 * hidden).map(|row| if row / hidden == 1 { 2.5 } else { 0.0 }).collect();
    let gru = Gru::new(dense(random.mat(3 * hidden, 4, 0.1)), dense(recurrent), Some(bias), None);
    let fc = Linear::new(dense(random.mat(10, hidden, 1.0)), None).unwrap();
    Model::new(vec![("decoder".into(), Layer::Gru(gru.unwrap())), ("fc".into(), Layer::Linear(fc))]).unwrap()
}

fn decoded(seeds: std::ops::Range<u64>, states: bool) -> Vec<Sequence> {
    let sequence = |seed| {
        let random = &mut Random(300 + seed);
        let sequence = Sequence::new(random.mat(4, 4, 0.2));
        // The encoder's states lie in few directions.
        let h: Vec<f32> = (0..24).map(|i| if i < 12 { 0.0 } else { random.next() }).collect();
        if states { sequence.with_state("decoder.h", h) } else { sequence }
    };
    seeds.map(sequence).collect()
}

#[test]
fn a_decoder_is_calibrated_with_the_states_it_begins_with() {
    let model = decoder();
    let evaluation = Evaluation::new(&model, decoded(50..60, true)).unwrap();
    let decibels = |calibration: Option<&Calibration>| {
        let decomposed = model.decompose(Scheme::PartiallyJoint, calibration, Weighting::Data, |_, _, _| ()).unwrap();
        let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(12))).unwrap();
        let small = decomposed.build(&plan, |_| Storage { format: None, correct: false }, Tier::Portable).unwrap();
        evaluation.measure(&small.model).unwrap().decibels()
    };
    let [with, without] = [true, false].map(|states| calibrated(&model, &decoded(0..40, states)));
    let [with, without, plain] = [Some(&with), Some(&without), None].map(decibels);
    assert!(with > without + 1.0 && with > plain, "states {with:.1} dB, zeros {without:.1} dB, no data {plain:.1} dB");

    let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    let frames = || Sequence::new(Mat::zeros(3, 4).unwrap());
    for (name, values) in [("encoder.h", vec![0.0; 24]), ("decoder.c", vec![0.0; 24]), ("decoder.h", vec![0.0; 23])] {
        let refused = calibration.add_sequence(&model, &frames().with_state(name, values)).unwrap_err();
        assert!(matches!(&refused, Error::File(FileError::Tensor { tensor, .. }) if tensor == name), "{refused}");
    }
    let nan = frames().with_state("decoder.h", [vec![f32::NAN], vec![0.0; 23]].concat());
    assert!(calibration.add_sequence(&model, &nan).is_err() && calibration.frames() == 0);
    assert!(Evaluation::new(&model, vec![nan]).is_err());
}

#[test]
fn sequences_begin_with_their_states_only() {
    let model = decoder();
    let [begun, zeros] = [true, false].map(|states| decoded(3..4, states).remove(0));
    let alone = |sequence: &Sequence| Evaluation::new(&model, vec![sequence.clone()]).unwrap();
    let int8 = quantized(&model, INT8);
    let both = Evaluation::new(&model, vec![begun.clone(), zeros.clone()]).unwrap().measure(&int8).unwrap();
    let [a, b] = [&begun, &zeros].map(|sequence| alone(sequence).measure(&int8).unwrap());
    let frames = |fidelity: &skinny::model::Fidelity| fidelity.outputs().next().unwrap().1.frames();
    assert_eq!(frames(&both), frames(&a) + frames(&b));
    let decibels = [&a, &b, &both].map(|fidelity| fidelity.decibels());
    assert!(decibels[0] != decibels[1] && decibels[2] >= decibels[0].min(decibels[1]));
    assert!(decibels[2] <= decibels[0].max(decibels[1]));
}

#[test]
fn pinned_matrices_are_what_was_decided_and_count_in_budgets() {
    let model = decoder();
    let mut decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ()).unwrap();
    let dense = decomposed.cost(&decomposed.dense(), &Cost::Parameters);
    let together = |share: f64| Cutting::Together {
        budget: Budget { limit: share * dense, cost: Cost::Parameters },
        rank_multiple: 1,
    };
    decomposed.pin("decoder.weight_hh", Some(7)).unwrap();
    decomposed.pin("fc", None).unwrap();
    for cutting in [together(0.6), Cutting::Each(RankPolicy::Fixed(2))] {
        let plan = decomposed.plan(&cutting).unwrap();
        assert_eq!((plan[1], plan[2]), (Choice::LowRank(7), Choice::Dense), "{cutting:?}");
        if let Cutting::Together { budget, .. } = cutting {
            assert!(decomposed.cost(&plan, &Cost::Parameters) <= budget.limit);
        }
    }
    let refused = decomposed.plan(&together(0.3)).unwrap_err();
    let Error::Budget { asked, least, .. } = refused else { panic!("{refused}") };
    assert!(asked == 0.3 * dense && least > asked);
    let least = Budget { limit: least, cost: Cost::Parameters };
    assert!(decomposed.plan(&Cutting::Together { budget: least, rank_multiple: 1 }).is_ok());

    for (name, rank) in [("decoder.weight_hh", Some(0)), ("decoder", Some(5))] {
        let refused = decomposed.pin(name, rank).unwrap_err();
        assert!(matches!(&refused, Error::File(FileError::Layer { .. })), "{refused}");
    }
    assert!(matches!(decomposed.pin("gru", None), Err(Error::File(FileError::Layer { .. }))));
}

#[test]
fn budgets_are_measured_where_they_are_in_reach() {
    let model = decoder();
    let evaluation = Evaluation::new(&model, decoded(0..6, true)).unwrap();
    let decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ()).unwrap();
    let points =
        decomposed.measure_budgets(&[1.0, 0.7, 0.3, 0.001], 1, &evaluation, Tier::Portable, |_, _| ()).unwrap();
    let shares: Vec<f64> = points.iter().map(|point| point.share).collect();
    assert_eq!(shares, [1.0, 0.7, 0.3]);
    let decibels: Vec<f64> = points.iter().map(|point| point.fidelity.decibels()).collect();
    assert!(decibels[0] == f64::INFINITY && decibels[1] > decibels[2] && decibels[2] < 30.0, "{decibels:?}");
    assert!(points[2].fidelity.agreement() < 1.0);
}

#[test]
fn layers_whose_input_has_no_known_range_are_named() {
    let random = &mut Random(9);
    let mut graph = Graph::new();
    let x = graph.input("x", 6).unwrap();
    let token = graph.input("token", 1).unwrap();
    let linear = |random: &mut Random, n, k, activation| {
        Layer::Linear(Linear::new(dense(random.mat(n, k, 1.0)), None).unwrap().with_activation(activation))
    };
    let layer = linear(random, 4, 6, Activation::Relu);
    let a = graph.layer("a", layer, x).unwrap();
    let layer = linear(random, 4, 4, Activation::ClippedRelu(6.0));
    let b = graph.layer("b", layer, a).unwrap();
    let layer = linear(random, 4, 4, Activation::Identity);
    let c = graph.layer("c", layer, b).unwrap();
    let tanh = graph.function("tanh", Function::Tanh, c).unwrap();
    let embedding = Layer::Embedding(Embedding::new(random.mat(7, 4, 1.0)).unwrap());
    let e = graph.layer("e", embedding, token).unwrap();
    let sum = graph.add("sum", &[tanh, e]).unwrap();
    let layer = linear(random, 3, 4, Activation::Identity);
    let d = graph.layer("d", layer, sum).unwrap();
    let mixed = graph.concat("mixed", &[sum, d]).unwrap();
    let layer = linear(random, 3, 7, Activation::Identity);
    let end = graph.layer("end", layer, mixed).unwrap();
    graph.output("y", end).unwrap();
    assert_eq!(graph.build().unwrap().layers_of_unknown_range(), ["a", "b", "end"]);
}

/// An embedding is rounded with the other weights.
#[test]
fn embeddings_are_compressed_too() {
    let random = &mut Random(10);
    let embedding = Layer::Embedding(Embedding::new(random.mat(9, 5, 1.0)).unwrap());
    let fc = Layer::Linear(Linear::new(dense(random.mat(4, 5, 1.0)), None).unwrap());
    let model = Model::new(vec![("tokens".into(), embedding), ("fc".into(), fc)]).unwrap();
    let sequences = vec![Sequence::new(Mat::from_vec((0..9).map(|i| i as f32).collect(), 9, 1).unwrap())];
    let evaluation = Evaluation::new(&model, sequences).unwrap();
    let decomposed = model.decompose(Scheme::PartiallyJoint, None, Weighting::Data, |_, _, _| ()).unwrap();
    let build = |format| {
        let storage = |_: &str| Storage { format, correct: false };
        decomposed.build(&decomposed.dense(), storage, Tier::Portable).unwrap().model
    };
    assert_eq!(evaluation.measure(&build(None)).unwrap().decibels(), f64::INFINITY);
    for precision in [INT8, WIDE] {
        let small = build(precision);
        let expected = model.quantize_to(precision.unwrap(), Tier::Portable).unwrap();
        assert_eq!((small.bytes(), small.to_bytes().unwrap()), (expected.bytes(), expected.to_bytes().unwrap()));
        assert!(evaluation.measure(&small).unwrap().keeps(30.0));
        let losses = evaluation.layers(&model, &small, |_, _, _| ()).unwrap();
        assert_eq!(losses.iter().map(|loss| loss.name.as_str()).collect::<Vec<_>>(), ["tokens", "fc"]);
    }
}
