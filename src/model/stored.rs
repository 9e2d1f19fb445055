//! How layers and weights are written to tensors and read back. Each has a header that describes its tensors, with the
//! two directions side by side.

mod layers;
mod operations;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

pub(super) use self::layers::LayerKind;
use super::tensors::Tensors;
use super::version::Version;
use crate::error::{Error, FileError, Result, TensorProblem};
use crate::factored::{DenseWeight, LowRankLinear, Quantization, Unpacked, Weight};
use crate::kernels::{Tier, WeightFormat};
use crate::matrix::Mat;
use crate::quant::{QuantizedMat, QuantizedMatI2, QuantizedMatI4};

/// The tensors of a file being read, the tier to pack for, and the version that the file states.
pub(super) struct Reader<'a> {
    pub tensors: Tensors<'a>,
    pub tier: Tier,
    pub version: Version,
}

/// The tensors of a file being written, and the version that they need.
#[derive(Default)]
pub(super) struct Writer {
    pub tensors: BTreeMap<String, Tensor>,
    pub version: Version,
}

pub(super) struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn signed(shape: Vec<usize>, values: &[i8]) -> Self {
        Self { dtype: Dtype::I8, shape, bytes: values.iter().map(|&value| value as u8).collect() }
    }

    pub fn floats(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }
}

impl Writer {
    /// The file has something that came with this version.
    pub fn needs(&mut self, version: Version) {
        self.version = self.version.max(version);
    }

    pub fn put(&mut self, name: String, tensor: Tensor) -> Result<()> {
        match self.tensors.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(FileError::tensor(name, TensorProblem::Unexpected)),
        }
    }
}

/// A value that can be written to tensors under a name, and read back.
pub(super) trait Stored: Sized {
    /// Describes the tensors.
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
    #[serde(rename = "int2 in groups of 64")]
    I2Group64,
    #[serde(rename = "int8x16")]
    I8X16,
}

impl Format {
    /// The version that it came with.
    fn since(self) -> Version {
        match self {
            Format::F32 | Format::I8 | Format::I4 | Format::I4Group32 => Version::default(),
            Format::I2Group64 => Version::TWO_BITS,
            Format::I8X16 => Version::WIDE_ACTIVATIONS,
        }
    }

    /// What a file calls it.
    fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::I8 => Quantization::Weights(WeightFormat::I8).name(),
            Format::I4 => Quantization::Weights(WeightFormat::I4).name(),
            Format::I4Group32 => Quantization::Weights(WeightFormat::I4Group32).name(),
            Format::I2Group64 => Quantization::Weights(WeightFormat::I2Group64).name(),
            Format::I8X16 => Quantization::I8X16.name(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatHeader {
    n: usize,
    k: usize,
    format: Format,
}

impl Stored for Unpacked {
    type Header = MatHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<MatHeader> {
        let (n, k) = self.shape();
        let scales = |scales: &[f32]| (format!("{name}.scales"), Tensor::floats(vec_of([n]), scales));
        let format = match self {
            Unpacked::F32(w) => {
                to.put(name.into(), Tensor::floats(vec_of([n, k]), w.as_slice()))?;
                Format::F32
            }
            Unpacked::I8(w) | Unpacked::I8X16(w) => {
                to.put(format!("{name}.values"), Tensor::signed(vec_of([n, k]), w.values().as_slice()))?;
                let (name, tensor) = scales(w.scales());
                to.put(name, tensor)?;
                if matches!(self, Unpacked::I8X16(_)) { Format::I8X16 } else { Format::I8 }
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
            Unpacked::I2(w) => {
                let bytes = (0..n).flat_map(|row| w.values().row(row).chunks(4).map(pack_quarters)).collect();
                let shape = vec_of([n, k.div_ceil(4)]);
                to.put(format!("{name}.quarters"), Tensor { dtype: Dtype::U8, shape, bytes })?;
                let shape = vec_of([n, w.multipliers().cols()]);
                to.put(format!("{name}.multipliers"), Tensor::signed(shape, w.multipliers().as_slice()))?;
                let (name, tensor) = scales(w.scales());
                to.put(name, tensor)?;
                Format::I2Group64
            }
        };
        to.needs(format.since());
        Ok(MatHeader { n, k, format })
    }

    fn read(name: &str, &MatHeader { n, k, format }: &MatHeader, from: &mut Reader<'_>) -> Result<Self> {
        from.version.expect(format.since(), &format!("the format {}", format.name()))?;
        let tensors = &mut from.tensors;
        let unpacked = match format {
            Format::F32 => Ok(Unpacked::F32(tensors.take_floats_of(name, n, k)?)),
            Format::I8 | Format::I8X16 => {
                let values = tensors.take_signed(&format!("{name}.values"), n, k)?;
                let scales = tensors.take_vector(&format!("{name}.scales"), n)?;
                let of = if format == Format::I8X16 { Unpacked::I8X16 } else { Unpacked::I8 };
                QuantizedMat::from_parts(values, scales).map(of)
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
                let values = unpack_nibbles(&nibbles, k)?;
                expect_zeros_behind(&nibbles, 4 * k)
                    .and_then(|()| QuantizedMatI4::from_parts(values, multipliers, scales).map(Unpacked::I4))
            }
            Format::I2Group64 => {
                let quarters = tensors.take_unsigned(&format!("{name}.quarters"), n, k.div_ceil(4))?;
                let groups = k.div_ceil(crate::kernels::GROUP_I2);
                let multipliers = tensors.take_signed(&format!("{name}.multipliers"), n, groups)?;
                let scales = tensors.take_vector(&format!("{name}.scales"), n)?;
                let values = unpack_quarters(&quarters, k)?;
                expect_zeros_behind(&quarters, 2 * k)
                    .and_then(|()| QuantizedMatI2::from_parts(values, multipliers, scales).map(Unpacked::I2))
            }
        };
        unpacked.map_err(|cause| FileError::invalid(name, cause))
    }
}

impl Stored for DenseWeight {
    type Header = MatHeader;

    fn write(&self, name: &str, to: &mut Writer) -> Result<MatHeader> {
        self.unpack()?.write(name, to)
    }

    fn read(name: &str, header: &MatHeader, from: &mut Reader<'_>) -> Result<Self> {
        let packed = Unpacked::read(name, header, from)?.pack(from.tier);
        packed.map_err(|cause| FileError::invalid(name, cause))
    }
}

/// Unpacks rows of `k` 4-bit values, two per byte.
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

/// Up to four 2-bit values in a byte, the first in the low bits.
fn pack_quarters(values: &[i8]) -> u8 {
    values.iter().rev().fold(0, |byte, &value| byte << 2 | value as u8 & 3)
}

/// Unpacks rows of `k` 2-bit values, four per byte.
fn unpack_quarters(quarters: &Mat<u8>, k: usize) -> Result<Mat<i8>> {
    let mut values = Mat::zeros(quarters.rows(), k)?;
    for row in 0..quarters.rows() {
        for (i, value) in values.view_mut().row_mut(row).iter_mut().enumerate() {
            *value = (quarters.view().row(row)[i / 4] << (6 - i % 4 * 2)) as i8 >> 6;
        }
    }
    Ok(values)
}

/// Fails if the last byte of a row has something behind the `bits` of its columns.
fn expect_zeros_behind(packed: &Mat<u8>, bits: usize) -> Result<()> {
    let behind = |row| packed.view().row(row).last().map_or(0, |&byte| byte >> (bits % 8));
    let rows = if bits.is_multiple_of(8) { 0..0 } else { 0..packed.rows() };
    match rows.map(behind).find(|&rest| rest != 0) {
        None => Ok(()),
        Some(rest) => Err(Error::Parameter { what: "bits behind the last column", value: rest.into(), expected: "0" }),
    }
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
