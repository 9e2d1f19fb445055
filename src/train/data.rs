//! Training data.

use super::random::Random;
use crate::error::{Error, Result};

/// A batch of sequences of features, each with its target classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `(steps batch) x input`: step by step, with all sequences of a step together. Shorter sequences are padded with
    /// zeros.
    pub(super) features: Vec<f32>,
    pub(super) input: usize,
    /// Number of steps of each sequence.
    pub(super) lengths: Vec<usize>,
    /// Classes of each sequence.
    pub(super) targets: Vec<Vec<usize>>,
}

impl Batch {
    /// Makes a batch from pairs of a sequence (`steps x input`, row by row) and its classes. Classes start at 1,
    /// because 0 is CTC's blank.
    ///
    /// # Errors
    /// [`Error::Length`] for a sequence that is not a whole number of steps, or has too few steps for its classes, with
    /// a blank between repeated classes. [`Error::Parameter`] if there is no sequence, or if a blank is among the
    /// classes. [`Error::NotFinite`].
    pub fn new(sequences: &[(Vec<f32>, Vec<usize>)], input: usize) -> Result<Self> {
        if sequences.is_empty() || input == 0 {
            let value = sequences.len().min(input) as f64;
            return Err(Error::Parameter { what: "sequences and features", value, expected: "at least 1" });
        }
        let mut lengths = Vec::new();
        for (features, targets) in sequences {
            crate::factored::expect_finite("features", features)?;
            let steps = features.len() / input;
            let least = targets.len() + targets.windows(2).filter(|pair| pair[0] == pair[1]).count();
            if !features.len().is_multiple_of(input) || steps < least.max(1) {
                return Err(Error::Length { what: "sequence", expected: least.max(1) * input, found: features.len() });
            }
            if targets.contains(&0) {
                return Err(Error::Parameter { what: "class", value: 0.0, expected: "at least 1, as 0 is the blank" });
            }
            lengths.push(steps);
        }
        let (batch, longest) = (sequences.len(), lengths.iter().copied().max().unwrap_or(0));
        let mut padded = vec![0.0; longest * batch * input];
        for (i, (features, _)) in sequences.iter().enumerate() {
            for (step, values) in features.chunks_exact(input).enumerate() {
                padded[(step * batch + i) * input..][..input].copy_from_slice(values);
            }
        }
        let targets = sequences.iter().map(|(_, targets)| targets.clone()).collect();
        Ok(Self { features: padded, input, lengths, targets })
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Always false: a batch has at least one sequence.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Classes of each sequence.
    pub fn targets(&self) -> &[Vec<usize>] {
        &self.targets
    }

    /// Number of steps of the longest sequence.
    pub fn steps(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Fails unless each target is one of this many classes.
    pub(super) fn expect_classes(&self, classes: usize) -> Result<()> {
        match self.targets.iter().flatten().find(|&&class| class >= classes) {
            None => Ok(()),
            Some(&class) => {
                let expected = "below the number of classes of the model";
                Err(Error::Parameter { what: "class", value: class as f64, expected })
            }
        }
    }

    /// Number of target classes of all sequences together.
    pub(super) fn symbols(&self) -> usize {
        self.targets.iter().map(Vec::len).sum()
    }
}

/// A source of batches.
pub trait Data {
    /// Draws the next training batch. It must depend only on `random`, so that a resumed run draws the same batches.
    ///
    /// # Errors
    /// Those of [`Batch::new`], and any other reason why a batch cannot be made.
    fn batch(&mut self, random: &mut Random) -> Result<Batch>;

    /// The validation batches, on which errors are counted after each epoch.
    fn validation(&self) -> &[Batch];
}
