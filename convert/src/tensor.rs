//! Tensors with their names, and safetensors files of them.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, Result};
use crate::format::Format;

/// Numbers, their type and their dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The type of an element.
    pub dtype: Dtype,
    /// The dimensions. Elements along the last one are adjacent.
    pub shape: Vec<usize>,
    /// The elements, little-endian.
    pub bytes: Vec<u8>,
}

/// The tensors of a file by their names.
pub type Tensors = BTreeMap<String, Tensor>;

impl Tensor {
    /// A tensor of F32.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// The elements as f32, rounded where their type is wider. There are none if the type is not a number's.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect()
        }
        let bytes = &self.bytes[..];
        Some(match self.dtype {
            Dtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::F32 => each(bytes, f32::from_le_bytes),
            Dtype::F16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
            Dtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
            Dtype::I16 => each(bytes, |bytes| i16::from_le_bytes(bytes).into()),
            Dtype::I8 => each(bytes, |[byte]: [u8; 1]| f32::from(byte as i8)),
            Dtype::U64 => each(bytes, |bytes| u64::from_le_bytes(bytes) as f32),
            Dtype::U32 => each(bytes, |bytes| u32::from_le_bytes(bytes) as f32),
            Dtype::U16 => each(bytes, |bytes| u16::from_le_bytes(bytes).into()),
            Dtype::U8 => each(bytes, |[byte]: [u8; 1]| byte.into()),
            _ => return None,
        })
    }

    /// The same tensor with F32 in place of F64, which the library does not compute with.
    fn narrowed(self) -> Self {
        match (self.dtype, self.to_f32()) {
            (Dtype::F64, Some(values)) => Self::from_f32(self.shape, &values),
            _ => self,
        }
    }
}

/// Writes a safetensors file. F64 becomes F32, which the library computes with.
///
/// # Errors
/// [`Error::Tensor`] if a tensor's bytes do not have the length that its type and dimensions need.
pub fn to_safetensors(tensors: Tensors, metadata: BTreeMap<String, String>) -> Result<Vec<u8>> {
    let tensors: Tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.narrowed())).collect();
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        Ok((name.as_str(), view.map_err(|cause| Error::tensor(name.as_str(), cause))?))
    });
    let views = views.collect::<Result<Vec<(&str, TensorView<'_>)>>>()?;
    let metadata = (!metadata.is_empty()).then(|| metadata.into_iter().collect());
    safetensors::serialize(views, metadata).map_err(|cause| Error::container(Format::Safetensors, cause))
}

/// The tensors and the metadata of a safetensors file, unless it is damaged.
pub(crate) fn from_safetensors(bytes: &[u8]) -> Option<(Tensors, BTreeMap<String, String>)> {
    // The library checks more than the crate does.
    let metadata = skinny::model::TensorFile::new(bytes).ok()?.metadata().clone();
    let file = SafeTensors::deserialize(bytes).ok()?;
    let tensor = |view: &TensorView<'_>| Tensor {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    Some((file.tensors().into_iter().map(|(name, view)| (name, tensor(&view))).collect(), metadata))
}
