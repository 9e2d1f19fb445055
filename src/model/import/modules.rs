//! Construction of layers from the tensors of a module.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::groups::{Group, Kind, Stack};
use super::list::LayerSpec;
use super::names::{joined, suffix};
use super::weights;
use crate::error::{FileError, Result};
use crate::factored::{Bidirectional, Gru, Linear, Lstm, TimeConvolution, Weight};
use crate::kernels::Activation;
use crate::model::Layer;
use crate::model::tensors::{Tensors, wrong_shape};

/// The name of a layer: its prefix, or its kind if the prefix is empty.
pub(super) fn layer_name(prefix: &str, kind: Kind) -> String {
    match kind {
        _ if !prefix.is_empty() => prefix.into(),
        Kind::Linear => "linear".into(),
        Kind::Convolution => "convolution".into(),
        Kind::Gru | Kind::Lstm => kind.option().into(),
    }
}

/// Makes a layer from a `Linear`, or from one over several frames.
pub(super) fn linear(tensors: &mut Tensors<'_>, spec: &LayerSpec) -> Result<(String, Layer)> {
    let name = layer_name(&spec.prefix, Kind::Linear);
    let weight = weights::take(tensors, &joined(&spec.prefix, "weight"))?;
    let bias = bias(tensors, &joined(&spec.prefix, "bias"), weight.n())?;
    let linear = Linear::new(weight, bias)?.with_activation(spec.activation.unwrap_or(Activation::Identity));
    let Some(stack) = spec.stack else { return Ok((name, Layer::Linear(linear))) };
    let stacked = TimeConvolution::new(linear, stack, spec.stride.unwrap_or(stack), spec.padding.unwrap_or(0));
    let stacked = stacked.map_err(|cause| FileError::layer(name.clone(), cause))?;
    Ok((name, Layer::TimeConvolution(stacked)))
}

/// Makes a layer from a `Conv1d`.
pub(super) fn convolution(tensors: &mut Tensors<'_>, spec: &LayerSpec) -> Result<(String, Layer)> {
    let name = layer_name(&spec.prefix, Kind::Convolution);
    let tensor = joined(&spec.prefix, "weight");
    let (shape, values) = tensors.take_floats(&tensor)?;
    let &[out, input, kernel] = &shape[..] else {
        return Err(wrong_shape(&tensor, "three dimensions".into(), &shape));
    };
    let bias = bias(tensors, &joined(&spec.prefix, "bias"), out)?;
    let (stride, padding) = (spec.stride.unwrap_or(1), spec.padding.unwrap_or(0));
    let layer = TimeConvolution::from_conv1d(&values, [out, input, kernel], bias, stride, padding)
        .map(|layer| layer.with_activation(spec.activation.unwrap_or(Activation::Identity)));
    Ok((name.clone(), Layer::TimeConvolution(layer.map_err(|cause| FileError::layer(name, cause))?)))
}

/// Makes the layers of a recurrent module.
pub(super) fn recurrent(
    tensors: &mut Tensors<'_>,
    prefix: &str,
    group: &Group,
    stack: &Stack,
) -> Result<Vec<(String, Layer)>> {
    let mut layers = Vec::new();
    for l in 0..stack.layers {
        let name = joined(prefix, &format!("l{l}"));
        let in_layer = |cause| FileError::layer(name.clone(), cause);
        let parameters =
            |tensors: &mut _, reverse| Parameters::take(tensors, prefix, &suffix(l, reverse), group, stack);
        let forward = parameters(tensors, false)?;
        let reverse = if stack.bidirectional { Some(parameters(tensors, true)?) } else { None };
        let layer = match (group.kind, reverse) {
            (Kind::Lstm, None) => forward.lstm().map(Layer::Lstm),
            (_, None) => forward.gru().map(Layer::Gru),
            (Kind::Lstm, Some(reverse)) => both(forward.lstm(), reverse.lstm()).map(Layer::BidirectionalLstm),
            (_, Some(reverse)) => both(forward.gru(), reverse.gru()).map(Layer::BidirectionalGru),
        };
        layers.push((name.clone(), layer.map_err(in_layer)?));
    }
    Ok(layers)
}

fn both<L: crate::factored::Recurrent>(forward: Result<L>, reverse: Result<L>) -> Result<Bidirectional<L>> {
    Bidirectional::new(forward?, reverse?)
}

/// The parameters of one direction of one recurrent layer.
struct Parameters {
    weight_ih: Weight,
    weight_hh: Weight,
    weight_hr: Option<Weight>,
    bias_ih: Option<Vec<f32>>,
    bias_hh: Option<Vec<f32>>,
}

impl Parameters {
    fn take(tensors: &mut Tensors<'_>, prefix: &str, suffix: &str, group: &Group, stack: &Stack) -> Result<Self> {
        let named = |parameter: &str| joined(prefix, &format!("{parameter}{suffix}"));
        let [weight_ih, weight_hh] = if stack.joint {
            let name = named("weight");
            let [rows, cols] = weights::shape(tensors, &name)?;
            let hidden = rows / group.kind.gates();
            match cols.checked_sub(hidden) {
                Some(input @ 1..) => weights::take_joint(tensors, &name, input)?,
                _ => {
                    let expected = format!("more than {hidden} columns");
                    return Err(wrong_shape(&name, expected, &[rows, cols]));
                }
            }
        } else {
            [weights::take(tensors, &named("weight_ih"))?, weights::take(tensors, &named("weight_hh"))?]
        };
        let weight_hr = if stack.projection { Some(weights::take(tensors, &named("weight_hr"))?) } else { None };
        // The number that the weight requires; the layer checks the weight's own rows.
        let rows = group.kind.gates().saturating_mul(weight_hr.as_ref().map_or(weight_hh.k(), Weight::k));
        let mut bias = |parameter| if stack.bias { bias(tensors, &named(parameter), rows) } else { Ok(None) };
        let (bias_ih, bias_hh) = (bias("bias_ih")?, bias("bias_hh")?);
        Ok(Self { weight_ih, weight_hh, weight_hr, bias_ih, bias_hh })
    }

    fn gru(self) -> Result<Gru> {
        Gru::new(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
    }

    fn lstm(self) -> Result<Lstm> {
        match self.weight_hr {
            None => Lstm::new(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh),
            Some(weight_hr) => {
                Lstm::with_projection(self.weight_ih, self.weight_hh, weight_hr, self.bias_ih, self.bias_hh)
            }
        }
    }
}

/// Takes a bias of `len` elements, if there is one.
fn bias(tensors: &mut Tensors<'_>, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
    if tensors.contains(name) { tensors.take_vector(name, len).map(Some) } else { Ok(None) }
}

/// Fails if a convolution takes only part of its input's features, which means that it has groups.
pub(super) fn expect_one_group(prefix: &str, group: &Group, before: (&str, usize)) -> Result<()> {
    let (before, given) = before;
    if group.kind == Kind::Convolution && given != group.input && given.checked_rem(group.input) == Some(0) {
        let groups = given / group.input;
        let reason = format!(
            "each output takes {} of the {given} features of {before}: a Conv1d with groups={groups}, which is not \
             supported",
            group.input
        );
        return Err(FileError::not_supported(joined(prefix, "weight"), reason));
    }
    Ok(())
}
