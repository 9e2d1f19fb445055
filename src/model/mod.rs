//! Whole models: stacks of layers, streaming sessions, and model files.
//!
//! ```text
//! safetensors of PyTorch -> Model (f32) -> compressed, quantized Model <-> safetensors of this crate
//!                                                  |
//!                                               Session: frames in, outputs out
//! ```
//!
//! A [`Model`] is immutable and shared by any number of [`Session`]s. It runs and can be saved at every stage: in
//! `f32`, low rank, 8, 4 or 2 bits.

#[cfg(feature = "svd")]
mod calibration;
#[cfg(feature = "svd")]
mod compress;
mod dequantize;
#[cfg(feature = "safetensors")]
mod file;
#[cfg(feature = "safetensors")]
mod foreign;
#[cfg(feature = "safetensors")]
mod import;
mod layer;
#[cfg(feature = "svd")]
mod matrices;
#[cfg(feature = "svd")]
mod part;
mod session;
#[cfg(feature = "safetensors")]
mod stored;
#[cfg(feature = "safetensors")]
mod tensor_file;
#[cfg(feature = "safetensors")]
mod tensors;
#[cfg(feature = "safetensors")]
mod version;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

#[cfg(feature = "svd")]
pub use calibration::Calibration;
#[cfg(feature = "svd")]
pub use compress::{Compressed, Cutting, Decomposed, MatrixReport, Storage, Weighting};
#[cfg(feature = "train")]
pub(crate) use file::{read, write};
#[cfg(feature = "safetensors")]
pub use import::{Import, ImportOptions};
pub use layer::Layer;
pub use session::Session;
#[cfg(feature = "safetensors")]
pub use tensor_file::{TensorFile, TensorInfo};
#[cfg(feature = "train")]
pub(crate) use tensors::Tensors;

use crate::error::{Error, FileError, Result};
use crate::kernels::{Tier, WeightFormat};

/// A stack of layers, each feeding the next, with metadata and attached tensors.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use skinny::{Mat, MatRef, Tier, factored::{Linear, Weight}, kernels::WeightFormat};
/// use skinny::model::{Layer, Model, Session};
///
/// let weight = Weight::dense(Mat::from_vec(vec![1.0, 2.0, 3.0, -4.0], 2, 2)?)?;
/// let model = Model::new(vec![("fc".into(), Layer::Linear(Linear::new(weight, None)?))])?;
/// let model = Arc::new(model.quantize_to(WeightFormat::I8, Tier::select()?)?);
///
/// let mut session = Session::new(model)?.with_time_batch(1)?;
/// let y = session.push(MatRef::row_vector(&[1.0, 1.0]))?;
/// assert!((y.row(0)[0] - 3.0).abs() < 0.05 && (y.row(0)[1] + 1.0).abs() < 0.05);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    layers: Vec<(String, Layer)>,
    metadata: BTreeMap<String, String>,
    attachments: BTreeMap<String, Attachment>,
}

/// A tensor that belongs to the model but to none of its layers, such as the mean of the input features.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Attachment {
    /// Makes an attachment from dimensions and values.
    ///
    /// # Errors
    /// [`Error::Parameter`] if a dimension is 0, [`Error::Length`] unless the dimensions' product is the number of values,
    /// [`Error::NotFinite`].
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self> {
        if shape.contains(&0) {
            return Err(Error::Parameter { what: "dimension of an attachment", value: 0.0, expected: "at least 1" });
        }
        let expected = shape.iter().try_fold(1usize, |product, &dimension| product.checked_mul(dimension));
        if expected != Some(values.len()) {
            let expected = expected.unwrap_or(usize::MAX);
            return Err(Error::Length { what: "attachment", expected, found: values.len() });
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Self { shape, values }),
            Some(index) => Err(Error::NotFinite { what: "attachment", index, value: values[index] }),
        }
    }

    /// The dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Model {
    /// Makes a model from named layers, each feeding the next.
    ///
    /// # Errors
    /// [`Error::File`] with the name of the layer at fault: its input does not fit the output of the layer before, its
    /// name is already taken, or it has no features. [`Error::Length`] if there is no layer.
    pub fn new(layers: Vec<(String, Layer)>) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::Length { what: "layers", expected: 1, found: 0 });
        }
        let mut names = BTreeSet::new();
        for (name, layer) in &layers {
            let (input, output) = (layer.input_size(), layer.output_size());
            if input == 0 || output == 0 {
                return Err(FileError::layer(
                    name.clone(),
                    Error::Parameter { what: "features", value: 0.0, expected: "at least 1" },
                ));
            }
            if !names.insert(name) {
                return Err(FileError::layer(
                    name.clone(),
                    Error::Parameter { what: "layers of this name", value: 2.0, expected: "1" },
                ));
            }
        }
        for pair in layers.windows(2) {
            let (expected, found) = (pair[0].1.output_size(), pair[1].1.input_size());
            if expected != found {
                return Err(FileError::layer(pair[1].0.clone(), Error::Length { what: "input", expected, found }));
            }
        }
        Ok(Self { layers, metadata: BTreeMap::new(), attachments: BTreeMap::new() })
    }

    /// The same model with this metadata and these attachments.
    pub fn with_attached(
        mut self,
        metadata: BTreeMap<String, String>,
        attachments: BTreeMap<String, Attachment>,
    ) -> Self {
        (self.metadata, self.attachments) = (metadata, attachments);
        self
    }

    /// The layers and their names, from input to output.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &Layer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), layer))
    }

    /// Text stored with the model, such as how its features are computed and what its classes mean.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Tensors stored with the model that belong to no layer.
    pub fn attachments(&self) -> &BTreeMap<String, Attachment> {
        &self.attachments
    }

    /// Features per input frame.
    pub fn input_size(&self) -> usize {
        self.layers.first().map_or(0, |(_, layer)| layer.input_size())
    }

    /// Features per output frame.
    pub fn output_size(&self) -> usize {
        self.layers.last().map_or(0, |(_, layer)| layer.output_size())
    }

    /// Input frames per output frame: the product of the strides of its convolutions.
    pub fn stride(&self) -> usize {
        self.layers.iter().fold(1, |stride, (_, layer)| stride.saturating_mul(layer.stride()))
    }

    /// Whether outputs are available while input still arrives. They are not if there is a bidirectional layer, which
    /// needs its whole input before it can begin.
    pub fn is_streaming(&self) -> bool {
        !self.layers.iter().any(|(_, layer)| layer.is_bidirectional())
    }

    /// Number of parameters of the layers, biases included.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|(_, layer)| layer.parameters()).sum()
    }

    /// Bytes of the layers in memory, scales and biases included.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|(_, layer)| layer.bytes()).sum()
    }

    /// The same model with all weights in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`](crate::factored::Weight::quantize), with the layer's name.
    pub fn quantize_to(&self, format: WeightFormat, tier: Tier) -> Result<Self> {
        self.map_layers(|_, layer| layer.quantize_to(format, tier))
    }

    /// The same model with each layer replaced by `map` of it.
    ///
    /// # Errors
    /// Those of `map`, with the layer's name, and those of [`new`](Self::new).
    pub fn map_layers(&self, mut map: impl FnMut(&str, &Layer) -> Result<Layer>) -> Result<Self> {
        let mapped = self.layers.iter().map(|(name, layer)| match map(name, layer) {
            Ok(layer) => Ok((name.clone(), layer)),
            Err(cause) => Err(FileError::layer(name.clone(), cause)),
        });
        let model = Self::new(mapped.collect::<Result<_>>()?)?;
        Ok(model.with_attached(self.metadata.clone(), self.attachments.clone()))
    }
}
