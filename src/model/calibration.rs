//! Statistics of the inputs of a model's matrices.

use alloc::vec::Vec;

use super::Model;
use super::factorable::Factorable;
use crate::compress::Moment;
use crate::error::{Error, Result};
use crate::factored::{Scheme, Scratch};
use crate::matrix::MatRef;

/// Second moments of the inputs of a model's matrices, collected from representative sequences.
///
/// A layer's inputs are its input frames and, for recurrent matrices, its outputs of the previous step. Values inside a
/// layer are not seen. So nothing is known about the input of a projection. For the candidate of a GRU whose reset
/// comes before the product, the outputs before the reset are used.
#[derive(Clone, Debug)]
pub struct Calibration {
    pub(super) scheme: Scheme,
    frames: usize,
    layers: Vec<LayerMoments>,
}

/// The moments of a layer's distinct inputs, and for each of its matrices the index of its moment.
type LayerMoments = (Vec<Moment>, Vec<Option<usize>>);

impl Calibration {
    /// An empty calibration for a model that is to be factored by `scheme`.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, frames: 0, layers: Vec::new() }
    }

    /// Runs `model` over a whole sequence (`time x input`) and adds the moments of its layers' inputs.
    ///
    /// # Errors
    /// Nothing is added on an error. [`Error::Shape`] for frames that do not fit the model, [`Error::Length`] for a model
    /// with several inputs. [`Error::Length`] or [`Error::Shape`] for a model whose layers differ from those before.
    /// [`Error::NotFinite`] if frames, or outputs of layers, are infinite or NaN. [`Error::Allocation`].
    pub fn add(&mut self, model: &Model, frames: MatRef<'_, f32>) -> Result<()> {
        self.add_all(model, &[frames])
    }

    /// The same as [`add`](Self::add) for a model with several inputs: whole sequences of the same number of frames, in
    /// the order of [`Model::inputs`].
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    pub fn add_all(&mut self, model: &Model, inputs: &[MatRef<'_, f32>]) -> Result<()> {
        let mut layers = Vec::new();
        model.graph.run_whole(inputs, &mut Scratch::new(), |layer, x, out| {
            let inputs = layer.inputs(self.scheme, x, out)?;
            let mut moments = Vec::new();
            for input in &inputs.distinct {
                let mut moment = Moment::new(input.cols())?;
                moment.add(input.view())?;
                moments.push(moment);
            }
            layers.push((moments, inputs.of));
            Ok(())
        })?;
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
        self.frames += inputs.first().map_or(0, MatRef::rows);
        Ok(())
    }

    /// Fails unless these moments have the same number and sizes of inputs as those seen before.
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

    /// Fails if the calibrated model does not have these numbers of matrices, layer by layer.
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

    /// Number of frames seen.
    pub fn frames(&self) -> usize {
        self.frames
    }

    pub(super) fn moment(&self, layer: usize, matrix: usize) -> Option<&Moment> {
        let (moments, of) = self.layers.get(layer)?;
        moments.get((*of.get(matrix)?)?)
    }
}
