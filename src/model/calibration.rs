//! Statistics of the inputs of a model's matrices.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::factorable::Factorable;
use super::{Model, Sequence, Session};
use crate::compress::Moment;
use crate::error::{Error, Result};
use crate::factored::{Scheme, Scratch};
use crate::matrix::{Mat, MatRef};

/// Second moments of the inputs of a model's matrices, collected from representative sequences.
///
/// A layer's inputs are its input frames and, for recurrent matrices, its outputs of the previous step. Values inside a
/// layer are not seen. So nothing is known about the input of a projection. For the candidate of a GRU whose reset
/// comes before the product, the outputs before the reset are used.
#[derive(Clone, Debug)]
pub struct Calibration {
    pub(super) scheme: Scheme,
    frames: usize,
    layers: Vec<Statistics>,
}

/// What was seen of a layer.
#[derive(Clone, Debug)]
struct Statistics {
    /// The moments of its distinct inputs.
    moments: Vec<Moment>,
    /// For each of its matrices, the index of its moment.
    of: Vec<Option<usize>>,
    /// The largest magnitude of each feature of its input.
    largest: Vec<f32>,
}

impl Calibration {
    /// An empty calibration for a model that is to be factored by `scheme`.
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, frames: 0, layers: Vec::new() }
    }

    /// Runs `model` over a whole sequence (`time x input`) from states of zeros, and adds what its layers take in.
    ///
    /// # Errors
    /// Those of [`add_sequence`](Self::add_sequence).
    pub fn add(&mut self, model: &Model, frames: MatRef<'_, f32>) -> Result<()> {
        self.add_all(model, &[frames])
    }

    /// The same as [`add`](Self::add) for a model with several inputs: whole sequences of the same number of frames, in
    /// the order of [`Model::inputs`].
    ///
    /// # Errors
    /// Those of [`add_sequence`](Self::add_sequence).
    pub fn add_all(&mut self, model: &Model, inputs: &[MatRef<'_, f32>]) -> Result<()> {
        let copy = |x: &MatRef<'_, f32>| Mat::from_vec(x.as_slice().to_vec(), x.rows(), x.cols());
        self.add_sequence(model, &Sequence::of_inputs(inputs.iter().map(copy).collect::<Result<_>>()?))
    }

    /// Runs `model` over a sequence from the states that it begins with, and adds what its layers take in. The recurrent
    /// matrices of a decoder then see the states of its encoder.
    ///
    /// # Errors
    /// Nothing is added on an error. [`Error::Shape`] for frames that do not fit the model, [`Error::Length`] for another
    /// number of inputs. [`Error::File`] with the name of a state that the model does not have, or that does not fit.
    /// [`Error::Length`] or [`Error::Shape`] for a model whose layers differ from those before. [`Error::NotFinite`] if
    /// frames, or outputs of layers, are infinite or NaN. [`Error::Allocation`].
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, factored::{Gru, Scheme, Weight}, model::{Calibration, Layer, Model, Sequence}};
    ///
    /// let weight = |rows, cols| Weight::dense(Mat::from_vec(vec![0.1; rows * cols], rows, cols)?);
    /// let decoder = Gru::new(weight(6, 3)?, weight(6, 2)?, None, None)?;
    /// let model = Model::new(vec![("decoder".into(), Layer::Gru(decoder))])?;
    ///
    /// let sequence = Sequence::new(Mat::zeros(5, 3)?).with_state("decoder.h", vec![0.9, -0.4]);
    /// let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    /// calibration.add_sequence(&model, &sequence)?;
    /// assert_eq!(calibration.frames(), 5);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn add_sequence(&mut self, model: &Model, sequence: &Sequence) -> Result<()> {
        if sequence.states().len() > 0 {
            let mut session = Session::new(Arc::new(model.clone()))?;
            sequence.states().try_for_each(|(name, values)| session.set_state(name, values))?;
        }
        let mut layers = Vec::new();
        model.graph.run_whole(sequence, &mut Scratch::new(), |layer, seen| {
            let inputs = layer.inputs(self.scheme, seen)?;
            let mut moments = Vec::new();
            for input in &inputs.distinct {
                let mut moment = Moment::new(input.cols())?;
                moment.add(input.view())?;
                moments.push(moment);
            }
            let mut largest = alloc::vec![0.0f32; seen.x.cols()];
            for row in 0..seen.x.rows() {
                largest.iter_mut().zip(seen.x.row(row)).for_each(|(largest, x)| *largest = largest.max(x.abs()));
            }
            layers.push(Statistics { moments, of: inputs.of, largest });
            Ok(())
        })?;
        if self.layers.is_empty() {
            self.layers = layers;
        } else {
            self.expect_same_layers(&layers)?;
            for (layer, more) in self.layers.iter_mut().zip(&layers) {
                for (moment, more) in layer.moments.iter_mut().zip(&more.moments) {
                    moment.merge(more)?;
                }
                layer.largest.iter_mut().zip(&more.largest).for_each(|(largest, &more)| *largest = largest.max(more));
            }
        }
        self.frames += sequence.frames();
        Ok(())
    }

    /// Fails unless these moments have the same number and sizes of inputs as those seen before.
    fn expect_same_layers(&self, layers: &[Statistics]) -> Result<()> {
        let length = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
        };
        length("calibrated layers", self.layers.len(), layers.len())?;
        for (layer, more) in self.layers.iter().zip(layers) {
            length("calibrated matrices of a layer", layer.of.len(), more.of.len())?;
            length("calibrated inputs of a layer", layer.moments.len(), more.moments.len())?;
            for (moment, more) in layer.moments.iter().zip(&more.moments) {
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
        let counted: Vec<usize> = self.layers.iter().map(|layer| layer.of.len()).collect();
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
        let layer = self.layers.get(layer)?;
        layer.moments.get((*layer.of.get(matrix)?)?)
    }

    /// The largest magnitude of each feature of a layer's input.
    pub(super) fn largest(&self, layer: usize) -> Option<&[f32]> {
        Some(&self.layers.get(layer)?.largest)
    }
}
