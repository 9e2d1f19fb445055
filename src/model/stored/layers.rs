//! How layers are stored; [`super`] stores their weights.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::operations::{
    AffineHeader, DepthwiseHeader, LayerNormHeader, MappingHeader, OverTimeHeader, RnnHeader, SliceHeader,
};
use super::{GateHeader, MatHeader, Reader, Stored, Tensor, WeightHeader, Writer, vec_of};
use crate::error::{Error, FileError, Result};
use crate::factored::{
    Affine, Bidirectional, DepthwiseConvolution, Embedding, Gru, LayerNorm, Linear, Lstm, Mapping, OverTime, Recurrent,
    Rnn, Slice, TimeConvolution, Weight, Windows,
};
use crate::kernels::Activation;
use crate::model::Layer;
use crate::model::graph_file::present;
use crate::model::version::Version;

/// Writes a vector, such as a bias, if there is one, and returns whether there is.
pub(super) fn write_vector(vector: Option<&[f32]>, name: String, to: &mut Writer) -> Result<bool> {
    if let Some(vector) = vector {
        to.put(name, Tensor::floats(vec_of([vector.len()]), vector))?;
    }
    Ok(vector.is_some())
}

pub(super) fn read_vector(there: bool, name: &str, len: usize, from: &mut Reader<'_>) -> Result<Option<Vec<f32>>> {
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
            bias: write_vector(self.bias(), format!("{name}.bias"), to)?,
            activation: ActivationHeader::of(self.activation())?,
        })
    }

    fn read(name: &str, header: &LinearHeader, from: &mut Reader<'_>) -> Result<Self> {
        let weight = Weight::read(&format!("{name}.weight"), &header.weight, from)?;
        let bias = read_vector(header.bias, &format!("{name}.bias"), weight.n(), from)?;
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
            bias_ih: write_vector(self.bias_ih(), format!("{name}.bias_ih"), to)?,
            bias_hh: write_vector(self.bias_hh(), format!("{name}.bias_hh"), to)?,
        })
    }

    fn read(name: &str, header: &GruHeader, from: &mut Reader<'_>) -> Result<Self> {
        let [weight_ih, weight_hh] = header.weights.read(name, from)?;
        let weight_hh_n = header.weight_hh_n.as_ref().map(|w| Weight::read(&format!("{name}.weight_hh_n"), w, from));
        let weight_hh_n = weight_hh_n.transpose()?;
        let bias_ih = read_vector(header.bias_ih, &format!("{name}.bias_ih"), weight_ih.n(), from)?;
        let bias_hh = read_vector(header.bias_hh, &format!("{name}.bias_hh"), weight_ih.n(), from)?;
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
            bias_ih: write_vector(self.bias_ih(), format!("{name}.bias_ih"), to)?,
            bias_hh: write_vector(self.bias_hh(), format!("{name}.bias_hh"), to)?,
        })
    }

    fn read(name: &str, header: &LstmHeader, from: &mut Reader<'_>) -> Result<Self> {
        let [weight_ih, weight_hh] = header.weights.read(name, from)?;
        let weight_hr = header.weight_hr.as_ref().map(|w| Weight::read(&format!("{name}.weight_hr"), w, from));
        let weight_hr = weight_hr.transpose()?;
        let bias_ih = read_vector(header.bias_ih, &format!("{name}.bias_ih"), weight_ih.n(), from)?;
        let bias_hh = read_vector(header.bias_hh, &format!("{name}.bias_hh"), weight_ih.n(), from)?;
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
    /// Before the first frame, and after the last unless `padding_after` says otherwise.
    padding: usize,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    padding_after: Option<usize>,
    /// 1, if left out.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    dilation: Option<usize>,
}

impl Stored for TimeConvolution {
    type Header = TimeConvolutionHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<Self::Header> {
        let Windows { kernel, stride, dilation, before, after } = self.windows();
        Ok(TimeConvolutionHeader {
            linear: self.linear().write(name, to)?,
            kernel,
            stride,
            padding: before,
            padding_after: (after != before).then_some(after),
            dilation: (dilation != 1).then_some(dilation),
        })
    }

    fn read(name: &str, header: &Self::Header, from: &mut Reader<'_>) -> Result<Self> {
        let linear = Linear::read(name, &header.linear, from)?;
        let layer = TimeConvolution::with_windows(
            linear,
            Windows {
                kernel: header.kernel,
                stride: header.stride,
                dilation: header.dilation.unwrap_or(1),
                before: header.padding,
                after: header.padding_after.unwrap_or(header.padding),
            },
        );
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
    Depthwise(DepthwiseHeader),
    Rnn(RnnHeader),
    BidirectionalRnn(BidirectionalHeader<RnnHeader>),
    Function(MappingHeader),
    Affine(AffineHeader),
    LayerNorm(LayerNormHeader),
    Embedding(MatHeader),
    Slice(SliceHeader),
    OverTime(OverTimeHeader),
}

impl LayerKind {
    /// The version that this kind of layer came with, in this form.
    fn since(&self) -> Version {
        match self {
            LayerKind::TimeConvolution(TimeConvolutionHeader { padding_after, dilation, .. })
                if padding_after.is_some() || dilation.is_some() =>
            {
                Version::LAYERS
            }
            LayerKind::Linear(_)
            | LayerKind::TimeConvolution(_)
            | LayerKind::Gru(_)
            | LayerKind::Lstm(_)
            | LayerKind::BidirectionalGru(_)
            | LayerKind::BidirectionalLstm(_) => Version::default(),
            LayerKind::Depthwise(_)
            | LayerKind::Rnn(_)
            | LayerKind::BidirectionalRnn(_)
            | LayerKind::Function(_)
            | LayerKind::Affine(_)
            | LayerKind::LayerNorm(_)
            | LayerKind::Embedding(_)
            | LayerKind::Slice(_)
            | LayerKind::OverTime(_) => Version::LAYERS,
        }
    }
}

impl Stored for Layer {
    type Header = LayerKind;

    fn write(&self, name: &str, to: &mut Writer) -> Result<LayerKind> {
        let kind = match self {
            Layer::Linear(layer) => LayerKind::Linear(layer.write(name, to)?),
            Layer::TimeConvolution(layer) => LayerKind::TimeConvolution(layer.write(name, to)?),
            Layer::Depthwise(layer) => LayerKind::Depthwise(layer.write(name, to)?),
            Layer::Gru(layer) => LayerKind::Gru(layer.write(name, to)?),
            Layer::Lstm(layer) => LayerKind::Lstm(layer.write(name, to)?),
            Layer::Rnn(layer) => LayerKind::Rnn(layer.write(name, to)?),
            Layer::BidirectionalGru(layer) => LayerKind::BidirectionalGru(layer.write(name, to)?),
            Layer::BidirectionalLstm(layer) => LayerKind::BidirectionalLstm(layer.write(name, to)?),
            Layer::BidirectionalRnn(layer) => LayerKind::BidirectionalRnn(layer.write(name, to)?),
            Layer::Mapping(layer) => LayerKind::Function(layer.write(name, to)?),
            Layer::Affine(layer) => LayerKind::Affine(layer.write(name, to)?),
            Layer::LayerNorm(layer) => LayerKind::LayerNorm(layer.write(name, to)?),
            Layer::Embedding(layer) => LayerKind::Embedding(layer.write(name, to)?),
            Layer::Slice(layer) => LayerKind::Slice(layer.write(name, to)?),
            Layer::OverTime(layer) => LayerKind::OverTime(layer.write(name, to)?),
        };
        to.needs(kind.since());
        Ok(kind)
    }

    fn read(name: &str, header: &LayerKind, from: &mut Reader<'_>) -> Result<Self> {
        from.version.expect(header.since(), &format!("what layer {name:?} is"))?;
        Ok(match header {
            LayerKind::Linear(header) => Layer::Linear(Linear::read(name, header, from)?),
            LayerKind::TimeConvolution(header) => Layer::TimeConvolution(TimeConvolution::read(name, header, from)?),
            LayerKind::Depthwise(header) => Layer::Depthwise(DepthwiseConvolution::read(name, header, from)?),
            LayerKind::Gru(header) => Layer::Gru(Gru::read(name, header, from)?),
            LayerKind::Lstm(header) => Layer::Lstm(Lstm::read(name, header, from)?),
            LayerKind::Rnn(header) => Layer::Rnn(Rnn::read(name, header, from)?),
            LayerKind::BidirectionalGru(header) => Layer::BidirectionalGru(Bidirectional::read(name, header, from)?),
            LayerKind::BidirectionalLstm(header) => Layer::BidirectionalLstm(Bidirectional::read(name, header, from)?),
            LayerKind::BidirectionalRnn(header) => Layer::BidirectionalRnn(Bidirectional::read(name, header, from)?),
            LayerKind::Function(header) => Layer::Mapping(Mapping::read(name, header, from)?),
            LayerKind::Affine(header) => Layer::Affine(Affine::read(name, header, from)?),
            LayerKind::LayerNorm(header) => Layer::LayerNorm(LayerNorm::read(name, header, from)?),
            LayerKind::Embedding(header) => Layer::Embedding(Embedding::read(name, header, from)?),
            LayerKind::Slice(header) => Layer::Slice(Slice::read(name, header, from)?),
            LayerKind::OverTime(header) => Layer::OverTime(OverTime::read(name, header, from)?),
        })
    }
}
