//! A stream of samples, cut into frames that overlap.

use crate::error::Result;

/// Where the frames of a stream lie. `t` counts frames, `window`, `hop` and `fft` are those of [`Stft`](super::Stft).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Frame `t` is `window` samples from sample `t * hop` on. Zeros behind them make up the length of the transform:
    /// `torch.fft.rfft(frames * window, fft)`.
    Window,
    /// Frame `t` is `fft` samples from sample `t * hop` on, the window over the middle of them: librosa and PyTorch with
    /// `center=False`.
    Transform,
    /// Frame `t` is `fft` samples around sample `t * hop`, the window over the middle of them. Beyond the ends of the
    /// stream are zeros: librosa's default (`center=True, pad_mode="constant"`).
    CenteredZeros,
    /// As [`CenteredZeros`](Self::CenteredZeros), but the stream is mirrored at its first and its last sample: the default
    /// of `torch.stft` and torchaudio (`center=True, pad_mode="reflect"`). The first frame waits for `fft / 2` samples
    /// that follow its centre.
    CenteredReflected,
}

/// Cuts a stream, in pieces of any length, into frames.
#[derive(Clone, Debug)]
pub(super) struct Framer {
    /// Samples of a frame.
    span: usize,
    hop: usize,
    /// Samples that are put before the first one and behind the last one.
    padding: usize,
    reflected: bool,
    /// The samples that are still needed.
    samples: Vec<f32>,
    /// Where in them the next frame starts, which may be beyond their end.
    start: usize,
    /// Whether the padding stands before the first sample.
    begun: bool,
}

impl Framer {
    /// For frames of `span` samples, and for transforms of `fft`.
    pub fn new(framing: Framing, span: usize, hop: usize, fft: usize) -> Self {
        let centered = matches!(framing, Framing::CenteredZeros | Framing::CenteredReflected);
        let padding = if centered { fft / 2 } else { 0 };
        let reflected = framing == Framing::CenteredReflected;
        // A piece of `span` more, and the padding, find room: see `push`.
        let samples = Vec::with_capacity(4 * span + 2 * padding);
        Self { span, hop, padding, reflected, samples, start: 0, begun: false }
    }

    /// Frames of a stream of `len` samples.
    pub fn count(&self, len: usize) -> usize {
        let len = if len == 0 { 0 } else { len.saturating_add(2 * self.padding) };
        if len < self.span { 0 } else { (len - self.span) / self.hop + 1 }
    }

    /// Frames that `samples` more samples, and the end of the stream if they are the `last`, complete at most.
    pub fn ready(&self, samples: usize, last: bool) -> usize {
        let waiting = if self.begun { 0 } else { self.samples.len() + self.padding };
        let end = if last { self.padding } else { 0 };
        samples.saturating_add(waiting + end) / self.hop + 1
    }

    /// Takes the next samples and calls `frame` with each frame that is complete now.
    pub fn push(&mut self, samples: &[f32], mut frame: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        for piece in samples.chunks(self.span) {
            self.samples.extend_from_slice(piece);
            if !self.begun && (!self.reflected || self.samples.len() > self.padding) {
                self.begin();
            }
            if self.begun {
                self.cut(&mut frame)?;
            }
        }
        Ok(())
    }

    /// Ends the stream: calls `frame` with the frames that are left, and starts anew.
    pub fn finish(&mut self, mut frame: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        if self.begun {
            let len = self.samples.len();
            for i in 1..=self.padding {
                let beyond = if self.reflected { self.samples[len - 1 - i] } else { 0.0 };
                self.samples.push(beyond);
            }
            self.cut(&mut frame)?;
        } else if let Some(last) = self.samples.len().checked_sub(1) {
            // So short that it is mirrored more than once.
            let mirrored = |i: usize| match i % (2 * last).max(1) {
                _ if last == 0 => 0,
                i if i <= last => i,
                i => 2 * last - i,
            };
            let shift = (2 * last).max(1) - self.padding % (2 * last).max(1);
            let short = self.samples.clone();
            self.samples.clear();
            self.samples.extend((0..=last + 2 * self.padding).map(|i| short[mirrored(i + shift)]));
            self.cut(&mut frame)?;
        }
        self.reset();
        Ok(())
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.start = 0;
        self.begun = false;
    }

    /// Puts the padding before the first samples.
    fn begin(&mut self) {
        for i in (1..=self.padding).rev() {
            let beyond = if self.reflected { self.samples[i] } else { 0.0 };
            self.samples.push(beyond);
        }
        self.samples.rotate_right(self.padding);
        self.begun = true;
    }

    fn cut(&mut self, frame: &mut impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        while let Some(samples) = self.samples.get(self.start..self.start + self.span) {
            frame(samples)?;
            self.start += self.hop;
        }
        // What the end is mirrored from stays. A whole frame at once is dropped, not a sample with each sample.
        let kept = if self.reflected { self.padding + 1 } else { 0 };
        let unneeded = self.start.min(self.samples.len().saturating_sub(kept));
        if unneeded >= self.span {
            self.samples.drain(..unneeded);
            self.start -= unneeded;
        }
        Ok(())
    }
}
