//! Equalization: features of different sizes are scaled to similar ones before 8 bits round them.
//!
//! A scale `s` of each feature turns `W x` into `(W S) (S^-1 x)`. `S` goes into the columns of the weights that read the
//! features, and `S^-1` into the rows of the layer that makes them, or into a layer of its own at the model's input. Scales are powers
//! of two, so no bit of an `f32` model changes.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::graph::{Node, Operation, Value};
use super::{Calibration, Evaluation, Graph, Layer, Model};
use crate::error::{Error, Result};
use crate::factored::{
    Affine, Bidirectional, DenseWeight, DepthwiseConvolution, Function, Gru, LayerNorm, Linear, Lstm, Quantization,
    Recurrent, Rnn, Weight, scaled_columns, scaled_rows,
};
use crate::kernels::{Activation, Tier};
use crate::matrix::Mat;

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

/// Exponents of scales lie between this and its negative.
const MOST: i32 = 100;

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
            let (mut low, mut high) = (-MOST, MOST);
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
                        let name = self.free_name(self.value_name(*value));
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

    /// A name for the scaled form of a value.
    fn free_name(&self, value: &str) -> String {
        let mut name = format!("{value}.scaled");
        while self.nodes().iter().any(|node| node.name() == name) || self.inputs().any(|(input, _)| input == name) {
            name.push('_');
        }
        name
    }

    fn scaled_layer(&self, i: usize, node: &Node, layer: &Layer, scales: &Scales) -> Result<Layer> {
        let named = |cause| crate::error::FileError::layer(node.name(), cause);
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

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

fn forward(exponents: &[i32]) -> Vec<f32> {
    exponents.iter().map(|&exponent| power_of_two(exponent)).collect()
}

fn inverse(exponents: &[i32]) -> Vec<f32> {
    exponents.iter().map(|&exponent| power_of_two(-exponent)).collect()
}

/// The logarithm to base 2 of a positive number, on straight lines between powers of two: the same bits everywhere.
fn log2(x: f32) -> f64 {
    f64::from(x.to_bits()) / f64::from(1u32 << 23) - 127.0
}

/// The least magnitude above 0 and the largest, of the weights of a feature.
#[derive(Clone, Copy)]
struct Sizes {
    least: f32,
    most: f32,
}

impl Sizes {
    const NONE: Self = Self { least: f32::INFINITY, most: 0.0 };

    fn add(&mut self, weight: f32) {
        if weight != 0.0 {
            self.least = self.least.min(weight.abs());
            self.most = self.most.max(weight.abs());
        }
    }

    /// The lowest exponent that loses no bit.
    fn lowest(self) -> i32 {
        if self.most == 0.0 { -MOST } else { -126 - log2(self.least).floor() as i32 }
    }

    /// The highest exponent that does not overflow.
    fn highest(self) -> i32 {
        if self.most == 0.0 { MOST } else { 126 - log2(self.most).floor() as i32 }
    }
}

/// The weight as a matrix, if it is one or a stack of some, in `f32`.
fn plain(weight: &Weight) -> Result<Option<Mat<f32>>> {
    let is_plain = |w: &DenseWeight| w.as_f32().is_some();
    let of_part = |part: &Weight| matches!(part, Weight::Dense(w) if is_plain(w));
    match weight {
        Weight::Stacked(stack) if stack.parts().iter().all(of_part) => weight.dequantize().map(Some),
        Weight::Dense(w) if is_plain(w) => weight.dequantize().map(Some),
        _ => Ok(None),
    }
}

/// The input weights of a layer that takes scales in their columns.
fn input_weights(layer: &Layer) -> Vec<&Weight> {
    fn both<'w, L>((forward, reverse): (&'w L, &'w L), weight: impl Fn(&'w L) -> &'w Weight) -> Vec<&'w Weight> {
        Vec::from([weight(forward), weight(reverse)])
    }
    match layer {
        Layer::Linear(layer) => Vec::from([layer.weight()]),
        Layer::TimeConvolution(layer) => Vec::from([layer.linear().weight()]),
        Layer::Gru(layer) => Vec::from([layer.weight_ih()]),
        Layer::Lstm(layer) => Vec::from([layer.weight_ih()]),
        Layer::Rnn(layer) => Vec::from([layer.weight_ih()]),
        Layer::BidirectionalGru(layers) => both(layers.layers(), Gru::weight_ih),
        Layer::BidirectionalLstm(layers) => both(layers.layers(), Lstm::weight_ih),
        Layer::BidirectionalRnn(layers) => both(layers.layers(), Rnn::weight_ih),
        Layer::Depthwise(_)
        | Layer::Mapping(_)
        | Layer::Affine(_)
        | Layer::LayerNorm(_)
        | Layer::Embedding(_)
        | Layer::Slice(_)
        | Layer::OverTime(_) => Vec::new(),
    }
}

/// The sizes of the columns of each feature, of a layer that takes scales in its columns. A convolution has several of each.
fn column_sizes(layer: &Layer) -> Result<Option<Vec<Sizes>>> {
    let features = layer.input_size();
    let mut sizes = alloc::vec![Sizes::NONE; features];
    let weights = input_weights(layer);
    for weight in &weights {
        let Some(w) = plain(weight)? else { return Ok(None) };
        for (i, &w) in w.as_slice().iter().enumerate() {
            sizes[i % weight.k() % features].add(w);
        }
    }
    Ok((!weights.is_empty()).then_some(sizes))
}

/// The sizes of the rows of each feature, with the bias, of a layer that takes scales in its rows.
fn row_sizes(layer: &Layer) -> Result<Option<Vec<Sizes>>> {
    let mut sizes = alloc::vec![Sizes::NONE; layer.output_size()];
    let mut add = |values: Option<&[f32]>| {
        sizes.iter_mut().zip(values.unwrap_or_default()).for_each(|(sizes, &value)| sizes.add(value));
    };
    match layer {
        Layer::Linear(_) | Layer::TimeConvolution(_) => {
            let linear = match layer {
                Layer::TimeConvolution(layer) => layer.linear(),
                Layer::Linear(layer) => layer,
                _ => return Ok(None),
            };
            let Some(w) = plain(linear.weight())? else { return Ok(None) };
            if !matches!(linear.activation(), Activation::Identity | Activation::Relu) {
                return Ok(None);
            }
            add(linear.bias());
            for (row, sizes) in sizes.iter_mut().enumerate() {
                w.view().row(row).iter().for_each(|&w| sizes.add(w));
            }
        }
        Layer::Depthwise(layer) => {
            add(layer.bias());
            for row in 0..layer.weight().rows() {
                add(Some(layer.weight().row(row)));
            }
        }
        Layer::Affine(layer) => {
            add(Some(layer.scale()));
            add(Some(layer.shift()));
        }
        Layer::LayerNorm(layer) => {
            add(layer.weight());
            add(layer.bias());
        }
        _ => return Ok(None),
    }
    Ok(Some(sizes))
}

/// Whether scaling the input of a layer, each feature by a power of two, scales its output as much.
fn passes_scales(layer: &Layer) -> bool {
    match layer {
        Layer::Mapping(mapping) => {
            matches!(mapping.function(), Function::Relu | Function::LeakyRelu(_) | Function::Absolute)
        }
        Layer::OverTime(_) => true,
        _ => false,
    }
}

fn owned(values: Option<&[f32]>) -> Option<Vec<f32>> {
    values.map(<[f32]>::to_vec)
}

/// The layer with the columns of its input weights scaled.
fn with_columns(layer: &Layer, scale: &[f32]) -> Result<Layer> {
    let linear = |layer: &Linear, scale: &[f32]| {
        let linear = Linear::new(scaled_columns(layer.weight(), scale)?, owned(layer.bias()))?;
        Ok::<_, Error>(linear.with_activation(layer.activation()))
    };
    let gru = |layer: &Gru| {
        let (w, r) = (scaled_columns(layer.weight_ih(), scale)?, layer.weight_hh().clone());
        let (bias_ih, bias_hh) = (owned(layer.bias_ih()), owned(layer.bias_hh()));
        match layer.weight_hh_n() {
            None => Gru::new(w, r, bias_ih, bias_hh),
            Some(r_n) => Gru::reset_before(w, r, r_n.clone(), bias_ih, bias_hh),
        }
    };
    let lstm = |layer: &Lstm| {
        let (w, r) = (scaled_columns(layer.weight_ih(), scale)?, layer.weight_hh().clone());
        let (bias_ih, bias_hh) = (owned(layer.bias_ih()), owned(layer.bias_hh()));
        match layer.weight_hr() {
            None => Lstm::new(w, r, bias_ih, bias_hh),
            Some(projection) => Lstm::with_projection(w, r, projection.clone(), bias_ih, bias_hh),
        }
    };
    let rnn = |layer: &Rnn| {
        let (w, r) = (scaled_columns(layer.weight_ih(), scale)?, layer.weight_hh().clone());
        Ok(Rnn::new(w, r, owned(layer.bias_ih()), owned(layer.bias_hh()))?.with_function(layer.function()))
    };
    fn both<L: Recurrent>(layers: &Bidirectional<L>, one: impl Fn(&L) -> Result<L>) -> Result<Bidirectional<L>> {
        let (forward, reverse) = layers.layers();
        Bidirectional::new(one(forward)?, one(reverse)?)
    }
    Ok(match layer {
        Layer::Linear(layer) => Layer::Linear(linear(layer, scale)?),
        Layer::TimeConvolution(layer) => {
            Layer::TimeConvolution(layer.with_linear(linear(layer.linear(), &scale.repeat(layer.kernel()))?)?)
        }
        Layer::Gru(layer) => Layer::Gru(gru(layer)?),
        Layer::Lstm(layer) => Layer::Lstm(lstm(layer)?),
        Layer::Rnn(layer) => Layer::Rnn(rnn(layer)?),
        Layer::BidirectionalGru(layers) => Layer::BidirectionalGru(both(layers, gru)?),
        Layer::BidirectionalLstm(layers) => Layer::BidirectionalLstm(both(layers, lstm)?),
        Layer::BidirectionalRnn(layers) => Layer::BidirectionalRnn(both(layers, rnn)?),
        Layer::Depthwise(_)
        | Layer::Mapping(_)
        | Layer::Affine(_)
        | Layer::LayerNorm(_)
        | Layer::Embedding(_)
        | Layer::Slice(_)
        | Layer::OverTime(_) => layer.clone(),
    })
}

/// The layer with its outputs scaled.
fn with_rows(layer: &Layer, scale: &[f32]) -> Result<Layer> {
    let times = |values: &[f32]| values.iter().zip(scale).map(|(value, scale)| value * scale).collect::<Vec<f32>>();
    let linear = |layer: &Linear| {
        let linear = Linear::new(scaled_rows(layer.weight(), scale)?, layer.bias().map(times))?;
        Ok::<_, Error>(linear.with_activation(layer.activation()))
    };
    Ok(match layer {
        Layer::Linear(layer) => Layer::Linear(linear(layer)?),
        Layer::TimeConvolution(layer) => Layer::TimeConvolution(layer.with_linear(linear(layer.linear())?)?),
        Layer::Depthwise(layer) => {
            let taps = layer.weight().as_slice().chunks(scale.len()).flat_map(times).collect();
            let taps = Mat::from_vec(taps, layer.weight().rows(), scale.len())?;
            Layer::Depthwise(DepthwiseConvolution::new(taps, layer.bias().map(times), layer.windows())?)
        }
        Layer::Affine(layer) => Layer::Affine(Affine::new(times(layer.scale()), times(layer.shift()))?),
        Layer::LayerNorm(layer) => {
            let weight = layer.weight().map_or_else(|| scale.to_vec(), times);
            let bias = layer.bias().map(times);
            Layer::LayerNorm(LayerNorm::new(layer.features(), Some(weight), bias, layer.epsilon())?)
        }
        layer => layer.clone(),
    })
}
