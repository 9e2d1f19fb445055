//! Convolution over time.

use alloc::vec::Vec;

use super::expect_depth;
use super::linear::Linear;
use super::scratch::Scratch;
use super::weight::Weight;
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
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl TimeConvolution {
    /// Makes a layer from a fully connected one, whose inputs are `kernel` frames, the earliest first.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `kernel` and `stride` are at least 1 and `padding` is below `kernel`;
    /// [`Error::Shape`] unless the number of inputs of `linear` is a positive multiple of `kernel`.
    pub fn new(linear: Linear, kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        for (what, value) in [("kernel", kernel), ("stride", stride)] {
            if value == 0 {
                return Err(Error::Parameter { what, value: 0.0, expected: "at least 1" });
            }
        }
        if padding >= kernel {
            return Err(Error::Parameter { what: "padding", value: padding as f64, expected: "below the kernel" });
        }
        let inputs = linear.input_size();
        if inputs == 0 || !inputs.is_multiple_of(kernel) {
            let expected = inputs.div_ceil(kernel).max(1).saturating_mul(kernel);
            let rows = linear.output_size();
            return Err(Error::Shape { what: "weight", expected: (rows, expected), found: (rows, inputs) });
        }
        Ok(Self { linear, kernel, stride, padding })
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
    pub fn quantize_to(&self, format: WeightFormat, tier: Tier) -> Result<Self> {
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
        self.linear.input_size() / self.kernel
    }

    /// Output features.
    pub fn output_size(&self) -> usize {
        self.linear.output_size()
    }

    /// Number of frames per output.
    pub fn kernel(&self) -> usize {
        self.kernel
    }

    /// Frames from one output to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of frames of zeros before the first frame, and after the last.
    pub fn padding(&self) -> usize {
        self.padding
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
        let frames = Mat::zeros(self.kernel - 1, self.input_size())?;
        Ok(TimeConvolutionState { frames, begun: false, held: self.padding, skip: 0 })
    }

    /// Sets a state back to the start of a sequence.
    pub fn reset(&self, state: &mut TimeConvolutionState) {
        state.frames.as_mut_slice().fill(0.0);
        (state.begun, state.held, state.skip) = (false, self.padding, 0);
    }

    /// Number of outputs that [`forward`](Self::forward) writes if it is given `frames` frames.
    pub fn outputs(&self, state: &TimeConvolutionState, frames: usize) -> usize {
        let behind = state.skip.saturating_add(self.kernel);
        match state.held.saturating_add(frames).checked_sub(behind) {
            None => 0,
            Some(more) => more / self.stride + 1,
        }
    }

    /// Number of outputs that [`finish`](Self::finish) writes: none for a sequence without frames.
    pub fn outputs_at_end(&self, state: &TimeConvolutionState) -> usize {
        if state.begun { self.outputs(state, self.padding) } else { 0 }
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
        let count = self.run(x.as_slice(), x.rows(), state, out, scratch)?;
        state.begun |= x.rows() > 0;
        Ok(count)
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
        let padding = if state.begun { self.padding } else { 0 };
        let count = self.run(&[], padding, state, out, scratch)?;
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
        state.frames.view().expect_shape("state", self.kernel - 1, self.input_size())?;
        let count = self.outputs(state, time);
        out.expect_shape("output", out.rows().max(count), self.output_size())?;
        if count > 0 {
            let width = self.linear.input_size();
            let too_large = Error::TooLarge { what: "frames of outputs", rows: count, cols: width };
            let len = count.checked_mul(width).ok_or(too_large)?;
            // Taken out of the scratch while the product uses the rest of it.
            let mut stacked = core::mem::take(&mut scratch.sequence);
            let done = grow(&mut stacked, len).and_then(|()| {
                let stacked = &mut stacked[..len];
                for (j, frames) in stacked.chunks_exact_mut(width).enumerate() {
                    self.copy_frames(state, x, state.skip + j * self.stride, frames);
                }
                let out_len = count * self.output_size();
                let out = MatMut::from_checked(&mut out.as_mut_slice()[..out_len], count, self.output_size());
                self.linear.forward(MatRef::from_checked(stacked, count, width), out, scratch)
            });
            scratch.sequence = stacked;
            done?;
        }
        self.advance(x, time, count, state);
        Ok(count)
    }

    /// Copies frames, starting at frame `first`, from the sequence of frames held by `state`, then frames of `x`, then
    /// zeros.
    fn copy_frames(&self, state: &TimeConvolutionState, x: &[f32], first: usize, frames: &mut [f32]) {
        let input = self.input_size();
        let held = &state.frames.as_slice()[..state.held * input];
        let start = first * input;
        let from_held = &held[start.min(held.len())..(start + frames.len()).min(held.len())];
        let (of_held, behind) = frames.split_at_mut(from_held.len());
        of_held.copy_from_slice(from_held);
        let start = (start + from_held.len()).saturating_sub(held.len()).min(x.len());
        let from_x = &x[start..(start + behind.len()).min(x.len())];
        let (of_x, zeros) = behind.split_at_mut(from_x.len());
        of_x.copy_from_slice(from_x);
        zeros.fill(0.0);
    }

    /// Keeps the frames that later outputs need, after `time` frames have arrived and `count` outputs have been
    /// computed.
    fn advance(&self, x: &[f32], time: usize, count: usize, state: &mut TimeConvolutionState) {
        let input = self.input_size();
        let total = state.held + time;
        let next = state.skip.saturating_add(count.saturating_mul(self.stride));
        if next >= total {
            (state.held, state.skip) = (0, next - total);
            return;
        }
        // Fewer than the kernel, otherwise one more output would have been ready.
        let kept = total - next;
        let from_held = state.held.saturating_sub(next);
        let start = next.min(state.held) * input;
        let frames = state.frames.as_mut_slice();
        frames.copy_within(start..start + from_held * input, 0);
        let behind = &mut frames[from_held * input..kept * input];
        let start = (next.max(state.held) - state.held) * input;
        let from_x = &x[start.min(x.len())..(start + behind.len()).min(x.len())];
        let (of_x, zeros) = behind.split_at_mut(from_x.len());
        of_x.copy_from_slice(from_x);
        zeros.fill(0.0);
        (state.held, state.skip) = (kept, 0);
    }
}

/// The state of a [`TimeConvolution`] between pieces of a sequence.
#[derive(Clone, Debug)]
pub struct TimeConvolutionState {
    /// The frames of the next output that have arrived. There is room for all but its last: `kernel - 1` rows.
    frames: Mat<f32>,
    /// Whether a frame has arrived. Padding alone makes no outputs.
    begun: bool,
    /// Number of frames held.
    held: usize,
    /// Number of frames to skip before the next output's first frame, if the stride exceeds the kernel.
    skip: usize,
}
