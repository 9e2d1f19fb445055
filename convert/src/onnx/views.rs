//! Operators that move elements, or pick some of them: of data, of dimensions, of states.

use std::rc::Rc;

use skinny::Mat;
use skinny::factored::{Embedding, Reduction};
use skinny::model::{Join, Layer};

use super::array::{Array, is_float, is_integer};
use super::axes::{Axis, Data, Dim, features, index};
use super::builder::{Builder, Value};
use super::file::refused;
use super::fold::{axes, slice};
use super::proto::Node;
use crate::error::Result;

/// Why a frame cannot be picked.
const UNROLLED: &str = "takes single frames of a sequence, as a recurrent cell does that an exporter unrolled; export the model \
                        again so that it has GRU, LSTM or RNN operators (torch.onnx.export of nn.GRU and nn.LSTM, not of cells)";

impl<'a> Builder<'a> {
    pub fn view(&mut self, node: &'a Node) -> Result<()> {
        let no = |reason: String| refused(node, reason);
        if node.kind == "Concat" {
            return self.concat(node);
        }
        match self.value(node, 0)?.clone() {
            Value::Data(data) if node.kind == "Shape" => self.set_shape(node, data.shape(), false),
            Value::Data(_) => self.view_of_data(node),
            Value::Shape { dims, alone } => {
                let (dims, alone) = self.view_of_shape(node, dims, alone).map_err(no)?;
                self.set_shape(node, dims, alone)
            }
            // A table, of which the data picks rows.
            Value::Constant(table) if node.kind == "Gather" => self.embedding(node, &table),
            Value::Constant(_) if node.kind == "Split" => {
                Err(refused(node, "splits a constant, which is not supported"))
            }
            Value::Constant(_) => Err(refused(node, "depends on the number of frames, which is not supported")),
            value @ (Value::InitialState | Value::LastState | Value::Lengths) => {
                (0..node.outputs.len()).try_for_each(|i| self.set(node, i, value.clone()))
            }
            value @ Value::Quantized(_) => {
                let data = value.clone();
                self.view_of_quantized(node, data)
            }
        }
    }

    fn set_shape(&mut self, node: &'a Node, dims: Vec<Dim>, alone: bool) -> Result<()> {
        let known = dims.iter().map(|dim| if let Dim::Known(size) = dim { Some(*size) } else { None });
        let value = match known.collect::<Option<Vec<i64>>>() {
            Some(known) => {
                let shape = if alone { Vec::new() } else { vec![known.len()] };
                Value::Constant(Rc::new(Array::integers(shape, known)))
            }
            None => Value::Shape { dims, alone },
        };
        self.set(node, 0, value)
    }

    fn view_of_shape(&self, node: &Node, dims: Vec<Dim>, alone: bool) -> Result<(Vec<Dim>, bool), String> {
        let unsupported = || "computes with the number of frames, which is not supported".to_owned();
        let constant = |i: usize| self.file.constant(node.input(i));
        match &node.kind[..] {
            "Identity" => Ok((dims, alone)),
            "Cast" if is_integer(node.integer("to").unwrap_or_default()) => Ok((dims, alone)),
            "Unsqueeze" if alone => Ok((dims, false)),
            "Squeeze" if dims.len() == 1 => Ok((dims, true)),
            "Reshape" if dims.len() == 1 => {
                let target = constant(1).and_then(Array::as_integers).ok_or_else(unsupported)?;
                if matches!(target, [] | [-1 | 1]) { Ok((dims, target.is_empty())) } else { Err(unsupported()) }
            }
            "Gather" => {
                let indices = constant(1).ok_or_else(unsupported)?;
                let picked = indices.as_integers().unwrap_or(&[]).iter().map(|&i| Ok(dims[index(i, dims.len())?]));
                Ok((picked.collect::<Result<_, String>>()?, indices.shape.is_empty()))
            }
            "Slice" => {
                let inputs: Vec<Option<&Array>> = (0..node.inputs.len()).map(constant).collect();
                let (_, [start, end]) = slice(node, &inputs, 1, |_| Some(dims.len()))?;
                Ok((dims[start as usize..(end as usize).max(start as usize)].to_vec(), false))
            }
            _ => Err(unsupported()),
        }
    }

    fn view_of_data(&mut self, node: &'a Node) -> Result<()> {
        let no = |reason: String| refused(node, reason);
        // Padding waits for a convolution while axes move.
        let Value::Data(data) = self.value(node, 0)?.clone() else { return Err(refused(node, "expected data")) };
        let second = node.input(1).and_then(|name| self.values.get(name));
        let constant = if let Some(Value::Constant(array)) = second { Some(Rc::clone(array)) } else { None };
        let dims = match second {
            Some(Value::Shape { dims, .. }) => Some(dims.clone()),
            _ => constant.as_ref().and_then(|array| array.as_integers()).map(known),
        };
        let rank = data.axes.len();
        let moved = match &node.kind[..] {
            "Identity" | "Dropout" => Ok(data),
            "Cast" => match node.integer("to").unwrap_or_default() {
                to if is_float(to) => Ok(Data { integers: false, ..data }),
                to if is_integer(to) && data.integers => Ok(data),
                to => Err(format!("a cast of data to type {to} is not supported")),
            },
            "Reshape" => {
                let target = dims.or_else(|| node.integers("shape").map(known));
                target
                    .ok_or_else(|| "its shape is not constant".to_owned())
                    .and_then(|target| data.reshape(&target, node.integer("allowzero") != Some(1)))
            }
            "Flatten" => {
                let axis = node.integer("axis").unwrap_or(1);
                let at = if axis == rank as i64 { Ok(rank) } else { index(axis, rank) };
                at.and_then(|at| flatten(&data, at))
            }
            "Squeeze" => data.squeeze(axes(node, constant.as_deref())),
            "Unsqueeze" => axes(node, constant.as_deref())
                .ok_or_else(|| "its axes are not constant".to_owned())
                .and_then(|axes| data.unsqueeze(axes)),
            "Transpose" => {
                let permutation =
                    node.integers("perm").map(|axes| axes.iter().map(|&axis| index(axis, rank)).collect());
                permutation
                    .unwrap_or_else(|| Ok((0..rank).rev().collect()))
                    .and_then(|permutation: Vec<usize>| data.transpose(&permutation))
            }
            "Expand" => {
                let target = dims.ok_or_else(|| no("its shape is not constant".into()))?;
                let shape = data.shape();
                let same = target.len() <= shape.len()
                    && target.iter().rev().zip(shape.iter().rev()).all(|(to, from)| to == from || *to == Dim::Known(1));
                if same { Ok(data) } else { Err("repeats elements, which is not supported".into()) }
            }
            "Slice" => return self.slice(node, &data),
            "Split" => return self.split(node, &data),
            "Gather" => return self.pick(node, &data),
            _ => Err("is not supported".into()),
        };
        self.set_data(node, moved.map_err(no)?)
    }

    fn concat(&mut self, node: &'a Node) -> Result<()> {
        let values = (0..node.inputs.len()).map(|i| self.value(node, i).cloned()).collect::<Result<Vec<Value>>>()?;
        if let Some(state) = values.iter().find(|value| matches!(value, Value::LastState | Value::InitialState)) {
            let alike = values.iter().all(|value| std::mem::discriminant(value) == std::mem::discriminant(state));
            if !alike {
                return Err(refused(node, "puts states and data side by side, which is not supported"));
            }
            return self.set(node, 0, state.clone());
        }
        if values.iter().any(|value| matches!(value, Value::Shape { .. })) {
            let mut all = Vec::new();
            for value in &values {
                match value {
                    Value::Shape { dims, .. } => all.extend(dims),
                    Value::Constant(array) => all.extend(known(array.as_integers().unwrap_or(&[]))),
                    _ => return Err(refused(node, "puts dimensions and data side by side")),
                }
            }
            return self.set_shape(node, all, false);
        }
        let parts = (0..node.inputs.len()).map(|i| self.data(node, i)).collect::<Result<Vec<Data>>>()?;
        let no = |reason: String| refused(node, reason);
        let first = &parts[0];
        let axis = index(node.integer("axis").unwrap_or(0), first.axes.len()).map_err(no)?;
        if let [only] = &parts[..] {
            return self.set_data(node, only.clone());
        }
        let mut axes = first.axes.clone();
        for part in &parts {
            let mut others = part.axes.clone();
            if others.get(axis).is_none_or(|&axis| axis == Axis::Time) {
                return Err(refused(node, "puts frames behind each other, which is not supported"));
            }
            others[axis] = axes[axis];
            if others != axes {
                return Err(refused(node, "its inputs have other axes than each other"));
            }
            first.range(axis, 0..1).map_err(no)?;
        }
        axes[axis] = Axis::of(parts.iter().map(|part| part.axes[axis].features()).sum());
        let values: Vec<_> = parts.iter().map(|part| part.value).collect();
        let name = self.name(node.title());
        let value = self.graph.join(name, Join::Concat, &values)?;
        self.set_data(node, Data { integers: first.integers, ..first.with_value(value, axes) })
    }

    /// Features of an axis, as data of their own.
    fn part(&mut self, node: &'a Node, data: &Data, axis: usize, range: core::ops::Range<usize>) -> Result<Data> {
        let mut axes = data.axes.clone();
        axes[axis] = Axis::of(range.len());
        if range.len() == data.axes[axis].features() {
            return Ok(data.clone());
        }
        let range = data.range(axis, range).map_err(|reason| refused(node, reason))?;
        let name = self.name(node.title());
        let value = self.graph.slice(name, range, data.value)?;
        Ok(Data { integers: data.integers, ..data.with_value(value, axes) })
    }

    fn slice(&mut self, node: &'a Node, data: &Data) -> Result<()> {
        let no = |reason: String| refused(node, reason);
        let inputs: Vec<Option<Rc<Array>>> = (0..node.inputs.len())
            .map(|i| match node.input(i).and_then(|name| self.values.get(name)) {
                Some(Value::Constant(array)) => Some(Rc::clone(array)),
                _ => None,
            })
            .collect();
        let arrays: Vec<Option<&Array>> = inputs.iter().map(Option::as_deref).collect();
        let size = |axis: usize| match data.axes[axis] {
            Axis::Time => None,
            axis => Some(axis.features()),
        };
        let (axis, [start, end]) = slice(node, &arrays, data.axes.len(), size).map_err(no)?;
        if data.axes[axis] != Axis::Time {
            let range = start as usize..(end.max(start)) as usize;
            if range.is_empty() {
                return Err(refused(node, "keeps nothing"));
            }
            let part = self.part(node, data, axis, range)?;
            return self.set_data(node, part);
        }
        let to_end = end >= i64::from(i32::MAX) || data.frames.is_some_and(|frames| end == frames as i64);
        let is_last = start == -1 || data.frames.is_some_and(|frames| start == frames as i64 - 1);
        match (start, to_end) {
            (0, true) => self.set_data(node, data.clone()),
            (_, true) if is_last => self.last(node, data, axis, true),
            _ => Err(refused(node, format!("keeps the frames from {start} to {end} of a sequence; {UNROLLED}"))),
        }
    }

    /// The last frame of a sequence.
    fn last(&mut self, node: &'a Node, data: &Data, axis: usize, keep: bool) -> Result<()> {
        let part = self.over_time(node, Reduction::Last, data, axis, keep)?;
        self.set_data(node, part)
    }

    fn split(&mut self, node: &'a Node, data: &Data) -> Result<()> {
        let no = |reason: String| refused(node, reason);
        let axis = index(node.integer("axis").unwrap_or(0), data.axes.len()).map_err(no)?;
        if data.axes[axis] == Axis::Time {
            return Err(refused(node, UNROLLED));
        }
        let size = data.axes[axis].features();
        let parts = match (node.input(1), node.integers("split")) {
            (Some(_), _) => self.constant(node, 1, "split")?.as_integers().map(<[i64]>::to_vec),
            (None, parts) => parts.map(<[i64]>::to_vec),
        };
        let count = node.outputs.len().max(1);
        let each = size.div_ceil(count);
        let parts = parts.map_or_else(
            || (0..count).map(|i| each.min(size.saturating_sub(i * each))).collect(),
            |parts| parts.into_iter().map(|part| usize::try_from(part).unwrap_or(0)).collect::<Vec<usize>>(),
        );
        if parts.len() != node.outputs.len()
            || parts.contains(&0)
            || parts.iter().try_fold(0usize, |a, &b| a.checked_add(b)) != Some(size)
        {
            return Err(refused(node, format!("splits {size} features into {parts:?}")));
        }
        let mut start = 0;
        for (i, len) in parts.into_iter().enumerate() {
            if node.output(i).is_some_and(|name| self.file.is_output(name) || !self.file.readers(name).is_empty()) {
                let part = self.part(node, data, axis, start..start + len)?;
                self.set(node, i, Value::Data(part))?;
            }
            start += len;
        }
        Ok(())
    }

    /// Elements of an axis, by constant indices.
    fn pick(&mut self, node: &'a Node, data: &Data) -> Result<()> {
        let no = |reason: String| refused(node, reason);
        let axis = index(node.integer("axis").unwrap_or(0), data.axes.len()).map_err(no)?;
        let indices = self.constant(node, 1, "index")?;
        let picked = indices.as_integers().unwrap_or(&[]).to_vec();
        let alone = indices.shape.is_empty();
        if data.axes[axis] == Axis::Time {
            let is_last = picked == [-1] || data.frames.is_some_and(|frames| picked == [frames as i64 - 1]);
            if !is_last || indices.shape.len() > 1 {
                return Err(refused(node, UNROLLED));
            }
            return self.last(node, data, axis, !alone);
        }
        let size = data.axes[axis].features();
        let places = picked.iter().map(|&i| index(i, size)).collect::<Result<Vec<usize>, String>>().map_err(no)?;
        let consecutive = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let [Some(&first), Some(&last)] = [places.first(), places.last()] else {
            return Err(refused(node, "picks nothing"));
        };
        if !consecutive || indices.shape.len() > 1 {
            return Err(refused(node, "picks features that are not side by side, which is not supported"));
        }
        let mut part = self.part(node, data, axis, first..last + 1)?;
        if alone {
            part.axes.remove(axis);
        }
        self.set_data(node, part)
    }

    /// Rows of a table, by the indices that the data is.
    fn embedding(&mut self, node: &'a Node, table: &Array) -> Result<()> {
        let indices = self.data(node, 1)?;
        if node.integer("axis").unwrap_or(0) != 0 || table.shape.len() != 2 {
            return Err(refused(node, "takes elements of a constant that is no table of rows, which is not supported"));
        }
        if indices.features() != 1 {
            return Err(refused(node, format!("has {} indices per frame; only one is supported", indices.features())));
        }
        let table = Mat::from_vec(table.to_floats(), table.shape[0], table.shape[1])?;
        let width = table.cols();
        let layer = Layer::Embedding(Embedding::new(table).map_err(|cause| refused(node, cause))?);
        let value = self.layer(node, layer, indices.value)?;
        let mut axes = indices.axes.clone();
        axes.push(Axis::of(width));
        self.set_data(node, indices.with_value(value, axes))
    }
}

fn known(sizes: &[i64]) -> Vec<Dim> {
    sizes.iter().map(|&size| Dim::Known(size)).collect()
}

/// Two dimensions: those before an axis, and the others.
fn flatten(data: &Data, at: usize) -> Result<Data, String> {
    let part = |axes: &[Axis]| {
        let wide: Vec<Axis> = axes.iter().copied().filter(|&axis| axis != Axis::One).collect();
        match wide[..] {
            [] => Ok(Axis::One),
            [Axis::Time] => Ok(Axis::Time),
            _ if wide.contains(&Axis::Time) => {
                Err("puts all frames of a sequence into one, which is not supported".to_owned())
            }
            _ => Ok(Axis::of(features(&wide))),
        }
    };
    Ok(data.with_axes(vec![part(&data.axes[..at])?, part(&data.axes[at..])?]))
}
