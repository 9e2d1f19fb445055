//! What the matrices of a model are multiplied with.

use alloc::vec::Vec;

use super::Model;
use super::matrices::Factorable;
use crate::compress::Moment;
use crate::error::{Error, Result};
use crate::factored::{Scheme, Scratch};
use crate::matrix::{Mat, MatRef};

/// Second moments of what the matrices of a model are multiplied with, from sequences that are like those it is for.
///
/// A layer's own inputs are its input frames and, for recurrent matrices, its outputs of the step before. What a layer
/// computes on the way is not seen: of a projection's input nothing is known, and for the candidate of a GRU whose reset
/// comes before the product the outputs stand for what the reset leaves of them.
#[derive(Clone, Debug)]
pub struct Calibration {
    pub(super) scheme: Scheme,
    frames: usize,
    layers: Vec<LayerMoments>,
}

/// The moments of a layer's distinct inputs, and which of them each of its matrices has.
type LayerMoments = (Vec<Moment>, Vec<Option<usize>>);

impl Calibration {
    /// Nothing seen yet, of a model that is to be factored by `scheme`.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, frames: 0, layers: Vec::new() }
    }

    /// Runs `model` over a sequence (`time x input`) from its start to its end, and takes the moments of what its
    /// layers get.
    ///
    /// # Errors
    /// [`Error::Shape`] for frames that do not fit the model, [`Error::Length`] or [`Error::Shape`] for a model of other
    /// layers than before, [`Error::NotFinite`] for frames that are infinite or NaN or whose outputs in the model are,
    /// [`Error::Allocation`]; nothing is added then.
    pub fn add(&mut self, model: &Model, frames: MatRef<'_, f32>) -> Result<()> {
        frames.expect_shape("frames", frames.rows(), model.input_size())?;
        let mut scratch = Scratch::new();
        let mut x = Mat::from_vec(frames.as_slice().to_vec(), frames.rows(), frames.cols())?;
        let mut layers = Vec::new();
        for (_, layer) in model.layers() {
            let out = layer.run(x.view(), &mut scratch)?;
            let inputs = layer.inputs(self.scheme, x.view(), out.view())?;
            let mut moments = Vec::new();
            for input in &inputs.distinct {
                let mut moment = Moment::new(input.cols())?;
                moment.add(input.view())?;
                moments.push(moment);
            }
            layers.push((moments, inputs.of));
            x = out;
        }
        if self.layers.is_empty() {
            self.layers = layers;
        } else {
            self.expect_same_layers(&layers)?;
            for ((moments, _), (more, _)) in self.layers.iter_mut().zip(&layers) {
                for (moment, more) in moments.iter_mut().zip(more) {
                    moment.merge(more)?;
                }
            }
        }
        self.frames += frames.rows();
        Ok(())
    }

    /// Fails unless these are moments of as many inputs as large as those that were seen.
    fn expect_same_layers(&self, layers: &[LayerMoments]) -> Result<()> {
        let length = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
        };
        length("calibrated layers", self.layers.len(), layers.len())?;
        for ((moments, of), (more, more_of)) in self.layers.iter().zip(layers) {
            length("calibrated matrices of a layer", of.len(), more_of.len())?;
            length("calibrated inputs of a layer", moments.len(), more.len())?;
            for (moment, more) in moments.iter().zip(more) {
                let (k, found) = (moment.k(), more.k());
                if k != found {
                    return Err(Error::Shape { what: "second moment", expected: (k, k), found: (found, found) });
                }
            }
        }
        Ok(())
    }

    /// Fails if it has seen another model than the one of these numbers of matrices, layer by layer.
    pub(super) fn expect_matrices(&self, counts: &[usize]) -> Result<()> {
        if self.layers.is_empty() {
            return Ok(());
        }
        let counted: Vec<usize> = self.layers.iter().map(|(_, of)| of.len()).collect();
        if counted.len() != counts.len() {
            return Err(Error::Length { what: "calibrated layers", expected: counts.len(), found: counted.len() });
        }
        match counts.iter().zip(&counted).find(|(expected, found)| expected != found) {
            None => Ok(()),
            Some((&expected, &found)) => Err(Error::Length { what: "calibrated matrices of a layer", expected, found }),
        }
    }

    /// Frames seen.
    pub fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn moment(&self, layer: usize, matrix: usize) -> Option<&Moment> {
        let (moments, of) = self.layers.get(layer)?;
        moments.get((*of.get(matrix)?)?)
    }
}
