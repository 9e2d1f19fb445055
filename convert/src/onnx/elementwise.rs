//! Functions of single features or frames, and combinations of data feature by feature.

use skinny::factored::{Affine, Function, LayerNorm};
use skinny::model::{Join, Layer};

use super::axes::{Axis, Data, features, index};
use super::builder::{Builder, Value};
use super::file::refused;
use super::proto::Node;
use crate::error::Result;

impl<'a> Builder<'a> {
    pub fn arithmetic(&mut self, node: &'a Node) -> Result<()> {
        if [0, 1].iter().any(|&i| matches!(self.value(node, i), Ok(Value::Quantized(_)))) {
            return self.scaled(node);
        }
        if let Some(place) = [0, 1].into_iter().find(|&i| self.is_constant(node, 1 - i)) {
            let x = self.data(node, place)?;
            if self.gelu(node, &x)? {
                return Ok(());
            }
            let Some((affine, axes)) = self.affine(node, &x, place)? else {
                return Err(refused(node, "expected a constant"));
            };
            let value = self.layer(node, Layer::Affine(affine), x.value)?;
            return self.set_data(node, x.with_value(value, axes));
        }
        let (x, mut y) = (self.data(node, 0)?, self.data(node, 1)?);
        let axes = x.meet(&y).map_err(|reason| refused(node, reason))?;
        let join = match &node.kind[..] {
            "Add" => Join::Add,
            "Mul" => Join::Multiply,
            "Sub" => {
                let width = y.features();
                let negative = Affine::new(vec![-1.0; width], vec![0.0; width])?;
                y.value = self.layer(node, Layer::Affine(negative), y.value)?;
                Join::Add
            }
            _ => return Err(refused(node, "divides by data, which is supported only in layer normalization")),
        };
        let frames = if x.time().is_some() { &x } else { &y };
        let value = if join == Join::Multiply && x.value == y.value {
            let name = self.name(node.title());
            self.graph.function(name, Function::Square, x.value)?
        } else {
            let name = self.name(node.title());
            self.graph.join(name, join, &[x.value, y.value])?
        };
        self.set_data(node, frames.with_value(value, axes))
    }

    pub fn batch_normalization(&mut self, node: &'a Node) -> Result<()> {
        let x = self.data(node, 0)?;
        let Some((affine, axes)) = self.affine(node, &x, 0)? else { return Err(refused(node, "expected constants")) };
        let value = self.layer(node, Layer::Affine(affine), x.value)?;
        self.set_data(node, x.with_value(value, axes))
    }

    pub fn layer_normalization(&mut self, node: &'a Node) -> Result<()> {
        let x = self.data(node, 0)?;
        let axis = index(node.integer("axis").unwrap_or(-1), x.axes.len()).map_err(|reason| refused(node, reason))?;
        self.expect_frame(node, &x, axis..x.axes.len())?;
        let floats =
            |array: Option<std::rc::Rc<_>>| array.map(|array: std::rc::Rc<super::array::Array>| array.to_floats());
        let weight = floats(self.optional(node, 1, "scale")?);
        let bias = floats(self.optional(node, 2, "bias")?);
        if (1..node.outputs.len()).any(|i| node.output(i).is_some_and(|name| !self.file.readers(name).is_empty())) {
            return Err(refused(node, "its mean and deviation as outputs are not supported"));
        }
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let layer = LayerNorm::new(x.features(), weight, bias, epsilon).map_err(|cause| refused(node, cause))?;
        let value = self.layer(node, Layer::LayerNorm(layer), x.value)?;
        self.set_data(node, x.with_value(value, x.axes.clone()))
    }

    /// Fails unless these axes are the features of a frame, all of them.
    pub fn expect_frame(&self, node: &Node, x: &Data, axes: std::ops::Range<usize>) -> Result<()> {
        let axes = &x.axes[axes];
        let found = features(axes);
        if axes.contains(&Axis::Time) {
            return Err(refused(node, "works along time, which is not supported"));
        }
        if found != x.features() {
            return Err(refused(
                node,
                format!("works on {found} of {} features at a time, which is not supported", x.features()),
            ));
        }
        Ok(())
    }

    pub fn function(&mut self, node: &'a Node) -> Result<()> {
        // What is not supported at all comes before what is wrong with an input.
        let hint = match &node.kind[..] {
            "Tanh" | "Sigmoid" | "Relu" | "LeakyRelu" | "PRelu" | "HardSigmoid" | "HardSwish" | "Abs" | "Sqrt"
            | "Neg" | "Pow" | "Clip" | "Gelu" | "Softmax" | "LogSoftmax" | "LpNormalization" => "",
            "ConvTranspose" => "is not supported: it makes several frames of one; cut the model before it",
            "If" | "Loop" | "Scan" => {
                "is control flow, which is not supported; export the model without branches and loops"
            }
            "SequenceAt" | "SequenceConstruct" | "SplitToSequence" => "sequences of arrays are not supported",
            "STFT" | "DFT" | "MelWeightMatrix" => {
                "is not supported; compute features before the model and cut the graph behind it"
            }
            "MaxPool" | "AveragePool" => "pooling over windows is not supported; a convolution with a stride is",
            "Erf" => "is supported only in GELU, as torch.nn.GELU is exported",
            _ => "is not supported; docs/models.md lists the operators that are",
        };
        if !hint.is_empty() {
            return Err(refused(node, hint));
        }
        let x = self.data(node, 0)?;
        let rank = x.axes.len();
        let function = match &node.kind[..] {
            "Tanh" => Function::Tanh,
            "Sigmoid" => Function::Sigmoid,
            "Relu" => Function::Relu,
            "LeakyRelu" => Function::LeakyRelu(node.float("alpha").unwrap_or(0.01)),
            "PRelu" => {
                let slope = self.constant(node, 1, "slope")?.to_floats();
                match slope[..] {
                    [first, ref others @ ..] if others.iter().all(|&other| other == first) => {
                        Function::LeakyRelu(first)
                    }
                    _ => return Err(refused(node, "slopes that differ from feature to feature are not supported")),
                }
            }
            "HardSigmoid" => Function::HardSigmoid {
                slope: node.float("alpha").unwrap_or(0.2),
                offset: node.float("beta").unwrap_or(0.5),
            },
            "HardSwish" => Function::HardSwish,
            "Abs" => Function::Absolute,
            "Sqrt" => Function::SquareRoot,
            "Gelu" if node.text("approximate") == Some("tanh") => Function::GeluTanh,
            "Gelu" => Function::Gelu,
            "Pow" => match self.constant(node, 1, "exponent")?.scalar() {
                Some(2.0) => Function::Square,
                Some(0.5) => Function::SquareRoot,
                other => {
                    return Err(refused(node, format!("an exponent of {other:?} is not supported, only 2 and 0.5")));
                }
            },
            "Clip" => match self.limits(node)? {
                [Some(0.0), Some(limit)] if limit > 0.0 && limit < f32::MAX => Function::ClippedRelu(limit),
                [Some(0.0), None | Some(f32::MAX | f32::INFINITY)] => Function::Relu,
                limits => return Err(refused(node, format!("limits of {limits:?} are not supported, only from 0 on"))),
            },
            "Softmax" | "LogSoftmax" => {
                let default = if self.file.opset < 13 { 1 } else { -1 };
                let axis = node.integer("axis").unwrap_or(default);
                let axis = index(axis, rank).map_err(|reason| refused(node, reason))?;
                // Before version 13 all axes from this one on are one.
                self.expect_frame(node, &x, axis..if self.file.opset < 13 { rank } else { axis + 1 })?;
                if node.kind == "Softmax" { Function::Softmax } else { Function::LogSoftmax }
            }
            "LpNormalization" => {
                let axis = index(node.integer("axis").unwrap_or(-1), rank).map_err(|reason| refused(node, reason))?;
                self.expect_frame(node, &x, axis..axis + 1)?;
                if node.integer("p").unwrap_or(2) != 2 {
                    return Err(refused(node, "only the Euclidean norm is supported"));
                }
                Function::Normalize { epsilon: 1e-12 }
            }
            _ => {
                let negative = Affine::new(vec![-1.0; x.features()], vec![0.0; x.features()])?;
                let value = self.layer(node, Layer::Affine(negative), x.value)?;
                return self.set_data(node, x.with_value(value, x.axes.clone()));
            }
        };
        let name = self.name(node.title());
        let value = self.graph.function(name, function, x.value)?;
        self.set_data(node, x.with_value(value, x.axes.clone()))
    }
}
