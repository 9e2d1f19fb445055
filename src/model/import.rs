//! Models that PyTorch trained.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::order::{self, Group, LayerSpec, joined};
use super::tensors::{Tensors, wrong_shape};
use super::{Attachment, Layer, Model};
use crate::error::{Error, FileError, Result, TensorProblem};
use crate::factored::{Bidirectional, Gru, Linear, Lstm, TimeConvolution, Weight};
use crate::kernels::Tier;
use crate::matrix::Mat;

/// What a PyTorch file does not tell about its model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    /// The layers in order, separated by blanks or commas, each as `prefix[:option]...`: the prefix of its tensors
    /// (`rnn` of `rnn.weight_ih_l0`) and `relu` or `clip=MAX` (a ReLU clipped at MAX) for its activation, for a
    /// convolution `stride=FRAMES` and `padding=FRAMES`, for a linear layer over several frames `stack=FRAMES` and
    /// `stride=FRAMES` (as many as are stacked, unless said). By default the entry `skinny.layers` of the file's
    /// metadata, and without it the only order in which each layer's output fits the next one's input, without
    /// activations; of convolutions there is no default.
    pub layers: Option<String>,
    /// Tensors that belong to no layer but to the model: they become its [attachments](Model::attachments). A name that
    /// ends in `*` stands for all that begin so.
    pub keep: Vec<String>,
}

/// The metadata's key for the layers in order.
const KEY: &str = "skinny.layers";

impl Model {
    /// Reads a safetensors file of a PyTorch state dict, in f32, f16 or bf16, into a model in `f32`. It may hold
    /// `Linear`, `Conv1d` (one group, no dilation), `GRU` and `LSTM` modules of any number of layers, in one direction
    /// or two, `LSTM` also with a projection (`proj_size`).
    ///
    /// # Errors
    /// [`Error::File`] that names the tensor, layer or entry at fault and why; among them a tensor that belongs to no
    /// layer and is not to be kept, and layers whose order does not follow from their shapes.
    ///
    /// # Example
    /// ```
    /// use skinny::model::{ImportOptions, Model};
    ///
    /// // torch.nn.Linear(2, 1).state_dict(), written by safetensors.torch.save.
    /// let header = br#"{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
    ///     "weight":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#;
    /// let numbers = [0.5f32, 1.0, -2.0].map(f32::to_le_bytes);
    /// let file = [&(header.len() as u64).to_le_bytes(), &header[..], numbers.as_flattened()].concat();
    ///
    /// let model = Model::from_pytorch(&file, &ImportOptions::default())?;
    /// assert_eq!((model.input_size(), model.output_size(), model.parameters()), (2, 1, 3));
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn from_pytorch(bytes: &[u8], options: &ImportOptions) -> Result<Self> {
        let mut tensors = Tensors::new(bytes)?;
        let mut attachments = BTreeMap::new();
        for name in tensors.matching(&options.keep) {
            let (shape, values) = tensors.take_floats(&name)?;
            attachments.insert(name, Attachment::new(shape, values)?);
        }
        let mut metadata = tensors.metadata().clone();
        let written = metadata.remove(KEY);
        let groups = order::groups(&tensors);
        let specs = match options.layers.as_ref().or(written.as_ref()) {
            Some(layers) => LayerSpec::parse_list(layers)?,
            None => order::infer(&groups)?,
        };
        let mut layers = Vec::new();
        for spec in &specs {
            match groups.get(&spec.prefix) {
                Some(Group::Linear { .. }) => layers.push(linear(&mut tensors, spec)?),
                Some(Group::Convolution { .. }) => layers.push(convolution(&mut tensors, spec)?),
                Some(Group::Recurrent { layers: count, bidirectional, .. }) => {
                    for l in 0..*count {
                        layers.push(recurrent(&mut tensors, &spec.prefix, l, *bidirectional)?);
                    }
                }
                None => {
                    let name = joined(&spec.prefix, "weight");
                    return Err(FileError::tensor(name, TensorProblem::Missing));
                }
            }
        }
        tensors.expect_empty()?;
        Ok(Self::new(layers)?.with_attached(metadata, attachments))
    }

    /// [`from_pytorch`](Self::from_pytorch) of a file.
    ///
    /// # Errors
    /// As there; [`FileError::Io`] if the file cannot be read.
    #[cfg(feature = "std")]
    pub fn load_pytorch(path: impl AsRef<std::path::Path>, options: &ImportOptions) -> Result<Self> {
        Self::from_pytorch(&super::file::read(path.as_ref())?, options)
    }
}

impl Model {
    /// Reads a file of either kind: [one of this crate](Self::from_bytes), for the kernels of `tier`, or [one of
    /// PyTorch](Self::from_pytorch), in `f32`.
    ///
    /// # Errors
    /// As there.
    pub fn read(bytes: &[u8], options: &ImportOptions, tier: Tier) -> Result<Self> {
        if Tensors::new(bytes)?.metadata().contains_key(super::file::KEY) {
            Self::from_bytes(bytes, tier)
        } else {
            Self::from_pytorch(bytes, options)
        }
    }
}

fn layer_name(prefix: &str, default: &str) -> String {
    if prefix.is_empty() { default.into() } else { prefix.into() }
}

fn linear(tensors: &mut Tensors<'_>, spec: &LayerSpec) -> Result<(String, Layer)> {
    let name = layer_name(&spec.prefix, "linear");
    let weight = tensors.take_matrix(&joined(&spec.prefix, "weight"))?;
    let bias = bias(tensors, &joined(&spec.prefix, "bias"), weight.rows())?;
    let linear = Linear::new(Weight::dense(weight)?, bias)?.with_activation(spec.activation);
    let layer = match spec.stack {
        None if spec.stride.is_none() && spec.padding == 0 => Layer::Linear(linear),
        stack => {
            let stack = stack.unwrap_or(1);
            let stride = spec.stride.unwrap_or(stack);
            let stacked = TimeConvolution::new(linear, stack, stride, spec.padding);
            Layer::TimeConvolution(stacked.map_err(|cause| FileError::layer(name.clone(), cause))?)
        }
    };
    Ok((name, layer))
}

fn convolution(tensors: &mut Tensors<'_>, spec: &LayerSpec) -> Result<(String, Layer)> {
    let name = layer_name(&spec.prefix, "convolution");
    let tensor = joined(&spec.prefix, "weight");
    let (shape, values) = tensors.take_floats(&tensor)?;
    let &[out, input, kernel] = &shape[..] else {
        return Err(wrong_shape(&tensor, "three dimensions".into(), &shape));
    };
    let bias = bias(tensors, &joined(&spec.prefix, "bias"), out)?;
    let (stride, padding) = (spec.stride.unwrap_or(1), spec.padding);
    let layer = TimeConvolution::from_conv1d(&values, [out, input, kernel], bias, stride, padding)
        .map(|layer| layer.with_activation(spec.activation));
    Ok((name.clone(), Layer::TimeConvolution(layer.map_err(|cause| FileError::layer(name, cause))?)))
}

/// Layer `l` of a recurrent module, which is a GRU or an LSTM by the number of its gates.
fn recurrent(tensors: &mut Tensors<'_>, prefix: &str, l: usize, bidirectional: bool) -> Result<(String, Layer)> {
    let name = joined(prefix, &format!("l{l}"));
    let forward = direction(tensors, prefix, &format!("_l{l}"))?;
    let in_layer = |cause| FileError::layer(name.clone(), cause);
    let layer = if !bidirectional {
        match forward {
            Direction::Gru(layer) => Layer::Gru(layer),
            Direction::Lstm(layer) => Layer::Lstm(layer),
        }
    } else {
        match (forward, direction(tensors, prefix, &format!("_l{l}_reverse"))?) {
            (Direction::Gru(forward), Direction::Gru(reverse)) => {
                Layer::BidirectionalGru(Bidirectional::new(forward, reverse).map_err(in_layer)?)
            }
            (Direction::Lstm(forward), Direction::Lstm(reverse)) => {
                Layer::BidirectionalLstm(Bidirectional::new(forward, reverse).map_err(in_layer)?)
            }
            _ => {
                let cause = Error::Stored { operation: "join", expected: "two of a kind", found: "a GRU and an LSTM" };
                return Err(in_layer(cause));
            }
        }
    };
    Ok((name, layer))
}

enum Direction {
    Gru(Gru),
    Lstm(Lstm),
}

fn direction(tensors: &mut Tensors<'_>, prefix: &str, suffix: &str) -> Result<Direction> {
    let named = |parameter: &str| joined(prefix, &format!("{parameter}{suffix}"));
    let weight_ih = tensors.take_matrix(&named("weight_ih"))?;
    let weight_hh = tensors.take_matrix(&named("weight_hh"))?;
    let weight_hr = match tensors.contains(&named("weight_hr")) {
        true => Some(tensors.take_matrix(&named("weight_hr"))?),
        false => None,
    };
    let hidden = weight_hr.as_ref().map_or(weight_hh.cols(), Mat::cols);
    let rows = weight_hh.rows();
    let bias_ih = bias(tensors, &named("bias_ih"), rows)?;
    let bias_hh = bias(tensors, &named("bias_hh"), rows)?;
    let weight = |weight| Weight::dense(weight);
    let made = match (rows.checked_div(hidden), rows.checked_rem(hidden), weight_hr) {
        (Some(3), Some(0), None) => {
            Gru::new(weight(weight_ih)?, weight(weight_hh)?, bias_ih, bias_hh).map(Direction::Gru)
        }
        (Some(4), Some(0), None) => {
            Lstm::new(weight(weight_ih)?, weight(weight_hh)?, bias_ih, bias_hh).map(Direction::Lstm)
        }
        (Some(4), Some(0), Some(weight_hr)) => {
            Lstm::with_projection(weight(weight_ih)?, weight(weight_hh)?, weight(weight_hr)?, bias_ih, bias_hh)
                .map(Direction::Lstm)
        }
        _ => {
            let expected = format!("3 x {hidden} (GRU) or 4 x {hidden} (LSTM) rows");
            return Err(wrong_shape(&named("weight_hh"), expected, &[rows, weight_hh.cols()]));
        }
    };
    made.map_err(|cause| FileError::Layer { layer: joined(prefix, &suffix[1..]), problem: Box::new(cause) }.into())
}

/// A bias of `len` elements, if there is one.
fn bias(tensors: &mut Tensors<'_>, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
    if tensors.contains(name) { tensors.take_vector(name, len).map(Some) } else { Ok(None) }
}
