//! Whole models: lists and graphs of layers, streaming sessions, and model files.
//!
//! ```text
//! safetensors of PyTorch -> Model (f32) -> compressed, quantized Model <-> safetensors of this crate
//!                                                  |
//!                                               Session: frames in, outputs out
//! ```
//!
//! A [`Model`] is immutable and shared by any number of [`Session`]s. It runs and can be saved at every stage: in
//! `f32`, low rank, 8, 4 or 2 bits.

mod builder;
#[cfg(feature = "svd")]
mod calibration;
#[cfg(feature = "svd")]
mod compress;
mod dequantize;
#[cfg(feature = "svd")]
mod equalize;
#[cfg(feature = "svd")]
mod evaluation;
#[cfg(feature = "svd")]
mod factorable;
#[cfg(feature = "safetensors")]
mod file;
#[cfg(feature = "safetensors")]
mod foreign;
mod frames;
mod graph;
#[cfg(feature = "safetensors")]
mod graph_file;
#[cfg(feature = "safetensors")]
mod import;
mod join;
mod layer;
#[cfg(feature = "svd")]
mod matrices;
#[cfg(feature = "svd")]
mod part;
#[cfg(feature = "svd")]
mod precision;
#[cfg(feature = "svd")]
mod ranges;
#[cfg(feature = "svd")]
mod scaling;
#[cfg(feature = "svd")]
mod sequence;
mod session;
#[cfg(feature = "safetensors")]
mod stored;
mod streaming;
#[cfg(feature = "safetensors")]
mod tensor_file;
#[cfg(feature = "safetensors")]
mod tensors;
mod timing;
#[cfg(feature = "safetensors")]
mod version;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

#[cfg(feature = "svd")]
pub use calibration::Calibration;
#[cfg(feature = "svd")]
pub use compress::{BudgetPoint, Compressed, Cutting, Decomposed, MatrixReport, Storage, Weighting};
#[cfg(feature = "svd")]
pub use equalize::Equalized;
#[cfg(feature = "svd")]
pub use evaluation::{Evaluation, Fidelity, LayerLoss};
#[cfg(feature = "train")]
pub(crate) use file::{read, write};
pub use graph::{Graph, Node, Operation, Value};
#[cfg(feature = "safetensors")]
pub use import::{Import, ImportOptions};
pub use join::Join;
pub use layer::Layer;
#[cfg(feature = "svd")]
pub use precision::{Demand, LayerPrecision};
#[cfg(feature = "svd")]
pub use sequence::Sequence;
pub use session::Session;
#[cfg(feature = "safetensors")]
pub use tensor_file::{TensorFile, TensorInfo};
#[cfg(feature = "train")]
pub(crate) use tensors::Tensors;
use timing::Timing;

use crate::error::{Error, FileError, Result};
use crate::factored::Quantization;
use crate::kernels::Tier;

/// Layers that feed each other, with metadata and attached tensors: a list ([`Model::new`]) or a [`Graph`].
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
    graph: Graph,
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
    /// Makes a model from named layers, each feeding the next. Its input is called `input` and its output `output`.
    ///
    /// # Errors
    /// [`Error::File`] with the name of the layer at fault: its input does not fit the output of the layer before, its
    /// name is already taken, or it has no features. [`Error::Length`] if there is no layer.
    pub fn new(layers: Vec<(String, Layer)>) -> Result<Self> {
        let Some((name, first)) = layers.first() else {
            return Err(Error::Length { what: "layers", expected: 1, found: 0 });
        };
        let mut graph = Graph::new();
        let input = graph::input_of_list(|name| layers.iter().any(|(layer, _)| layer == name));
        let mut value = graph.add_input(input, first.input_size(), true).map_err(|_| graph::without_features(name))?;
        for (name, layer) in layers {
            value = graph.layer(name, layer, value)?;
        }
        graph.output(graph::OUTPUT, value)?;
        graph.build()
    }

    fn of_graph(graph: Graph) -> Self {
        Self { graph, metadata: BTreeMap::new(), attachments: BTreeMap::new() }
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

    /// The layers and their names, in the order in which they run. Nodes that are no layers are left out.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &Layer)> {
        let layers: Vec<(&str, &Layer)> = self.nodes().iter().filter_map(Node::layer).collect();
        layers.into_iter()
    }

    /// The nodes, in the order in which they run: each reads inputs of the model and values of earlier nodes.
    pub fn nodes(&self) -> &[Node] {
        self.graph.nodes()
    }

    /// The name of a value: an input's or a node's.
    ///
    /// # Panics
    /// If the value belongs to another graph that has more of them.
    pub fn value_name(&self, value: Value) -> &str {
        self.graph.value_name(value)
    }

    /// Features per frame of a value, or `None` if the model has no such value.
    pub fn features(&self, value: Value) -> Option<usize> {
        self.graph.features(value)
    }

    /// The names of the inputs, and their features per frame.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.graph.inputs().iter().map(String::as_str).zip(self.graph.widths())
    }

    /// The names of the outputs, and the values that they are.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, Value)> {
        self.graph.outputs().iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Text stored with the model, such as how its features are computed and what its classes mean.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Tensors stored with the model that belong to no layer.
    pub fn attachments(&self) -> &BTreeMap<String, Attachment> {
        &self.attachments
    }

    /// Features per frame of the first input.
    pub fn input_size(&self) -> usize {
        self.inputs().next().map_or(0, |(_, features)| features)
    }

    /// Features per frame of the first output.
    pub fn output_size(&self) -> usize {
        self.outputs().next().and_then(|(_, value)| self.features(value)).unwrap_or(0)
    }

    /// Input frames per output frame: the product of the strides of the convolutions on the way. If values differ, it is
    /// the largest of any value.
    pub fn stride(&self) -> usize {
        self.graph.timings().filter_map(Timing::stride).fold(1, usize::max)
    }

    /// For each of the [`layers`](Self::layers), how often it runs for as many input frames as the [stride](Self::stride):
    /// more than once if a later layer has a stride. A layer behind one that makes a frame of the whole sequence counts
    /// as running once.
    pub fn runs_per_output(&self) -> Vec<usize> {
        let (stride, first) = (self.stride(), self.inputs().len());
        let runs = |(i, node): (usize, &Node)| {
            node.layer().map(|_| stride / self.graph.timing(Value(first + i)).stride().unwrap_or(stride))
        };
        self.nodes().iter().enumerate().filter_map(runs).collect()
    }

    /// How many input frames an output waits for after those that it is about, because convolutions look ahead: the most
    /// of any output. `None` if an output waits for the end of the sequence.
    pub fn delay(&self) -> Option<usize> {
        let delay = |(_, value)| self.graph.timing(value).delay();
        let most = self.outputs().map(delay).try_fold(0, |most, delay| delay.map(|delay| delay.max(most)));
        most.map(|delay| usize::try_from(delay).unwrap_or(usize::MAX))
    }

    /// Whether outputs are available while input still arrives. They are not if an output needs the whole input, as that
    /// of a bidirectional layer does.
    pub fn is_streaming(&self) -> bool {
        self.outputs().all(|(_, value)| self.graph.timing(value).is_streaming())
    }

    /// Number of parameters of the layers, biases included.
    pub fn parameters(&self) -> usize {
        self.layers().map(|(_, layer)| layer.parameters()).sum()
    }

    /// Bytes of the layers in memory, scales and biases included.
    pub fn bytes(&self) -> usize {
        self.layers().map(|(_, layer)| layer.bytes()).sum()
    }

    /// The same model with all weights in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`](crate::factored::Weight::quantize), with the layer's name.
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        let format = format.into();
        self.map_layers(|_, layer| layer.quantize_to(format, tier))
    }

    /// The same model with each layer replaced by `map` of it.
    ///
    /// # Errors
    /// Those of `map`, with the layer's name, and those of [`new`](Self::new) and [`Graph::layer`].
    pub fn map_layers(&self, mut map: impl FnMut(&str, &Layer) -> Result<Layer>) -> Result<Self> {
        let graph = self.graph.map(|node| match node.operation() {
            Operation::Layer(layer) => match map(node.name(), layer) {
                Ok(layer) => Ok(Operation::Layer(layer)),
                Err(cause) => Err(FileError::layer(node.name(), cause)),
            },
            &Operation::Join(join) => Ok(Operation::Join(join)),
        })?;
        Ok(Self::of_graph(graph).with_attached(self.metadata.clone(), self.attachments.clone()))
    }
}
