//! Depthwise convolution over time: each feature by itself.

use alloc::vec::Vec;

use super::time_convolution::TimeConvolutionState;
use super::windows::Windows;
use super::{expect_bias, expect_depth, expect_finite};
use crate::error::Result;
use crate::matrix::{Mat, MatMut, MatRef};

/// A convolution over time of each feature by itself, PyTorch's `Conv1d` with as many groups as input features:
///
/// ```text
/// y_j[c] = b[c] + sum over taps of w[tap][c] x_(j stride - before + tap dilation)[c]
/// ```
///
/// It is in `f32`: each of its weights is used once per output, so a smaller format would save little.
///
/// # Example
/// ```
/// use skinny::factored::{DepthwiseConvolution, Windows};
/// use skinny::{MatMut, MatRef};
///
/// // Two features; the first is delayed by a frame, the second doubled.
/// let layer = DepthwiseConvolution::from_conv1d(&[1.0, 0.0, 0.0, 2.0], 2, None, Windows::causal(2, 1))?;
/// let (mut state, mut out) = (layer.state()?, [0.0; 6]);
/// let x = MatRef::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2)?;
/// assert_eq!(layer.forward(x, &mut state, MatMut::new(&mut out, 3, 2)?)?, 3);
/// assert_eq!(out, [0.0, 4.0, 1.0, 8.0, 3.0, 12.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DepthwiseConvolution {
    /// `kernel x features`.
    weight: Mat<f32>,
    bias: Option<Vec<f32>>,
    windows: Windows,
}

impl DepthwiseConvolution {
    /// Makes a layer from a weight of one row per tap, `kernel x features`, the earliest frame first.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless the weight has as many rows as the kernel and a column, [`Error::Length`](crate::Error::Length) for a bias of
    /// another length, [`Error::NotFinite`](crate::Error::NotFinite), [`Error::Parameter`](crate::Error::Parameter) for windows that are impossible.
    pub fn new(weight: Mat<f32>, bias: Option<Vec<f32>>, windows: Windows) -> Result<Self> {
        windows.check()?;
        weight.view().expect_shape("weight", windows.kernel, weight.cols().max(1))?;
        expect_finite("weight", weight.as_slice())?;
        expect_bias("bias", bias.as_deref(), weight.cols())?;
        Ok(Self { weight, bias, windows })
    }

    /// Makes a layer from the weight of PyTorch's `Conv1d`, of shape `[features, 1, kernel]`.
    ///
    /// # Errors
    /// [`Error::Length`](crate::Error::Length) for a weight that does not fit its shape, and those of [`new`](Self::new).
    pub fn from_conv1d(weight: &[f32], features: usize, bias: Option<Vec<f32>>, windows: Windows) -> Result<Self> {
        let of_features = MatRef::new(weight, features, windows.kernel)?;
        let mut taps = Mat::zeros(windows.kernel, features)?;
        for tap in 0..windows.kernel {
            for (feature, w) in taps.view_mut().row_mut(tap).iter_mut().enumerate() {
                *w = of_features.row(feature)[tap];
            }
        }
        Self::new(taps, bias, windows)
    }

    /// The weight, `kernel x features`.
    pub fn weight(&self) -> MatRef<'_, f32> {
        self.weight.view()
    }

    /// The bias.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Which frames each output is made of.
    pub fn windows(&self) -> Windows {
        self.windows
    }

    /// Features per frame, of the input and of the output.
    pub fn features(&self) -> usize {
        self.weight.cols()
    }

    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        self.weight.as_slice().len() + self.bias.as_ref().map_or(0, Vec::len)
    }

    /// Bytes of weights and biases in memory.
    pub fn bytes(&self) -> usize {
        self.parameters() * size_of::<f32>()
    }

    /// A state for this layer: the start of a sequence.
    ///
    /// # Errors
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn state(&self) -> Result<TimeConvolutionState> {
        Ok(TimeConvolutionState(self.windows.state(self.features())?))
    }

    /// Sets a state back to the start of a sequence.
    pub fn reset(&self, state: &mut TimeConvolutionState) {
        self.windows.reset(&mut state.0);
    }

    /// Number of outputs that [`forward`](Self::forward) writes if it is given `frames` frames.
    pub fn outputs(&self, state: &TimeConvolutionState, frames: usize) -> usize {
        self.windows.ready(&state.0, frames)
    }

    /// Number of outputs that [`finish`](Self::finish) writes: none for a sequence without frames.
    pub fn outputs_at_end(&self, state: &TimeConvolutionState) -> usize {
        self.windows.ready_at_end(&state.0)
    }

    /// Takes frames `x` (`time x features`), advances `state` and writes the outputs that are ready to the first rows of
    /// `out`. Returns their number, [`outputs`](Self::outputs).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) or [`Error::Length`](crate::Error::Length) for operands or a state that do not fit, or if `out` has fewer rows,
    /// [`Error::Allocation`](crate::Error::Allocation); the state is untouched then.
    pub fn forward(&self, x: MatRef<'_, f32>, state: &mut TimeConvolutionState, out: MatMut<'_, f32>) -> Result<usize> {
        expect_depth("input", x, self.features())?;
        self.run(x.as_slice(), x.rows(), state, out)
    }

    /// Ends the sequence: appends the padding after its last frame, writes the remaining outputs to the first rows of
    /// `out` and returns their number, [`outputs_at_end`](Self::outputs_at_end). The state is then reset.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn finish(&self, state: &mut TimeConvolutionState, out: MatMut<'_, f32>) -> Result<usize> {
        let count = self.run(&[], self.windows.padding_at_end(&state.0), state, out)?;
        self.reset(state);
        Ok(count)
    }

    fn run(&self, x: &[f32], time: usize, state: &mut TimeConvolutionState, mut out: MatMut<'_, f32>) -> Result<usize> {
        let (windows, features) = (&self.windows, self.features());
        let state = &mut state.0;
        windows.expect_state(state, features)?;
        let count = windows.ready(state, time);
        out.expect_shape("output", out.rows().max(count), features)?;
        windows.reserve(state, time)?;
        for j in 0..count {
            let y = out.row_mut(j);
            y.fill(0.0);
            for tap in 0..windows.kernel {
                if let Some(frame) = windows.frame(state, x, [j, tap]) {
                    let terms = self.weight.view().row(tap).iter().zip(frame);
                    y.iter_mut().zip(terms).for_each(|(y, (w, x))| *y += w * x);
                }
            }
            y.iter_mut().zip(self.bias.iter().flatten()).for_each(|(y, bias)| *y += bias);
        }
        windows.advance(state, x, time, count);
        Ok(count)
    }
}
