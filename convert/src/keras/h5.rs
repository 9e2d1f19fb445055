//! HDF5 files, as far as Keras uses them.

use std::cell::Cell;

use hdf5_reader::group::Group;
use hdf5_reader::{Datatype, Hdf5File, OpenOptions};
use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::format::Format;
use crate::tensor::Tensor;

/// The most bytes of arrays for one byte of the file. They may be deflated.
const EXPANSION: usize = 64;

/// A file, and how many bytes of arrays may still be read from it.
pub(super) struct File {
    file: Hdf5File,
    left: Cell<usize>,
}

/// Numbers and their dimensions.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub(super) fn bad(reason: impl std::fmt::Display) -> Error {
    Error::container(Format::Keras, reason)
}

impl File {
    pub fn open(bytes: &[u8]) -> Result<Self> {
        let most = bytes.len().saturating_mul(EXPANSION);
        let options = OpenOptions::default().with_max_read_bytes(most).with_max_chunk_bytes(most);
        let file = Hdf5File::from_bytes_with_options(bytes, options).map_err(bad)?;
        Ok(Self { file, left: Cell::new(most) })
    }

    pub fn root(&self) -> Result<Group> {
        self.file.root_group().map_err(bad)
    }

    pub fn group(&self, path: &str) -> Option<Group> {
        self.file.group(path).ok()
    }

    /// The array of floats at a path within a group.
    pub fn array(&self, group: &Group, path: &str) -> Result<Array> {
        let mut group = group.clone();
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                let dataset = group.dataset(part).map_err(|cause| Error::tensor(path, cause))?;
                return self.read(path, &dataset);
            }
            group = group.group(part).map_err(|cause| Error::tensor(path, cause))?;
        }
        Err(Error::tensor(path, "missing"))
    }

    fn read(&self, path: &str, dataset: &hdf5_reader::Dataset) -> Result<Array> {
        let wrong = |reason: String| Error::tensor(path, reason);
        let dtype = match *dataset.dtype() {
            Datatype::FloatingPoint { size: 2, .. } => Dtype::F16,
            Datatype::FloatingPoint { size: 4, .. } => Dtype::F32,
            Datatype::FloatingPoint { size: 8, .. } => Dtype::F64,
            ref other => return Err(wrong(format!("holds {other:?}, not floats"))),
        };
        let len = dataset.raw_byte_len().map_err(|cause| wrong(cause.to_string()))?;
        let left = self.left.get().checked_sub(len);
        self.left.set(left.ok_or_else(|| wrong(format!("its {len} bytes are more than the file can hold")))?);
        let bytes = dataset.read_native_bytes().map_err(|cause| wrong(cause.to_string()))?;
        let shape = dataset.shape().iter().map(|&dimension| usize::try_from(dimension)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| wrong("its dimensions exceed the address space".into()))?;
        let values = Tensor { dtype, shape: Vec::new(), bytes }.to_f32().unwrap_or_default();
        Ok(Array { shape, values })
    }
}

/// A text, or several, that belong to a group.
pub(super) fn texts(group: &Group, name: &str) -> Option<Vec<String>> {
    let attribute = group.attribute(name).ok()?;
    attribute.read_strings().or_else(|_| attribute.read_string().map(|text| vec![text])).ok()
}
