//! The numbers of tensors, gathered from their storages.

use safetensors::Dtype;

use super::container::Parts;
use super::pickle::{Pickle, Storage, Value, View};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The most bytes of tensors for one byte of the file. Tensors may share a storage.
const SHARING: usize = 16;

/// The type and the size of a storage's elements, by its class.
pub(super) fn element(class: &str) -> Result<(Dtype, usize), String> {
    Ok(match class {
        "DoubleStorage" => (Dtype::F64, 8),
        "FloatStorage" => (Dtype::F32, 4),
        "HalfStorage" => (Dtype::F16, 2),
        "BFloat16Storage" => (Dtype::BF16, 2),
        "LongStorage" => (Dtype::I64, 8),
        "IntStorage" => (Dtype::I32, 4),
        "ShortStorage" => (Dtype::I16, 2),
        "CharStorage" => (Dtype::I8, 1),
        "ByteStorage" | "UntypedStorage" => (Dtype::U8, 1),
        "BoolStorage" => (Dtype::BOOL, 1),
        "QInt8Storage" | "QUInt8Storage" | "QInt32Storage" => {
            return Err(format!(
                "a {class} is of a model that PyTorch quantized; save the one it was made from, in f32"
            ));
        }
        _ => return Err(format!("a {class} is not supported; save the tensor as float32")),
    })
}

/// The type and the size that a `torch.dtype` names, for tensors in a storage without a type.
fn named(name: &str) -> Result<(Dtype, usize), String> {
    Ok(match name {
        "uint16" => (Dtype::U16, 2),
        "uint32" => (Dtype::U32, 4),
        "uint64" => (Dtype::U64, 8),
        "float64" => (Dtype::F64, 8),
        "float32" => (Dtype::F32, 4),
        "float16" => (Dtype::F16, 2),
        "bfloat16" => (Dtype::BF16, 2),
        _ => return Err(format!("the type torch.{name} is not supported; save the tensor as float32")),
    })
}

/// Gathers tensors, up to a total size.
pub(super) struct Reader<'p, 'a> {
    pickle: &'p Pickle<'a>,
    parts: &'p Parts<'p>,
    /// Bytes that may still be taken.
    left: usize,
}

impl<'p, 'a> Reader<'p, 'a> {
    /// A reader for a file of `len` bytes.
    pub fn new(pickle: &'p Pickle<'a>, parts: &'p Parts<'p>, len: usize) -> Self {
        Self { pickle, parts, left: len.saturating_mul(SHARING) }
    }

    /// The tensor that a view shows.
    pub fn tensor(&mut self, name: &str, view: &View) -> Result<Tensor> {
        self.gathered(view).map_err(|reason| Error::tensor(name, reason))
    }

    fn gathered(&mut self, view: &View) -> Result<Tensor, String> {
        let Value::Storage(storage) = self.pickle.get(view.storage) else { return Err("it has no storage".into()) };
        let (dtype, size) = self.element(storage, view)?;
        let data = self.parts.storages.get(storage.key);
        let data = data.ok_or_else(|| format!("the file lacks its storage {}", storage.key))?;
        let dimension = |&dimension: &u64| usize::try_from(dimension).ok();
        let shape = view.shape.iter().map(dimension).collect::<Option<Vec<usize>>>();
        let strides = view.strides.iter().map(dimension).collect::<Option<Vec<usize>>>();
        let too_large = || format!("its dimensions {:?} do not fit {} bytes of storage", view.shape, data.len());
        let (shape, strides) = shape.zip(strides).ok_or_else(too_large)?;
        if shape.contains(&0) {
            return Ok(Tensor { dtype, shape, bytes: Vec::new() });
        }
        // The place of the last element, and the number of elements.
        let offset = usize::try_from(view.offset).ok();
        let last = shape
            .iter()
            .zip(&strides)
            .fold(offset, |last, (&dimension, &stride)| last?.checked_add((dimension - 1).checked_mul(stride)?));
        let last = last.filter(|&last| last < data.len() / size).ok_or_else(too_large)?;
        let elements = shape.iter().try_fold(1, |product: usize, &dimension| product.checked_mul(dimension));
        let elements = elements.filter(|&elements| elements <= data.len() / size).ok_or_else(|| {
            format!(
                "it repeats elements: dimensions {:?} of {} bytes; save a copy of it (Tensor.clone)",
                view.shape,
                data.len()
            )
        })?;
        let len = elements * size;
        self.left = self.left.checked_sub(len).ok_or_else(|| {
            format!("the tensors of the file share storages so often that they take {SHARING} times its size")
        })?;
        let offset = offset.unwrap_or_default();
        let bytes = if last + 1 - offset == elements && is_contiguous(&shape, &strides) {
            data[offset * size..][..len].to_vec()
        } else {
            strided(&data[offset * size..], size, &shape, &strides, len)
        };
        Ok(Tensor { dtype, shape, bytes })
    }

    fn element(&self, storage: &Storage<'_>, view: &View) -> Result<(Dtype, usize), String> {
        match view.dtype.map(|dtype| self.pickle.get(dtype)) {
            None => element(storage.class),
            Some(Value::Global("torch", name)) => named(name),
            Some(_) => Err("its type is unknown".into()),
        }
    }
}

/// Whether the elements lie one after the other, in the order of the dimensions.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&dimension, &stride)| {
        let fits = dimension == 1 || stride == expected;
        expected *= dimension;
        fits
    })
}

/// The elements of `size` bytes at the given strides, in the order of the dimensions, none of which is 0.
fn strided(data: &[u8], size: usize, shape: &[usize], strides: &[usize], len: usize) -> Vec<u8> {
    let mut index = vec![0; shape.len()];
    let mut bytes = Vec::with_capacity(len);
    let mut place = 0;
    while bytes.len() < len {
        bytes.extend_from_slice(&data[place * size..][..size]);
        for ((i, &dimension), &stride) in index.iter_mut().zip(shape).zip(strides).rev() {
            *i += 1;
            place += stride;
            if *i < dimension {
                break;
            }
            *i = 0;
            place -= dimension * stride;
        }
    }
    bytes
}
