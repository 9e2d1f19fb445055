//! Products with constant matrices and convolutions over time, together with what is folded into them.

use skinny::Mat;
use skinny::factored::{Affine, DepthwiseConvolution, Linear, TimeConvolution, Weight, Windows};
use skinny::kernels::Activation;
use skinny::model::Layer;

use super::array::Array;
use super::axes::{Axis, Data};
use super::builder::{Builder, Value};
use super::file::refused;
use super::fold::slice;
use super::proto::Node;
use crate::error::Result;

/// A layer into which the nodes behind it may be folded.
pub(super) enum Open {
    Linear(Linear),
    Convolution(TimeConvolution),
}

impl Open {
    fn linear(&self) -> &Linear {
        match self {
            Open::Linear(linear) => linear,
            Open::Convolution(convolution) => convolution.linear(),
        }
    }

    fn with(self, linear: Linear) -> skinny::Result<Self> {
        Ok(match self {
            Open::Linear(_) => Open::Linear(linear),
            Open::Convolution(convolution) => Open::Convolution(convolution.with_linear(linear)?),
        })
    }
}

/// The transpose of a matrix in row-major order.
pub(super) fn transposed(values: &[f32], rows: usize, cols: usize) -> skinny::Result<Mat<f32>> {
    let mut out = Mat::zeros(cols, rows)?;
    for (i, &value) in values.iter().enumerate() {
        out.as_mut_slice()[i % cols * rows + i / cols] = value;
    }
    Ok(out)
}

impl<'a> Builder<'a> {
    /// Adds a layer that reads `x`, with the nodes behind it that can be folded into it. `out` is its value.
    pub fn close(&mut self, node: &'a Node, mut open: Open, x: &Data, mut out: Data) -> Result<()> {
        let file = self.file;
        let mut last = self.last;
        while let Some(next) = file.nodes[last].output(0).and_then(|name| file.only_reader(name)) {
            let reader = &file.nodes[next];
            if !reader.domain.is_empty() {
                break;
            }
            let activation = match &reader.kind[..] {
                "Relu" => Some(Activation::Relu),
                "Clip" => match self.limits(reader)? {
                    [Some(0.0), Some(limit)] if limit > 0.0 => Some(Activation::ClippedRelu(limit)),
                    _ => break,
                },
                _ => None,
            };
            if let Some(activation) = activation {
                let linear = open.linear().clone().with_activation(activation);
                open = open.with(linear)?;
                self.taken.insert(next);
                last = next;
                break;
            }
            let place = usize::from(reader.input(0) != file.nodes[last].output(0));
            let Ok(Some((affine, axes))) = self.affine(reader, &out, place) else { break };
            let linear = affine.fold_into(open.linear()).map_err(|cause| refused(reader, cause))?;
            open = open.with(linear)?;
            out.axes = axes;
            self.taken.insert(next);
            last = next;
        }
        let layer = match open {
            Open::Linear(linear) => Layer::Linear(linear),
            Open::Convolution(convolution) => Layer::TimeConvolution(convolution),
        };
        out.value = self.layer(node, layer, x.value)?;
        self.set_of(last, out)
    }

    /// Adds a fully connected layer over the features of `axis`, with the nodes behind it.
    pub fn dense(&mut self, node: &'a Node, x: &Data, axis: usize, weight: Mat<f32>) -> Result<()> {
        let (linear, axes) = connected(node, x, axis, weight)?;
        self.close(node, Open::Linear(linear), x, x.with_value(x.value, axes))
    }

    /// Adds a fully connected layer over the features of the last axis, without the nodes behind it.
    pub fn plain_dense(&mut self, node: &'a Node, x: &Data, weight: Mat<f32>) -> Result<Data> {
        let (linear, axes) = connected(node, x, x.axes.len().wrapping_sub(1), weight)?;
        let value = self.layer(node, Layer::Linear(linear), x.value)?;
        Ok(x.with_value(value, axes))
    }

    pub fn matrix_product(&mut self, node: &'a Node) -> Result<()> {
        let side = match [self.is_constant(node, 0), self.is_constant(node, 1)] {
            [false, true] => 1,
            [true, false] => 0,
            _ => return Err(refused(node, "multiplies two values, as attention does, which is not supported")),
        };
        let array = self.constant(node, side, "matrix")?;
        let x = self.data(node, 1 - side)?;
        let [rows, cols] = matrix(&array).ok_or_else(|| refused(node, format!("a constant of {:?}", array.shape)))?;
        let values = array.to_floats();
        let rank = x.axes.len();
        if side == 1 {
            let weight = transposed(&values, rows, cols)?;
            return self.dense(node, &x, rank.wrapping_sub(1), weight);
        }
        self.dense(node, &x, rank.wrapping_sub(2), Mat::from_vec(values, rows, cols)?)
    }

    pub fn gemm(&mut self, node: &'a Node) -> Result<()> {
        if node.integer("transA").unwrap_or(0) != 0 {
            return Err(refused(node, "transA of 1 is not supported"));
        }
        let x = self.data(node, 0)?;
        let array = self.constant(node, 1, "matrix")?;
        let [rows, cols] = matrix(&array).ok_or_else(|| refused(node, format!("a constant of {:?}", array.shape)))?;
        let [alpha, beta] = ["alpha", "beta"].map(|name| node.float(name).unwrap_or(1.0));
        let values: Vec<f32> = array.to_floats().iter().map(|value| alpha * value).collect();
        let weight = match node.integer("transB").unwrap_or(0) {
            0 => transposed(&values, rows, cols)?,
            _ => Mat::from_vec(values, rows, cols)?,
        };
        let rank = x.axes.len();
        if rank != 2 || x.features() != weight.cols() || x.axes[1] == Axis::Time {
            let found = x.features();
            return Err(refused(node, format!("its matrix takes {} features, and there are {found}", weight.cols())));
        }
        let axes = vec![x.axes[0], Axis::of(weight.rows())];
        let out = x.with_value(x.value, axes);
        let bias = self.optional(node, 2, "bias")?;
        let bias = bias.map(|bias| out.spread(&bias)).transpose().map_err(|reason| refused(node, reason))?;
        let bias = bias.map(|(bias, _)| bias.iter().map(|bias| beta * bias).collect());
        let weight = Weight::dense(weight).map_err(|cause| refused(node, cause))?;
        let linear = Linear::new(weight, bias).map_err(|cause| refused(node, cause))?;
        self.close(node, Open::Linear(linear), &x, out)
    }

    pub fn convolution(&mut self, node: &'a Node) -> Result<()> {
        let no = |reason: String| refused(node, reason);
        // It takes over the padding of its input.
        let x = match self.value(node, 0)? {
            Value::Data(data) => data.clone(),
            _ => self.data(node, 0)?,
        };
        let weight = self.constant(node, 1, "weight")?;
        let bias = self.optional(node, 2, "bias")?.map(|bias| bias.to_floats());
        let rank = x.axes.len();
        let Some(time) = x.time().filter(|&time| time >= 2 && rank == weight.shape.len()) else {
            let reason = "convolves the features of a frame with each other; only convolutions over time are supported, of \
                          arrays of batch, features, time";
            return Err(no(reason.into()));
        };
        let channels = x.axes[1].features();
        if x.features() != channels || (2..rank).any(|axis| axis != time && weight.shape[axis] != 1) {
            return Err(no("a convolution over time and features at once is not supported".into()));
        }
        let windows = windows(node, &x, time, weight.shape[time]).map_err(no)?;
        let groups = node.integer("group").unwrap_or(1);
        let (outputs, inputs) = (weight.shape[0], weight.shape[1]);
        let groups = usize::try_from(groups).ok().filter(|&groups| {
            groups > 0 && inputs.checked_mul(groups) == Some(channels) && outputs > 0 && outputs.is_multiple_of(groups)
        });
        let Some(groups) = groups else {
            return Err(no(format!("its weight is {:?}, and there are {channels} features", weight.shape)));
        };
        let (windows, chomped) = self.chomped(windows, &x, time);
        let mut axes = x.axes.clone();
        axes[1] = Axis::of(outputs);
        let mut out = Data { pad: [0; 2], ..x.with_value(x.value, axes) };
        let extent = windows.extent();
        if windows.stride != 1 || windows.before + windows.after + 1 != extent {
            out.clock = self.clock();
            out.frames = x.frames.map(|frames| {
                (frames + windows.before + windows.after)
                    .checked_sub(extent)
                    .map_or(0, |rest| rest / windows.stride + 1)
            });
        }
        let values = weight.to_floats();
        let kernel = windows.kernel;
        let each = outputs / groups * inputs * kernel;
        let group = |i: usize| -> skinny::Result<TimeConvolution> {
            let rows = outputs / groups;
            let mut frames = Mat::zeros(rows, inputs * kernel)?;
            for (place, &w) in values[i * each..(i + 1) * each].iter().enumerate() {
                let (row, column) = (place / (inputs * kernel), place % (inputs * kernel));
                frames.view_mut().row_mut(row)[column % kernel * inputs + column / kernel] = w;
            }
            let bias = bias.as_ref().and_then(|bias| bias.get(i * rows..(i + 1) * rows)).map(<[f32]>::to_vec);
            TimeConvolution::with_windows(Linear::new(Weight::dense(frames)?, bias)?, windows)
        };
        if bias.as_ref().is_some_and(|bias| bias.len() != outputs) {
            return Err(no(format!("its bias does not have {outputs} elements")));
        }
        let fail = |cause: skinny::Error| refused(node, cause);
        self.last = chomped.unwrap_or(self.done);
        if groups == 1 {
            let convolution = group(0).map_err(fail)?;
            let is_plain = windows == Windows::new(1, 1, 0);
            let open =
                if is_plain { Open::Linear(convolution.linear().clone()) } else { Open::Convolution(convolution) };
            return self.close(node, open, &x, out);
        }
        out.value = if groups == channels && outputs == channels && groups > 1 {
            let layer = DepthwiseConvolution::from_conv1d(&values, channels, bias.clone(), windows).map_err(fail)?;
            self.layer(node, Layer::Depthwise(layer), x.value)?
        } else {
            let layers = (0..groups).map(group).collect::<skinny::Result<Vec<_>>>().map_err(fail)?;
            let name = self.name(node.title());
            self.graph.grouped_convolution(name, layers, x.value)?
        };
        self.set_of(self.last, out)
    }

    /// A convolution whose padding is cut off again, as causal ones are written: its windows without that, and the node
    /// that cuts.
    fn chomped(&mut self, windows: Windows, x: &Data, time: usize) -> (Windows, Option<usize>) {
        let file = self.file;
        let next = file.nodes[self.done].output(0).and_then(|name| file.only_reader(name));
        let Some(next) = next.filter(|&next| file.nodes[next].kind == "Slice" && windows.stride == 1) else {
            return (windows, None);
        };
        let reader = &file.nodes[next];
        let arrays: Vec<Option<&Array>> = (0..reader.inputs.len()).map(|i| file.constant(reader.input(i))).collect();
        let Ok((axis, [start, end])) = slice(reader, &arrays, x.axes.len(), |_| None) else { return (windows, None) };
        let cut = [start, if end >= i64::from(i32::MAX) { 0 } else { end.saturating_neg() }].map(usize::try_from);
        match cut {
            [Ok(before), Ok(after)] if axis == time && before <= windows.before && after <= windows.after => {
                self.taken.insert(next);
                let (before, after) = (windows.before - before, windows.after - after);
                (Windows { before, after, ..windows }, Some(next))
            }
            _ => (windows, None),
        }
    }

    /// The scale and the shift of each feature that a node computes of data, which is its input `place`, and the axes of
    /// the result. There is none if the other inputs are not constant.
    pub fn affine(&self, node: &Node, x: &Data, place: usize) -> Result<Option<(Affine, Vec<Axis>)>> {
        let no = |reason: String| refused(node, reason);
        let fail = |cause: skinny::Error| refused(node, cause);
        if node.kind == "BatchNormalization" && place == 0 {
            return Ok(Some((self.batch_norm(node, x)?, x.axes.clone())));
        }
        let other = 1 - place.min(1);
        if !matches!(&node.kind[..], "Add" | "Sub" | "Mul" | "Div") || !self.is_constant(node, other) {
            return Ok(None);
        }
        let operand = self.constant(node, other, "operand")?;
        let (c, axes) = x.spread(&operand).map_err(no)?;
        let (ones, zeros) = (vec![1.0; c.len()], vec![0.0; c.len()]);
        let affine = match (&node.kind[..], place) {
            ("Add", _) => Affine::new(ones, c),
            ("Sub", 0) => Affine::new(ones, c.iter().map(|c| -c).collect()),
            ("Sub", _) => Affine::new(vec![-1.0; c.len()], c),
            ("Mul", _) => Affine::new(c, zeros),
            (_, 0) => Affine::new(c.iter().map(|c| 1.0 / c).collect(), zeros),
            _ => return Err(no("divides by data, which is not supported".into())),
        };
        Ok(Some((affine.map_err(fail)?, axes)))
    }

    fn batch_norm(&self, node: &Node, x: &Data) -> Result<Affine> {
        let mut parameters = Vec::new();
        for (i, what) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")] {
            let array = self.constant(node, i, what)?;
            // Its axis is the second one of the data.
            let shape = [vec![array.len()], vec![1; x.axes.len().saturating_sub(2)]].concat();
            let array = Array::floats(shape, array.to_floats());
            parameters.push(x.spread(&array).map_err(|reason| refused(node, reason))?.0);
        }
        if node.integer("training_mode").unwrap_or(0) != 0 {
            return Err(refused(node, "is in training mode; export the model after model.eval()"));
        }
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let [scale, bias, mean, variance] = [0, 1, 2, 3].map(|i| &parameters[i][..]);
        Affine::batch_norm(mean, variance, Some(scale), Some(bias), epsilon).map_err(|cause| refused(node, cause))
    }

    /// The bounds of a `Clip`.
    pub fn limits(&self, node: &Node) -> Result<[Option<f32>; 2]> {
        let limit = |i: usize, name: &str| -> Result<Option<f32>> {
            let input = self.optional(node, i, name)?;
            Ok(input.and_then(|array| array.scalar()).or_else(|| node.float(name)))
        };
        Ok([limit(1, "min")?, limit(2, "max")?])
    }
}

/// The rows and columns of a matrix. Axes of one element before them do not count.
pub(super) fn matrix(array: &Array) -> Option<[usize; 2]> {
    let [ones @ .., rows, cols] = &array.shape[..] else { return None };
    let is_matrix = ones.iter().all(|&size| size == 1) && *rows > 0 && *cols > 0;
    is_matrix.then_some([*rows, *cols])
}

/// The windows of a convolution along `time`, with the padding of its input.
fn windows(node: &Node, x: &Data, time: usize, kernel: usize) -> Result<Windows, String> {
    let spatial = time - 2;
    let count = x.axes.len() - 2;
    let of = |name: &str, default: i64, at: usize| -> Result<usize, String> {
        let values = node.integers(name);
        let value = match values {
            None => default,
            Some(values) => *values.get(at).ok_or_else(|| format!("{name} has {} elements", values.len()))?,
        };
        usize::try_from(value).map_err(|_| format!("{name} of {value} is not supported"))
    };
    for other in (0..count).filter(|&other| other != spatial) {
        if of("pads", 0, other)? != 0 || of("pads", 0, count + other)? != 0 {
            return Err("padding of features is not supported".into());
        }
    }
    let (stride, dilation) = (of("strides", 1, spatial)?, of("dilations", 1, spatial)?);
    let total = kernel.saturating_sub(1).saturating_mul(dilation);
    let [before, after] = match node.text("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" | "" => [of("pads", 0, spatial)?, of("pads", 0, count + spatial)?],
        "VALID" => [0; 2],
        "SAME_UPPER" if stride == 1 => [total / 2, total - total / 2],
        "SAME_LOWER" if stride == 1 => [total - total / 2, total / 2],
        other => return Err(format!("auto_pad {other} with a stride of {stride} depends on the number of frames")),
    };
    let [before, after] = [before.saturating_add(x.pad[0]), after.saturating_add(x.pad[1])];
    Ok(Windows { kernel, stride, dilation, before, after })
}

/// A fully connected layer over the features of `axis`, and the axes of its value.
fn connected(node: &Node, x: &Data, axis: usize, weight: Mat<f32>) -> Result<(Linear, Vec<Axis>)> {
    let inputs = weight.cols();
    let reason = match x.axes.get(axis) {
        Some(Axis::Time) => "multiplies along time, which is not supported; a convolution or a reduction is".to_owned(),
        Some(axis) if axis.features() == inputs && x.features() == inputs => String::new(),
        _ => format!("its matrix takes {inputs} features, and there are {}; reshape them to one axis", x.features()),
    };
    if !reason.is_empty() {
        return Err(refused(node, reason));
    }
    let mut axes = x.axes.clone();
    axes[axis] = Axis::of(weight.rows());
    let weight = Weight::dense(weight).map_err(|cause| refused(node, cause))?;
    let linear = Linear::new(weight, None).map_err(|cause| refused(node, cause))?;
    Ok((linear, axes))
}
