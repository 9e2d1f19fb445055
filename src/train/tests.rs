//! The mathematics, on small cases.

mod adam;
mod distillation;
mod rounding;
mod settling;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::gru::step_by_step;
use super::tensors::{leaf, matrix, parameter, scalar, tensor, values};
use super::weight::uniform;
use super::*;
use crate::MatRef;
use crate::error::{Error, FileError};
use crate::factored::{self, LowRank, RankPolicy, Scheme, Scratch, singular_values};
use crate::kernels::WeightFormat;
use crate::matrix::{Mat, MatMut};
use crate::model::{Attachment, ImportOptions, Model, Session};

const SCHEMES: [Scheme; 3] = [Scheme::Split, Scheme::PartiallyJoint, Scheme::Joint];

fn random_matrix(rows: usize, cols: usize, seed: u64) -> Mat<f32> {
    uniform(rows, cols, 1.0, &mut Random::new(seed)).unwrap()
}

/// A penalty with both strengths equal.
fn trace_penalty(lambda: f32) -> Penalty {
    Penalty::TraceNorm { recurrent: lambda, non_recurrent: lambda }
}

fn penalty_of(penalty: Penalty, weight: &Weight) -> Tensor<1> {
    penalty.of([(WeightKind::Recurrent, weight)]).unwrap()
}

#[test]
fn balanced_factors_have_the_trace_norm_as_penalty_and_no_others_have_less() {
    let w = random_matrix(6, 9, 1);
    let least: f64 = singular_values(w.view()).unwrap().iter().sum();
    let device = Device::flex();
    let balanced = Weight::dense(w.view(), &device).truncate(RankPolicy::Variance(1.0), &device).unwrap();
    let found = f64::from(scalar(penalty_of(trace_penalty(1.0), &balanced)));
    assert!((found - least).abs() < 1e-4, "{found} for {least}");

    // U D and D^-1 V of the same product.
    let Weight::Factored { u, v } = &balanced else { unreachable!() };
    for seed in 0..5 {
        let mut random = Random::new(seed);
        let d: Vec<f32> = (0..6).map(|_| random.uniform(0.5, 2.0)).collect();
        let inverse: Vec<f32> = d.iter().map(|d| d.recip()).collect();
        let row = tensor(MatRef::row_vector(&d), &device);
        let column = tensor(MatRef::row_vector(&inverse), &device).transpose();
        let other = Weight::Factored { u: u.clone() * row, v: v.clone() * column };
        assert!(f64::from(scalar(penalty_of(trace_penalty(1.0), &other))) > least + 1e-3);
    }
}

/// Let the penalty's minimum over the factorizations of X be its trace norm. Then the minimum over factors of
/// `|U V - W|^2 / 2 + lambda/2 (|U|^2 + |V|^2)` equals the minimum over matrices of `|X - W|^2 / 2 + lambda |X|_T`. The
/// latter is known: it has the singular values of W minus lambda, clamped at 0 (Cai, Candes and Shen, arXiv 0810.3286).
#[test]
fn gradient_descent_on_factors_finds_the_minimum_under_the_trace_norm() {
    let device = Device::flex();
    for (n, k, seed) in [(5, 7, 1), (8, 4, 2), (6, 6, 3)] {
        let (w, rank) = (random_matrix(n, k, seed), n.min(k));
        let sigma = singular_values(w.view()).unwrap();
        // Some singular values should vanish, others remain.
        let lambda = 0.5 * (sigma[rank / 2] + sigma[rank / 2 - 1]);
        let target = tensor(w.view(), &device);
        let mut random = Random::new(seed);
        let mut weight = Weight::random_factors([n, k], rank, 1.0, &mut random, &device).unwrap();
        let loss = |weight: &Weight| {
            let error = (weight.matrix() - target.clone()).square().sum().mul_scalar(0.5);
            error + penalty_of(trace_penalty(lambda as f32), weight)
        };
        for _ in 0..3000 {
            let gradients = loss(&weight).backward();
            let Weight::Factored { u, v } = &mut weight else { unreachable!() };
            for factor in [u, v] {
                let gradient = factor.grad(&gradients).unwrap();
                *factor = leaf(factor.clone().without_autodiff() - gradient.mul_scalar(0.05));
            }
        }
        let (mut least, mut norm) = (0.0, 0.0);
        for &sigma in &sigma {
            let kept = (sigma - lambda).max(0.0);
            least += 0.5 * (sigma - kept).powi(2) + lambda * kept;
            norm += kept;
        }
        let found = f64::from(scalar(loss(&weight)));
        assert!((found - least).abs() < 1e-3 * least, "{n} x {k}: {found} for {least}");
        let penalty = f64::from(scalar(penalty_of(trace_penalty(1.0), &weight)));
        assert!((penalty - norm).abs() < 5e-3 * norm, "{n} x {k}: {penalty} for {norm}");
        let reached = singular_values(weight.to_mat().unwrap().view()).unwrap();
        for (&reached, &sigma) in reached.iter().zip(&sigma) {
            assert!((reached - (sigma - lambda).max(0.0)).abs() < 1e-2, "{n} x {k}: {reached} for {sigma} - {lambda}");
        }
    }
}

#[test]
fn strengths_go_to_their_weights() {
    let device = Device::flex();
    let one = || Mat::from_vec(vec![2.0], 1, 1).unwrap();
    let dense = Weight::dense(one().view(), &device);
    let factored = Weight::factored(&LowRank::from_factors(one(), one()).unwrap(), &device);
    let sum = |penalty: Penalty, weight| {
        let kinds = [WeightKind::Recurrent, WeightKind::NonRecurrent];
        penalty.of(kinds.map(|kind| (kind, weight))).map(scalar)
    };
    let trace = Penalty::TraceNorm { recurrent: 1.0, non_recurrent: 10.0 };
    let l2 = Penalty::L2 { recurrent: 1.0, non_recurrent: 10.0 };
    assert_eq!(sum(trace, &factored), Some(44.0));
    assert_eq!(sum(trace, &dense), None);
    assert_eq!(sum(l2, &dense), Some(22.0));
    assert_eq!(sum(l2, &factored), Some(88.0));
    assert_eq!(sum(Penalty::None, &factored), None);
}

#[test]
fn nu_is_0_of_rank_one_and_1_of_equal_singular_values() {
    let device = Device::flex();
    let (u, v) = (random_matrix(5, 1, 1), random_matrix(1, 8, 2));
    let one = Weight::factored(&LowRank::from_factors(u, v).unwrap(), &device);
    let spectrum = Spectrum::of("one", &one).unwrap();
    assert!(spectrum.nu < 1e-3 && (spectrum.rank_90, spectrum.rank) == (1, 1), "{spectrum:?}");
    assert!((spectrum.stable_rank - 1.0).abs() < 1e-6);

    let mut identity = Mat::zeros(4, 6).unwrap();
    (0..4).for_each(|i| identity.view_mut().row_mut(i)[i] = -3.0);
    let spectrum = Spectrum::of("identity", &Weight::dense(identity.view(), &device)).unwrap();
    assert!((spectrum.nu - 1.0).abs() < 1e-6 && (spectrum.rank_90, spectrum.rank) == (4, 4), "{spectrum:?}");
    assert!((spectrum.trace_norm - 12.0).abs() < 1e-4 && (spectrum.stable_rank - 4.0).abs() < 1e-6);
    let zeros = Weight::dense(Mat::zeros(2, 3).unwrap().view(), &device);
    assert_eq!(Spectrum::of("zeros", &zeros).unwrap().stable_rank, 0.0);
}

#[test]
fn the_truncation_error_matches_the_dropped_singular_values() {
    let device = Device::flex();
    let weight = Weight::random_factors([10, 7], 7, 1.0, &mut Random::new(1), &device).unwrap();
    let w = weight.to_mat().unwrap();
    let sigma = singular_values(w.view()).unwrap();
    for rank in 1..=7 {
        let cut = weight.truncate(RankPolicy::Fixed(rank), &device).unwrap();
        assert_eq!((cut.rank(), cut.shape()), (Some(rank), [10, 7]));
        let cut = cut.to_mat().unwrap();
        let error: f64 = cut.as_slice().iter().zip(w.as_slice()).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let dropped: f64 = sigma[rank..].iter().map(|sigma| sigma * sigma).sum();
        assert!((error - dropped).abs() < 1e-4, "rank {rank}: {error} for {dropped}");
    }
}

/// The probability of `target`: the sum over all paths of classes that merge to it.
fn brute_force(probabilities: &[Vec<f64>], target: &[usize]) -> f64 {
    let (steps, classes) = (probabilities.len(), probabilities[0].len());
    let mut sum = 0.0;
    for path in 0..classes.pow(steps as u32) {
        let path: Vec<usize> = (0..steps).map(|t| path / classes.pow(t as u32) % classes).collect();
        let mut merged = path.clone();
        merged.dedup();
        merged.retain(|&class| class != 0);
        if merged == target {
            sum += path.iter().zip(probabilities).map(|(&class, step)| step[class]).product::<f64>();
        }
    }
    sum
}

#[test]
fn ctc_is_the_sum_over_all_alignments() {
    let (classes, steps) = (3, 5);
    let targets: [&[usize]; 6] = [&[1], &[2, 1], &[1, 1], &[], &[1, 2, 1], &[2, 2]];
    let lengths = [5, 4, 3, 2, 5, 5];
    let pairs: Vec<_> = lengths.iter().zip(targets).map(|(&n, target)| (vec![0.0; n], target.to_vec())).collect();
    let batch = Batch::new(&pairs, 1).unwrap();
    // Also for scores so far apart that most alignments do not count.
    for (seed, scale) in [(3, 1.0), (4, 60.0)] {
        let mut scores = random_matrix(steps * targets.len(), classes, seed);
        scores.as_mut_slice().iter_mut().for_each(|score| *score *= scale);
        let mut expected = 0.0;
        for (i, (&length, target)) in lengths.iter().zip(targets).enumerate() {
            let softmax = |t: usize| {
                let e: Vec<f64> =
                    scores.view().row(t * targets.len() + i).iter().map(|&s| f64::from(s).exp()).collect();
                e.iter().map(|e_i| e_i / e.iter().sum::<f64>()).collect()
            };
            expected -= brute_force(&(0..length).map(softmax).collect::<Vec<_>>(), target).ln();
        }
        let found = f64::from(scalar(ctc_loss(tensor(scores.view(), &Device::flex()), &batch).unwrap()));
        assert!((found - expected).abs() < 1e-6 * expected.max(1e3), "{found} for {expected}");
    }
}

#[test]
fn ctc_refuses_a_class_that_has_no_score() {
    let scores = random_matrix(4, 3, 1);
    let batch = Batch::new(&[(vec![0.0; 4], vec![1, 3])], 1).unwrap();
    let error = ctc_loss(tensor(scores.view(), &Device::flex()), &batch).unwrap_err();
    assert!(matches!(error, Error::Parameter { what: "class", value: 3.0, .. }), "{error}");
}

#[test]
fn the_gradient_of_ctc_is_that_of_the_sum_over_all_alignments() {
    let (classes, steps, target) = (3, 4, [1, 2]);
    let scores = random_matrix(steps, classes, 4);
    let batch = Batch::new(&[(vec![0.0; steps], target.to_vec())], 1).unwrap();
    let of = parameter(scores.view(), &Device::flex());
    let gradients = ctc_loss(of.clone(), &batch).unwrap().backward();
    let found = values(of.grad(&gradients).unwrap());
    let loss = |scores: &[f64]| {
        let step = |t: usize| {
            let e: Vec<f64> = scores[t * classes..][..classes].iter().map(|s| s.exp()).collect();
            e.iter().map(|e_i| e_i / e.iter().sum::<f64>()).collect()
        };
        -brute_force(&(0..steps).map(step).collect::<Vec<_>>(), &target).ln()
    };
    let scores: Vec<f64> = scores.as_slice().iter().map(|&s| f64::from(s)).collect();
    for i in 0..scores.len() {
        let at = |delta: f64| {
            let mut scores = scores.clone();
            scores[i] += delta;
            loss(&scores)
        };
        let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((f64::from(found[i]) - expected).abs() < 1e-4, "{i}: {} for {expected}", found[i]);
    }
}

/// Checks the gradients of `loss` at some elements of each parameter.
fn check_gradients<M: Clone>(
    model: &M,
    parameters: impl Fn(&mut M) -> Vec<(String, &mut Tensor<2>)>,
    loss: impl Fn(&M) -> Tensor<1>,
) {
    let gradients = loss(model).backward();
    let mut copy = model.clone();
    let count = parameters(&mut copy).len();
    for p in 0..count {
        let mut copy = model.clone();
        let (name, value) = parameters(&mut copy).swap_remove(p);
        let found = values(value.grad(&gradients).expect(&name));
        let start = matrix(value).unwrap();
        let greatest = found.iter().fold(1e-2f32, |greatest, g| greatest.max(g.abs()));
        for i in (0..found.len()).step_by(1 + found.len() / 5) {
            let at = |delta: f32| {
                let mut moved = start.clone();
                moved.as_mut_slice()[i] += delta;
                let mut copy = model.clone();
                *parameters(&mut copy).swap_remove(p).1 = parameter(moved.view(), &Device::flex());
                f64::from(scalar(loss(&copy)))
            };
            // In f32, a small step would measure rounding.
            let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
            let error = (f64::from(found[i]) - expected).abs();
            assert!(error < f64::from(2e-2 * greatest), "{name}[{i}]: {} for {expected}", found[i]);
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let shape = Shape { input: 3, hidden: vec![4, 3], classes: 3 };
    let sequence = |seed, steps: usize| random_matrix(steps, 3, seed).into_vec();
    // More steps than a block has, and padding.
    let batch = Batch::new(&[(sequence(1, 11), vec![1, 2]), (sequence(2, 9), vec![2, 2, 1])], 3).unwrap();
    // At rank 1 the layer multiplies by the factors, not by their product.
    let low_rank = SCHEMES.map(|scheme| Initialization::Spectral(scheme, RankPolicy::Fixed(1)));
    let dense = [Initialization::Dense];
    for initialization in SCHEMES.map(Initialization::Factored).into_iter().chain(low_rank).chain(dense) {
        let model = Recognizer::new(&shape, initialization, &mut Random::new(5), &Device::flex()).unwrap();
        let penalty = match initialization {
            Initialization::Dense => Penalty::L2 { recurrent: 0.3, non_recurrent: 0.1 },
            _ => Penalty::TraceNorm { recurrent: 0.3, non_recurrent: 0.1 },
        };
        check_gradients(&model, Recognizer::parameters_mut, |model| {
            let weights = model.weights();
            let weights = weights.iter().map(|&(_, kind, weight)| (kind, weight));
            ctc_loss(model.scores(&batch).unwrap(), &batch).unwrap() + penalty.of(weights).unwrap()
        });
    }
}

#[test]
fn the_sweep_of_the_cpu_gives_the_states_and_gradients_of_single_steps() {
    let device = Device::flex();
    for (steps, batch, hidden) in [(1, 1, 1), (1, 4, 3), (19, 3, 5), (40, 1, 9)] {
        let leaf = |rows, cols, seed| parameter(random_matrix(rows, cols, seed).view(), &device);
        let (x, w, b) = (leaf(steps * batch, 3 * hidden, 1), leaf(3 * hidden, hidden, 2), leaf(1, 3 * hidden, 3));
        let strengths = tensor(random_matrix(steps * batch, hidden, 4).view(), &device);
        let found = |states: Tensor<2>| {
            let gradients = (states.clone() * strengths.clone()).sum().backward();
            let [x, w, b] = [&x, &w, &b].map(|parameter| values(parameter.grad(&gradients).unwrap()));
            [values(states), x, w, b]
        };
        let swept = found(sweep::states(&x, &w, &b, batch).expect("tensors of the CPU"));
        let stepped = found(step_by_step(x.clone(), w.clone(), b.clone(), batch));
        for (swept, stepped) in swept.iter().zip(&stepped) {
            let greatest = stepped.iter().fold(1.0f32, |greatest, value| greatest.max(value.abs()));
            assert_eq!(swept.len(), stepped.len());
            for (swept, stepped) in swept.iter().zip(stepped) {
                let error = (swept - stepped).abs();
                assert!(error < 1e-5 * greatest, "{steps} x {batch} x {hidden}: {swept} for {stepped}");
            }
        }
    }
}

fn lstm(scheme: Option<Scheme>) -> Lstm {
    let device = Device::flex();
    let mut lstm = Lstm::new(3, 4, &mut Random::new(6), &device).unwrap();
    if let Some(scheme) = scheme {
        let factor =
            |w: Mat<f32>, _| Ok(Weight::factored(&LowRank::truncate(w.view(), RankPolicy::Fixed(2))?, &device));
        lstm.weights = lstm.weights.refactor(scheme, factor).unwrap();
    }
    lstm
}

#[test]
fn gradients_of_the_lstm_match_finite_differences() {
    let x = tensor(random_matrix(10 * 2, 3, 7).view(), &Device::flex());
    for scheme in SCHEMES.map(Some).into_iter().chain([None]) {
        check_gradients(
            &lstm(scheme),
            |lstm| lstm.parameters_mut("", ""),
            |lstm| lstm.forward(x.clone(), 2).square().sum(),
        );
    }
}

#[test]
fn inference_is_the_same_function() {
    let device = Device::flex();
    let steps = 19;
    let x = random_matrix(steps, 5, 8);
    let full = RankPolicy::Fixed(3);
    let kinds = SCHEMES.map(|scheme| Initialization::Spectral(scheme, full)).into_iter().chain([Initialization::Dense]);
    for initialization in kinds {
        let shape = Shape { input: 5, hidden: vec![6, 4], classes: 3 };
        let model = Recognizer::new(&shape, initialization, &mut Random::new(9), &device).unwrap();
        let expected = values(model.forward(tensor(x.view(), &device), 1));
        let exported = model.to_model(BTreeMap::new(), BTreeMap::new()).unwrap();
        // A factor that two weights share is counted once.
        assert_eq!(exported.parameters(), model.parameter_count(), "{initialization:?}");
        let mut session = Session::new(Arc::new(exported)).unwrap();
        let mut found = session.push(x.view()).unwrap().as_slice().to_vec();
        found.extend_from_slice(session.finish().unwrap().as_slice());
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{initialization:?}: {found} for {expected}");
        }
    }
    for scheme in SCHEMES.map(Some).into_iter().chain([None]) {
        let (lstm, x) = (lstm(scheme), random_matrix(steps, 3, 10));
        let expected = values(lstm.forward(tensor(x.view(), &device), 1));
        let inference: factored::Lstm = lstm.to_inference().unwrap();
        let mut found = vec![0.0; steps * 4];
        let out = MatMut::new(&mut found, steps, 4).unwrap();
        inference.forward(x.view(), &mut inference.state().unwrap(), out, &mut Scratch::new()).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{scheme:?}: {found} for {expected}");
        }
    }
}

/// Sequences of two classes. Each class is shown for some steps as its own noisy pattern.
struct Patterns(Vec<Batch>);

impl Patterns {
    fn new() -> Self {
        Self(vec![Self::draw(&mut Random::new(99), 20)])
    }

    fn draw(random: &mut Random, count: usize) -> Batch {
        let sequences: Vec<_> = (0..count)
            .map(|_| {
                let classes: Vec<usize> = (0..1 + random.below(3)).map(|_| 1 + random.below(2)).collect();
                let mut features = Vec::new();
                for &class in &classes {
                    for shown in [true, true, false] {
                        let values = (0..4).map(|i| if shown && i % 2 == class - 1 { 1.0 } else { 0.0 });
                        features.extend(values.map(|value: f32| value + random.uniform(-0.2, 0.2)));
                    }
                }
                (features, classes)
            })
            .collect();
        Batch::new(&sequences, 4).unwrap()
    }
}

impl Data for Patterns {
    fn batch(&mut self, random: &mut Random) -> crate::Result<Batch> {
        Ok(Self::draw(random, 8))
    }

    fn validation(&self) -> &[Batch] {
        &self.0
    }
}

fn small(initialization: Initialization) -> Recognizer {
    let shape = Shape { input: 4, hidden: vec![8], classes: 3 };
    Recognizer::new(&shape, initialization, &mut Random::new(1), &Device::flex()).unwrap()
}

/// In every scheme, importing the file with PyTorch's names gives the model that `to_model` makes.
#[test]
fn an_exported_recognizer_is_imported_as_it_is() {
    let factored = SCHEMES.map(Initialization::Factored);
    let low_rank = SCHEMES.map(|scheme| Initialization::Spectral(scheme, RankPolicy::Fixed(2)));
    for initialization in [Initialization::Dense].into_iter().chain(factored).chain(low_rank) {
        let shape = Shape { input: 4, hidden: vec![8, 6], classes: 3 };
        let recognizer = Recognizer::new(&shape, initialization, &mut Random::new(1), &Device::flex()).unwrap();
        let attachment = Attachment::new(vec![2], vec![0.5, 1.5]).unwrap();
        let attachments = BTreeMap::from([("features.mean".to_string(), attachment)]);
        let metadata = BTreeMap::from([("classes".to_string(), "abc".to_string())]);
        let file = recognizer.to_safetensors(&metadata, &attachments).unwrap();
        let options = ImportOptions { keep: vec!["features.*".into()], ..ImportOptions::default() };
        let imported = Model::from_pytorch(&file, &options).unwrap();
        let expected = recognizer.to_model(metadata, attachments).unwrap();
        assert!(imported.to_bytes().unwrap() == expected.to_bytes().unwrap(), "{initialization:?}");
    }
}

fn short() -> Schedule {
    Schedule {
        epochs: 4,
        batches: 3,
        transition: Some(2),
        rank: RankPolicy::Fixed(2),
        penalty: trace_penalty(1e-3),
        warm_up: 2,
        ..Schedule::default()
    }
}

#[test]
fn a_second_of_training_learns_and_lowers_the_rank() {
    let schedule = Schedule {
        epochs: 6,
        batches: 40,
        transition: Some(4),
        penalty: trace_penalty(5e-3),
        rates: Rates { first: 3e-2, last: 1e-2 },
        rates_2: Rates { first: 1e-2, last: 5e-3 },
        ..short()
    };
    let mut trainer = Trainer::new(small(Initialization::Factored(Scheme::PartiallyJoint)), schedule).unwrap();
    let before = trainer.model().evaluate(Patterns::new().validation()).unwrap().rate();
    let mut reports = Vec::new();
    while let Some(report) = trainer.train_epoch(&mut Patterns::new()).unwrap() {
        reports.push(report);
    }
    let (first, last) = (&reports[0], &reports[5]);
    assert!(before > 0.5 && last.errors.rate() < 0.1, "{before}, then {last}");
    assert!(last.loss < 0.3 * first.loss, "{first}, then {last}");
    assert!(reports[3].nu() < 0.8 * first.nu(), "{first}, then {}", reports[3]);
    assert!(reports[4].at_cut.is_some() && last.parameters < first.parameters);
    assert!(last.spectra.iter().all(|spectrum| spectrum.rank == 2));
}

fn numbers(trainer: &Trainer) -> Vec<(String, Vec<f32>)> {
    trainer.model().parameters().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("skinny-train-{name}-{}", std::process::id()))
}

/// Runs to the end in one go.
fn whole(initialization: Initialization, schedule: &Schedule) -> Trainer {
    let mut run = Trainer::new(small(initialization), schedule.clone()).unwrap();
    while run.train_epoch(&mut Patterns::new()).unwrap().is_some() {}
    run
}

/// Runs to the end, stopping after each epoch and resuming from a file.
fn in_pieces(name: &str, initialization: Initialization, schedule: &Schedule) -> Trainer {
    let file = temporary(name);
    let new = || Trainer::new(small(initialization), schedule.clone()).unwrap();
    new().save(&file).unwrap();
    let run = loop {
        let mut run = Trainer::resume(&file, small(initialization), schedule.clone()).unwrap();
        if run.train_epoch(&mut Patterns::new()).unwrap().is_none() {
            break run;
        }
        run.save(&file).unwrap();
    };
    std::fs::remove_file(&file).unwrap();
    run
}

#[test]
fn a_run_resumes_to_the_same_weights() {
    for initialization in SCHEMES.map(Initialization::Factored).into_iter().chain([Initialization::Dense]) {
        let (whole, resumed) = (whole(initialization, &short()), in_pieces("resume", initialization, &short()));
        assert_eq!((resumed.epoch(), numbers(&resumed)), (4, numbers(&whole)), "{initialization:?}");
    }
}

/// Epochs have three batches: with these periods, factors rotate within epochs, at their starts, or both.
#[test]
fn a_run_resumes_to_the_same_weights_across_alignments() {
    for scheme in SCHEMES {
        let initialization = Initialization::Factored(scheme);
        let run = |align| {
            let schedule = Schedule { align, ..short() };
            let whole = numbers(&whole(initialization, &schedule));
            assert_eq!(numbers(&in_pieces("aligned", initialization, &schedule)), whole, "{scheme:?}, {align:?}");
            whole
        };
        let runs = [None, Some(1), Some(2), Some(3), Some(4)].map(run);
        for (i, a) in runs.iter().enumerate() {
            assert!(runs[..i].iter().all(|b| a != b), "{scheme:?}: an alignment did nothing");
        }
    }
}

#[test]
fn checkpoints_of_other_runs_and_damaged_ones_are_refused() {
    let initialization = Initialization::Factored(Scheme::PartiallyJoint);
    let file = temporary("refused");
    let run = Trainer::new(small(initialization), short()).unwrap();
    run.save(&file).unwrap();
    let other = Schedule { seed: 2, ..short() };
    let refused = Trainer::resume(&file, small(initialization), other);
    assert!(matches!(refused, Err(Error::File(FileError::Header { .. }))));
    assert!(matches!(Trainer::resume(&file, small(Initialization::Dense), short()), Err(Error::File(_))));
    let bytes = std::fs::read(&file).unwrap();
    for len in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..len]).unwrap();
        assert!(Trainer::resume(&file, small(initialization), short()).is_err(), "{len} bytes");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_seed_reproduces_a_run_and_an_epoch_that_fails_changes_nothing() {
    struct Failing(Patterns, usize);
    impl Data for Failing {
        fn batch(&mut self, random: &mut Random) -> crate::Result<Batch> {
            self.1 += 1;
            if self.1 == 5 {
                return Err(Error::Parameter { what: "data", value: 0.0, expected: "none of them lost" });
            }
            self.0.batch(random)
        }
        fn validation(&self) -> &[Batch] {
            self.0.validation()
        }
    }
    let new = || Trainer::new(small(Initialization::Factored(Scheme::Split)), short()).unwrap();
    let (mut whole, mut broken) = (new(), new());
    while whole.train_epoch(&mut Patterns::new()).unwrap().is_some() {}
    let mut data = Failing(Patterns::new(), 0);
    assert!(broken.train_epoch(&mut data).is_ok());
    assert!(broken.train_epoch(&mut data).is_err());
    assert_eq!(broken.epoch(), 1);
    while broken.train_epoch(&mut data).unwrap().is_some() {}
    assert_eq!(numbers(&broken), numbers(&whole));
}

#[test]
fn invalid_schedules_and_data_are_refused() {
    let wrong = [
        Schedule { batches: 0, ..short() },
        Schedule { transition: Some(5), ..short() },
        Schedule { align: Some(0), ..short() },
        Schedule { settling: Some(Settling { window: 0, ..Settling::default() }), ..short() },
        Schedule { settling: Some(Settling { tolerance: f32::NAN, ..Settling::default() }), ..short() },
        Schedule { settling: Some(Settling::default()), transition: None, ..short() },
        Schedule { format: Some(WeightFormat::I8), transition: None, ..short() },
        Schedule { distillation: 1.0, transition: None, ..short() },
        Schedule { distillation: -1.0, ..short() },
        Schedule { distillation: f32::INFINITY, ..short() },
        Schedule { rise: -0.1, ..short() },
        Schedule { rise: 1.5, ..short() },
        Schedule { rise: f32::NAN, ..short() },
        Schedule { clip: f32::NAN, ..short() },
        Schedule { rates: Rates { first: 0.0, last: 1.0 }, ..short() },
        Schedule { penalty: trace_penalty(-1.0), ..short() },
    ];
    for schedule in wrong {
        let refused = Trainer::new(small(Initialization::Dense), schedule.clone());
        assert!(matches!(refused, Err(Error::Parameter { .. })), "{schedule:?}");
    }
    assert!(Batch::new(&[], 4).is_err());
    assert!(matches!(Batch::new(&[(vec![0.0; 7], vec![1])], 4), Err(Error::Length { .. })));
    // Two of a class need a blank between them.
    assert!(matches!(Batch::new(&[(vec![0.0; 8], vec![1, 1])], 4), Err(Error::Length { expected: 12, .. })));
    assert!(matches!(Batch::new(&[(vec![0.0; 8], vec![0])], 4), Err(Error::Parameter { .. })));
    let other = Batch::new(&[(vec![0.0; 8], vec![1])], 8).unwrap();
    assert!(matches!(small(Initialization::Dense).transcribe(&other), Err(Error::Length { .. })));
}

#[test]
fn ranks_that_no_weight_can_have_are_refused_before_stage_1() {
    let with = |rank, transition| Schedule { rank, transition, ..short() };
    let start = |schedule| Trainer::new(small(Initialization::Factored(Scheme::PartiallyJoint)), schedule).err();
    // The input weights are 24 x 4, the recurrent ones 24 x 8.
    for (rank, max) in [(0, 4), (5, 4), (usize::MAX, 4)] {
        let refused = FileError::layer("gru.weight_ih_l0", Error::Rank { rank, max });
        assert_eq!(start(with(RankPolicy::Fixed(rank), Some(2))), Some(refused));
    }
    for share in [2.0, 0.0, -0.5, f32::NAN] {
        let refused = start(with(RankPolicy::Variance(share), Some(2)));
        let Some(Error::File(FileError::Layer { problem, .. })) = &refused else { panic!("{share}: {refused:?}") };
        assert!(matches!(**problem, Error::Parameter { what: "share of variance", .. }), "{share}: {problem}");
    }
    for fits in [RankPolicy::Fixed(4), RankPolicy::Variance(1.0)] {
        assert_eq!(start(with(fits, Some(2))), None);
    }
    // A run without a stage 2 has no use for a rank.
    for transition in [None, Some(4)] {
        assert_eq!(start(with(RankPolicy::Fixed(0), transition)), None);
    }
    let begun = Trainer::new(small(Initialization::Dense), short()).unwrap();
    assert!(begun.with_schedule(with(RankPolicy::Fixed(9), Some(2))).is_err());
}

#[test]
fn classes_that_the_model_does_not_have_are_refused() {
    /// Batches to train on, and to validate with.
    struct Classes([Batch; 2]);
    impl Data for Classes {
        fn batch(&mut self, _: &mut Random) -> crate::Result<Batch> {
            Ok(self.0[0].clone())
        }
        fn validation(&self) -> &[Batch] {
            &self.0[1..]
        }
    }
    let of = |class| Batch::new(&[(vec![0.5; 16], vec![1]), (vec![0.5; 16], vec![2, class])], 4).unwrap();
    // The model has three: the blank, 1 and 2.
    for (train, validation, wrong) in [(1, 3, 3), (3, 1, 3), (1, 1000, 1000), (1000, 1, 1000)] {
        let mut trainer = Trainer::new(small(Initialization::Dense), short()).unwrap();
        let before = numbers(&trainer);
        let refused = trainer.train_epoch(&mut Classes([of(train), of(validation)]));
        let expected = "below the number of classes of the model";
        assert_eq!(refused, Err(Error::Parameter { what: "class", value: f64::from(wrong), expected }));
        assert_eq!((trainer.epoch(), numbers(&trainer)), (0, before));
    }
    let mut trainer = Trainer::new(small(Initialization::Dense), short()).unwrap();
    assert!(trainer.train_epoch(&mut Classes([of(1), of(1)])).is_ok());
}

#[test]
fn learning_rates_fall_from_the_first_to_the_last_of_each_stage() {
    let schedule = Schedule { warm_up: 1, ..short() };
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-9;
    assert!(near(schedule.rate(0, 0), schedule.rates.first / 2.0));
    assert!(near(schedule.rate(1, 2), schedule.rates.last));
    assert!(near(schedule.rate(2, 0), schedule.rates_2.first / 2.0));
    assert!(near(schedule.rate(3, 2), schedule.rates_2.last));
}

/// Two epochs of three batches before the transition.
#[test]
fn penalties_rise_over_their_share_of_stage_1() {
    let kinds = [
        |recurrent, non_recurrent| Penalty::TraceNorm { recurrent, non_recurrent },
        |recurrent, non_recurrent| Penalty::L2 { recurrent, non_recurrent },
    ];
    for kind in kinds {
        let expect = |schedule: Schedule, risen: &[f32]| {
            let schedule = Schedule { penalty: kind(6.0, 12.0), ..schedule };
            for (i, &risen) in risen.iter().enumerate() {
                let found = schedule.penalty(i / schedule.batches, i % schedule.batches);
                assert_eq!(found, kind(risen, 2.0 * risen), "batch {i} of {schedule:?}");
            }
        };
        expect(short(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        expect(Schedule { rise: 0.5, ..short() }, &[2.0, 4.0, 6.0, 6.0, 6.0, 6.0]);
        expect(Schedule { rise: 0.0, ..short() }, &[6.0; 6]);
        // Without a transition stage 1 lasts to the end.
        expect(Schedule { transition: None, epochs: 4, ..short() }, &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(Schedule { penalty: kind(6.0, 12.0), ..short() }.penalty(2, 0), Penalty::None);
    }
    assert_eq!(Schedule { penalty: Penalty::None, ..short() }.penalty(0, 0), Penalty::None);
}

#[test]
fn a_run_is_under_the_penalty_of_its_schedule() {
    let initialization = Initialization::Factored(Scheme::PartiallyJoint);
    let penalties = |rise| {
        let schedule = Schedule { rise, penalty: trace_penalty(1.0), ..short() };
        let mut run = Trainer::new(small(initialization), schedule).unwrap();
        let epoch = |run: &mut Trainer| run.train_epoch(&mut Patterns::new()).unwrap().unwrap().penalty;
        let of_model = |run: &Trainer| {
            let weights = run.model().weights();
            f64::from(scalar(trace_penalty(1.0).of(weights.iter().map(|&(_, kind, w)| (kind, w))).unwrap()))
        };
        let first = (epoch(&mut run), of_model(&run));
        let second = (epoch(&mut run), of_model(&run));
        [first.0 / first.1, second.0 / second.1, epoch(&mut run)]
    };
    for (rise, expected) in [(1.0, [0.5, 1.0, 0.0]), (0.0, [1.0, 1.0, 0.0])] {
        for (found, expected) in penalties(rise).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }
}

#[test]
fn greedy_decoding_merges_repeats_unless_a_blank_parts_them() {
    let one_hot = |class: usize| (0..3).map(|i| f32::from(u8::from(i == class))).collect::<Vec<_>>();
    let steps: Vec<_> = [0, 1, 1, 2, 0, 2, 2, 0].map(one_hot).to_vec();
    assert_eq!(greedy(steps.iter().map(Vec::as_slice)), [1, 2, 2]);
    assert!(greedy([[0.5f32, 0.5].as_slice()]).is_empty());
}
