//! Layers with their features scaled by powers of two: which can be, by how much, and what they become.

use alloc::vec::Vec;

use super::Layer;
use crate::error::{Error, Result};
use crate::factored::{
    Affine, Bidirectional, DenseWeight, DepthwiseConvolution, Function, Gru, LayerNorm, Linear, Lstm, Recurrent, Rnn,
    Weight, scaled_columns, scaled_rows,
};
use crate::kernels::Activation;
use crate::matrix::Mat;

/// Exponents of scales lie between this and its negative.
pub(super) const MOST_EXPONENT: i32 = 100;

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

pub(super) fn forward(exponents: &[i32]) -> Vec<f32> {
    exponents.iter().map(|&exponent| power_of_two(exponent)).collect()
}

pub(super) fn inverse(exponents: &[i32]) -> Vec<f32> {
    exponents.iter().map(|&exponent| power_of_two(-exponent)).collect()
}

/// The logarithm to base 2 of a positive number, on straight lines between powers of two: the same bits everywhere.
pub(super) fn log2(x: f32) -> f64 {
    f64::from(x.to_bits()) / f64::from(1u32 << 23) - 127.0
}

/// The least magnitude above 0 and the largest, of the weights of a feature.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    least: f32,
    pub(super) most: f32,
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
    pub(super) fn lowest(self) -> i32 {
        if self.most == 0.0 { -MOST_EXPONENT } else { -126 - log2(self.least).floor() as i32 }
    }

    /// The highest exponent that does not overflow.
    pub(super) fn highest(self) -> i32 {
        if self.most == 0.0 { MOST_EXPONENT } else { 126 - log2(self.most).floor() as i32 }
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
pub(super) fn column_sizes(layer: &Layer) -> Result<Option<Vec<Sizes>>> {
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
pub(super) fn row_sizes(layer: &Layer) -> Result<Option<Vec<Sizes>>> {
    let mut sizes = alloc::vec![Sizes::NONE; layer.output_size()];
    let mut add = |values: Option<&[f32]>| {
        sizes.iter_mut().zip(values.unwrap_or_default()).for_each(|(sizes, &value)| sizes.add(value));
    };
    match layer {
        Layer::Linear(layer) => return row_sizes_of_linear(layer),
        Layer::TimeConvolution(layer) => return row_sizes_of_linear(layer.linear()),
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

/// As [`row_sizes`].
fn row_sizes_of_linear(layer: &Linear) -> Result<Option<Vec<Sizes>>> {
    let Some(w) = plain(layer.weight())? else { return Ok(None) };
    if !matches!(layer.activation(), Activation::Identity | Activation::Relu) {
        return Ok(None);
    }
    let mut sizes = alloc::vec![Sizes::NONE; w.rows()];
    layer.bias().into_iter().flatten().zip(&mut sizes).for_each(|(&bias, sizes)| sizes.add(bias));
    for (row, sizes) in sizes.iter_mut().enumerate() {
        w.view().row(row).iter().for_each(|&w| sizes.add(w));
    }
    Ok(Some(sizes))
}

/// Whether scaling the input of a layer, each feature by a power of two, scales its output as much.
pub(super) fn passes_scales(layer: &Layer) -> bool {
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
pub(super) fn with_columns(layer: &Layer, scale: &[f32]) -> Result<Layer> {
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
pub(super) fn with_rows(layer: &Layer, scale: &[f32]) -> Result<Layer> {
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
