//! Tests of distillation.

use burn::tensor::Device;

use super::{Patterns, in_pieces, numbers, random_matrix, short, small, whole};
use crate::error::Error;
use crate::factored::Scheme;
use crate::train::tensors::{parameter, scalar, tensor, values};
use crate::train::{Batch, Data, Initialization, Rates, Recognizer, Schedule, Trainer, distillation_loss};

fn softmax(scores: &[f32]) -> Vec<f64> {
    let e: Vec<f64> = scores.iter().map(|&score| f64::from(score).exp()).collect();
    e.iter().map(|e_i| e_i / e.iter().sum::<f64>()).collect()
}

/// Three sequences of at most five steps.
fn batch() -> Batch {
    let sequence = |steps: usize| (vec![0.0; steps], vec![1]);
    Batch::new(&[sequence(5), sequence(2), sequence(4)], 1).unwrap()
}

#[test]
fn the_loss_is_the_divergence_without_padding_and_its_gradient_the_difference() {
    let (batch, lengths, classes) = (batch(), [5, 2, 4], 4);
    let scores = random_matrix(15, classes, 1);
    let mut teacher = random_matrix(15, classes, 2);
    // A teacher so sure that other probabilities vanish in f32.
    teacher.view_mut().row_mut(3)[1] = 200.0;
    let of = parameter(scores.view(), &Device::flex());
    let loss = distillation_loss(of.clone(), tensor(teacher.view(), &Device::flex()), &batch);
    let gradient = values(of.grad(&loss.backward()).unwrap());
    let mut expected = 0.0;
    for row in 0..15 {
        let (q, p) = (softmax(scores.view().row(row)), softmax(teacher.view().row(row)));
        let within = if row / 3 < lengths[row % 3] { 1.0 } else { 0.0 };
        for class in 0..classes {
            if p[class] > 0.0 {
                expected += within * p[class] * (p[class] / q[class]).ln();
            }
            let (found, expected) = (f64::from(gradient[row * classes + class]), within * (q[class] - p[class]));
            assert!((found - expected).abs() < 1e-6, "step {row}, class {class}: {found} for {expected}");
        }
    }
    let found = f64::from(scalar(loss));
    assert!((found - expected).abs() < 1e-5 * expected, "{found} for {expected}");
}

#[test]
fn a_teacher_that_agrees_has_nothing_to_teach() {
    let scores = random_matrix(15, 4, 1);
    let of = || tensor(scores.view(), &Device::flex());
    // The same up to a constant per step, which does not affect the softmax.
    assert!(scalar(distillation_loss(of(), of() + 3.0, &batch())).abs() < 1e-5);
}

fn factored() -> Initialization {
    Initialization::Factored(Scheme::PartiallyJoint)
}

fn schedule(distillation: f32) -> Schedule {
    Schedule { distillation, ..short() }
}

#[test]
fn a_run_that_learns_from_stage_1_resumes_to_the_same_weights() {
    let expected = whole(factored(), &schedule(1.0));
    assert_eq!(numbers(&in_pieces("distillation", factored(), &schedule(1.0))), numbers(&expected));
    assert_ne!(numbers(&whole(factored(), &schedule(0.0))), numbers(&expected));
}

#[test]
fn stage_2_stays_nearer_to_the_model_that_it_learns_from() {
    let schedule = |epochs, distillation| Schedule {
        epochs,
        batches: 30,
        rates: Rates { first: 1e-2, last: 1e-2 },
        rates_2: Rates { first: 1e-2, last: 1e-3 },
        distillation,
        ..short()
    };
    let stage_1 = || {
        let mut run = Trainer::new(small(factored()), schedule(2, 0.0)).unwrap();
        while run.train_epoch(&mut Patterns::new()).unwrap().is_some() {}
        run
    };
    let teacher: Recognizer = stage_1().model().clone();
    let distance = |distillation| {
        let mut run = stage_1().with_schedule(schedule(8, distillation)).unwrap();
        while run.train_epoch(&mut Patterns::new()).unwrap().is_some() {}
        let batch = &Patterns::new().validation()[0].clone();
        scalar(distillation_loss(run.model().scores(batch).unwrap(), teacher.scores(batch).unwrap(), batch))
    };
    let (without, with) = (distance(0.0), distance(20.0));
    assert!(with < 0.5 * without, "{with} with, {without} without");
}

#[test]
fn a_stage_2_cannot_learn_from_a_model_that_was_not_kept() {
    let run = |distillation, with| whole(factored(), &schedule(distillation)).with_schedule(schedule(with));
    assert!(matches!(run(0.0, 1.0), Err(Error::Parameter { what: "strength of the distillation", .. })));
    assert!(run(1.0, 2.0).is_ok() && run(1.0, 0.0).is_ok() && run(0.0, 0.0).is_ok());
}
