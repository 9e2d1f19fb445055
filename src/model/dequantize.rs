//! Conversion of a quantized model back to `f32`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Layer, Model};
use crate::error::Result;
use crate::factored::{Bidirectional, DenseWeight, Gru, Linear, LowRankLinear, Lstm, Recurrent, Rnn, Weight};

impl Model {
    /// The same model with all weights converted to `f32`. Factors stay factors. The rounding of weights cannot be
    /// undone, so compare a quantized model with this one for speed, or for the effect of rounding activations.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation), with the layer's name.
    ///
    /// # Example
    /// ```
    /// use skinny::{Mat, Tier, factored::{Linear, Weight}, kernels::WeightFormat, model::{Layer, Model}};
    ///
    /// let weight = Weight::dense(Mat::from_vec(vec![1.0, 0.5, -1.0, 0.25], 2, 2)?)?;
    /// let model = Model::new(vec![("fc".into(), Layer::Linear(Linear::new(weight, None)?))])?;
    /// let int8 = model.quantize_to(WeightFormat::I8, Tier::select()?)?;
    /// let again = int8.dequantize()?;
    /// assert_eq!(again.bytes(), model.bytes());
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn dequantize(&self) -> Result<Self> {
        self.map_layers(|_, layer| layer.dequantize())
    }
}

impl Layer {
    /// The same layer with all weights converted to `f32`, as in [`Model::dequantize`].
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn dequantize(&self) -> Result<Self> {
        let mut weights = Dequantizer::default();
        Ok(match self {
            Layer::Linear(layer) => Layer::Linear(linear(layer, &mut weights)?),
            Layer::TimeConvolution(layer) => {
                Layer::TimeConvolution(layer.with_linear(linear(layer.linear(), &mut weights)?)?)
            }
            Layer::Rnn(layer) => Layer::Rnn(rnn(layer, &mut weights)?),
            Layer::BidirectionalRnn(layers) => Layer::BidirectionalRnn(both(layers, rnn, &mut weights)?),
            Layer::Embedding(layer) => Layer::Embedding(layer.dequantize()?),
            Layer::Depthwise(_)
            | Layer::Mapping(_)
            | Layer::Affine(_)
            | Layer::LayerNorm(_)
            | Layer::Slice(_)
            | Layer::OverTime(_) => self.clone(),
            Layer::Gru(layer) => Layer::Gru(gru(layer, &mut weights)?),
            Layer::Lstm(layer) => Layer::Lstm(lstm(layer, &mut weights)?),
            Layer::BidirectionalGru(layers) => Layer::BidirectionalGru(both(layers, gru, &mut weights)?),
            Layer::BidirectionalLstm(layers) => Layer::BidirectionalLstm(both(layers, lstm, &mut weights)?),
        })
    }
}

fn linear<'w>(layer: &'w Linear, weights: &mut Dequantizer<'w>) -> Result<Linear> {
    let linear = Linear::new(weights.weight(layer.weight())?, layer.bias().map(<[f32]>::to_vec))?;
    Ok(linear.with_activation(layer.activation()))
}

fn gru<'w>(layer: &'w Gru, weights: &mut Dequantizer<'w>) -> Result<Gru> {
    let (weight_ih, weight_hh) = (weights.weight(layer.weight_ih())?, weights.weight(layer.weight_hh())?);
    let [bias_ih, bias_hh] = [layer.bias_ih(), layer.bias_hh()].map(|bias| bias.map(<[f32]>::to_vec));
    match layer.weight_hh_n() {
        None => Gru::new(weight_ih, weight_hh, bias_ih, bias_hh),
        Some(weight) => Gru::reset_before(weight_ih, weight_hh, weights.weight(weight)?, bias_ih, bias_hh),
    }
}

fn lstm<'w>(layer: &'w Lstm, weights: &mut Dequantizer<'w>) -> Result<Lstm> {
    let (weight_ih, weight_hh) = (weights.weight(layer.weight_ih())?, weights.weight(layer.weight_hh())?);
    let [bias_ih, bias_hh] = [layer.bias_ih(), layer.bias_hh()].map(|bias| bias.map(<[f32]>::to_vec));
    match layer.weight_hr() {
        None => Lstm::new(weight_ih, weight_hh, bias_ih, bias_hh),
        Some(weight) => Lstm::with_projection(weight_ih, weight_hh, weights.weight(weight)?, bias_ih, bias_hh),
    }
}

fn rnn<'w>(layer: &'w Rnn, weights: &mut Dequantizer<'w>) -> Result<Rnn> {
    let (weight_ih, weight_hh) = (weights.weight(layer.weight_ih())?, weights.weight(layer.weight_hh())?);
    let (bias_ih, bias_hh) = (layer.bias_ih().map(<[f32]>::to_vec), layer.bias_hh().map(<[f32]>::to_vec));
    Ok(Rnn::new(weight_ih, weight_hh, bias_ih, bias_hh)?.with_function(layer.function()))
}

fn both<'w, L: Recurrent>(
    layers: &'w Bidirectional<L>,
    one: impl Fn(&'w L, &mut Dequantizer<'w>) -> Result<L>,
    weights: &mut Dequantizer<'w>,
) -> Result<Bidirectional<L>> {
    let (forward, reverse) = layers.layers();
    Bidirectional::new(one(forward, weights)?, one(reverse, weights)?)
}

/// Dequantizes the weights of one layer. A shared factor stays shared.
#[derive(Default)]
struct Dequantizer<'w> {
    /// Pairs of a factor `U` and its `f32` form.
    done: Vec<(&'w DenseWeight, Arc<DenseWeight>)>,
}

impl<'w> Dequantizer<'w> {
    fn weight(&mut self, weight: &'w Weight) -> Result<Weight> {
        Ok(match weight {
            Weight::Dense(weight) => Weight::Dense(in_f32(weight)?),
            Weight::LowRank(weight) => {
                Weight::LowRank(LowRankLinear::from_parts(self.factor(weight.u())?, in_f32(weight.v())?)?)
            }
            Weight::Stacked(stack) => {
                Weight::stack(stack.parts().iter().map(|part| self.weight(part)).collect::<Result<_>>()?)?
            }
        })
    }

    fn factor(&mut self, u: &'w DenseWeight) -> Result<Arc<DenseWeight>> {
        if let Some((_, done)) = self.done.iter().find(|(other, _)| core::ptr::eq(*other, u)) {
            return Ok(done.clone());
        }
        let done = Arc::new(in_f32(u)?);
        self.done.push((u, done.clone()));
        Ok(done)
    }
}

fn in_f32(weight: &DenseWeight) -> Result<DenseWeight> {
    DenseWeight::from_f32(weight.unpack()?.dequantize()?)
}
