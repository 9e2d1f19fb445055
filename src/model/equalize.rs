//! Equalization: features of different sizes are scaled to similar ones before 8 bits round them.
//!
//! A scale `s` of each feature turns `W x` into `(W S) (S^-1 x)`. `S` goes into the columns of the weights that read the
//! features, and `S^-1` into the rows of the layer that makes them, or into a layer of its own at the model's input. Scales are powers
//! of two, so no bit of an `f32` model changes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::graph::{Node, Operation, Value, free_name};
use super::scaling::{
    MOST_EXPONENT, Sizes, column_sizes, forward, inverse, log2, passes_scales, row_sizes, with_columns, with_rows,
};
use super::{Calibration, Evaluation, Graph, Layer, Model};
use crate::error::{Error, FileError, Result};
use crate::factored::{Affine, Quantization};
use crate::kernels::Tier;

/// A model whose features were scaled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Equalized {
    /// The model. In `f32` it has the outputs of the original.
    pub model: Model,
    /// The names of the values that were scaled.
    pub values: Vec<String>,
}

/// The shares of the features' sizes that move into the weights, of which [`Model::equalize_for`] takes the best.
const POWERS: [f64; 3] = [0.5, 0.75, 1.0];

/// The scales of an equalization.
#[derive(Default)]
struct Scales {
    /// Of the inputs of layers, by node.
    columns: BTreeMap<usize, Vec<i32>>,
    /// Of the outputs of layers, by node.
    rows: BTreeMap<usize, Vec<i32>>,
    /// Of values that no layer can scale, for some of their readers.
    inserted: Vec<(Value, Vec<i32>, Vec<usize>)>,
}

impl Model {
    /// Scales features of different sizes to similar ones, so that 8 bits hold small ones beside large ones. `calibration`
    /// has seen how large they are. The scale of a feature is the power of two nearest to `x^power / w^(1 - power)`, with `x` the
    /// largest magnitude of the feature and `w` that of the weights that read it.
    ///
    /// A value is scaled if the layers that read it are linear, convolutional or recurrent with unfactored weights in `f32`.
    /// The layer that makes the value takes the inverse scales, if it is linear or a convolution, without an activation or
    /// with ReLU, or a normalization with scales; functions and pooling through which scales pass may lie between. Otherwise a
    /// scale layer is put before the readers, at one multiplication and one addition per feature, unless the range of the value is known
    /// ([`layers_of_unknown_range`](Self::layers_of_unknown_range)).
    ///
    /// In `f32` the outputs keep their bits, unless there are values below `2^-126`.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::Shape`] for the calibration of another model. [`Error::Parameter`] unless `power` is in
    /// 0..=1. [`Error::Stored`] for quantized weights. [`Error::Allocation`].
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, Tier, factored::{Linear, Scheme, Weight}, kernels::WeightFormat};
    /// use skinny::model::{Calibration, Evaluation, Layer, Model, Sequence};
    ///
    /// let weight = Weight::dense(Mat::from_vec(vec![1e-3, 1.0, 1e-3, -1.0], 2, 2)?)?;
    /// let model = Model::new(vec![("fc".into(), Layer::Linear(Linear::new(weight, None)?))])?;
    /// let sequence = Sequence::new(Mat::from_vec(vec![900.0, 1.0, -700.0, 0.3, 800.0, -0.7], 3, 2)?);
    /// let mut calibration = Calibration::new(Scheme::PartiallyJoint);
    /// calibration.add_sequence(&model, &sequence)?;
    /// let equalized = model.equalize(&calibration, 0.5)?;
    /// assert_eq!(equalized.values, ["input"]);
    ///
    /// let evaluation = Evaluation::new(&model, vec![sequence])?;
    /// assert_eq!(evaluation.measure(&equalized.model)?.decibels(), f64::INFINITY);
    /// let decibels = |model: &Model| {
    ///     let int8 = model.quantize_to(WeightFormat::I8, Tier::select()?)?;
    ///     Ok::<_, skinny::Error>(evaluation.measure(&int8)?.decibels())
    /// };
    /// assert!(decibels(&model)? < 15.0 && decibels(&equalized.model)? > 40.0);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn equalize(&self, calibration: &Calibration, power: f64) -> Result<Equalized> {
        if !(0.0..=1.0).contains(&power) {
            return Err(Error::Parameter { what: "power", value: power, expected: "in 0..=1" });
        }
        let mut scales = Scales::default();
        let mut names = Vec::new();
        let (largest, known_ranges) = (self.largest_inputs(calibration)?, self.known_ranges());
        for value in (0..self.graph.values.len()).map(Value) {
            if self.equalize_value(value, &largest, &known_ranges, power, &mut scales)? {
                names.push(self.value_name(value).into());
            }
        }
        Ok(Equalized { model: self.scaled(&scales)?, values: names })
    }

    /// [`equalize`](Self::equalize) with the power of several with which the outputs, in this precision, are nearest to those
    /// of the original over the sequences of `evaluation`. Also returns the ratios of the outputs before and after, in dB.
    ///
    /// # Errors
    /// Those of [`equalize`](Self::equalize), [`quantize_to`](Self::quantize_to) and [`Evaluation::measure`].
    pub fn equalize_for(
        &self,
        calibration: &Calibration,
        evaluation: &Evaluation,
        precision: impl Into<Quantization>,
        tier: Tier,
    ) -> Result<(Equalized, [f64; 2])> {
        let precision = precision.into();
        let decibels =
            |model: &Model| Ok::<_, Error>(evaluation.measure(&model.quantize_to(precision, tier)?)?.decibels());
        let before = decibels(self)?;
        let mut best = (Equalized { model: self.clone(), values: Vec::new() }, before);
        for power in POWERS {
            let equalized = self.equalize(calibration, power)?;
            let ratio = decibels(&equalized.model)?;
            // Of a model that is nothing but noise, anything is better.
            if ratio > best.1 || best.1.is_nan() {
                best = (equalized, ratio);
            }
        }
        Ok((best.0, [before, best.1]))
    }

    /// For each node, the largest magnitudes of the input of its layer.
    fn largest_inputs<'c>(&self, calibration: &'c Calibration) -> Result<BTreeMap<usize, &'c [f32]>> {
        let layers = self.nodes().iter().enumerate().filter_map(|(i, node)| Some((i, node.layer()?.1)));
        let mut found = BTreeMap::new();
        for (at, (node, layer)) in layers.enumerate() {
            let Some(largest) = calibration.largest(at) else { continue };
            if largest.len() != layer.input_size() {
                let (expected, found) = (layer.input_size(), largest.len());
                return Err(Error::Length { what: "calibrated features of a layer", expected, found });
            }
            found.insert(node, largest);
        }
        Ok(found)
    }

    /// Chooses scales for a value, unless it has none. Returns whether it has.
    fn equalize_value(
        &self,
        value: Value,
        largest: &BTreeMap<usize, &[f32]>,
        known_ranges: &[bool],
        power: f64,
        scales: &mut Scales,
    ) -> Result<bool> {
        let readers: Vec<usize> =
            (0..self.nodes().len()).filter(|&node| self.nodes()[node].reads().contains(&value)).collect();
        let (mut scalable, mut columns) = (Vec::new(), Vec::new());
        for &reader in &readers {
            if let Some((_, layer)) = self.nodes()[reader].layer()
                && let Some(of_layer) = column_sizes(layer)?
            {
                scalable.push(reader);
                columns.push(of_layer);
            }
        }
        let Some(&x) = scalable.first().and_then(|reader| largest.get(reader)) else { return Ok(false) };
        let is_output = self.outputs().any(|(_, output)| output == value);
        let absorber = if scalable.len() == readers.len() && !is_output { self.absorber(value)? } else { None };
        // A layer of its own is not worth it where the range is known to be small.
        if absorber.is_none() && known_ranges[value.0] {
            return Ok(false);
        }
        let features = x.len();
        let wanted = |i: usize| {
            let w = columns.iter().map(|sizes: &Vec<Sizes>| sizes[i].most).fold(0.0, f32::max);
            let known = x[i] > 0.0 && w > 0.0;
            known.then(|| power * log2(x[i]) - (1.0 - power) * log2(w))
        };
        let wanted: Vec<Option<f64>> = (0..features).map(wanted).collect();
        let known = wanted.iter().flatten().count();
        // The size of all features together changes nothing, so it stays.
        let mean = wanted.iter().flatten().sum::<f64>() / known.max(1) as f64;
        let exponent = |i: usize| {
            let Some(wanted) = wanted[i] else { return 0 };
            let (mut low, mut high) = (-MOST_EXPONENT, MOST_EXPONENT);
            for sizes in columns.iter().map(|sizes| sizes[i]) {
                low = low.max(sizes.lowest());
                high = high.min(sizes.highest());
            }
            if let Some((_, rows)) = &absorber {
                low = low.max(-rows[i].highest());
                high = high.min(-rows[i].lowest());
            }
            let exponent = (wanted - mean).round() as i32;
            if low <= high { exponent.clamp(low, high) } else { 0 }
        };
        let exponents: Vec<i32> = (0..features).map(exponent).collect();
        if exponents.iter().all(|&exponent| exponent == exponents[0]) {
            return Ok(false);
        }
        for &reader in &scalable {
            scales.columns.insert(reader, exponents.clone());
        }
        match absorber {
            Some((node, _)) => {
                scales.rows.insert(node, exponents);
            }
            None => scales.inserted.push((value, exponents, scalable)),
        }
        Ok(true)
    }

    /// The node whose rows can take the inverse scales of a value, with their sizes.
    fn absorber(&self, value: Value) -> Result<Option<(usize, Vec<Sizes>)>> {
        let mut at = value;
        loop {
            let Some(node) = at.0.checked_sub(self.graph.inputs().len()) else { return Ok(None) };
            // A value on the way must have no other reader.
            if at != value && self.graph.edges().filter(|&read| read == at).count() != 1 {
                return Ok(None);
            }
            let Some((_, layer)) = self.nodes()[node].layer() else { return Ok(None) };
            if let Some(sizes) = row_sizes(layer)? {
                return Ok(Some((node, sizes)));
            }
            if !passes_scales(layer) {
                return Ok(None);
            }
            at = self.nodes()[node].reads()[0];
        }
    }

    /// The same model with its layers scaled, and scale layers put in.
    fn scaled(&self, scales: &Scales) -> Result<Model> {
        let mut graph = Graph::new();
        let mut values = Vec::new();
        for (name, features) in self.inputs() {
            values.push(graph.input(name, features)?);
        }
        let mut apart: BTreeMap<usize, Value> = BTreeMap::new();
        for (i, node) in self.nodes().iter().enumerate() {
            let mut reads: Vec<Value> = node.reads().iter().map(|read| values[read.0]).collect();
            for (at, (value, exponents, readers)) in scales.inserted.iter().enumerate() {
                if !readers.contains(&i) {
                    continue;
                }
                let scaled = match apart.get(&at) {
                    Some(&scaled) => scaled,
                    None => {
                        let layer = Affine::new(inverse(exponents), alloc::vec![0.0; exponents.len()])?;
                        let is_taken = |name: &str| {
                            self.nodes().iter().any(|node| node.name() == name)
                                || self.inputs().any(|(input, _)| input == name)
                        };
                        let name = free_name(format!("{}.scaled", self.value_name(*value)), is_taken);
                        graph.layer(name, Layer::Affine(layer), values[value.0])?
                    }
                };
                apart.insert(at, scaled);
                reads = Vec::from([scaled]);
            }
            let operation = match node.operation() {
                Operation::Layer(layer) => Operation::Layer(self.scaled_layer(i, node, layer, scales)?),
                &Operation::Join(join) => Operation::Join(join),
            };
            values.push(graph.node(node.name().into(), operation, reads)?);
        }
        for (name, value) in self.outputs() {
            graph.output(name, values[value.0])?;
        }
        Ok(graph.build()?.with_attached(self.metadata().clone(), self.attachments().clone()))
    }

    fn scaled_layer(&self, i: usize, node: &Node, layer: &Layer, scales: &Scales) -> Result<Layer> {
        let named = |cause| FileError::layer(node.name(), cause);
        let layer = match scales.columns.get(&i) {
            Some(exponents) => with_columns(layer, &forward(exponents)).map_err(named)?,
            None => layer.clone(),
        };
        match scales.rows.get(&i) {
            Some(exponents) => with_rows(&layer, &inverse(exponents)).map_err(named),
            None => Ok(layer),
        }
    }
}
