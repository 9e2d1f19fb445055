//! Convolution over time.

use alloc::vec::Vec;

use super::expect_depth;
use super::linear::Linear;
use super::quantization::Quantization;
use super::scratch::Scratch;
use super::weight::Weight;
use super::windows::{Windows, WindowsState};
use crate::error::{Error, Result};
use crate::kernels::{Activation, Tier, WeightFormat};
use crate::matrix::{Mat, MatMut, MatRef, grow};

/// A convolution over time, computed as one product: a [`Linear`] over `kernel` consecutive frames, every `stride`
/// frames. As in PyTorch's `Conv1d`, `padding` frames of zeros come before the first frame and after the last:
///
/// ```text
/// y_j = activation(W [x_(j stride - padding); ..; x_(j stride - padding + kernel - 1)] + b)
/// ```
///
/// With [`Windows`] frames may be `dilation` apart, and the padding may differ at both ends.
///
/// It processes a stream: frames go in as they arrive, and each output is written once its last frame has arrived.
/// [`finish`](Self::finish) ends the sequence with its padding. All outputs that are ready are computed in one product.
/// Results are bit-identical however a sequence is split into pieces.
///
/// # Example
/// ```
/// use skinny::factored::{Scratch, TimeConvolution};
/// use skinny::{MatMut, MatRef};
///
/// // One output feature of one input feature: x_(j - 1) - x_(j + 1), the frames around j.
/// let layer = TimeConvolution::from_conv1d(&[1.0, 0.0, -1.0], [1, 1, 3], None, 1, 1)?;
/// let (mut state, mut scratch) = (layer.state()?, Scratch::new());
/// let mut out = [0.0; 4];
///
/// assert_eq!(layer.outputs(&state, 3), 2);
/// let x = MatRef::new(&[5.0, 2.0, 8.0], 3, 1)?;
/// layer.forward(x, &mut state, MatMut::new(&mut out, 4, 1)?, &mut scratch)?;
/// assert_eq!(out[..2], [-2.0, -3.0]);
///
/// assert_eq!(layer.outputs_at_end(&state), 1);
/// layer.finish(&mut state, MatMut::new(&mut out, 4, 1)?, &mut scratch)?;
/// assert_eq!(out[0], 2.0);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TimeConvolution {
    linear: Linear,
    windows: Windows,
}

impl TimeConvolution {
    /// Makes a layer from a fully connected one, whose inputs are `kernel` frames, the earliest first.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `kernel` and `stride` are at least 1 and `padding` is below `kernel`;
    /// [`Error::Shape`] unless the number of inputs of `linear` is a positive multiple of `kernel`.
    pub fn new(linear: Linear, kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        Self::with_windows(linear, Windows::new(kernel, stride, padding))
    }

    /// Makes a layer from a fully connected one, whose inputs are the frames of a window, the earliest first.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless kernel, stride and dilation are at least 1 and each padding is below the kernel, or, if
    /// the dilation is above 1, both together are below the extent of a window. [`Error::Shape`] unless the number of inputs of
    /// `linear` is a positive multiple of the kernel.
    ///
    /// # Example
    /// ```
    /// use skinny::factored::{Linear, Scratch, TimeConvolution, Weight, Windows};
    /// use skinny::{Mat, MatMut, MatRef};
    ///
    /// // The difference between a frame and the one two frames before.
    /// let linear = Linear::new(Weight::dense(Mat::from_vec(vec![-1.0, 1.0], 1, 2)?)?, None)?;
    /// let layer = TimeConvolution::with_windows(linear, Windows::causal(2, 2))?;
    /// let (mut state, mut out) = (layer.state()?, [0.0; 4]);
    /// let x = MatRef::new(&[1.0, 2.0, 4.0, 8.0], 4, 1)?;
    /// layer.forward(x, &mut state, MatMut::new(&mut out, 4, 1)?, &mut Scratch::new())?;
    /// assert_eq!(out, [1.0, 2.0, 3.0, 6.0]);
    /// # Ok::<(), skinny::Error>(())
    /// ```
    pub fn with_windows(linear: Linear, windows: Windows) -> Result<Self> {
        windows.check()?;
        let (inputs, kernel) = (linear.input_size(), windows.kernel);
        if inputs == 0 || !inputs.is_multiple_of(kernel) {
            let expected = inputs.div_ceil(kernel).max(1).saturating_mul(kernel);
            let rows = linear.output_size();
            return Err(Error::Shape { what: "weight", expected: (rows, expected), found: (rows, inputs) });
        }
        Ok(Self { linear, windows })
    }

    /// The same layer with another fully connected one.
    ///
    /// # Errors
    /// Those of [`with_windows`](Self::with_windows).
    pub fn with_linear(&self, linear: Linear) -> Result<Self> {
        Self::with_windows(linear, self.windows)
    }

    /// Makes a layer from the weight of PyTorch's `Conv1d`, of shape `[out, in, kernel]`, and a bias of `out` elements.
    /// The weight's columns are reordered frame by frame.
    ///
    /// # Errors
    /// [`Error::Length`] or [`Error::TooLarge`] for a weight that does not fit its shape, [`Error::NotFinite`], and
    /// those of [`new`](Self::new).
    pub fn from_conv1d(
        weight: &[f32],
        [out, input, kernel]: [usize; 3],
        bias: Option<Vec<f32>>,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let too_large = Error::TooLarge { what: "weight", rows: input, cols: kernel };
        let weight = MatRef::new(weight, out, input.checked_mul(kernel).ok_or(too_large)?)?;
        let mut frames = Mat::zeros(out, weight.cols())?;
        for row in 0..out {
            let mut frames = frames.view_mut();
            for (i, &w) in weight.row(row).iter().enumerate() {
                frames.row_mut(row)[i % kernel * input + i / kernel] = w;
            }
        }
        Self::new(Linear::new(Weight::dense(frames)?, bias)?, kernel, stride, padding)
    }

    /// The same layer with an activation.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { linear: self.linear.with_activation(activation), ..self }
    }

    /// The same layer in 8 bits, for the kernels of `tier`. The bias stays in `f32`. All frames of one output are
    /// quantized together.
    ///
    /// # Errors
    /// Those of [`Weight::quantize`].
    pub fn quantize(&self, tier: Tier) -> Result<Self> {
        self.quantize_to(WeightFormat::I8, tier)
    }

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`quantize`](Self::quantize).
    pub fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self> {
        Ok(Self { linear: self.linear.quantize_to(format, tier)?, ..*self })
    }

    /// The same layer with its weight factored.
    ///
    /// # Errors
    /// Those of [`Weight::factor`].
    #[cfg(feature = "svd")]
    pub fn factor(&self, policy: super::RankPolicy) -> Result<Self> {
        Ok(Self { linear: self.linear.factor(policy)?, ..*self })
    }

    /// The fully connected layer, `out x (kernel * in)`, frame by frame.
    pub fn linear(&self) -> &Linear {
        &self.linear
    }

    /// Input features per frame.
    pub fn input_size(&self) -> usize {
        self.linear.input_size() / self.windows.kernel
    }

    /// Output features.
    pub fn output_size(&self) -> usize {
        self.linear.output_size()
    }

    /// Which frames each output is made of.
    pub fn windows(&self) -> Windows {
        self.windows
    }

    /// Number of frames per output.
    pub fn kernel(&self) -> usize {
        self.windows.kernel
    }

    /// Frames from one output to the next.
    pub fn stride(&self) -> usize {
        self.windows.stride
    }

    /// Number of frames of zeros before the first frame; [`windows`](Self::windows) has that after the last.
    pub fn padding(&self) -> usize {
        self.windows.before
    }

    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        self.linear.parameters()
    }

    /// Bytes of weights and biases in memory.
    pub fn bytes(&self) -> usize {
        self.linear.bytes()
    }

    /// A state for this layer: the start of a sequence.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    pub fn state(&self) -> Result<TimeConvolutionState> {
        Ok(TimeConvolutionState(self.windows.state(self.input_size())?))
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

    /// Takes frames `x` (`time x in`), advances `state` and writes the outputs that are ready to the first rows of
    /// `out` (`rows x out`). Returns their number, which is [`outputs`](Self::outputs) for `time` frames.
    ///
    /// # Errors
    /// [`Error::Shape`] for operands or a state that do not fit, or if `out` has fewer rows, [`Error::Allocation`]; the
    /// state is untouched then.
    pub fn forward(
        &self,
        x: MatRef<'_, f32>,
        state: &mut TimeConvolutionState,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        expect_depth("input", x, self.input_size())?;
        self.run(x.as_slice(), x.rows(), state, out, scratch)
    }

    /// Ends the sequence: appends the padding after its last frame, writes the remaining outputs to the first rows of
    /// `out` (`rows x out`) and returns their number, [`outputs_at_end`](Self::outputs_at_end). The state is then reset
    /// to the start of a sequence.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn finish(
        &self,
        state: &mut TimeConvolutionState,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        let count = self.run(&[], self.windows.padding_at_end(&state.0), state, out, scratch)?;
        self.reset(state);
        Ok(count)
    }

    /// Takes `time` frames: those in `x`, followed by zeros.
    fn run(
        &self,
        x: &[f32],
        time: usize,
        state: &mut TimeConvolutionState,
        mut out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<usize> {
        let input = self.input_size();
        let (windows, state) = (&self.windows, &mut state.0);
        windows.expect_state(state, input)?;
        let count = windows.ready(state, time);
        out.expect_shape("output", out.rows().max(count), self.output_size())?;
        windows.reserve(state, time)?;
        if count > 0 {
            let width = self.linear.input_size();
            let too_large = Error::TooLarge { what: "frames of outputs", rows: count, cols: width };
            let len = count.checked_mul(width).ok_or(too_large)?;
            // Taken out of the scratch while the product uses the rest of it.
            let mut stacked = core::mem::take(&mut scratch.sequence);
            let done = grow(&mut stacked, len).and_then(|()| {
                let stacked = &mut stacked[..len];
                for (i, frame) in stacked.chunks_exact_mut(input).enumerate() {
                    match windows.frame(state, x, [i / windows.kernel, i % windows.kernel]) {
                        Some(held) => frame.copy_from_slice(held),
                        None => frame.fill(0.0),
                    }
                }
                let out_len = count * self.output_size();
                let out = MatMut::from_checked(&mut out.as_mut_slice()[..out_len], count, self.output_size());
                self.linear.forward(MatRef::from_checked(stacked, count, width), out, scratch)
            });
            scratch.sequence = stacked;
            done?;
        }
        windows.advance(state, x, time, count);
        Ok(count)
    }
}

/// The state of a [`TimeConvolution`] or a [`DepthwiseConvolution`](super::DepthwiseConvolution) between pieces of a
/// sequence: the frames of the next outputs that have arrived.
#[derive(Clone, Debug)]
pub struct TimeConvolutionState(pub(super) WindowsState);
