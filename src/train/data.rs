//! What a model is trained on.

use super::random::Random;
use crate::error::{Error, Result};

/// Sequences of features, each with the classes it is to be transcribed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `(steps batch) x input`: the sequences of one step side by side, shorter ones padded with zeros.
    pub(super) features: Vec<f32>,
    pub(super) input: usize,
    /// Steps of each sequence.
    pub(super) lengths: Vec<usize>,
    /// Classes of each sequence.
    pub(super) targets: Vec<Vec<usize>>,
}

impl Batch {
    /// Pairs of a sequence (`steps x input`, row by row) and its classes, from 1 as 0 is CTC's blank.
    ///
    /// # Errors
    /// [`Error::Length`] for a sequence that is no whole number of steps or has fewer of them than it takes to write its
    /// classes, with a blank between repeated ones; [`Error::Parameter`] without any sequence and for the blank among
    /// classes; [`Error::NotFinite`].
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

    /// Sequences.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Never: a batch has at least one sequence.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Classes of each sequence.
    pub fn targets(&self) -> &[Vec<usize>] {
        &self.targets
    }

    /// Steps of the longest sequence.
    pub fn steps(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Classes of all sequences.
    pub(super) fn symbols(&self) -> usize {
        self.targets.iter().map(Vec::len).sum()
    }
}

/// Where batches come from.
pub trait Data {
    /// The next batch to train on, as `random` draws it: from nothing else, so that a resumed run draws the same ones.
    ///
    /// # Errors
    /// Those of [`Batch::new`], and what else keeps a batch from being made.
    fn batch(&mut self, random: &mut Random) -> Result<Batch>;

    /// What errors are counted on after each epoch.
    fn validation(&self) -> &[Batch];
}
