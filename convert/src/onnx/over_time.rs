//! Reductions, and padding of frames.

use skinny::Mat;
use skinny::factored::{Linear, Reduction, Weight};
use skinny::model::Layer;

use super::axes::{Axis, Data, index};
use super::builder::{Builder, Value};
use super::file::refused;
use super::fold::axes;
use super::proto::Node;
use crate::error::Result;

impl<'a> Builder<'a> {
    /// One frame of a sequence. The time axis stays with one element, or goes.
    pub fn over_time(&mut self, node: &Node, reduction: Reduction, x: &Data, axis: usize, keep: bool) -> Result<Data> {
        let name = self.name(node.title());
        let value = self.graph.over_time(name, reduction, x.value)?;
        let mut axes = x.axes.clone();
        if keep {
            axes[axis] = Axis::One;
        } else {
            axes.remove(axis);
        }
        Ok(Data { frames: None, ..x.with_value(value, axes) })
    }

    pub fn reduction(&mut self, node: &'a Node) -> Result<()> {
        let x = self.data(node, 0)?;
        let rank = x.axes.len();
        let pools = node.kind.starts_with("Global");
        let constant = self.optional(node, 1, "axes")?;
        let picked: Vec<usize> = if pools {
            (2..rank).collect()
        } else {
            match axes(node, constant.as_deref()) {
                Some(axes) => axes.iter().map(|&axis| index(axis, rank)).collect::<Result<_, String>>(),
                None => Ok((0..rank).collect()),
            }
            .map_err(|reason| refused(node, reason))?
        };
        let keep = pools || node.integer("keepdims").unwrap_or(1) != 0;
        let reduction = match &node.kind[..] {
            "ReduceMean" | "GlobalAveragePool" => Reduction::Mean,
            "ReduceSum" => Reduction::Sum,
            _ => Reduction::Max,
        };
        let wide: Vec<usize> = picked.iter().copied().filter(|&axis| x.axes[axis] != Axis::One).collect();
        let mut out = match wide[..] {
            [] => x.clone(),
            [axis] if x.axes[axis] == Axis::Time => self.over_time(node, reduction, &x, axis, true)?,
            [axis] if x.axes[axis].features() == x.features() => {
                if reduction == Reduction::Mean && self.decomposed_layer_norm(node, &x, axis)? {
                    return Ok(());
                }
                self.over_features(node, reduction, &x, axis)?
            }
            _ => return Err(refused(node, "reduces time and features at once, or some of the features")),
        };
        if !keep {
            let mut i = 0;
            out.axes.retain(|_| {
                i += 1;
                !picked.contains(&(i - 1))
            });
        }
        self.set_data(node, out)
    }

    /// The sum or the mean of the features of each frame.
    fn over_features(&mut self, node: &Node, reduction: Reduction, x: &Data, axis: usize) -> Result<Data> {
        let width = x.features();
        let weight = match reduction {
            Reduction::Mean => 1.0 / width as f32,
            Reduction::Sum => 1.0,
            _ => return Err(refused(node, "the largest of the features of a frame is not supported")),
        };
        let weight = Weight::dense(Mat::from_vec(vec![weight; width], 1, width)?)?;
        let value = self.layer(node, Layer::Linear(Linear::new(weight, None)?), x.value)?;
        let mut axes = x.axes.clone();
        axes[axis] = Axis::One;
        Ok(x.with_value(value, axes))
    }

    /// Notes padding of frames for the convolution behind it.
    pub fn pad(&mut self, node: &'a Node) -> Result<()> {
        let no = |reason: &str| Err(refused(node, reason));
        let Value::Data(mut x) = self.value(node, 0)?.clone() else { return no("expected data") };
        let mode = node.text("mode").unwrap_or("constant");
        if mode != "constant" {
            return Err(refused(node, format!("padding with {mode} is not supported, only with zeros")));
        }
        let fill = self.optional(node, 2, "value")?.map_or(node.float("value"), |value| value.scalar());
        let pads = match node.input(1) {
            Some(_) => self.constant(node, 1, "pads")?.as_integers().map(<[i64]>::to_vec),
            None => node.integers("pads").map(<[i64]>::to_vec),
        };
        let pads = pads.unwrap_or_default();
        let rank = x.axes.len();
        let axes: Vec<usize> = match self.optional(node, 3, "axes")? {
            None => (0..rank).collect(),
            Some(axes) => axes
                .as_integers()
                .unwrap_or(&[])
                .iter()
                .map(|&axis| index(axis, rank))
                .collect::<Result<_, String>>()
                .map_err(|reason| refused(node, reason))?,
        };
        if pads.len() != 2 * axes.len() {
            return no("its pads are not two for each axis");
        }
        for (i, &axis) in axes.iter().enumerate() {
            let around = [pads[i], pads[axes.len() + i]];
            if around == [0; 2] {
                continue;
            }
            let [Ok(before), Ok(after)] = around.map(usize::try_from) else {
                return no("negative padding is not supported");
            };
            if x.axes[axis] != Axis::Time {
                return no("padding of features is not supported, only of frames");
            }
            if fill.unwrap_or(0.0) != 0.0 {
                return no("padding with other numbers than 0 is not supported");
            }
            x.pad = [x.pad[0].saturating_add(before), x.pad[1].saturating_add(after)];
        }
        self.set_data(node, x)
    }
}
