//! Windows of frames in a stream: where each begins, and the frames that later ones need.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::matrix::grow;

/// Which frames each output of a convolution over time is made of: `kernel` frames, `dilation` apart, every `stride`
/// frames. Frames of zeros come before the first frame and after the last:
///
/// ```text
/// window j: x_(j stride - before), x_(j stride - before + dilation), .., kernel frames in all
/// ```
///
/// A causal convolution has all its padding before: `before = (kernel - 1) * dilation`, `after = 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Frames of a window.
    pub kernel: usize,
    /// Frames from one window to the next.
    pub stride: usize,
    /// Frames from one frame of a window to the next.
    pub dilation: usize,
    /// Frames of zeros before the first frame.
    pub before: usize,
    /// Frames of zeros after the last frame.
    pub after: usize,
}

/// The frames of a stream that later windows need.
#[derive(Clone, Debug)]
pub(super) struct WindowsState {
    /// The most frames that are held, and their features.
    shape: (usize, usize),
    /// The frames that are held, row by row.
    frames: Vec<f32>,
    held: usize,
    /// Frames of padding before them.
    zeros: usize,
    /// Frames to skip before the next window, if the stride exceeds a window.
    skip: usize,
    /// Whether a frame has arrived. Padding alone makes no outputs.
    begun: bool,
}

impl Windows {
    /// Windows of `kernel` frames side by side, every `stride` frames, with the same padding on both sides.
    pub fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, stride, dilation: 1, before: padding, after: padding }
    }

    /// Windows of `kernel` frames, `dilation` apart, that end with the current frame: one for each frame.
    pub fn causal(kernel: usize, dilation: usize) -> Self {
        let before = kernel.saturating_sub(1).saturating_mul(dilation);
        Self { kernel, stride: 1, dilation, before, after: 0 }
    }

    /// Frames from the first of a window to its last, both included.
    pub fn extent(&self) -> usize {
        self.kernel.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Fails unless each number is possible.
    pub(super) fn check(&self) -> Result<()> {
        for (what, value) in [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)] {
            if value == 0 {
                return Err(Error::Parameter { what, value: 0.0, expected: "at least 1" });
            }
        }
        let reach = (self.kernel - 1).checked_mul(self.dilation).filter(|reach| reach.checked_add(1).is_some());
        if reach.is_none() {
            return Err(Error::TooLarge { what: "window", rows: self.kernel, cols: self.dilation });
        }
        let refused = |value: usize, expected| Err(Error::Parameter { what: "padding", value: value as f64, expected });
        if self.dilation == 1 {
            return match self.before.max(self.after) {
                padding if padding < self.kernel => Ok(()),
                padding => refused(padding, "below the kernel"),
            };
        }
        // A window may be longer than any sequence. With no more padding, outputs are never more than frames.
        match self.before.saturating_add(self.after) {
            padding if padding < self.extent() => Ok(()),
            padding => refused(padding, "below the extent of a window, both ends together"),
        }
    }

    /// A state for frames of `width` features: the start of a sequence.
    pub(super) fn state(&self, width: usize) -> Result<WindowsState> {
        let shape = (self.extent() - 1, width);
        let mut state = WindowsState { shape, frames: Vec::new(), held: 0, zeros: self.before, skip: 0, begun: false };
        self.reserve(&mut state, 0)?;
        Ok(state)
    }

    /// Fails for the state of other windows, or of frames of another width.
    pub(super) fn expect_state(&self, state: &WindowsState, width: usize) -> Result<()> {
        let (expected, found) = ((self.extent() - 1, width), state.shape);
        if expected == found { Ok(()) } else { Err(Error::Shape { what: "state", expected, found }) }
    }

    pub(super) fn reset(&self, state: &mut WindowsState) {
        (state.held, state.zeros, state.skip, state.begun) = (0, self.before, 0, false);
    }

    /// Number of windows that are complete once `frames` more frames have arrived.
    pub(super) fn ready(&self, state: &WindowsState, frames: usize) -> usize {
        let behind = state.skip.saturating_add(self.extent());
        match state.zeros.saturating_add(state.held).saturating_add(frames).checked_sub(behind) {
            None => 0,
            Some(more) => more / self.stride + 1,
        }
    }

    /// Number of windows that the padding at the end completes.
    pub(super) fn ready_at_end(&self, state: &WindowsState) -> usize {
        if state.begun { self.ready(state, self.padding_at_end(state)) } else { 0 }
    }

    /// Frames of padding at the end: none for a sequence without frames.
    pub(super) fn padding_at_end(&self, state: &WindowsState) -> usize {
        if state.begun { self.after } else { 0 }
    }

    /// Frame `tap` of the window `j` windows from now, in the sequence of what is held and the frames `x`; `None` stands
    /// for a frame of zeros.
    pub(super) fn frame<'a>(&self, state: &'a WindowsState, x: &'a [f32], [j, tap]: [usize; 2]) -> Option<&'a [f32]> {
        let width = state.shape.1;
        let at = (state.skip + j * self.stride + tap * self.dilation).checked_sub(state.zeros)?;
        match at.checked_sub(state.held) {
            None => Some(&state.frames[at * width..][..width]),
            Some(at) => x.get(at * width..(at + 1) * width),
        }
    }

    /// Makes room for the frames that [`advance`](Self::advance) will hold.
    pub(super) fn reserve(&self, state: &mut WindowsState, time: usize) -> Result<()> {
        let (all, width) = state.shape;
        // Windows side by side are as long as the weights; others may be longer than a sequence ever is.
        let most = if self.dilation == 1 { all } else { state.held.saturating_add(time).min(all) };
        grow(&mut state.frames, most.saturating_mul(width))
    }

    /// Holds the frames that later windows need, after `time` frames have arrived, those in `x` first, and `count`
    /// windows are done. There must be [room](Self::reserve).
    pub(super) fn advance(&self, state: &mut WindowsState, x: &[f32], time: usize, count: usize) {
        let width = state.shape.1;
        state.begun |= !x.is_empty();
        let total = state.zeros + state.held + time;
        let next = state.skip.saturating_add(count.saturating_mul(self.stride));
        if next >= total {
            (state.held, state.zeros, state.skip) = (0, 0, next - total);
            return;
        }
        state.skip = 0;
        let of_zeros = next.min(state.zeros);
        let of_held = (next - of_zeros).min(state.held);
        let of_x = next - of_zeros - of_held;
        state.zeros -= of_zeros;
        state.frames.copy_within(of_held * width..state.held * width, 0);
        let kept = state.held - of_held;
        // Fewer than a window, otherwise one more would have been ready. Padding at the end is never held: the sequence
        // is over.
        let from_x = &x[(of_x * width).min(x.len())..];
        state.frames[kept * width..][..from_x.len()].copy_from_slice(from_x);
        state.held = kept + from_x.len() / width;
    }
}
