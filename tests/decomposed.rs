//! A decomposed model: what its matrices cost, what calibrations add up to, and how biases make up for what is cut.

#[path = "common/layers.rs"]
mod common;

use common::Random;
use skinny::compress::{Budget, Choice, Core, Cost};
use skinny::factored::{Bidirectional, Gru, Linear, Lstm, RankPolicy, Scheme, TimeConvolution, Weight};
use skinny::kernels::WeightFormat;
use skinny::model::{Calibration, Cutting, Decomposed, Layer, Model, Storage, Weighting};
use skinny::{Error, Mat, MatRef, Tier};

const SCHEMES: [Scheme; 3] = [Scheme::Split, Scheme::PartiallyJoint, Scheme::Joint];
const F32: Storage = Storage { format: None, correct: false };
const INPUT: usize = 9;
const HIDDEN: usize = 12;

fn dense(random: &mut Random, n: usize, k: usize) -> Weight {
    Weight::dense(random.mat(n, k, 0.5)).unwrap()
}

/// One layer of each kind that takes `INPUT` features, and the names of what it computes at every step.
fn layers() -> Vec<(&'static str, Layer)> {
    let r = &mut Random(31);
    let gru = |r: &mut Random| {
        Gru::new(dense(r, 3 * HIDDEN, INPUT), dense(r, 3 * HIDDEN, HIDDEN), Some(r.vec(3 * HIDDEN, 0.5)), None).unwrap()
    };
    let lstm = |r: &mut Random| {
        Lstm::new(dense(r, 4 * HIDDEN, INPUT), dense(r, 4 * HIDDEN, HIDDEN), None, Some(r.vec(4 * HIDDEN, 0.5)))
            .unwrap()
    };
    let (gru, backward) = (gru(r), Bidirectional::new(gru(r), gru(r)).unwrap());
    let (lstm, both) = (lstm(r), Bidirectional::new(lstm(r), lstm(r)).unwrap());
    let (w, hh, hh_n) = (dense(r, 3 * HIDDEN, INPUT), dense(r, 2 * HIDDEN, HIDDEN), dense(r, HIDDEN, HIDDEN));
    let before = Gru::reset_before(w, hh, hh_n, None, None).unwrap();
    let (w, hh, hr) = (dense(r, 4 * HIDDEN, INPUT), dense(r, 4 * HIDDEN, 5), dense(r, 5, HIDDEN));
    let projected = Lstm::with_projection(w, hh, hr, None, None).unwrap();
    let linear = |r: &mut Random, k| Linear::new(dense(r, HIDDEN, k), Some(r.vec(HIDDEN, 0.5))).unwrap();
    let convolution = TimeConvolution::new(linear(r, 3 * INPUT), 3, 1, 1).unwrap();
    vec![
        ("linear", Layer::Linear(linear(r, INPUT))),
        ("convolution", Layer::TimeConvolution(convolution)),
        ("gru", Layer::Gru(gru)),
        ("reset before", Layer::Gru(before)),
        ("lstm", Layer::Lstm(lstm)),
        ("projected", Layer::Lstm(projected)),
        ("bidirectional gru", Layer::BidirectionalGru(backward)),
        ("bidirectional lstm", Layer::BidirectionalLstm(both)),
    ]
}

fn model(name: &str, layer: Layer) -> Model {
    Model::new(vec![(name.into(), layer)]).unwrap()
}

/// Inputs whose mean is far from 0, so that cuts shift the outputs.
fn inputs(count: usize) -> Mat<f32> {
    let mut x = Random(32).mat(count, INPUT, 1.0);
    x.as_mut_slice().iter_mut().enumerate().for_each(|(i, x)| *x += (i % INPUT) as f32 / 4.0);
    x
}

fn calibrated(model: &Model, scheme: Scheme, x: &Mat<f32>) -> Calibration {
    let mut calibration = Calibration::new(scheme);
    calibration.add(model, x.view()).unwrap();
    calibration
}

fn decompose<'m>(model: &'m Model, scheme: Scheme, calibration: Option<&Calibration>) -> Decomposed<'m> {
    model.decompose(scheme, calibration, Weighting::Data, |_, _, _| ()).unwrap()
}

/// What reads the hidden vector runs at every step; what reads the input alone runs once per time batch.
#[test]
fn only_what_reads_the_hidden_vector_costs_its_weights_at_every_step() {
    let (core, format) = (Core::named("cortex-a72").unwrap(), Some(WeightFormat::I8));
    for (name, layer) in layers() {
        let recurrent = !matches!(layer, Layer::Linear(_) | Layer::TimeConvolution(_));
        let model = model(name, layer);
        for scheme in SCHEMES {
            let decomposed = decompose(&model, scheme, None);
            let plan = decomposed.dense();
            let matrices = decomposed.build(&plan, |_| F32, Tier::Portable).unwrap().matrices;
            for (i, matrix) in matrices.iter().enumerate() {
                let end = matrix.name.rsplit('.').next().unwrap();
                let at_every_step = recurrent && !end.starts_with("weight_ih");
                let cost = |plan: &[Choice]| decomposed.cost(plan, &Cost::Latency(core.clone(), format));
                let found = cost(&plan[..i + 1]) - cost(&plan[..i]);
                let expected = core.product_us(matrix.n, matrix.k, format, at_every_step);
                assert!((found - expected).abs() < 1e-9, "{scheme:?}, {}: {found} us for {expected}", matrix.name);
            }
        }
    }
}

/// Gates apart, one above the other, or beside the weights of the same gates. A GRU that resets before the product has a
/// matrix of its own for the candidate, and none that could be joint.
#[test]
fn each_scheme_has_its_matrices() {
    let of_gates = |gates: &str, weight: &str| gates.chars().map(|gate| format!("{weight}[{gate}]")).collect();
    let whole = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<String>>();
    for (name, gates, of_hh, more) in [
        ("gru", "rzn", "rzn", &[][..]),
        ("reset before", "rzn", "rz", &["weight_hh_n"]),
        ("lstm", "ifgo", "ifgo", &[]),
        ("projected", "ifgo", "ifgo", &["weight_hr"]),
    ] {
        let model = model(name, layers().into_iter().find(|(n, _)| *n == name).unwrap().1);
        for scheme in SCHEMES {
            let expected: Vec<String> = match scheme {
                Scheme::Split => [of_gates(gates, "weight_ih"), of_gates(of_hh, "weight_hh"), whole(more)].concat(),
                Scheme::Joint if name != "reset before" => [whole(&["weight"]), whole(more)].concat(),
                _ => [whole(&["weight_ih", "weight_hh"]), whole(more)].concat(),
            };
            let decomposed = decompose(&model, scheme, None);
            let matrices = decomposed.build(&decomposed.dense(), |_| F32, Tier::Portable).unwrap().matrices;
            let found: Vec<&str> = matrices.iter().map(|matrix| matrix.name.rsplit('.').next().unwrap()).collect();
            assert_eq!(found, expected, "{name}, {scheme:?}");
        }
    }
}

/// A calibration does not depend on how its frames are cut into calls, as far as layers do not depend on it.
#[test]
fn calibrations_add_up() {
    let (x, linear) = (inputs(40), layers().swap_remove(0));
    let model = model(linear.0, linear.1);
    let whole = calibrated(&model, Scheme::Split, &x);
    let mut parts = Calibration::new(Scheme::Split);
    for frames in x.as_slice().chunks(7 * INPUT) {
        parts.add(&model, MatRef::new(frames, frames.len() / INPUT, INPUT).unwrap()).unwrap();
    }
    assert_eq!((whole.frames(), parts.frames()), (40, 40));
    let sigma = |calibration| {
        let plan = [Choice::LowRank(4)];
        let small = decompose(&model, Scheme::Split, Some(calibration)).build(&plan, |_| F32, Tier::Portable).unwrap();
        (small.matrices[0].signal_to_noise.unwrap(), small.matrices[0].relative_error)
    };
    let ((snr, error), (snr_parts, error_parts)) = (sigma(&whole), sigma(&parts));
    assert!((snr - snr_parts).abs() < 1e-4 && (error - error_parts).abs() < 1e-6, "{snr_parts} dB for {snr}");
    // And it is not that of the first frames.
    let first =
        calibrated(&model, Scheme::Split, &Mat::from_vec(x.as_slice()[..7 * INPUT].to_vec(), 7, INPUT).unwrap());
    assert!((snr - sigma(&first).0).abs() > 0.1);
}

#[test]
fn calibrations_of_models_that_differ_do_not_add_up() {
    let of = |name: &str| model("layer", layers().into_iter().find(|(n, _)| *n == name).unwrap().1);
    let (x, gru) = (inputs(5), of("gru"));
    for (other, misfit) in [
        ("reset before", Error::Length { what: "calibrated matrices of a layer", expected: 2, found: 3 }),
        ("convolution", Error::Length { what: "calibrated matrices of a layer", expected: 2, found: 1 }),
    ] {
        let mut calibration = calibrated(&gru, Scheme::PartiallyJoint, &x);
        assert_eq!(calibration.add(&of(other), x.view()), Err(misfit));
        assert_eq!(calibration.frames(), 5);
    }
    let mut calibration = calibrated(&of("linear"), Scheme::Split, &x);
    let misfit = Error::Shape { what: "second moment", expected: (INPUT, INPUT), found: (3 * INPUT, 3 * INPUT) };
    assert_eq!(calibration.add(&of("convolution"), x.view()), Err(misfit));
    let misfit = calibration.add(&gru, Mat::zeros(5, INPUT + 1).unwrap().view()).unwrap_err();
    assert_eq!(misfit, Error::Shape { what: "frames", expected: (5, INPUT), found: (5, INPUT + 1) });
}

/// Each bias grows by the difference of the weights times the mean of their inputs.
#[test]
fn biases_make_up_for_the_mean_of_what_is_cut() {
    let x = inputs(60);
    let mean = |rows: &Mat<f32>, count: usize| -> Vec<f64> {
        let sum = |column: usize| (0..rows.rows()).map(|t| f64::from(rows.view().row(t)[column])).sum::<f64>();
        (0..rows.cols()).map(|column| sum(column) / count as f64).collect()
    };
    let of_x = mean(&x, 60);
    let grown = |before: &Weight, after: &Weight, mean: &[f64]| -> Vec<f64> {
        let (before, after) = (before.dequantize().unwrap(), after.dequantize().unwrap());
        let row = |row: usize| before.view().row(row).iter().zip(after.view().row(row)).zip(mean);
        (0..before.rows()).map(|i| row(i).map(|((&w, &a), m)| (f64::from(w) - f64::from(a)) * m).sum()).collect()
    };
    let expect = |what: &str, before: Option<&[f32]>, after: Option<&[f32]>, grown: Vec<f64>| {
        let after = after.unwrap();
        assert_eq!(after.len(), grown.len(), "{what}");
        assert!(grown.iter().any(|grown| grown.abs() > 1e-2), "{what}: too little to tell");
        for (i, (&after, grown)) in after.iter().zip(grown).enumerate() {
            let expected = f64::from(before.map_or(0.0, |before| before[i])) + grown;
            assert!((f64::from(after) - expected).abs() < 1e-5, "{what}, {i}: {after} for {expected}");
        }
    };
    for (name, layer) in layers() {
        let model = model(name, layer);
        for scheme in SCHEMES {
            let calibration = calibrated(&model, scheme, &x);
            let decomposed = decompose(&model, scheme, Some(&calibration));
            let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(2))).unwrap();
            let small = decomposed.build(&plan, |_| F32, Tier::Portable).unwrap().model;
            let what = format!("{name}, {scheme:?}");
            // The inputs of the recurrent weights: the outputs of the steps before, and zeros at the start.
            let of_h = |step: &mut dyn FnMut(&[f32]) -> Vec<f32>| {
                let (mut sum, mut h) = (Vec::new(), Vec::new());
                for t in 0..x.rows() {
                    let next = step(x.view().row(t));
                    sum.resize(next.len(), 0.0);
                    h.resize(next.len(), 0.0);
                    sum.iter_mut().zip(&h).for_each(|(sum, &h)| *sum += f64::from(h) / 60.0);
                    h = next;
                }
                sum
            };
            let mut scratch = skinny::factored::Scratch::new();
            match (model.layers().next().unwrap().1, small.layers().next().unwrap().1) {
                (Layer::Linear(a), Layer::Linear(b)) => {
                    expect(&what, a.bias(), b.bias(), grown(a.weight(), b.weight(), &of_x));
                }
                (Layer::Gru(a), Layer::Gru(b)) => {
                    let mut state = a.state().unwrap();
                    let of_h = of_h(&mut |x| a.step(x, &mut state, &mut scratch).unwrap().to_vec());
                    expect(&what, a.bias_ih(), b.bias_ih(), grown(a.weight_ih(), b.weight_ih(), &of_x));
                    let mut of_hh = grown(a.weight_hh(), b.weight_hh(), &of_h);
                    // The inputs of the candidate's own weight, `r * h`, are not visible.
                    of_hh.resize(3 * HIDDEN, 0.0);
                    expect(&what, a.bias_hh(), b.bias_hh(), of_hh);
                }
                (Layer::Lstm(a), Layer::Lstm(b)) => {
                    let mut state = a.state().unwrap();
                    let of_h = of_h(&mut |x| a.step(x, &mut state, &mut scratch).unwrap().to_vec());
                    expect(&what, a.bias_ih(), b.bias_ih(), grown(a.weight_ih(), b.weight_ih(), &of_x));
                    expect(&what, a.bias_hh(), b.bias_hh(), grown(a.weight_hh(), b.weight_hh(), &of_h));
                }
                (Layer::BidirectionalGru(a), Layer::BidirectionalGru(b)) => {
                    let ((a, _), (b, _)) = (a.layers(), b.layers());
                    expect(&what, a.bias_ih(), b.bias_ih(), grown(a.weight_ih(), b.weight_ih(), &of_x));
                }
                (Layer::BidirectionalLstm(a), Layer::BidirectionalLstm(b)) => {
                    let ((_, a), (_, b)) = (a.layers(), b.layers());
                    expect(&what, a.bias_ih(), b.bias_ih(), grown(a.weight_ih(), b.weight_ih(), &of_x));
                }
                (Layer::TimeConvolution(_), Layer::TimeConvolution(_)) => {}
                _ => panic!("{what}: another kind of layer"),
            }
        }
    }
}

/// Without data no bias appears.
#[test]
fn biases_stay_as_they_are_without_data() {
    for (name, layer) in layers() {
        let model = model(name, layer);
        for scheme in SCHEMES {
            let decomposed = decompose(&model, scheme, None);
            let plan = decomposed.plan(&Cutting::Each(RankPolicy::Fixed(2))).unwrap();
            let small = decomposed.build(&plan, |_| F32, Tier::Portable).unwrap().model;
            match (model.layers().next().unwrap().1, small.layers().next().unwrap().1) {
                (Layer::Linear(a), Layer::Linear(b)) => assert_eq!(a.bias(), b.bias()),
                (Layer::Gru(a), Layer::Gru(b)) => {
                    assert_eq!((a.bias_ih(), a.bias_hh()), (b.bias_ih(), b.bias_hh()), "{name}, {scheme:?}");
                }
                (Layer::Lstm(a), Layer::Lstm(b)) => {
                    assert_eq!((a.bias_ih(), a.bias_hh()), (b.bias_ih(), b.bias_hh()), "{name}, {scheme:?}");
                }
                _ => {}
            }
        }
    }
}

/// A projection is not cut, so it counts neither in what is cut nor in all that could be.
#[test]
fn the_error_of_a_plan_is_a_share_of_what_can_be_cut() {
    let projected = layers().into_iter().find(|(name, _)| *name == "projected").unwrap();
    let model = model(projected.0, projected.1);
    for scheme in SCHEMES {
        // Inputs of any magnitude: the shares are the same.
        for calibration in [None, Some(calibrated(&model, scheme, &inputs(60)))] {
            let decomposed = decompose(&model, scheme, calibration.as_ref());
            assert_eq!(decomposed.error(&decomposed.dense()), 0.0);
            let least: Vec<Choice> = decomposed.dense().iter().map(|_| Choice::LowRank(0)).collect();
            let parts = least.len() - 1;
            let without_projection = [&least[..parts], &[Choice::Dense]].concat();
            assert_eq!(decomposed.error(&without_projection), 1.0, "{scheme:?}");
        }
    }
    let zeros = Linear::new(Weight::dense(Mat::zeros(6, 4).unwrap()).unwrap(), None).unwrap();
    let zeros = Model::new(vec![("fc".into(), Layer::Linear(zeros))]).unwrap();
    let decomposed = decompose(&zeros, Scheme::Split, None);
    let budget = Budget { limit: 10.0, cost: Cost::Parameters };
    let plan = decomposed.plan(&Cutting::Together { budget, rank_multiple: 1 }).unwrap();
    assert_eq!((plan[0], decomposed.error(&plan)), (Choice::LowRank(1), 0.0));
}
