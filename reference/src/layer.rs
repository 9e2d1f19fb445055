//! Layers, over whole sequences. How a stream was cut makes no difference to what they compute.

use crate::function::{Function, layer_norm};
use crate::gates;
use crate::product::{Activation, dequantize, finish, of_floats, sums};
use crate::quantize::{Activations, Quantized};

/// The frames of a sequence.
pub type Frames = Vec<Vec<f32>>;

/// A matrix as it is stored.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// In `f32`, row by row.
    Floats(Vec<Vec<f32>>),
    /// In 8, 4 or 2 bits.
    Quantized(Quantized),
}

/// A weight: what multiplies a frame.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the factors are called as in formulas")]
pub enum Weight {
    /// One matrix.
    Dense(Matrix),
    /// The product of two.
    LowRank { u: Matrix, v: Matrix },
    /// Weights one below the other.
    Stacked(Vec<Weight>),
}

impl Matrix {
    /// Rows.
    pub fn n(&self) -> usize {
        match self {
            Self::Floats(rows) => rows.len(),
            Self::Quantized(w) => w.values.len(),
        }
    }

    /// Columns.
    pub fn k(&self) -> usize {
        match self {
            Self::Floats(rows) => rows[0].len(),
            Self::Quantized(w) => w.values[0].len(),
        }
    }

    /// `activation(W x + bias)`
    pub fn apply(&self, x: &[f32], bias: Option<&[f32]>, activation: Activation) -> Vec<f32> {
        let bias = |row: usize| bias.map(|bias| bias[row]);
        match self {
            Self::Floats(rows) => {
                (0..rows.len()).map(|row| finish(of_floats(&rows[row], x), bias(row), activation)).collect()
            }
            Self::Quantized(w) => {
                let x = Activations::symmetric(x);
                let sums = sums(w, &x.values);
                let one = |row| dequantize(sums[row], w.scales[row], x.scale, bias(row), activation);
                (0..sums.len()).map(one).collect()
            }
        }
    }
}

impl Weight {
    /// Output features.
    pub fn n(&self) -> usize {
        match self {
            Self::Dense(w) => w.n(),
            Self::LowRank { u, .. } => u.n(),
            Self::Stacked(parts) => parts.iter().map(Self::n).sum(),
        }
    }

    /// Input features.
    pub fn k(&self) -> usize {
        match self {
            Self::Dense(w) => w.k(),
            Self::LowRank { v, .. } => v.k(),
            Self::Stacked(parts) => parts[0].k(),
        }
    }

    /// `activation(W x + bias)`
    pub fn apply(&self, x: &[f32], bias: Option<&[f32]>, activation: Activation) -> Vec<f32> {
        match self {
            Self::Dense(w) => w.apply(x, bias, activation),
            Self::LowRank { u, v } => u.apply(&v.apply(x, None, Activation::Identity), bias, activation),
            Self::Stacked(parts) => {
                let mut y = vec![];
                for part in parts {
                    let bias = bias.map(|bias| &bias[y.len()..y.len() + part.n()]);
                    y.extend(part.apply(x, bias, activation));
                }
                y
            }
        }
    }
}

/// `activation(W x + b)`
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as in the formula")]
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Vec<f32>>,
    pub activation: Activation,
}

/// Which frames each output of a convolution is made of.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of model files")]
pub struct Windows {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub before: usize,
    pub after: usize,
}

/// How many frames a value has: `(t + more) / stride`, rounded down, for `t` input frames, or one for the whole sequence. Rounding down
/// twice is the same as once, so this holds behind any convolutions. A number below 0 is none.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "as in the formula")]
pub enum Count {
    Frames { more: i128, stride: i128 },
    Once,
}

impl Windows {
    /// Frames from the first of a window to its last, both included.
    pub fn extent(&self) -> Option<usize> {
        (self.kernel - 1).checked_mul(self.dilation)?.checked_add(1)
    }

    /// For each output the frames of its window, the earliest first; `None` stands for a frame of padding.
    fn of<'a>(&self, x: &'a [Vec<f32>]) -> Vec<Vec<Option<&'a Vec<f32>>>> {
        let frames = self.before + x.len() + self.after;
        let Some(beyond) = self.extent().and_then(|extent| (frames + 1).checked_sub(extent)).filter(|_| !x.is_empty())
        else {
            return vec![];
        };
        let frame = |at: usize| at.checked_sub(self.before).and_then(|at| x.get(at));
        let window = |first| (0..self.kernel).map(|tap| frame(first + tap * self.dilation)).collect();
        (0..beyond).step_by(self.stride).map(window).collect()
    }
}

/// A recurrent layer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of model files")]
pub struct Recurrent {
    pub cell: Cell,
    pub weight_ih: Weight,
    pub weight_hh: Weight,
    pub bias_ih: Option<Vec<f32>>,
    pub bias_hh: Option<Vec<f32>>,
}

/// What a recurrent layer makes of the sums of its gates.
#[derive(Clone, Debug)]
pub enum Cell {
    /// PyTorch's GRU.
    Gru,
    /// A GRU that resets before the product with this weight; `weight_hh` has the gates r and z alone.
    GruResetBefore(Weight),
    /// An LSTM, with the weight of its projection if it has one.
    Lstm(Option<Weight>),
    /// `tanh` of the sum.
    RnnTanh,
    /// ReLU of the sum.
    RnnRelu,
}

/// The state of a recurrent layer.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What the layer outputs.
    pub h: Vec<f32>,
    /// The cell of an LSTM.
    pub c: Vec<f32>,
}

impl Recurrent {
    /// Units: rows of each gate.
    pub fn hidden(&self) -> usize {
        match self.cell {
            Cell::Gru | Cell::GruResetBefore(_) => self.weight_ih.n() / 3,
            Cell::Lstm(_) => self.weight_ih.n() / 4,
            Cell::RnnTanh | Cell::RnnRelu => self.weight_ih.n(),
        }
    }

    /// Output features.
    pub fn output_size(&self) -> usize {
        match &self.cell {
            Cell::Lstm(Some(projection)) => projection.n(),
            _ => self.hidden(),
        }
    }

    /// The state at the start of a sequence.
    pub fn start(&self) -> State {
        let cell = if matches!(self.cell, Cell::Lstm(_)) { self.hidden() } else { 0 };
        State { h: vec![0.0; self.output_size()], c: vec![0.0; cell] }
    }

    /// Advances the state by a frame.
    pub fn step(&self, x: &[f32], state: &mut State) {
        let units = self.hidden();
        let gate = |sums: &[f32], gate: usize, unit: usize| sums[gate * units + unit];
        let identity = Activation::Identity;
        let input = self.weight_ih.apply(x, self.bias_ih.as_deref(), identity);
        let recurrent_bias = |rows: std::ops::Range<usize>| self.bias_hh.as_ref().map(|bias| &bias[rows]);
        let recurrent = self.weight_hh.apply(&state.h, recurrent_bias(0..self.weight_hh.n()), identity);
        let h = |unit: usize| state.h[unit];
        state.h = match &self.cell {
            Cell::Gru => (0..units)
                .map(|j| {
                    let of = |sums: &[f32]| [0, 1, 2].map(|g| gate(sums, g, j));
                    gates::gru(of(&input), of(&recurrent), h(j))
                })
                .collect(),
            Cell::GruResetBefore(weight) => {
                let r = |j| gates::sigmoid(gate(&input, 0, j) + gate(&recurrent, 0, j));
                let reset: Vec<f32> = (0..units).map(|j| r(j) * h(j)).collect();
                let of_n = weight.apply(&reset, recurrent_bias(2 * units..3 * units), identity);
                let one = |j| {
                    let input = [1, 2].map(|g| gate(&input, g, j));
                    gates::gru_after_reset(input, [gate(&recurrent, 1, j), of_n[j]], h(j))
                };
                (0..units).map(one).collect()
            }
            Cell::Lstm(projection) => {
                let one = |j| {
                    let of = |sums: &[f32]| [0, 1, 2, 3].map(|g| gate(sums, g, j));
                    gates::lstm(of(&input), of(&recurrent), state.c[j])
                };
                let (h, c) = (0..units).map(one).unzip::<_, _, Vec<f32>, Vec<f32>>();
                state.c = c;
                projection.as_ref().map_or(h.clone(), |weight| weight.apply(&h, None, identity))
            }
            Cell::RnnTanh => input.iter().zip(&recurrent).map(|(a, b)| gates::tanh(a + b)).collect(),
            Cell::RnnRelu => input.iter().zip(&recurrent).map(|(a, b)| Activation::Relu.of(a + b)).collect(),
        };
    }

    /// The outputs of a sequence that begins at `state`, which is advanced to its end.
    pub fn run<'x>(&self, x: impl IntoIterator<Item = &'x Vec<f32>>, state: &mut State) -> Frames {
        let step = |x: &'x Vec<f32>| {
            self.step(x, state);
            state.h.clone()
        };
        x.into_iter().map(step).collect()
    }
}

/// One frame of a whole sequence.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of model files")]
pub enum Reduction {
    Last,
    Mean,
    Sum,
    Max,
}

impl Reduction {
    fn of(self, x: &[f32]) -> f32 {
        let sum = || x.iter().fold(0.0, |sum, &x| sum + f64::from(x));
        match self {
            Self::Last => x[x.len() - 1],
            Self::Mean => (sum() / x.len() as f64) as f32,
            Self::Sum => sum() as f32,
            Self::Max => x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max }),
        }
    }
}

/// A layer of a model.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few")]
#[allow(missing_docs, reason = "the names are those of model files")]
pub enum Layer {
    Linear(Linear),
    TimeConvolution { linear: Linear, windows: Windows },
    Depthwise { weight: Vec<Vec<f32>>, bias: Option<Vec<f32>>, windows: Windows },
    Recurrent(Recurrent),
    Bidirectional { forward: Recurrent, reverse: Recurrent },
    Function { function: Function, features: usize },
    Affine { scale: Vec<f32>, shift: Vec<f32> },
    LayerNorm { features: usize, weight: Option<Vec<f32>>, bias: Option<Vec<f32>>, epsilon: f32 },
    Embedding(Matrix),
    Slice { features: usize, start: usize, end: usize },
    OverTime { reduction: Reduction, features: usize },
}

impl Layer {
    /// Features of a frame of the input and of the output.
    pub fn features(&self) -> (usize, usize) {
        match self {
            Self::Linear(linear) => (linear.weight.k(), linear.weight.n()),
            Self::TimeConvolution { linear, windows } => (linear.weight.k() / windows.kernel, linear.weight.n()),
            Self::Depthwise { weight, .. } => (weight[0].len(), weight[0].len()),
            Self::Recurrent(layer) => (layer.weight_ih.k(), layer.output_size()),
            Self::Bidirectional { forward, .. } => (forward.weight_ih.k(), 2 * forward.output_size()),
            Self::Function { features, .. } | Self::LayerNorm { features, .. } | Self::OverTime { features, .. } => {
                (*features, *features)
            }
            Self::Affine { scale, .. } => (scale.len(), scale.len()),
            Self::Embedding(table) => (1, table.k()),
            Self::Slice { features, start, end } => (*features, end - start),
        }
    }

    /// How many frames it makes of those of its input.
    ///
    /// # Errors
    /// One frame for the sequence has no windows and no reduction.
    pub fn count(&self, input: Count) -> Result<Count, String> {
        match (self, input) {
            (Self::TimeConvolution { .. } | Self::Depthwise { .. } | Self::OverTime { .. }, Count::Once) => {
                Err("its input is one frame for the sequence".into())
            }
            (Self::OverTime { .. }, _) => Ok(Count::Once),
            (
                Self::TimeConvolution { windows, .. } | Self::Depthwise { windows, .. },
                Count::Frames { more, stride },
            ) => {
                let wide = |n: usize| n as i128;
                let extent = windows.extent().map_or(i128::MAX / 4, wide);
                let own = wide(windows.before) + wide(windows.after) - extent + wide(windows.stride);
                Ok(Count::Frames {
                    more: more.saturating_add(own.saturating_mul(stride)),
                    stride: stride.saturating_mul(wide(windows.stride)),
                })
            }
            _ => Ok(input),
        }
    }

    /// Whether its size does not show in the file.
    pub fn has_no_weights(&self) -> bool {
        match self {
            Self::Function { .. } | Self::Slice { .. } | Self::OverTime { .. } => true,
            Self::LayerNorm { weight, bias, .. } => weight.is_none() && bias.is_none(),
            _ => false,
        }
    }

    /// The outputs of a sequence. A recurrent layer begins at the state and advances it.
    ///
    /// # Errors
    /// An index that an embedding does not have.
    pub fn run(&self, x: &[Vec<f32>], state: &mut State) -> Result<Frames, String> {
        let each = |f: &dyn Fn(&[f32]) -> Vec<f32>| Ok(x.iter().map(|x| f(x)).collect());
        match self {
            Self::Linear(linear) => each(&|x| linear.weight.apply(x, linear.bias.as_deref(), linear.activation)),
            Self::TimeConvolution { linear, windows } => {
                let zeros = vec![0.0; self.features().0];
                let side_by_side = |window: Vec<Option<&Vec<f32>>>| -> Vec<f32> {
                    window.into_iter().flat_map(|frame| frame.unwrap_or(&zeros).clone()).collect()
                };
                let rows: Frames = windows.of(x).into_iter().map(side_by_side).collect();
                Self::Linear(linear.clone()).run(&rows, state)
            }
            Self::Depthwise { weight, bias, windows } => {
                let one = |window: &Vec<Option<&Vec<f32>>>, c: usize| {
                    let taps = weight.iter().zip(window).filter_map(|(w, x)| x.map(|x| w[c] * x[c]));
                    finish(taps.fold(0.0, |y, tap| y + tap), bias.as_ref().map(|bias| bias[c]), Activation::Identity)
                };
                let frame = |window| (0..weight[0].len()).map(|c| one(&window, c)).collect();
                Ok(windows.of(x).into_iter().map(frame).collect())
            }
            Self::Recurrent(layer) => Ok(layer.run(x, state)),
            Self::Bidirectional { forward, reverse } => {
                let mut y = forward.run(x, &mut forward.start());
                let reversed = reverse.run(x.iter().rev(), &mut reverse.start());
                y.iter_mut().zip(reversed.iter().rev()).for_each(|(y, z)| y.extend(z));
                Ok(y)
            }
            Self::Function { function, .. } => each(&|x| function.of(x)),
            Self::Affine { scale, shift } => {
                each(&|x| x.iter().zip(scale).zip(shift).map(|((x, scale), shift)| scale * x + shift).collect())
            }
            Self::LayerNorm { weight, bias, epsilon, .. } => {
                each(&|x| layer_norm(x, weight.as_deref(), bias.as_deref(), *epsilon))
            }
            Self::Embedding(table) => x.iter().map(|x| row(table, x[0])).collect(),
            Self::Slice { start, end, .. } => each(&|x| x[*start..*end].to_vec()),
            Self::OverTime { .. } if x.is_empty() => Ok(vec![]),
            Self::OverTime { reduction, features } => {
                let over_time = |c| reduction.of(&x.iter().map(|x| x[c]).collect::<Vec<f32>>());
                Ok(vec![(0..*features).map(over_time).collect()])
            }
        }
    }
}

/// The row of an embedding.
fn row(table: &Matrix, index: f32) -> Result<Vec<f32>, String> {
    // A NaN is in no range.
    if !(index >= 0.0 && index < table.n() as f32 && index.fract() == 0.0) {
        return Err(format!("{index} is no row of the table"));
    }
    let row = index as usize;
    Ok(match table {
        Matrix::Floats(rows) => rows[row].clone(),
        Matrix::Quantized(w) => (0..table.k()).map(|column| w.value(row, column)).collect(),
    })
}
