//! How layers are stored; [`super`] stores their weights.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{GateHeader, Reader, Stored, Tensor, WeightHeader, Writer, vec_of};
use crate::error::{Error, FileError, Result};
use crate::factored::{Bidirectional, Gru, Linear, Lstm, Recurrent, TimeConvolution, Weight};
use crate::kernels::Activation;
use crate::model::Layer;

/// Writes the bias if there is one, and returns whether there is.
fn write_bias(bias: Option<&[f32]>, name: String, to: &mut Writer) -> Result<bool> {
    if let Some(bias) = bias {
        to.put(name, Tensor::floats(vec_of([bias.len()]), bias))?;
    }
    Ok(bias.is_some())
}

fn read_bias(there: bool, name: &str, len: usize, from: &mut Reader<'_>) -> Result<Option<Vec<f32>>> {
    if there { from.tensors.take_vector(name, len).map(Some) } else { Ok(None) }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::model) enum ActivationHeader {
    Identity,
    Relu,
    ClippedRelu(f32),
}

impl ActivationHeader {
    fn of(activation: Activation) -> Result<Self> {
        match activation {
            Activation::Identity => Ok(Self::Identity),
            Activation::Relu => Ok(Self::Relu),
            Activation::ClippedRelu(max) => Ok(Self::ClippedRelu(max)),
        }
    }

    fn activation(self, layer: &str) -> Result<Activation> {
        match self {
            Self::Identity => Ok(Activation::Identity),
            Self::Relu => Ok(Activation::Relu),
            Self::ClippedRelu(max) if max > 0.0 && max.is_finite() => Ok(Activation::ClippedRelu(max)),
            Self::ClippedRelu(max) => {
                let expected = "positive and finite";
                let problem = Error::Parameter { what: "maximum of the clipped ReLU", value: max.into(), expected };
                Err(FileError::layer(layer, problem))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct LinearHeader {
    weight: WeightHeader,
    bias: bool,
    activation: ActivationHeader,
}

impl Stored for Linear {
    type Header = LinearHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<LinearHeader> {
        Ok(LinearHeader {
            weight: self.weight().write(&format!("{name}.weight"), to)?,
            bias: write_bias(self.bias(), format!("{name}.bias"), to)?,
            activation: ActivationHeader::of(self.activation())?,
        })
    }

    fn read(name: &str, header: &LinearHeader, from: &mut Reader<'_>) -> Result<Self> {
        let weight = Weight::read(&format!("{name}.weight"), &header.weight, from)?;
        let bias = read_bias(header.bias, &format!("{name}.bias"), weight.n(), from)?;
        let activation = header.activation.activation(name)?;
        let linear = Linear::new(weight, bias).map_err(|cause| FileError::layer(name, cause))?;
        Ok(linear.with_activation(activation))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct GruHeader {
    weights: GateHeader,
    /// The candidate's recurrent weight, if the reset comes before the recurrent product.
    weight_hh_n: Option<WeightHeader>,
    bias_ih: bool,
    bias_hh: bool,
}

impl Stored for Gru {
    type Header = GruHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<GruHeader> {
        Ok(GruHeader {
            weights: GateHeader::write(name, [self.weight_ih(), self.weight_hh()], to)?,
            weight_hh_n: self.weight_hh_n().map(|w| w.write(&format!("{name}.weight_hh_n"), to)).transpose()?,
            bias_ih: write_bias(self.bias_ih(), format!("{name}.bias_ih"), to)?,
            bias_hh: write_bias(self.bias_hh(), format!("{name}.bias_hh"), to)?,
        })
    }

    fn read(name: &str, header: &GruHeader, from: &mut Reader<'_>) -> Result<Self> {
        let [weight_ih, weight_hh] = header.weights.read(name, from)?;
        let weight_hh_n = header.weight_hh_n.as_ref().map(|w| Weight::read(&format!("{name}.weight_hh_n"), w, from));
        let weight_hh_n = weight_hh_n.transpose()?;
        let bias_ih = read_bias(header.bias_ih, &format!("{name}.bias_ih"), weight_ih.n(), from)?;
        let bias_hh = read_bias(header.bias_hh, &format!("{name}.bias_hh"), weight_ih.n(), from)?;
        let gru = match weight_hh_n {
            None => Gru::new(weight_ih, weight_hh, bias_ih, bias_hh),
            Some(weight_hh_n) => Gru::reset_before(weight_ih, weight_hh, weight_hh_n, bias_ih, bias_hh),
        };
        gru.map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct LstmHeader {
    weights: GateHeader,
    /// The projection's weight, if there is one.
    weight_hr: Option<WeightHeader>,
    bias_ih: bool,
    bias_hh: bool,
}

impl Stored for Lstm {
    type Header = LstmHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<LstmHeader> {
        Ok(LstmHeader {
            weights: GateHeader::write(name, [self.weight_ih(), self.weight_hh()], to)?,
            weight_hr: self.weight_hr().map(|w| w.write(&format!("{name}.weight_hr"), to)).transpose()?,
            bias_ih: write_bias(self.bias_ih(), format!("{name}.bias_ih"), to)?,
            bias_hh: write_bias(self.bias_hh(), format!("{name}.bias_hh"), to)?,
        })
    }

    fn read(name: &str, header: &LstmHeader, from: &mut Reader<'_>) -> Result<Self> {
        let [weight_ih, weight_hh] = header.weights.read(name, from)?;
        let weight_hr = header.weight_hr.as_ref().map(|w| Weight::read(&format!("{name}.weight_hr"), w, from));
        let weight_hr = weight_hr.transpose()?;
        let bias_ih = read_bias(header.bias_ih, &format!("{name}.bias_ih"), weight_ih.n(), from)?;
        let bias_hh = read_bias(header.bias_hh, &format!("{name}.bias_hh"), weight_ih.n(), from)?;
        let lstm = match weight_hr {
            None => Lstm::new(weight_ih, weight_hh, bias_ih, bias_hh),
            Some(weight_hr) => Lstm::with_projection(weight_ih, weight_hh, weight_hr, bias_ih, bias_hh),
        };
        lstm.map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct TimeConvolutionHeader {
    linear: LinearHeader,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Stored for TimeConvolution {
    type Header = TimeConvolutionHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<Self::Header> {
        let (kernel, stride, padding) = (self.kernel(), self.stride(), self.padding());
        Ok(TimeConvolutionHeader { linear: self.linear().write(name, to)?, kernel, stride, padding })
    }

    fn read(name: &str, header: &Self::Header, from: &mut Reader<'_>) -> Result<Self> {
        let linear = Linear::read(name, &header.linear, from)?;
        let layer = TimeConvolution::new(linear, header.kernel, header.stride, header.padding);
        layer.map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::model) struct BidirectionalHeader<H> {
    forward: H,
    reverse: H,
}

impl<L: Stored + Recurrent> Stored for Bidirectional<L> {
    type Header = BidirectionalHeader<L::Header>;

    fn write(&self, name: &str, to: &mut Writer) -> Result<Self::Header> {
        let (forward, reverse) = self.layers();
        Ok(BidirectionalHeader {
            forward: forward.write(&format!("{name}.forward"), to)?,
            reverse: reverse.write(&format!("{name}.reverse"), to)?,
        })
    }

    fn read(name: &str, header: &Self::Header, from: &mut Reader<'_>) -> Result<Self> {
        let forward = L::read(&format!("{name}.forward"), &header.forward, from)?;
        let reverse = L::read(&format!("{name}.reverse"), &header.reverse, from)?;
        Self::new(forward, reverse).map_err(|cause| FileError::layer(name, cause))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::model) enum LayerKind {
    Linear(LinearHeader),
    TimeConvolution(TimeConvolutionHeader),
    Gru(GruHeader),
    Lstm(LstmHeader),
    BidirectionalGru(BidirectionalHeader<GruHeader>),
    BidirectionalLstm(BidirectionalHeader<LstmHeader>),
}

impl Stored for Layer {
    type Header = LayerKind;

    fn write(&self, name: &str, to: &mut Writer) -> Result<LayerKind> {
        Ok(match self {
            Layer::Linear(layer) => LayerKind::Linear(layer.write(name, to)?),
            Layer::TimeConvolution(layer) => LayerKind::TimeConvolution(layer.write(name, to)?),
            Layer::Gru(layer) => LayerKind::Gru(layer.write(name, to)?),
            Layer::Lstm(layer) => LayerKind::Lstm(layer.write(name, to)?),
            Layer::BidirectionalGru(layer) => LayerKind::BidirectionalGru(layer.write(name, to)?),
            Layer::BidirectionalLstm(layer) => LayerKind::BidirectionalLstm(layer.write(name, to)?),
        })
    }

    fn read(name: &str, header: &LayerKind, from: &mut Reader<'_>) -> Result<Self> {
        Ok(match header {
            LayerKind::Linear(header) => Layer::Linear(Linear::read(name, header, from)?),
            LayerKind::TimeConvolution(header) => Layer::TimeConvolution(TimeConvolution::read(name, header, from)?),
            LayerKind::Gru(header) => Layer::Gru(Gru::read(name, header, from)?),
            LayerKind::Lstm(header) => Layer::Lstm(Lstm::read(name, header, from)?),
            LayerKind::BidirectionalGru(header) => Layer::BidirectionalGru(Bidirectional::read(name, header, from)?),
            LayerKind::BidirectionalLstm(header) => Layer::BidirectionalLstm(Bidirectional::read(name, header, from)?),
        })
    }
}
