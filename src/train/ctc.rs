//! Connectionist temporal classification (Graves et al., ICML 2006): loss and greedy decoding. Class 0 is the blank.

use burn::tensor::{Tensor, TensorData};

use super::data::Batch;
use super::tensors::values;
use crate::error::Result;

/// The CTC loss: minus the log-probability of the target classes over all alignments, summed over the batch. `scores`
/// is `(steps batch) x classes`, before the softmax.
///
/// The loss and its gradient are computed on the host, because the recursions over time would be thousands of small
/// operations in the graph. The gradient enters the graph, on any device, as the gradient of a sum of products.
///
/// # Errors
/// [`Error::Parameter`](crate::Error::Parameter) for a target that is not one of the classes.
pub fn ctc_loss(scores: Tensor<2>, batch: &Batch) -> Result<Tensor<1>> {
    let [rows, classes] = scores.dims();
    batch.expect_classes(classes)?;
    let on_host = values(scores.clone());
    let mut gradient = vec![0.0f32; on_host.len()];
    let mut loss = 0.0;
    for (i, (&steps, target)) in batch.lengths.iter().zip(&batch.targets).enumerate() {
        let row = |t: usize| (t * batch.len() + i) * classes;
        let scores = (0..steps).map(|t| &on_host[row(t)..][..classes]);
        let alignments = Alignments::new(&log_softmax(scores), target, classes);
        loss += alignments.loss;
        for (t, by_score) in alignments.gradient.chunks_exact(classes).enumerate() {
            for (gradient, &value) in gradient[row(t)..].iter_mut().zip(by_score) {
                *gradient = value as f32;
            }
        }
    }
    let device = scores.device().without_autodiff();
    let products = scores * Tensor::from_data(TensorData::new(gradient, [rows, classes]), &device);
    let sum = products.sum();
    // The gradient of the sum, with the value of the loss.
    Ok(sum.clone() - sum.detach() + loss as f32)
}

/// Log-probabilities of classes, step by step.
fn log_softmax<'a>(steps: impl Iterator<Item = &'a [f32]>) -> Vec<f64> {
    let mut log_probabilities = Vec::new();
    for scores in steps {
        let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = scores.iter().map(|&score| f64::from(score - greatest).exp()).sum();
        log_probabilities.extend(scores.iter().map(|&score| f64::from(score - greatest) - sum.ln()));
    }
    log_probabilities
}

/// A share `e^-NEGLIGIBLE` of a sum is below the precision of `f64`.
const NEGLIGIBLE: f64 = 40.0;

/// `ln(e^a + e^b)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (greater, less) = if a > b { (a, b) } else { (b, a) };
    // In a trained model most sums have only one term that counts, and exponentials are most of the cost.
    if less > greater - NEGLIGIBLE { greater + (less - greater).exp().ln_1p() } else { greater }
}

/// The alignments of one sequence with its classes, summed.
struct Alignments {
    /// Minus their log-probability.
    loss: f64,
    /// The gradient with respect to the scores, `steps x classes`: a class's probability minus its share of the
    /// alignments.
    gradient: Vec<f64>,
}

impl Alignments {
    /// The forward-backward algorithm over the target with a blank before, between and after its classes. `alpha` is
    /// the log-probability of reaching a position at a step, including that step. `beta` is the log-probability of the
    /// rest.
    fn new(log_probabilities: &[f64], target: &[usize], classes: usize) -> Self {
        let (steps, positions) = (log_probabilities.len() / classes, 2 * target.len() + 1);
        let class = |s: usize| if s % 2 == 1 { target[s / 2] } else { 0 };
        // A class may be followed directly by the next one unless they are equal; then a blank must come between them.
        let may_skip = |s: usize| s % 2 == 1 && s >= 3 && class(s) != class(s - 2);
        let at = |t: usize, s: usize| log_probabilities[t * classes + class(s)];

        let impossible = f64::NEG_INFINITY;
        let (mut alpha, mut beta) = (vec![impossible; steps * positions], vec![impossible; steps * positions]);
        for s in 0..positions.min(2) {
            alpha[s] = at(0, s);
            beta[steps * positions - 1 - s] = 0.0;
        }
        for t in 1..steps {
            let (before, now) = alpha[(t - 1) * positions..].split_at_mut(positions);
            for (s, now) in now[..positions].iter_mut().enumerate() {
                let mut sum = before[s];
                if s >= 1 {
                    sum = log_add(sum, before[s - 1]);
                }
                if may_skip(s) {
                    sum = log_add(sum, before[s - 2]);
                }
                *now = sum + at(t, s);
            }
        }
        for t in (0..steps - 1).rev() {
            let (now, after) = beta[t * positions..].split_at_mut(positions);
            let following = |s: usize| after[s] + at(t + 1, s);
            for (s, now) in now.iter_mut().enumerate() {
                let mut sum = following(s);
                if s + 1 < positions {
                    sum = log_add(sum, following(s + 1));
                }
                if s + 2 < positions && may_skip(s + 2) {
                    sum = log_add(sum, following(s + 2));
                }
                *now = sum;
            }
        }
        let ends = &alpha[(steps - 1) * positions..];
        let total = ends[positions.saturating_sub(2)..].iter().copied().fold(impossible, log_add);

        let mut gradient: Vec<f64> = log_probabilities.iter().map(|log_p| log_p.exp()).collect();
        for (t, gradient) in gradient.chunks_exact_mut(classes).enumerate() {
            for s in 0..positions {
                let log_share = alpha[t * positions + s] + beta[t * positions + s] - total;
                if log_share > -NEGLIGIBLE {
                    gradient[class(s)] -= log_share.exp();
                }
            }
        }
        Self { loss: -total, gradient }
    }
}

/// Greedy decoding: the best class of each step, with repeats merged and blanks dropped. `scores` holds the classes of
/// the first step, then of the second, and so on. Of equal scores, the first wins.
pub fn greedy<'a>(scores: impl IntoIterator<Item = &'a [f32]>) -> Vec<usize> {
    let (mut decoded, mut last) = (Vec::new(), 0);
    for step in scores {
        let mut best = 0;
        for (class, score) in step.iter().enumerate() {
            if *score > step[best] {
                best = class;
            }
        }
        if best != 0 && best != last {
            decoded.push(best);
        }
        last = best;
    }
    decoded
}
