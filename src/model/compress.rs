//! Compression of a whole model: its matrices are decomposed once, then cut to a budget and quantized, as often as one
//! likes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::matrices::{Cut, Cuts, Factorable};
use super::{Layer, Model};
use crate::compress::{
    Budget, Candidate, Choice, Decomposition, Moment, allocate, correct, explained_variance, nu, relative_error,
    signal_to_noise,
};
use crate::error::Result;
use crate::factored::{RankPolicy, Scheme, Scratch, singular_values};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::{Mat, MatRef};

/// Second moments of what the matrices of a model are multiplied with, from sequences that are like those it is for.
///
/// A layer's own inputs are its input frames and, for recurrent matrices, its outputs of the step before. What a layer computes
/// on the way is not seen: a projection's input, and that of the candidate of a GRU whose reset comes before the product; their
/// matrices are cut by their weights alone.
#[derive(Clone, Debug)]
pub struct Calibration {
    scheme: Scheme,
    frames: usize,
    /// For each layer: the moments of its distinct inputs, and which of them each of its matrices has.
    layers: Vec<(Vec<Moment>, Vec<Option<usize>>)>,
}

impl Calibration {
    /// Nothing seen yet, of a model that is to be factored by `scheme`.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, frames: 0, layers: Vec::new() }
    }

    /// Runs `model` over a sequence (`time x input`) from its start to its end, and takes the moments of what its layers get.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for frames that do not fit the model or for another model than before,
    /// [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Allocation`](crate::Error::Allocation).
    pub fn add(&mut self, model: &Model, frames: MatRef<'_, f32>) -> Result<()> {
        frames.expect_shape("frames", frames.rows(), model.input_size())?;
        let mut scratch = Scratch::new();
        let mut x = Mat::from_vec(frames.as_slice().to_vec(), frames.rows(), frames.cols())?;
        for (i, (_, layer)) in model.layers().enumerate() {
            let out = layer.run(x.view(), &mut scratch)?;
            let inputs = layer.inputs(self.scheme, x.view(), out.view())?;
            if self.layers.len() == i {
                let moments = inputs.distinct.iter().map(|input| Moment::new(input.cols()));
                self.layers.push((moments.collect::<Result<_>>()?, inputs.of));
            }
            for (moment, input) in self.layers[i].0.iter_mut().zip(&inputs.distinct) {
                moment.add(input.view())?;
            }
            x = out;
        }
        self.frames += frames.rows();
        Ok(())
    }

    /// Frames seen.
    pub fn frames(&self) -> usize {
        self.frames
    }

    fn moment(&self, layer: usize, matrix: usize) -> Option<&Moment> {
        let (moments, of) = self.layers.get(layer)?;
        moments.get((*of.get(matrix)?)?)
    }
}
