//! Distillation: stage 2 learns from the model of stage 1.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Tensor, TensorData};

use super::data::Batch;

/// The Kullback-Leibler divergence of a model's classes from its teacher's: `sum p ln(p / q)`, where `p` are the
/// teacher's probabilities and `q` the model's. It is summed over the steps of the batch without padding. The scores of
/// both are before the softmax, `(steps batch) x classes`.
///
/// It tells the model what to output at each step, and with what confidence, while a CTC loss leaves open at which
/// steps a class is emitted (Hinton et al., arXiv 1503.02531).
pub fn distillation_loss(scores: Tensor<2>, teacher: Tensor<2>, batch: &Batch) -> Tensor<1> {
    let teacher = teacher.without_autodiff();
    let [rows, classes] = teacher.dims();
    let within = (0..rows).map(|row| f32::from(u8::from(row / batch.len() < batch.lengths[row % batch.len()])));
    let within = TensorData::new(within.collect::<Vec<_>>(), [rows, 1]);
    let within: Tensor<2> = Tensor::from_data(within, &teacher.device());
    let p = softmax(teacher.clone(), 1) * within.expand([rows, classes]);
    (p * (log_softmax(teacher, 1) - log_softmax(scores, 1))).sum()
}
