//! Layers that exporters write as several operators.

use skinny::factored::{Function, LayerNorm};
use skinny::model::Layer;

use super::axes::{Data, index};
use super::builder::Builder;
use super::file::refused;
use super::fold::axes;
use super::proto::Node;
use crate::error::Result;

impl<'a> Builder<'a> {
    /// The only node that reads the output of node `i`, if it is of this kind.
    fn next(&self, i: usize, kind: &str) -> Option<usize> {
        let name = self.file.nodes[i].output(0)?;
        self.file.only_reader(name).filter(|&next| self.file.nodes[next].kind == kind)
    }

    /// The constant that a node combines with what node `i` makes.
    fn operand(&self, node: usize, i: usize) -> Option<Vec<f32>> {
        let (node, name) = (&self.file.nodes[node], self.file.nodes[i].output(0));
        let other = usize::from(node.input(0) == name);
        self.constant(node, other, "operand").ok().map(|array| array.to_floats())
    }

    /// Layer normalization from its mean on: `d = x - mean; d / sqrt(mean(d^2) + epsilon)`, then a weight and a bias.
    pub fn decomposed_layer_norm(&mut self, node: &'a Node, x: &Data, axis: usize) -> Result<bool> {
        let Some((first, last, nodes, epsilon)) = self.normalization(node, axis, x.axes.len()) else {
            return Ok(false);
        };
        let width = x.features();
        let [mut weight, mut bias] = [const { None }; 2];
        let (mut end, mut taken) = (last, nodes);
        if let Some(next) = self.next(end, "Mul")
            && let Some(values) = self.operand(next, end).filter(|values| values.len() == width && width > 1)
        {
            (weight, end) = (Some(values), next);
            taken.push(next);
        }
        if let Some(next) = self.next(end, "Add")
            && let Some(values) = self.operand(next, end).filter(|values| values.len() == width && width > 1)
        {
            (bias, end) = (Some(values), next);
            taken.push(next);
        }
        let fail = |cause: skinny::Error| refused(node, cause);
        let layer = LayerNorm::new(width, weight, bias, epsilon).map_err(fail)?;
        let value = self.layer(&self.file.nodes[first], Layer::LayerNorm(layer), x.value)?;
        self.taken.extend(taken);
        self.set_of(end, x.with_value(value, x.axes.clone()))?;
        Ok(true)
    }

    /// The nodes between a mean and a quotient, if they normalize: the first difference, the quotient, all, and epsilon.
    fn normalization(&self, node: &Node, axis: usize, rank: usize) -> Option<(usize, usize, Vec<usize>, f32)> {
        let file = self.file;
        let (x, mean) = (node.input(0)?, node.output(0)?);
        if file.is_output(mean) || node.integer("keepdims") == Some(0) {
            return None;
        }
        // Old exporters write the difference twice.
        let differences: Vec<usize> = file.readers(mean).iter().map(|&(i, _)| i).collect();
        let is_difference = |&i: &usize| {
            let node = &file.nodes[i];
            node.kind == "Sub" && node.input(0) == Some(x) && node.input(1) == Some(mean)
        };
        if differences.is_empty() || !differences.iter().all(is_difference) {
            return None;
        }
        let outputs: Vec<&str> = differences.iter().filter_map(|&i| file.nodes[i].output(0)).collect();
        let reads = |i: usize, place: usize| file.nodes[i].input(place).is_some_and(|name| outputs.contains(&name));
        let readers: Vec<usize> = outputs.iter().flat_map(|name| file.readers(name)).map(|&(i, _)| i).collect();
        let square = *readers.iter().find(|&&i| {
            let node = &file.nodes[i];
            match &node.kind[..] {
                "Pow" => reads(i, 0) && file.constant(node.input(1)).and_then(super::array::Array::scalar) == Some(2.0),
                "Mul" => reads(i, 0) && reads(i, 1),
                _ => false,
            }
        })?;
        let variance = self.next(square, "ReduceMean")?;
        let reduced = axes(&file.nodes[variance], file.constant(file.nodes[variance].input(1)))?;
        if reduced.len() != 1
            || index(reduced[0], rank) != Ok(axis)
            || file.nodes[variance].integer("keepdims") == Some(0)
        {
            return None;
        }
        let sum = self.next(variance, "Add")?;
        let [epsilon] = self.operand(sum, variance)?[..] else { return None };
        let root = self.next(sum, "Sqrt")?;
        let quotient = self.next(root, "Div")?;
        let all_read = readers.iter().all(|&i| i == square || i == quotient);
        let fits = reads(quotient, 0) && file.nodes[quotient].input(1) == file.nodes[root].output(0);
        let outputs_stay = outputs.iter().all(|name| !file.is_output(name));
        if !(all_read && fits && outputs_stay) {
            return None;
        }
        let mut all = differences.clone();
        all.extend([square, variance, sum, root, quotient]);
        Some((differences[0], quotient, all, epsilon))
    }

    /// GELU as PyTorch exports it: `x (erf(x / sqrt 2) + 1) / 2`.
    pub fn gelu(&mut self, node: &'a Node, x: &Data) -> Result<bool> {
        let file = self.file;
        let start = self.done;
        let factor =
            self.constant(node, 1, "factor").ok().and_then(|array| array.scalar()).map(|factor| match &node.kind[..] {
                "Div" => 1.0 / factor,
                "Mul" => factor,
                _ => 0.0,
            });
        if !factor.is_some_and(|factor| (factor - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6) {
            return Ok(false);
        }
        let chain = || {
            let erf = self.next(start, "Erf")?;
            let sum = self.next(erf, "Add")?;
            let product = self.next(sum, "Mul")?;
            let half = self.next(product, "Mul")?;
            let other = usize::from(file.nodes[product].input(0) == file.nodes[sum].output(0));
            let fits = self.operand(sum, erf)?[..] == [1.0]
                && self.operand(half, product)?[..] == [0.5]
                && file.nodes[product].input(other) == node.input(0);
            fits.then_some([erf, sum, product, half])
        };
        let Some(nodes) = chain() else { return Ok(false) };
        self.taken.extend(nodes);
        let name = self.name(node.title());
        let value = self.graph.function(name, Function::Gelu, x.value)?;
        self.set_of(nodes[3], x.with_value(value, x.axes.clone()))?;
        Ok(true)
    }
}
