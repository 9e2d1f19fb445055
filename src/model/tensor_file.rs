//! Inspection of any safetensors file: its tensors and their values.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::tensors::Tensors;
use crate::error::Result;

/// The tensors of any safetensors file.
///
/// # Example
/// ```
/// use skinny::model::TensorFile;
///
/// let header = br#"{"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
/// let numbers = [0.5f32, -2.0].map(f32::to_le_bytes);
/// let bytes = [&(header.len() as u64).to_le_bytes(), &header[..], numbers.as_flattened()].concat();
///
/// let file = TensorFile::new(&bytes)?;
/// let x = &file.tensors()[0];
/// assert_eq!((x.name.as_str(), x.dtype.as_str(), x.bytes), ("x", "F32", 8));
/// assert_eq!(file.floats("x")?, (vec![1, 2], vec![0.5, -2.0]));
/// # Ok::<(), skinny::Error>(())
/// ```
pub struct TensorFile<'a>(Tensors<'a>);

/// A tensor's entry in the header of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its elements, as the format writes it: `F32`, `I64`.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Bytes of its data.
    pub bytes: usize,
}

impl<'a> TensorFile<'a> {
    /// Reads the header. The file may be hostile: its offsets are checked against its size.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) if the container is malformed.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        Ok(Self(Tensors::new(bytes)?))
    }

    /// The tensors, in the order of their names.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let info = |(name, view): (&str, &safetensors::tensor::TensorView<'_>)| TensorInfo {
            name: name.into(),
            dtype: format!("{:?}", view.dtype()),
            shape: view.shape().to_vec(),
            bytes: view.data().len(),
        };
        self.0.entries().map(info).collect()
    }

    /// The metadata of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        self.0.metadata()
    }

    /// The dimensions and values of a tensor in F32, F16 or BF16.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) with the name: there is no such tensor, it has another type, or an element
    /// is not finite.
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        self.0.clone().take_floats(name)
    }
}
