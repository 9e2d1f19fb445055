//! Files that are quantized already: their weights become f32 again, and the library quantizes as it is told to.

use std::rc::Rc;

use skinny::factored::Function;

use super::array::{Array, Numbers};
use super::axes::Data;
use super::builder::{Builder, Value};
use super::file::refused;
use super::fold::dequantize;
use super::linear::{matrix, transposed};
use super::proto::Node;
use super::recurrent::Parameters;
use crate::error::Result;

/// What becomes of quantized data.
#[derive(Clone, Debug)]
pub(super) enum Quantized {
    /// The data, in steps of its scale.
    Steps(Data),
    /// The scale of data that is quantized while the model runs, and constants that it was multiplied by.
    Scale(Array),
    /// The zero point of such data.
    Zero,
    /// A product of such data and a matrix of whole numbers, `k x n`.
    Product { x: Data, weight: Array },
}

impl<'a> Builder<'a> {
    fn assume_floats(&mut self) {
        self.assume(
            "the file is quantized; its weights are read as f32, and its ranges of activations are left out".into(),
        );
    }

    pub fn quantized(&mut self, node: &'a Node) -> Result<()> {
        self.assume_floats();
        match &node.kind[..] {
            "DynamicQuantizeLinear" => {
                let x = self.data(node, 0)?;
                self.set(node, 0, Value::Quantized(Quantized::Steps(x)))?;
                self.set(node, 1, Value::Quantized(Quantized::Scale(Array::floats(Vec::new(), vec![1.0]))))?;
                self.set(node, 2, Value::Quantized(Quantized::Zero))
            }
            "QuantizeLinear" => {
                let x = self.data(node, 0)?;
                let x = self.clipped(node, x, 2)?;
                self.set(node, 0, Value::Quantized(Quantized::Steps(x)))
            }
            "DequantizeLinear" => {
                let x = self.steps(node, 0)?;
                self.set_data(node, x)
            }
            "MatMulInteger" => {
                let x = self.steps(node, 0)?;
                let zero = self.optional(node, 3, "zero point")?;
                let weight = self.weight(node, 1, &one(), zero.as_deref())?;
                self.set(node, 0, Value::Quantized(Quantized::Product { x, weight }))
            }
            "QLinearMatMul" => {
                let x = self.steps(node, 0)?;
                let (scale, zero) = (self.constant(node, 4, "scale")?, self.constant(node, 5, "zero point")?);
                let weight = self.weight(node, 3, &scale, Some(&zero))?;
                let y = self.product(node, &x, &weight)?;
                let y = self.clipped(node, y, 7)?;
                self.set(node, 0, Value::Quantized(Quantized::Steps(y)))
            }
            "DynamicQuantizeMatMul" | "MatMulIntegerToFloat" => {
                let places = if node.kind == "MatMulIntegerToFloat" { [3, 5, 6] } else { [2, 3, 4] };
                let x = if node.kind == "MatMulIntegerToFloat" { self.steps(node, 0)? } else { self.data(node, 0)? };
                let (scale, zero) =
                    (self.constant(node, places[0], "scale")?, self.optional(node, places[1], "zero point")?);
                let weight = self.weight(node, 1, &scale, zero.as_deref())?;
                let mut y = self.product(node, &x, &weight)?;
                if let Some(bias) = self.optional(node, places[2], "bias")? {
                    let (shift, axes) = y.spread(&bias).map_err(|reason| refused(node, reason))?;
                    let affine = skinny::factored::Affine::new(vec![1.0; shift.len()], shift)?;
                    let value = self.layer(node, skinny::model::Layer::Affine(affine), y.value)?;
                    y = y.with_value(value, axes);
                }
                self.set_data(node, y)
            }
            _ => self.quantized_lstm(node),
        }
    }

    /// The quantized data that an input is.
    fn steps(&self, node: &Node, i: usize) -> Result<Data> {
        match self.value(node, i)? {
            Value::Quantized(Quantized::Steps(x)) => Ok(x.clone()),
            _ => Err(refused(node, format!("its input {i} is not quantized data"))),
        }
    }

    /// A range that begins at 0 is an activation: rounding to it leaves nothing negative.
    fn clipped(&mut self, node: &Node, x: Data, zero: usize) -> Result<Data> {
        let is_least = self.optional(node, zero, "zero point")?.is_none_or(|zero| match &zero.values {
            Numbers::Integers { values, least } => values.iter().all(|value| value == least),
            Numbers::Floats(_) => false,
        });
        if !is_least {
            return Ok(x);
        }
        let name = self.name(node.title());
        let value = self.graph.function(name, Function::Relu, x.value)?;
        Ok(x.with_value(value, x.axes.clone()))
    }

    /// A matrix in f32, with a scale for all of it or for each column.
    fn weight(&self, node: &Node, i: usize, scale: &Array, zero: Option<&Array>) -> Result<Array> {
        let weight = self.constant(node, i, "weight")?;
        dequantize(&weight, scale, zero, -1).map_err(|reason| refused(node, reason))
    }

    /// The product of data and a matrix, `k x n`.
    fn product(&mut self, node: &'a Node, x: &Data, weight: &Array) -> Result<Data> {
        let [rows, cols] = matrix(weight).ok_or_else(|| refused(node, format!("a weight of {:?}", weight.shape)))?;
        let matrix = transposed(&weight.to_floats(), rows, cols)?;
        self.plain_dense(node, x, matrix)
    }

    /// Multiplication of products and scales.
    pub fn scaled(&mut self, node: &'a Node) -> Result<()> {
        let no = || refused(node, "computes with quantized numbers in a way that is not supported");
        if node.kind != "Mul" {
            return Err(no());
        }
        let [one, two] = [0, 1].map(|i| self.value(node, i).cloned());
        match (one?, two?) {
            (Value::Quantized(Quantized::Scale(scale)), Value::Constant(by))
            | (Value::Constant(by), Value::Quantized(Quantized::Scale(scale))) => {
                let Some(factor) = scale.scalar() else { return Err(no()) };
                let values = by.to_floats().iter().map(|value| value * factor).collect();
                let scale = Array::floats(by.shape.clone(), values);
                self.set(node, 0, Value::Quantized(Quantized::Scale(scale)))
            }
            (Value::Quantized(Quantized::Product { x, weight }), Value::Quantized(Quantized::Scale(scale)))
            | (Value::Quantized(Quantized::Scale(scale)), Value::Quantized(Quantized::Product { x, weight })) => {
                let [rows, cols] = matrix(&weight).ok_or_else(no)?;
                let scales = scale.to_floats();
                if ![1, cols].contains(&scales.len()) {
                    return Err(refused(node, format!("{} scales for {cols} columns", scales.len())));
                }
                let of = |(i, w): (usize, &f32)| w * scales[i % cols % scales.len()];
                let values: Vec<f32> = weight.to_floats().iter().enumerate().map(of).collect();
                let axis = x.axes.len().wrapping_sub(1);
                self.dense(node, &x, axis, transposed(&values, rows, cols)?)
            }
            _ => Err(no()),
        }
    }

    /// Moves axes of quantized data, and casts products.
    pub fn view_of_quantized(&mut self, node: &'a Node, value: Value) -> Result<()> {
        match (&node.kind[..], value) {
            ("Cast" | "Identity", value @ Value::Quantized(Quantized::Product { .. })) => self.set(node, 0, value),
            ("Identity", value) => self.set(node, 0, value),
            (_, Value::Quantized(Quantized::Steps(x))) => {
                // As of data that is not quantized.
                let Some(name) = node.input(0) else { return Err(refused(node, "has no input 0")) };
                let Some((name, _)) = self.values.get_key_value(name) else {
                    return Err(refused(node, "has no input 0"));
                };
                let (name, old) = (*name, Value::Quantized(Quantized::Steps(x.clone())));
                self.values.insert(name, Value::Data(x));
                let moved = self.view(node);
                self.values.insert(name, old);
                moved?;
                for i in 0..node.outputs.len() {
                    if let Some(name) = node.output(i)
                        && let Some(Value::Data(moved)) = self.values.get(name)
                    {
                        let steps = Value::Quantized(Quantized::Steps(moved.clone()));
                        self.values.insert(name, steps);
                    }
                }
                Ok(())
            }
            _ => Err(refused(node, "computes with quantized numbers in a way that is not supported")),
        }
    }

    fn quantized_lstm(&mut self, node: &'a Node) -> Result<()> {
        let bias = self.optional(node, 3, "bias B")?.map(|bias| bias.as_ref().clone());
        let [w, r] = [(1, 8), (2, 10)].map(|(i, scale)| self.quantized_gates(node, i, scale));
        self.recurrent_of(node, &Parameters { w: w?, r: r?, bias })
    }

    /// A weight of gates in f32: the file has it transposed, with a scale for each direction or for each of its columns.
    fn quantized_gates(&self, node: &Node, i: usize, at: usize) -> Result<Array> {
        let weight = self.constant(node, i, "weight")?;
        let (scale, zero) = (self.constant(node, at, "scale")?, self.optional(node, at + 1, "zero point")?);
        let misfit = || refused(node, format!("a weight of {:?} with scales of {:?}", weight.shape, scale.shape));
        let [directions, inputs, gates] = weight.shape[..] else { return Err(misfit()) };
        let q = weight.as_integers().ok_or_else(misfit)?;
        let (scales, zeros) = (scale.to_floats(), zero.as_ref().map(|zero: &Rc<Array>| zero.to_floats()));
        let per_column = scales.len() == directions * gates && scale.shape.len() == 2;
        if !per_column && scales.len() != directions {
            return Err(misfit());
        }
        let zeros = zeros.unwrap_or_else(|| vec![0.0; scales.len()]);
        if zeros.len() != scales.len() {
            return Err(misfit());
        }
        let mut values = vec![0.0; q.len()];
        for d in 0..directions {
            for row in 0..inputs {
                for column in 0..gates {
                    let place = if per_column { d * gates + column } else { d };
                    let step = q[(d * inputs + row) * gates + column] as f32 - zeros[place];
                    values[(d * gates + column) * inputs + row] = step * scales[place];
                }
            }
        }
        Ok(Array::floats(vec![directions, gates, inputs], values))
    }
}

fn one() -> Array {
    Array::floats(Vec::new(), vec![1.0])
}
