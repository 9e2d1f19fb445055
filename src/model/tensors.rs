//! The tensors of a safetensors file, each taken once and checked as it is taken.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, FileError, Result, TensorProblem};
use crate::matrix::Mat;

/// A file on its way to a model. What is left when the model is made is what the model has no use for.
#[derive(Clone)]
pub(crate) struct Tensors<'a> {
    views: BTreeMap<String, TensorView<'a>>,
    metadata: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// Reads the header of a safetensors file.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        let container = |reason: &dyn core::fmt::Display| FileError::Container { reason: reason.to_string() };
        check_offsets(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|cause| container(&cause))?;
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let file = SafeTensors::deserialize(bytes).map_err(|cause| container(&cause))?;
        Ok(Self { views: file.tensors().into_iter().collect(), metadata })
    }

    /// The metadata of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The names of the tensors that were not taken yet, in order, and their dimensions.
    pub fn remaining(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.views.iter().map(|(name, view)| (name.as_str(), view.shape()))
    }

    /// The tensors that were not taken yet, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &TensorView<'a>)> {
        self.views.iter().map(|(name, view)| (name.as_str(), view))
    }

    /// Whether a tensor is there and was not taken yet.
    pub fn contains(&self, name: &str) -> bool {
        self.views.contains_key(name)
    }

    /// The names in `patterns`; one that ends in `*` stands for those that begin so.
    pub fn matching(&self, patterns: &[String]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for pattern in patterns {
            match pattern.strip_suffix('*') {
                None => names.extend([pattern.clone()]),
                Some(prefix) => names.extend(self.views.keys().filter(|name| name.starts_with(prefix)).cloned()),
            }
        }
        names
    }

    /// Fails if a tensor was not taken.
    pub fn expect_empty(&self) -> Result<()> {
        match self.views.keys().next() {
            None => Ok(()),
            Some(name) => Err(FileError::tensor(name.as_str(), TensorProblem::Unexpected)),
        }
    }

    fn take(&mut self, name: &str) -> Result<TensorView<'a>> {
        self.views.remove(name).ok_or_else(|| FileError::tensor(name, TensorProblem::Missing))
    }

    /// Takes floats of any precision, with their dimensions; all must be finite.
    pub fn take_floats(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = self.take(name)?;
        // The bytes may lie at any address.
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F16 => data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => data.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            dtype => return Err(wrong_dtype(name, "F32, F16 or BF16", dtype)),
        };
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok((view.shape().to_vec(), values)),
            Some(index) => {
                let value = values[index];
                Err(FileError::invalid(name, Error::NotFinite { what: "element", index, value }))
            }
        }
    }

    /// Takes a vector of `len` floats.
    pub fn take_vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let (shape, values) = self.take_floats(name)?;
        expect_shape(name, &[len], &shape)?;
        Ok(values)
    }

    /// Takes a matrix of floats, of any shape.
    pub fn take_matrix(&mut self, name: &str) -> Result<Mat<f32>> {
        let (shape, values) = self.take_floats(name)?;
        match *shape {
            [rows, cols] if rows > 0 && cols > 0 => Mat::from_vec(values, rows, cols),
            _ => Err(wrong_shape(name, "two dimensions, none of them 0".into(), &shape)),
        }
    }

    /// Takes a `rows x cols` matrix of floats.
    pub fn take_floats_of(&mut self, name: &str, rows: usize, cols: usize) -> Result<Mat<f32>> {
        let (shape, values) = self.take_floats(name)?;
        expect_shape(name, &[rows, cols], &shape)?;
        Mat::from_vec(values, rows, cols)
    }

    /// Takes a `rows x cols` matrix of signed bytes.
    pub fn take_signed(&mut self, name: &str, rows: usize, cols: usize) -> Result<Mat<i8>> {
        let data = self.take_bytes(name, Dtype::I8, "I8", rows, cols)?;
        Mat::from_vec(data.iter().map(|&byte| byte as i8).collect(), rows, cols)
    }

    /// Takes a `rows x cols` matrix of unsigned bytes.
    pub fn take_unsigned(&mut self, name: &str, rows: usize, cols: usize) -> Result<Mat<u8>> {
        let data = self.take_bytes(name, Dtype::U8, "U8", rows, cols)?;
        Mat::from_vec(data.to_vec(), rows, cols)
    }

    fn take_bytes(
        &mut self,
        name: &str,
        dtype: Dtype,
        expected: &'static str,
        rows: usize,
        cols: usize,
    ) -> Result<&'a [u8]> {
        let view = self.take(name)?;
        if view.dtype() != dtype {
            return Err(wrong_dtype(name, expected, view.dtype()));
        }
        expect_shape(name, &[rows, cols], view.shape())?;
        Ok(view.data())
    }
}

fn wrong_dtype(name: &str, expected: &'static str, found: Dtype) -> Error {
    FileError::tensor(name, TensorProblem::Dtype { expected, found: format!("{found:?}") })
}

/// The error that a tensor has other dimensions than those described.
pub(super) fn wrong_shape(name: &str, expected: String, found: &[usize]) -> Error {
    FileError::tensor(name, TensorProblem::Shape { expected, found: found.to_vec() })
}

fn expect_shape(name: &str, expected: &[usize], found: &[usize]) -> Result<()> {
    if expected == found { Ok(()) } else { Err(wrong_shape(name, format!("{expected:?}"), found)) }
}

/// Fails unless all tensors end within the file. The safetensors crate (0.8) adds the end of the last one to the length
/// of the header unchecked: a sum that wraps around is a panic at best.
fn check_offsets(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Entry {
        data_offsets: Option<(u64, u64)>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tensor {
        Entry(Entry),
        Other(IgnoredAny),
    }
    let container = |reason: String| Error::from(FileError::Container { reason });
    let (length, rest) = bytes.split_first_chunk().ok_or_else(|| container("shorter than 8 bytes".into()))?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or_else(|| container(format!("a header of {length} bytes in {}", bytes.len())))?;
    let tensors: BTreeMap<String, Tensor> =
        serde_json::from_slice(header).map_err(|cause| container(format!("header: {cause}")))?;
    let data = (rest.len() - header.len()) as u64;
    for (name, tensor) in &tensors {
        if let Tensor::Entry(Entry { data_offsets: Some((_, end)) }) = tensor
            && *end > data
        {
            return Err(container(format!("{name} ends at {end}, beyond the {data} bytes of data")));
        }
    }
    Ok(())
}
