//! Splitting a stream of samples into overlapping frames.

use crate::error::Result;

/// The position of the frames in a stream. Below, `t` counts frames; `window`, `hop` and `fft` are the fields of
/// [`Stft`](super::Stft).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Frame `t` is the `window` samples from sample `t * hop` on, followed by zeros up to the length of the transform:
    /// `torch.fft.rfft(frames * window, fft)`.
    Window,
    /// Frame `t` is the `fft` samples from sample `t * hop` on, with the window over their middle: librosa and PyTorch
    /// with `center=False`.
    Transform,
    /// Frame `t` is the `fft` samples around sample `t * hop`, with the window over their middle. There are zeros
    /// beyond the ends of the stream: librosa's default (`center=True, pad_mode="constant"`).
    CenteredZeros,
    /// The same as [`CenteredZeros`](Self::CenteredZeros), but the stream is mirrored at its first and last sample: the
    /// default of `torch.stft` and torchaudio (`center=True, pad_mode="reflect"`). The first frame is ready once the
    /// `fft / 2` samples after its centre have arrived.
    CenteredReflected,
}

/// Splits a stream into frames. The stream comes in pieces of any length.
#[derive(Clone, Debug)]
pub(super) struct Framer {
    /// Number of samples per frame.
    span: usize,
    hop: usize,
    /// Number of samples padded before the first and after the last.
    padding: usize,
    reflected: bool,
    /// The samples that are still needed.
    samples: Vec<f32>,
    /// The index in them where the next frame starts, possibly beyond their end.
    start: usize,
    /// Whether the padding before the first sample was added.
    begun: bool,
}

impl Framer {
    /// Makes a framer for frames of `span` samples and transforms of length `fft`.
    pub fn new(framing: Framing, span: usize, hop: usize, fft: usize) -> Self {
        let centered = matches!(framing, Framing::CenteredZeros | Framing::CenteredReflected);
        let padding = if centered { fft / 2 } else { 0 };
        let reflected = framing == Framing::CenteredReflected;
        // Room for `span` more samples and the padding: see `push`.
        let samples = Vec::with_capacity(4 * span + 2 * padding);
        Self { span, hop, padding, reflected, samples, start: 0, begun: false }
    }

    /// Number of frames in a stream of `len` samples.
    pub fn count(&self, len: usize) -> usize {
        let len = if len == 0 { 0 } else { len.saturating_add(2 * self.padding) };
        if len < self.span { 0 } else { (len - self.span) / self.hop + 1 }
    }

    /// The largest number of frames that `samples` more samples can complete. If they are the `last`, the end of the
    /// stream is included.
    pub fn ready(&self, samples: usize, last: bool) -> usize {
        let waiting = if self.begun { 0 } else { self.samples.len() + self.padding };
        let end = if last { self.padding } else { 0 };
        samples.saturating_add(waiting + end) / self.hop + 1
    }

    /// Takes the next samples and calls `frame` with each frame they complete.
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

    /// Ends the stream: calls `frame` with the remaining frames, and resets.
    pub fn finish(&mut self, mut frame: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        if self.begun {
            let len = self.samples.len();
            for i in 1..=self.padding {
                let beyond = if self.reflected { self.samples[len - 1 - i] } else { 0.0 };
                self.samples.push(beyond);
            }
            self.cut(&mut frame)?;
        } else if let Some(last) = self.samples.len().checked_sub(1) {
            // The stream may be so short that it is mirrored more than once.
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

    /// Resets to the start of a stream.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.start = 0;
        self.begun = false;
    }

    /// Adds the padding before the first samples.
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
        // The samples from which the end is mirrored stay. Samples are dropped a whole frame at a time.
        let kept = if self.reflected { self.padding + 1 } else { 0 };
        let unneeded = self.start.min(self.samples.len().saturating_sub(kept));
        if unneeded >= self.span {
            self.samples.drain(..unneeded);
            self.start -= unneeded;
        }
        Ok(())
    }
}
