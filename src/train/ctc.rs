//! Connectionist temporal classification (Graves et al., ICML 2006): loss, greedy decoding, errors. Class 0 is the blank.

use burn::nn::loss::CTCLossConfig;
use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};

use super::data::Batch;

/// Minus the log-probability of the batch's classes, summed over all alignments and over the batch: `scores` is `(steps
/// batch) x classes`, before the softmax.
pub fn ctc_loss(scores: Tensor<2>, batch: &Batch) -> Tensor<1> {
    let device = scores.device().without_autodiff();
    let [rows, classes] = scores.dims();
    let n = batch.len();
    let log_probabilities = log_softmax(scores, 1).reshape([rows / n, n, classes]);
    let longest = batch.targets.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut targets = vec![1i64; n * longest];
    for (row, classes) in targets.chunks_exact_mut(longest).zip(&batch.targets) {
        for (target, &class) in row.iter_mut().zip(classes) {
            *target = class as i64;
        }
    }
    let lengths = |lengths: &mut dyn Iterator<Item = usize>| {
        let lengths: Vec<i64> = lengths.map(|length| length as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::new(lengths, [n]), &device)
    };
    let loss = CTCLossConfig::new().init().forward(
        log_probabilities,
        Tensor::<2, Int>::from_data(TensorData::new(targets, [n, longest]), &device),
        lengths(&mut batch.lengths.iter().copied()),
        lengths(&mut batch.targets.iter().map(Vec::len)),
    );
    loss.sum()
}

/// The best class of each step, repeats merged and blanks dropped. `scores` holds the classes of the first step, then those
/// of the second, and so on; the first of equals is best.
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

/// The least number of insertions, deletions and substitutions that turn `a` into `b` (Levenshtein).
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    // One row of the usual table; `diagonal` is the entry above and to the left.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Errors over a set of transcripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorCount {
    /// Edits that turn the transcripts into the references.
    pub edits: usize,
    /// Symbols of the references.
    pub symbols: usize,
}

impl ErrorCount {
    /// The character error rate: all edits over all symbols; 0 without any.
    pub fn rate(&self) -> f64 {
        if self.symbols == 0 { 0.0 } else { self.edits as f64 / self.symbols as f64 }
    }
}
