//! How layers and weights are taken apart into tensors and put together again: for each a header that says what the
//! tensors are, and the two ways side by side.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::Layer;
use super::tensors::Tensors;
use crate::error::{Error, FileError, Result, TensorProblem};
use crate::factored::{
    Bidirectional, DenseWeight, Gru, Linear, LowRankLinear, Lstm, Recurrent, TimeConvolution, Unpacked, Weight,
};
use crate::kernels::{Activation, Tier};
use crate::matrix::Mat;
use crate::quant::{QuantizedMat, QuantizedMatI4};

/// What a file is read with.
pub(super) struct Reader<'a> {
    pub tensors: Tensors<'a>,
    pub tier: Tier,
}

/// The tensors of a file that is written.
#[derive(Default)]
pub(super) struct Writer {
    pub tensors: BTreeMap<String, Tensor>,
}

pub(super) struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn floats(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }
}

impl Writer {
    pub fn put(&mut self, name: String, tensor: Tensor) -> Result<()> {
        match self.tensors.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(FileError::tensor(name, TensorProblem::Unexpected)),
        }
    }
}

/// What can be written to tensors under a name, and read from them.
pub(super) trait Stored: Sized {
    /// What tells the tensors' meaning.
    type Header: Serialize + for<'de> Deserialize<'de>;

    fn write(&self, name: &str, to: &mut Writer) -> Result<Self::Header>;

    fn read(name: &str, header: &Self::Header, from: &mut Reader<'_>) -> Result<Self>;
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Format {
    #[serde(rename = "f32")]
    F32,
    #[serde(rename = "int8")]
    I8,
    #[serde(rename = "int4")]
    I4,
    #[serde(rename = "int4 in groups of 32")]
    I4Group32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatHeader {
    n: usize,
    k: usize,
    format: Format,
}

impl Stored for DenseWeight {
    type Header = MatHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<MatHeader> {
        let (n, k) = (self.n(), self.k());
        let scales = |scales: &[f32]| (format!("{name}.scales"), Tensor::floats(vec_of([n]), scales));
        let format = match self.unpack()? {
            Unpacked::F32(w) => {
                to.put(name.into(), Tensor::floats(vec_of([n, k]), w.as_slice()))?;
                Format::F32
            }
            Unpacked::I8(w) => {
                let bytes = w.values().as_slice().iter().map(|&value| value as u8).collect();
                to.put(format!("{name}.values"), Tensor { dtype: Dtype::I8, shape: vec_of([n, k]), bytes })?;
                let (name, tensor) = scales(w.scales());
                to.put(name, tensor)?;
                Format::I8
            }
            Unpacked::I4(w) => {
                let pair = |pair: &[i8]| pair[0] as u8 & 0x0f | (pair.get(1).copied().unwrap_or(0) as u8) << 4;
                let bytes = (0..n).flat_map(|row| w.values().row(row).chunks(2).map(pair)).collect();
                let shape = vec_of([n, k.div_ceil(2)]);
                to.put(format!("{name}.nibbles"), Tensor { dtype: Dtype::U8, shape, bytes })?;
                if let Some(multipliers) = w.multipliers() {
                    let bytes = multipliers.as_slice().to_vec();
                    let shape = vec_of([n, multipliers.cols()]);
                    to.put(format!("{name}.multipliers"), Tensor { dtype: Dtype::U8, shape, bytes })?;
                }
                let format = if w.multipliers().is_some() { Format::I4Group32 } else { Format::I4 };
                let (name, tensor) = scales(w.scales());
                to.put(name, tensor)?;
                format
            }
        };
        Ok(MatHeader { n, k, format })
    }

    fn read(name: &str, &MatHeader { n, k, format }: &MatHeader, from: &mut Reader<'_>) -> Result<Self> {
        if n == 0 || k == 0 {
            let problem = Error::Parameter { what: "dimension", value: 0.0, expected: "at least 1" };
            return Err(FileError::invalid(name, problem));
        }
        let tensors = &mut from.tensors;
        let unpacked = match format {
            Format::F32 => Ok(Unpacked::F32(tensors.take_floats_of(name, n, k)?)),
            Format::I8 => {
                let values = tensors.take_signed(&format!("{name}.values"), n, k)?;
                let scales = tensors.take_vector(&format!("{name}.scales"), n)?;
                QuantizedMat::from_parts(values, scales).map(Unpacked::I8)
            }
            Format::I4 | Format::I4Group32 => {
                let nibbles = tensors.take_unsigned(&format!("{name}.nibbles"), n, k.div_ceil(2))?;
                let multipliers = match format {
                    Format::I4Group32 => {
                        let groups = k.div_ceil(crate::kernels::GROUP);
                        Some(tensors.take_unsigned(&format!("{name}.multipliers"), n, groups)?)
                    }
                    _ => None,
                };
                let scales = tensors.take_vector(&format!("{name}.scales"), n)?;
                QuantizedMatI4::from_parts(unpack_nibbles(&nibbles, k)?, multipliers, scales).map(Unpacked::I4)
            }
        };
        let packed = unpacked.and_then(|unpacked| unpacked.pack(from.tier));
        packed.map_err(|cause| FileError::invalid(name, cause))
    }
}

/// The 4-bit values of rows of `k` of them, two in a byte.
fn unpack_nibbles(nibbles: &Mat<u8>, k: usize) -> Result<Mat<i8>> {
    let mut values = Mat::zeros(nibbles.rows(), k)?;
    for row in 0..nibbles.rows() {
        for (i, value) in values.view_mut().row_mut(row).iter_mut().enumerate() {
            let byte = nibbles.view().row(row)[i / 2] as i8;
            *value = if i % 2 == 0 { byte << 4 >> 4 } else { byte >> 4 };
        }
    }
    Ok(values)
}

fn vec_of<const N: usize>(dimensions: [usize; N]) -> Vec<usize> {
    dimensions.to_vec()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum WeightHeader {
    Dense(MatHeader),
    LowRank { u: MatHeader, v: MatHeader },
    Stacked(Vec<WeightHeader>),
}

impl Stored for Weight {
    type Header = WeightHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<WeightHeader> {
        Ok(match self {
            Weight::Dense(w) => WeightHeader::Dense(w.write(name, to)?),
            Weight::LowRank(w) => WeightHeader::LowRank {
                u: w.u().write(&format!("{name}.u"), to)?,
                v: w.v().write(&format!("{name}.v"), to)?,
            },
            Weight::Stacked(stack) => {
                let part = |(i, part): (usize, &Weight)| part.write(&format!("{name}.{i}"), to);
                WeightHeader::Stacked(stack.parts().iter().enumerate().map(part).collect::<Result<_>>()?)
            }
        })
    }

    fn read(name: &str, header: &WeightHeader, from: &mut Reader<'_>) -> Result<Self> {
        Ok(match header {
            WeightHeader::Dense(w) => Weight::Dense(DenseWeight::read(name, w, from)?),
            WeightHeader::LowRank { u, v } => {
                let u = DenseWeight::read(&format!("{name}.u"), u, from)?;
                let v = DenseWeight::read(&format!("{name}.v"), v, from)?;
                LowRankLinear::from_parts(u, v).map_err(|cause| FileError::invalid(name, cause))?.into()
            }
            WeightHeader::Stacked(parts) => {
                let part = |(i, part)| Weight::read(&format!("{name}.{i}"), part, from);
                let parts = parts.iter().enumerate().map(part).collect::<Result<_>>()?;
                Weight::stack(parts).map_err(|cause| FileError::invalid(name, cause))?
            }
        })
    }
}

/// The input weights and the recurrent weights of a layer, which may share a factor.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum GateHeader {
    Apart { weight_ih: WeightHeader, weight_hh: WeightHeader },
    Joint { u: MatHeader, v_ih: MatHeader, v_hh: MatHeader },
}

impl GateHeader {
    fn write(name: &str, [weight_ih, weight_hh]: [&Weight; 2], to: &mut Writer) -> Result<Self> {
        let [name_ih, name_hh] = ["weight_ih", "weight_hh"].map(|weight| format!("{name}.{weight}"));
        Ok(match (weight_ih, weight_hh) {
            (Weight::LowRank(w), Weight::LowRank(r)) if w.shares_u_with(r) => Self::Joint {
                u: w.u().write(&format!("{name}.weight.u"), to)?,
                v_ih: w.v().write(&format!("{name_ih}.v"), to)?,
                v_hh: r.v().write(&format!("{name_hh}.v"), to)?,
            },
            (w, r) => Self::Apart { weight_ih: w.write(&name_ih, to)?, weight_hh: r.write(&name_hh, to)? },
        })
    }

    fn read(&self, name: &str, from: &mut Reader<'_>) -> Result<[Weight; 2]> {
        let [name_ih, name_hh] = ["weight_ih", "weight_hh"].map(|weight| format!("{name}.{weight}"));
        match self {
            Self::Apart { weight_ih, weight_hh } => {
                Ok([Weight::read(&name_ih, weight_ih, from)?, Weight::read(&name_hh, weight_hh, from)?])
            }
            Self::Joint { u, v_ih, v_hh } => {
                let u = Arc::new(DenseWeight::read(&format!("{name}.weight.u"), u, from)?);
                let v_ih = DenseWeight::read(&format!("{name_ih}.v"), v_ih, from)?;
                let v_hh = DenseWeight::read(&format!("{name_hh}.v"), v_hh, from)?;
                let w = LowRankLinear::from_parts(Arc::clone(&u), v_ih);
                let r = LowRankLinear::from_parts(u, v_hh);
                Ok([
                    w.map_err(|cause| FileError::invalid(name_ih, cause))?.into(),
                    r.map_err(|cause| FileError::invalid(name_hh, cause))?.into(),
                ])
            }
        }
    }
}

/// Whether there is a bias, which is written then.
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
pub(super) enum ActivationHeader {
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
pub(super) struct LinearHeader {
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
pub(super) struct GruHeader {
    weights: GateHeader,
    /// Of the candidate, if the reset comes before the recurrent product.
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
pub(super) struct LstmHeader {
    weights: GateHeader,
    /// Of the projection, if there is one.
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
pub(super) struct TimeConvolutionHeader {
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
pub(super) struct BidirectionalHeader<H> {
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
pub(super) enum LayerKind {
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
