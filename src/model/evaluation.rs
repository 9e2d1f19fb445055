//! What is left of a model's outputs after it was changed, and which layers lose the rest.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Layer, Model, Sequence, Session};
use crate::compress::Comparison;
use crate::error::{Error, Result};
use crate::matrix::{Mat, MatRef};

/// Sequences with the outputs of a model, with which changed models are compared: in other precisions, cut, equalized. A
/// model runs here as it will run anywhere, activations rounded and all.
///
/// # Example
/// ```
/// use skinny::{Mat, Tier, factored::{Linear, Quantization, Weight}, kernels::WeightFormat};
/// use skinny::model::{Evaluation, Layer, Model, Sequence};
///
/// let weight = Weight::dense(Mat::from_vec(vec![1.0, 1.0, 1.0, -1.0], 2, 2)?)?;
/// let model = Model::new(vec![("fc".into(), Layer::Linear(Linear::new(weight, None)?))])?;
/// // One feature is a thousand times the other. That one vanishes in 8 bits.
/// let frames = Mat::from_vec(vec![1000.0, 1.0, 3.0, -0.003], 2, 2)?;
/// let evaluation = Evaluation::new(&model, vec![Sequence::new(frames)])?;
///
/// let decibels = |precision: Quantization| {
///     Ok::<_, skinny::Error>(evaluation.measure(&model.quantize_to(precision, Tier::select()?)?)?.decibels())
/// };
/// assert!(decibels(WeightFormat::I8.into())? < 65.0);
/// assert!(decibels(Quantization::I8X16)? > 90.0);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Evaluation {
    sequences: Vec<Sequence>,
    /// The names of the outputs.
    names: Vec<String>,
    /// For each sequence, the frames of each output.
    expected: Vec<Vec<Mat<f32>>>,
}

/// What is left of a model's outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    outputs: Vec<(String, Comparison)>,
}

/// What a layer costs the outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerLoss {
    /// Its name.
    pub name: String,
    /// The outputs with only this layer changed.
    pub only: Fidelity,
    /// The outputs with every layer changed but this one.
    pub without: Fidelity,
}

impl Fidelity {
    /// Each output by its name.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, &Comparison)> {
        self.outputs.iter().map(|(name, comparison)| (name.as_str(), comparison))
    }

    /// The signal-to-noise ratio of the output that has the lowest, in dB; NaN if one is NaN.
    pub fn decibels(&self) -> f64 {
        let all = self.outputs.iter().map(|(_, comparison)| comparison.decibels());
        all.fold(f64::INFINITY, |least, ratio| if ratio.is_nan() || ratio < least { ratio } else { least })
    }

    /// The share of frames in which the greatest output is still the same, of the output that has the lowest.
    pub fn agreement(&self) -> f64 {
        self.outputs.iter().map(|(_, comparison)| comparison.agreement()).fold(1.0, f64::min)
    }

    /// Whether the outputs keep this ratio. A NaN does not.
    pub fn keeps(&self, decibels: f64) -> bool {
        self.decibels() >= decibels
    }
}

impl Evaluation {
    /// Runs `model`, from which the others are made.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for inputs that do not fit the model, [`Error::File`] for states that it does
    /// not have. [`Error::NotFinite`] for outputs that are infinite or NaN. [`Error::Allocation`].
    pub fn new(model: &Model, sequences: Vec<Sequence>) -> Result<Self> {
        let names = model.outputs().map(|(name, _)| name.into()).collect();
        let mut session = Session::new(Arc::new(model.clone()))?;
        let mut expected = Vec::new();
        for sequence in &sequences {
            let outputs = run(&mut session, sequence)?;
            for values in &outputs {
                crate::factored::expect_finite("outputs", values.as_slice())?;
            }
            expected.push(outputs);
        }
        Ok(Self { sequences, names, expected })
    }

    /// The sequences.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// Input frames of all sequences.
    pub fn frames(&self) -> usize {
        self.sequences.iter().map(Sequence::frames).sum()
    }

    /// Compares the outputs of `model`.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), if `model` has other inputs, states or outputs.
    pub fn measure(&self, model: &Model) -> Result<Fidelity> {
        let mut session = Session::new(Arc::new(model.clone()))?;
        let mut outputs: Vec<_> = self.names.iter().map(|name| (name.clone(), Comparison::default())).collect();
        for (sequence, expected) in self.sequences.iter().zip(&self.expected) {
            let found = run(&mut session, sequence)?;
            if found.len() != expected.len() {
                return Err(Error::Length { what: "outputs", expected: expected.len(), found: found.len() });
            }
            for (((_, comparison), found), expected) in outputs.iter_mut().zip(&found).zip(expected) {
                comparison.add(found.view(), expected.view())?;
            }
        }
        Ok(Fidelity { outputs })
    }

    /// What each layer with weights costs: the outputs with only this layer as in `after`, and with every layer as in
    /// `after` but this one. The other layers are those of `before`, which has the same graph. `progress` is called before
    /// each layer with its name, the number of layers begun before it, and the total number.
    ///
    /// # Errors
    /// [`Error::Length`] unless both models have layers of the same names, and those of [`measure`](Self::measure).
    pub fn layers(
        &self,
        before: &Model,
        after: &Model,
        mut progress: impl FnMut(&str, usize, usize),
    ) -> Result<Vec<LayerLoss>> {
        let names: Vec<&str> = after.layers().filter(|(_, layer)| layer.has_matrices()).map(|(name, _)| name).collect();
        let loss = |(i, &name): (usize, &&str)| {
            progress(name, i, names.len());
            let only = self.measure(&mixed(before, |layer| if layer == name { after } else { before })?)?;
            let without = self.measure(&mixed(before, |layer| if layer == name { before } else { after })?)?;
            Ok(LayerLoss { name: name.into(), only, without })
        };
        names.iter().enumerate().map(loss).collect()
    }
}

/// The model whose layers are those of other models with the same graph: for each name, the one to take it from.
pub(super) fn mixed<'m>(graph: &Model, from: impl Fn(&str) -> &'m Model) -> Result<Model> {
    // Each model's layers are looked up by name once.
    let mut known: BTreeMap<*const Model, BTreeMap<&str, &Layer>> = BTreeMap::new();
    graph.map_layers(|name, _| {
        let model = from(name);
        let layers = known.entry(core::ptr::from_ref(model)).or_insert_with(|| model.layers().collect());
        layers.get(name).map(|&layer| layer.clone()).ok_or(Error::Length {
            what: "layers of this name",
            expected: 1,
            found: 0,
        })
    })
}

/// The outputs of a whole sequence.
fn run(session: &mut Session, sequence: &Sequence) -> Result<Vec<Mat<f32>>> {
    session.reset();
    for (name, values) in sequence.states() {
        session.set_state(name, values)?;
    }
    let model = Arc::clone(session.model());
    let mut found: Vec<(Vec<f32>, usize)> = model.outputs().map(|_| (Vec::new(), 0)).collect();
    session.push_all(&sequence.views())?;
    for end in [false, true] {
        if end {
            session.finish()?;
        }
        for ((values, rows), (name, _)) in found.iter_mut().zip(model.outputs()) {
            let ready: MatRef<'_, f32> = session.output(name).unwrap_or(MatRef::from_checked(&[], 0, 0));
            values.extend_from_slice(ready.as_slice());
            *rows += ready.rows();
        }
    }
    let widths = model.outputs().map(|(_, value)| model.features(value).unwrap_or(0));
    found.into_iter().zip(widths).map(|((values, rows), width)| Mat::from_vec(values, rows, width)).collect()
}
