//! Layers, weights and tensors, as a file stores them.

use serde_json::Value;

use crate::container::{Entries, Result, array, parameter, variant};
use crate::file::Reader;
use crate::function::Function;
use crate::layer::{Cell, Layer, Linear, Matrix, Recurrent, Reduction, Weight, Windows};
use crate::product::Activation;
use crate::quantize::{Format, Quantized};

impl Reader {
    pub(crate) fn layer(&mut self, name: &str, value: Value) -> Result<Layer> {
        let (kind, value) = variant(name, value)?;
        let mut entries = Entries::new(name, value)?;
        let entries = &mut entries;
        if !["linear", "time_convolution", "gru", "lstm", "bidirectional_gru", "bidirectional_lstm"]
            .contains(&kind.as_str())
        {
            self.of_version_2(&kind)?;
        }
        let layer = match kind.as_str() {
            "linear" => Layer::Linear(self.linear(name, entries)?),
            "time_convolution" => {
                let mut of_linear = Entries::new(name, entries.take("linear")?)?;
                let linear = self.linear(name, &mut of_linear)?;
                of_linear.end()?;
                let (kernel, before) = (entries.count("kernel", 1)?, entries.count("padding", 0)?);
                let newer = |entries: &mut Entries, key, least, otherwise| -> Result<usize> {
                    match self.newer(entries, key)? {
                        None => Ok(otherwise),
                        Some(value) => value
                            .as_u64()
                            .map(|n| n as usize)
                            .filter(|&n| n >= least)
                            .ok_or(format!("{name}: {key} is {value}")),
                    }
                };
                let after = newer(entries, "padding_after", 0, before)?;
                let dilation = newer(entries, "dilation", 1, 1)?;
                let windows = Windows { kernel, stride: entries.count("stride", 1)?, dilation, before, after };
                if linear.weight.k() % kernel != 0 {
                    return Err(format!("{name}: {} inputs are not {kernel} frames", linear.weight.k()));
                }
                Layer::TimeConvolution { linear, windows: possible(name, windows)? }
            }
            "depthwise" => {
                let features = entries.count("features", 1)?;
                let mut of_windows = Entries::new(name, entries.take("windows")?)?;
                let mut count = |key, least| of_windows.count(key, least);
                let (kernel, stride, dilation) = (count("kernel", 1)?, count("stride", 1)?, count("dilation", 1)?);
                let windows =
                    Windows { kernel, stride, dilation, before: count("before", 0)?, after: count("after", 0)? };
                of_windows.end()?;
                let weight = self.rows(&format!("{name}.weight"), kernel, features)?;
                let bias = self.vector(name, "bias", features, entries.flag("bias")?)?;
                Layer::Depthwise { weight, bias, windows: possible(name, windows)? }
            }
            "gru" | "lstm" | "rnn" => Layer::Recurrent(self.recurrent(name, &kind, entries)?),
            "bidirectional_gru" | "bidirectional_lstm" | "bidirectional_rnn" => {
                let kind = &kind["bidirectional_".len()..];
                let mut direction = |which: &str| -> Result<Recurrent> {
                    let name = format!("{name}.{which}");
                    let mut entries = Entries::new(&name, entries.take(which)?)?;
                    let layer = self.recurrent(&name, kind, &mut entries)?;
                    entries.end()?;
                    Ok(layer)
                };
                let (forward, reverse) = (direction("forward")?, direction("reverse")?);
                let sizes = |layer: &Recurrent| (layer.weight_ih.k(), layer.output_size());
                if sizes(&forward) != sizes(&reverse) {
                    return Err(format!("{name}: the two directions differ"));
                }
                Layer::Bidirectional { forward, reverse }
            }
            "function" => Layer::Function {
                function: function(name, entries.take("function")?)?,
                features: entries.count("features", 1)?,
            },
            "affine" => {
                let features = entries.count("features", 1)?;
                let mut take = |what: &str| self.floats(&format!("{name}.{what}"), &[features]);
                Layer::Affine { scale: take("scale")?, shift: take("shift")? }
            }
            "layer_norm" => {
                let features = entries.count("features", 1)?;
                let weight = self.vector(name, "weight", features, entries.flag("weight")?)?;
                let bias = self.vector(name, "bias", features, entries.flag("bias")?)?;
                let epsilon = parameter(name, &entries.take("epsilon")?, Some(0.0))?;
                Layer::LayerNorm { features, weight, bias, epsilon }
            }
            "embedding" => {
                let table = self.matrix(&format!("{name}.weight"), entries, &["f32", "int8"])?;
                if table.n() > 1 << 24 {
                    return Err(format!("{name}: f32 does not tell {} rows apart", table.n()));
                }
                Layer::Embedding(table)
            }
            "slice" => {
                let (features, start) = (entries.count("features", 1)?, entries.count("start", 0)?);
                let end = entries.count("end", start + 1)?;
                if end > features {
                    return Err(format!("{name}: {features} features end before {end}"));
                }
                Layer::Slice { features, start, end }
            }
            "over_time" => {
                let reduction = match entries.text("reduction")?.as_str() {
                    "last" => Reduction::Last,
                    "mean" => Reduction::Mean,
                    "sum" => Reduction::Sum,
                    "max" => Reduction::Max,
                    other => return Err(format!("{name}: the reduction {other} is not understood")),
                };
                Layer::OverTime { reduction, features: entries.count("features", 1)? }
            }
            other => return Err(format!("{name}: the layer {other} is not understood")),
        };
        std::mem::replace(entries, Entries::parse(name, b"{}")?).end()?;
        Ok(layer)
    }

    fn linear(&mut self, name: &str, entries: &mut Entries) -> Result<Linear> {
        let weight = self.weight(&format!("{name}.weight"), entries.take("weight")?)?;
        let bias = self.vector(name, "bias", weight.n(), entries.flag("bias")?)?;
        let activation = match entries.take("activation")? {
            Value::String(text) if text == "identity" => Activation::Identity,
            Value::String(text) if text == "relu" => Activation::Relu,
            other => match variant(name, other)? {
                (kind, limit) if kind == "clipped_relu" => Activation::ClippedRelu(parameter(name, &limit, Some(0.0))?),
                (other, _) => return Err(format!("{name}: the activation {other} is not understood")),
            },
        };
        Ok(Linear { weight, bias, activation })
    }

    fn recurrent(&mut self, name: &str, kind: &str, entries: &mut Entries) -> Result<Recurrent> {
        let (how, weights) = variant(name, entries.take("weights")?)?;
        let mut weights = Entries::new(name, weights)?;
        let mut named = |what: &str| (format!("{name}.{what}"), weights.take(what));
        let (weight_ih, weight_hh) = match how.as_str() {
            "apart" => {
                let (ih, hh) = (named("weight_ih"), named("weight_hh"));
                (self.weight(&ih.0, ih.1?)?, self.weight(&hh.0, hh.1?)?)
            }
            "joint" => {
                let any = &FORMATS;
                let mut matrix = |of: &str, factor: &str| -> Result<Matrix> {
                    let name = format!("{name}.{of}");
                    self.matrix(&name, &mut Entries::new(&name, weights.take(factor)?)?, any)
                };
                let u = matrix("weight.u", "u")?;
                let (v_ih, v_hh) = (matrix("weight_ih.v", "v_ih")?, matrix("weight_hh.v", "v_hh")?);
                (low_rank(name, u.clone(), v_ih)?, low_rank(name, u, v_hh)?)
            }
            other => return Err(format!("{name}: weights cannot be {other}")),
        };
        weights.end()?;
        let mut optional = |what: &str| -> Result<Option<Weight>> {
            match entries.optional(what) {
                None | Some(Value::Null) => Ok(None),
                Some(weight) => self.weight(&format!("{name}.{what}"), weight).map(Some),
            }
        };
        let (cell, gates) = match kind {
            "gru" => (optional("weight_hh_n")?.map_or(Cell::Gru, Cell::GruResetBefore), 3),
            "lstm" => (Cell::Lstm(optional("weight_hr")?), 4),
            _ => match entries.text("function")?.as_str() {
                "tanh" => (Cell::RnnTanh, 1),
                "relu" => (Cell::RnnRelu, 1),
                other => return Err(format!("{name}: the function {other} is not understood")),
            },
        };
        let rows = weight_ih.n();
        let bias_ih = self.vector(name, "bias_ih", rows, entries.flag("bias_ih")?)?;
        let bias_hh = self.vector(name, "bias_hh", rows, entries.flag("bias_hh")?)?;
        let layer = Recurrent { cell, weight_ih, weight_hh, bias_ih, bias_hh };
        let (units, output) = (layer.hidden(), layer.output_size());
        let fits = match &layer.cell {
            Cell::GruResetBefore(n) => layer.weight_hh.n() == 2 * units && (n.n(), n.k()) == (units, units),
            Cell::Lstm(Some(projection)) => layer.weight_hh.n() == rows && projection.k() == units,
            _ => layer.weight_hh.n() == rows,
        };
        if !fits || rows != gates * units || layer.weight_hh.k() != output {
            return Err(format!("{name}: its weights do not fit each other"));
        }
        Ok(layer)
    }

    // Weights and tensors.

    fn weight(&mut self, name: &str, value: Value) -> Result<Weight> {
        let (kind, value) = variant(name, value)?;
        match kind.as_str() {
            "dense" => Ok(Weight::Dense(self.whole_matrix(name, value)?)),
            "low_rank" => {
                let mut factors = Entries::new(name, value)?;
                let u = self.whole_matrix(&format!("{name}.u"), factors.take("u")?)?;
                let v = self.whole_matrix(&format!("{name}.v"), factors.take("v")?)?;
                factors.end()?;
                low_rank(name, u, v)
            }
            "stacked" => {
                let parts = array(name, value)?.into_iter().enumerate();
                let parts =
                    parts.map(|(i, part)| self.weight(&format!("{name}.{i}"), part)).collect::<Result<Vec<_>>>()?;
                if parts.is_empty() || parts.iter().any(|part| part.k() != parts[0].k()) {
                    return Err(format!("{name}: its parts do not fit each other"));
                }
                Ok(Weight::Stacked(parts))
            }
            other => Err(format!("{name}: the weight {other} is not understood")),
        }
    }

    fn whole_matrix(&mut self, name: &str, value: Value) -> Result<Matrix> {
        let mut entries = Entries::new(name, value)?;
        let matrix = self.matrix(name, &mut entries, &FORMATS)?;
        entries.end()?;
        Ok(matrix)
    }

    fn matrix(&mut self, name: &str, entries: &mut Entries, formats: &[&str]) -> Result<Matrix> {
        let (n, k, format) = (entries.count("n", 1)?, entries.count("k", 1)?, entries.text("format")?);
        if !formats.contains(&format.as_str()) {
            return Err(format!("{name}: the format {format} is not understood"));
        }
        let Some(format) = Format::ALL.into_iter().find(|other| other.name() == format) else {
            return Ok(Matrix::Floats(self.rows(name, n, k)?));
        };
        let values = match format {
            Format::Int8 => self.bytes(&format!("{name}.values"), "I8", &[n, k])?,
            Format::Int4 | Format::Int4Groups => {
                let bytes = self.bytes(&format!("{name}.nibbles"), "U8", &[n, k.div_ceil(2)])?;
                unpack(name, &bytes, k, 4, -7)?
            }
            Format::Int2Groups => {
                self.of_version_2(format.name())?;
                let bytes = self.bytes(&format!("{name}.quarters"), "U8", &[n, k.div_ceil(4)])?;
                unpack(name, &bytes, k, 2, -2)?
            }
        };
        let (dtype, range) = if format == Format::Int2Groups { ("I8", -63..=63) } else { ("U8", 0..=127) };
        let multipliers = match format.group() {
            Some(columns) => self.bytes(&format!("{name}.multipliers"), dtype, &[n, k.div_ceil(columns)])?,
            None => vec![1; n],
        };
        let multipliers = rows_of(multipliers.into_iter().map(|byte| byte as i8).collect(), n);
        if let Some(m) = multipliers.iter().flatten().find(|m| !range.contains(*m)) {
            return Err(format!("{name}: the multiplier {m} is out of range"));
        }
        let scales = self.floats(&format!("{name}.scales"), &[n])?;
        if let Some(scale) = scales.iter().find(|scale| **scale <= 0.0) {
            return Err(format!("{name}: the scale {scale} is not positive"));
        }
        let values = rows_of(values.into_iter().map(|byte| byte as i8).collect(), n);
        Ok(Matrix::Quantized(Quantized { format, values, multipliers, scales }))
    }

    fn bytes(&mut self, name: &str, dtype: &str, shape: &[usize]) -> Result<Vec<u8>> {
        let tensor = self.tensors.remove(name).ok_or(format!("there is no tensor {name}"))?;
        if tensor.dtype != dtype || tensor.shape != shape {
            return Err(format!("{name}: {} of {:?} is not {dtype} of {shape:?}", tensor.dtype, tensor.shape));
        }
        Ok(tensor.bytes)
    }

    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let bytes = self.bytes(name, "F32", shape)?;
        finite(name, bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn rows(&mut self, name: &str, n: usize, k: usize) -> Result<Vec<Vec<f32>>> {
        Ok(rows_of(self.floats(name, &[n, k])?, n))
    }

    fn vector(&mut self, layer: &str, what: &str, len: usize, is_there: bool) -> Result<Option<Vec<f32>>> {
        is_there.then(|| self.floats(&format!("{layer}.{what}"), &[len])).transpose()
    }

    pub(crate) fn attachment(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor = self.tensors.remove(name).ok_or(format!("there is no tensor {name}"))?;
        let halves = || tensor.bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let values = match tensor.dtype.as_str() {
            "F32" => tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            "BF16" => halves().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
            "F16" => halves().map(half).collect(),
            other => return Err(format!("{name}: {other} are no floats")),
        };
        Ok((tensor.shape, finite(name, values)?))
    }
}

/// All formats of matrices.
const FORMATS: [&str; 5] = ["f32", "int8", "int4", "int4 in groups of 32", "int2 in groups of 64"];

/// Binary16.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 => f32::INFINITY,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// Numbers of `bits` bits, from the low end of each byte, with each of the rows of `k` beginning a byte.
fn unpack(name: &str, bytes: &[u8], k: usize, bits: usize, least: i8) -> Result<Vec<u8>> {
    let per_byte = 8 / bits;
    let mut values = vec![];
    for row in bytes.chunks(k.div_ceil(per_byte)) {
        let number = |i: usize| ((row[i / per_byte] >> (i % per_byte * bits) << (8 - bits)) as i8) >> (8 - bits);
        if (k..row.len() * per_byte).any(|i| number(i) != 0) {
            return Err(format!("{name}: there is something behind the last column"));
        }
        if let Some(value) = (0..k).map(number).find(|value| *value < least) {
            return Err(format!("{name}: the value {value} is out of range"));
        }
        values.extend((0..k).map(|i| number(i) as u8));
    }
    Ok(values)
}

fn rows_of<T: Clone>(values: Vec<T>, n: usize) -> Vec<Vec<T>> {
    values.chunks(values.len() / n).map(<[T]>::to_vec).collect()
}

fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("{name}: {value} is not finite")),
        None => Ok(values),
    }
}

fn low_rank(name: &str, u: Matrix, v: Matrix) -> Result<Weight> {
    if u.k() == v.n() { Ok(Weight::LowRank { u, v }) } else { Err(format!("{name}: the factors differ in their rank")) }
}

fn possible(name: &str, windows: Windows) -> Result<Windows> {
    let extent = windows.extent().ok_or(format!("{name}: its windows are too long"))?;
    let Windows { kernel, dilation, before, after, .. } = windows;
    let fits = if dilation == 1 { before.max(after) < kernel } else { before.saturating_add(after) < extent };
    if fits { Ok(windows) } else { Err(format!("{name}: {before} and {after} frames of padding may fill a window")) }
}

fn function(name: &str, value: Value) -> Result<Function> {
    let parameter = |value: &Value, above| parameter(name, value, above);
    Ok(match value {
        Value::String(text) => match text.as_str() {
            "tanh" => Function::Tanh,
            "sigmoid" => Function::Sigmoid,
            "relu" => Function::Relu,
            "silu" => Function::Silu,
            "gelu" => Function::Gelu,
            "gelu_tanh" => Function::GeluTanh,
            "hard_swish" => Function::HardSwish,
            "absolute" => Function::Absolute,
            "square" => Function::Square,
            "square_root" => Function::SquareRoot,
            "softmax" => Function::Softmax,
            "log_softmax" => Function::LogSoftmax,
            other => return Err(format!("{name}: the function {other} is not understood")),
        },
        other => {
            let (kind, value) = variant(name, other)?;
            match kind.as_str() {
                "clipped_relu" => Function::ClippedRelu(parameter(&value, Some(0.0))?),
                "leaky_relu" => Function::LeakyRelu(parameter(&value, None)?),
                "hard_sigmoid" => {
                    let mut entries = Entries::new(name, value)?;
                    let (slope, offset) = (entries.take("slope")?, entries.take("offset")?);
                    entries.end()?;
                    Function::HardSigmoid { slope: parameter(&slope, None)?, offset: parameter(&offset, None)? }
                }
                "normalize" => {
                    let mut entries = Entries::new(name, value)?;
                    let epsilon = entries.take("epsilon")?;
                    entries.end()?;
                    Function::Normalize { epsilon: parameter(&epsilon, Some(0.0))? }
                }
                other => return Err(format!("{name}: the function {other} is not understood")),
            }
        }
    })
}
