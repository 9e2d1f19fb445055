//! Layers of Keras as layers of the library.

use serde_json::Value;
use skinny::Mat;
use skinny::factored::{Bidirectional, Gru, Linear, Lstm, TimeConvolution, Weight};
use skinny::kernels::Activation;
use skinny::model::{Layer, Model};

use super::Weights;
use super::config::{self, Described};
use super::h5::{Array, File, bad};
use crate::error::{Error, Result};

/// A layer that later ones may still be folded into: a Dense or a Conv1D, with its weight as `out x inputs`.
struct Open {
    name: String,
    weight: Mat<f32>,
    bias: Vec<f32>,
    activation: Activation,
    /// The kernel, stride and padding of a convolution.
    frames: Option<[usize; 3]>,
}

/// The layers so far.
#[derive(Default)]
struct Stack {
    layers: Vec<(String, Layer)>,
    open: Option<Open>,
    assumptions: Vec<String>,
    /// The layer whose softmax was left out, which must be the last.
    softmax: Option<String>,
}

/// The model that a description and a file of weights make.
pub(super) fn model(config: &Value, file: &File, weights: &Weights) -> Result<(Model, Vec<String>)> {
    let mut stack = Stack::default();
    for layer in &config::layers(config)? {
        stack.add(layer, &|inner: &[&str]| weights.of(file, layer, inner))?;
    }
    stack.close()?;
    if stack.layers.is_empty() {
        return Err(bad("it has no layers with weights"));
    }
    Ok((Model::new(stack.layers)?, stack.assumptions))
}

impl Stack {
    /// Adds a layer. `weights` reads its arrays.
    fn add(&mut self, layer: &Described<'_>, weights: &dyn Fn(&[&str]) -> Result<Vec<Array>>) -> Result<()> {
        if matches!(
            layer.class,
            "InputLayer"
                | "Dropout"
                | "SpatialDropout1D"
                | "GaussianNoise"
                | "GaussianDropout"
                | "AlphaDropout"
                | "ActivityRegularization"
        ) {
            return Ok(());
        }
        if let Some(softmax) = &self.softmax {
            return Err(layer.refused(format!("follows the softmax of {softmax}, which is supported only at the end")));
        }
        match layer.class {
            "Dense" => self.dense(layer, weights(&[""])?),
            "TimeDistributed" => match layer.inner("layer") {
                Some(inner) if inner.class == "Dense" => self.dense(&inner, weights(&["layer"])?),
                _ => Err(layer.refused("only a Dense may be distributed over time")),
            },
            "Conv1D" => self.convolution(layer, weights(&[""])?),
            "BatchNormalization" => self.normalization(layer, &weights(&[""])?),
            "Activation" => self.activation(layer, layer.text("activation", "linear")),
            "ReLU" => self.relu(layer),
            "Softmax" => self.activation(layer, "softmax"),
            "GRU" | "LSTM" => {
                let arrays = weights(&["cell"])?;
                self.sequences(layer, true)?;
                let made = if layer.class == "GRU" { gru(layer, &arrays).map(Layer::Gru) } else { lstm(layer, &arrays).map(Layer::Lstm) };
                self.push(layer.name, made?)
            }
            "Bidirectional" => self.bidirectional(layer, &weights(&["forward_layer/cell", "backward_layer/cell"])?),
            _ => Err(layer.refused(
                "not supported; there are Dense, Conv1D, GRU, LSTM, Bidirectional, TimeDistributed, BatchNormalization after \
                 a Dense or Conv1D, relu, and softmax at the end",
            )),
        }
    }

    fn push(&mut self, name: &str, layer: Layer) -> Result<()> {
        self.close()?;
        self.layers.push((name.into(), layer));
        Ok(())
    }

    /// Makes a layer of the open one.
    fn close(&mut self) -> Result<()> {
        let Some(Open { name, weight, bias, activation, frames }) = self.open.take() else { return Ok(()) };
        let linear = Linear::new(Weight::dense(weight)?, Some(bias))?.with_activation(activation);
        let layer = match frames {
            None => Layer::Linear(linear),
            Some([kernel, stride, padding]) => {
                Layer::TimeConvolution(TimeConvolution::new(linear, kernel, stride, padding)?)
            }
        };
        self.layers.push((name, layer));
        Ok(())
    }

    fn dense(&mut self, layer: &Described<'_>, arrays: Vec<Array>) -> Result<()> {
        let [kernel, bias] = with_bias(layer, arrays)?;
        let &[_, units] = &kernel.shape[..] else { return Err(wrong(layer, "kernel", "two dimensions", &kernel)) };
        self.open(layer, transposed(layer, &kernel)?, bias, units, None)
    }

    fn convolution(&mut self, layer: &Described<'_>, arrays: Vec<Array>) -> Result<()> {
        let [kernel, bias] = with_bias(layer, arrays)?;
        let &[frames, _, filters] = &kernel.shape[..] else {
            return Err(wrong(layer, "kernel", "three dimensions", &kernel));
        };
        for (key, name) in [("dilation_rate", "dilation"), ("groups", "groups")] {
            let value = layer.whole(key, 1)?;
            if value != 1 {
                return Err(layer.refused(format!("{name} of {value} are not supported, only of 1")));
            }
        }
        if layer.text("data_format", "channels_last") != "channels_last" {
            return Err(layer.refused("data_format channels_first is not supported"));
        }
        let stride = layer.whole("strides", 1)?;
        let padding = match layer.text("padding", "valid") {
            _ if frames == 1 => 0,
            "valid" => 0,
            "same" if stride == 1 && frames % 2 == 1 => frames / 2,
            "same" => {
                return Err(layer.refused(format!(
                    "padding \"same\" of a kernel of {frames} with strides of {stride} is not the same on both sides; only \
                     odd kernels with strides of 1 are supported"
                )));
            }
            other => {
                return Err(layer.refused(format!("padding {other:?} is not supported, only \"valid\" and \"same\"")));
            }
        };
        // The kernel's rows are frames and then features, as the library's columns are.
        self.open(layer, transposed(layer, &kernel)?, bias, filters, Some([frames, stride, padding]))
    }

    fn open(
        &mut self,
        layer: &Described<'_>,
        weight: Mat<f32>,
        bias: Array,
        units: usize,
        frames: Option<[usize; 3]>,
    ) -> Result<()> {
        let bias = match bias.values.len() {
            0 => vec![0.0; units],
            len if len == units => bias.values,
            _ => return Err(wrong(layer, "bias", &format!("{units} elements"), &bias)),
        };
        self.close()?;
        self.open = Some(Open { name: layer.name.into(), weight, bias, activation: Activation::Identity, frames });
        self.activation(layer, layer.text("activation", "linear"))
    }

    /// Applies an activation to the open layer.
    fn activation(&mut self, layer: &Described<'_>, name: &str) -> Result<()> {
        let activation = match name {
            "linear" => return Ok(()),
            "relu" => Activation::Relu,
            "relu6" => Activation::ClippedRelu(6.0),
            "softmax" => {
                self.assumptions.push(format!("the softmax of {} is left out: outputs are logits", layer.name));
                self.softmax = Some(layer.name.into());
                return Ok(());
            }
            other => {
                return Err(layer.refused(format!(
                    "the activation {other} is not supported, only relu, relu6 and softmax at the end"
                )));
            }
        };
        match &mut self.open {
            Some(open) if open.activation == Activation::Identity => {
                open.activation = activation;
                Ok(())
            }
            _ => Err(layer.refused(format!("{name} is supported only behind a Dense or Conv1D without activation"))),
        }
    }

    fn relu(&mut self, layer: &Described<'_>) -> Result<()> {
        if layer.number("negative_slope").unwrap_or(0.0) != 0.0 || layer.number("threshold").unwrap_or(0.0) != 0.0 {
            return Err(layer.refused("a negative_slope or a threshold is not supported"));
        }
        self.activation(layer, "relu")?;
        if let (Some(max), Some(open)) = (layer.number("max_value"), &mut self.open) {
            open.activation = Activation::ClippedRelu(max as f32);
        }
        Ok(())
    }

    /// Folds `gamma (x - mean) / sqrt(variance + epsilon) + beta` into the layer before.
    fn normalization(&mut self, layer: &Described<'_>, arrays: &[Array]) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| open.activation == Activation::Identity) else {
            return Err(
                layer.refused("is supported only behind a Dense or Conv1D without activation, into which it is folded")
            );
        };
        let (scale, center) = (layer.flag("scale", true), layer.flag("center", true));
        let units = open.bias.len();
        let expected = 2 + usize::from(scale) + usize::from(center);
        if arrays.len() != expected || arrays.iter().any(|array| array.values.len() != units) {
            return Err(layer.refused(format!("expected {expected} arrays of {units} elements")));
        }
        let epsilon = layer.number("epsilon").unwrap_or(1e-3);
        let gamma = scale.then(|| &arrays[0]);
        let beta = center.then(|| &arrays[usize::from(scale)]);
        let [mean, variance] = [&arrays[expected - 2], &arrays[expected - 1]];
        for unit in 0..units {
            let of = |array: Option<&Array>, default: f64| array.map_or(default, |array| f64::from(array.values[unit]));
            let factor = of(gamma, 1.0) / (of(Some(variance), 0.0) + epsilon).sqrt();
            for w in open.weight.view_mut().row_mut(unit) {
                *w = (f64::from(*w) * factor) as f32;
            }
            let bias = &mut open.bias[unit];
            *bias = ((f64::from(*bias) - of(Some(mean), 0.0)) * factor + of(beta, 0.0)) as f32;
        }
        Ok(())
    }

    /// Notes a layer that gives only its last output. The layers of the library give all.
    fn sequences(&mut self, layer: &Described<'_>, one_direction: bool) -> Result<()> {
        if layer.flag("return_sequences", false) {
            return Ok(());
        }
        if !one_direction {
            return Err(layer.refused("return_sequences=False is not supported for two directions"));
        }
        self.assumptions.push(format!(
            "there are outputs for each frame, where the original gives only the last (return_sequences=False of {})",
            layer.name
        ));
        Ok(())
    }

    fn bidirectional(&mut self, layer: &Described<'_>, arrays: &[Array]) -> Result<()> {
        let forward = layer.inner("layer").ok_or_else(|| layer.refused("has no layer"))?;
        let backward = layer.inner("backward_layer");
        let merge = layer.text("merge_mode", "concat");
        if merge != "concat" {
            return Err(layer.refused(format!("merge_mode {merge} is not supported, only concat")));
        }
        self.sequences(&forward, false)?;
        if !arrays.len().is_multiple_of(2) {
            return Err(layer.refused(format!("has {} arrays for two directions", arrays.len())));
        }
        let (first, second) = arrays.split_at(arrays.len() / 2);
        if backward
            .as_ref()
            .is_some_and(|backward| backward.class != forward.class || !backward.flag("go_backwards", true))
        {
            return Err(layer.refused("its two layers are of different kinds, or both run forward"));
        }
        let made = match forward.class {
            "GRU" => Layer::BidirectionalGru(Bidirectional::new(gru(&forward, first)?, gru(&forward, second)?)?),
            "LSTM" => Layer::BidirectionalLstm(Bidirectional::new(lstm(&forward, first)?, lstm(&forward, second)?)?),
            other => return Err(layer.refused(format!("{other} is not supported, only GRU and LSTM"))),
        };
        self.push(layer.name, made)
    }
}

/// Fails for options of recurrent layers that the library does not have.
fn expect_plain(layer: &Described<'_>) -> Result<()> {
    for (key, expected) in [("activation", "tanh"), ("recurrent_activation", "sigmoid")] {
        let found = layer.text(key, expected);
        if found != expected {
            return Err(layer.refused(format!("{key} {found} is not supported, only {expected}")));
        }
    }
    for key in ["go_backwards", "time_major", "return_state"] {
        if layer.flag(key, false) {
            return Err(layer.refused(format!("{key} is not supported")));
        }
    }
    Ok(())
}

/// The kernel, the recurrent kernel and the bias, which is empty if there is none.
fn gates(layer: &Described<'_>, arrays: &[Array], gates: usize) -> Result<(Mat<f32>, Mat<f32>, Vec<f32>)> {
    expect_plain(layer)?;
    let [kernel, recurrent, bias] = with_bias(layer, arrays.to_vec())?;
    let units = recurrent.shape.first().copied().unwrap_or_default();
    let wide = units.checked_mul(gates).filter(|&wide| wide > 0);
    if kernel.shape.len() != 2 || kernel.shape.get(1).copied() != wide {
        return Err(wrong(layer, "kernel", &format!("{gates} gates of {units} units"), &kernel));
    }
    if recurrent.shape[..] != [units, units.saturating_mul(gates)] {
        return Err(wrong(layer, "recurrent_kernel", &format!("{gates} gates of {units} units"), &recurrent));
    }
    Ok((transposed(layer, &kernel)?, transposed(layer, &recurrent)?, bias.values))
}

fn gru(layer: &Described<'_>, arrays: &[Array]) -> Result<Gru> {
    let (w, r, mut bias) = gates(layer, arrays, 3)?;
    // Keras 1 and the first releases of 2 had no such option, and reset before the product.
    let reset_after = layer.flag("reset_after", false);
    if !bias.is_empty() && !reset_after {
        bias.resize(bias.len() * 2, 0.0);
    }
    // The gates are z, r, h, as in ONNX.
    Ok(Gru::from_onnx(w.view(), r.view(), Some(&bias[..]).filter(|bias| !bias.is_empty()), reset_after)?)
}

fn lstm(layer: &Described<'_>, arrays: &[Array]) -> Result<Lstm> {
    let (w, r, bias) = gates(layer, arrays, 4)?;
    // The gates are i, f, c, o, as in PyTorch.
    Ok(Lstm::new(Weight::dense(w)?, Weight::dense(r)?, Some(bias).filter(|bias| !bias.is_empty()), None)?)
}

/// As many arrays as a layer has, of which the last is a bias. It is empty if the layer has none.
fn with_bias<const N: usize>(layer: &Described<'_>, mut arrays: Vec<Array>) -> Result<[Array; N]> {
    let found = arrays.len();
    if !layer.flag("use_bias", true) {
        arrays.push(Array { shape: Vec::new(), values: Vec::new() });
    }
    arrays
        .try_into()
        .map_err(|_| layer.refused(format!("has {found} arrays, where {N} are expected, the bias among them")))
}

fn wrong(layer: &Described<'_>, what: &str, expected: &str, found: &Array) -> Error {
    layer.refused(format!("{what}: expected {expected}, found {:?}", found.shape))
}

/// The matrix whose columns are all dimensions but the last, and whose rows are the last.
fn transposed(layer: &Described<'_>, array: &Array) -> Result<Mat<f32>> {
    let rows = array.shape.last().copied().unwrap_or_default();
    let cols = array.values.len().checked_div(rows).filter(|cols| cols * rows == array.values.len() && *cols > 0);
    let cols = cols.ok_or_else(|| wrong(layer, "kernel", "no dimension of 0", array))?;
    let mut matrix = Mat::zeros(rows, cols)?;
    for (i, value) in array.values.iter().enumerate() {
        matrix.as_mut_slice()[i % rows * cols + i / rows] = *value;
    }
    Ok(matrix)
}
