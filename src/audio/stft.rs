//! Short-time Fourier transforms of a stream.

use std::fmt;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::frames::{Framer, Framing};
use super::{Window, check_samples, reserve};
use crate::error::{Error, Result};
use crate::matrix::MatRef;

/// The longest transform.
const MAX_FFT: usize = 1 << 16;

/// The largest number of transforms that contain one sample.
const MAX_OVERLAP: usize = 1 << 10;

/// The real quantity computed from a spectrum's complex numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spectrum {
    /// `|X|^2`.
    Power,
    /// `|X|`.
    Magnitude,
}

/// Settings of a short-time Fourier transform: each frame is multiplied by a window and transformed.
///
/// Bin `k` of a spectrum is the frequency `k * rate / fft`, up to half the sample rate. The transform is not
/// normalized.
///
/// # Example
/// ```
/// use skinny::audio::{Framing, Spectrum, Stft};
///
/// // The magnitude of librosa.stft(y, n_fft=512, hop_length=128).
/// let mut stft = Stft::new(512, 128);
/// stft.framing = Framing::CenteredZeros;
/// stft.spectrum = Spectrum::Magnitude;
///
/// // A cosine of 8 periods in 512 samples, in pieces as from a microphone.
/// let samples: Vec<f32> = (0..1024).map(|i| (i as f32 * std::f32::consts::TAU / 64.0).cos()).collect();
/// let mut stream = stft.stream()?;
/// let mut spectra = Vec::new();
/// for piece in samples.chunks(100) {
///     spectra.extend_from_slice(stream.push(piece)?.as_slice());
/// }
/// spectra.extend_from_slice(stream.finish()?.as_slice());
///
/// assert_eq!(spectra.len(), 9 * 257); // 1 + 1024 / 128 frames of 512 / 2 + 1 bins
/// let middle = &spectra[4 * 257..][..257];
/// assert!((middle[8] - 128.0).abs() < 1e-3); // half the sum of the window
/// assert!(middle[20] < 1e-3);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stft {
    /// Length of the window, in samples.
    pub window: usize,
    /// Number of samples from one frame to the next.
    pub hop: usize,
    /// Length of the transform, not necessarily a power of two; samples beyond the window are zeros.
    pub fft: usize,
    /// The window.
    pub shape: Window,
    /// The position of the frames.
    pub framing: Framing,
    /// The quantity computed: power or magnitude.
    pub spectrum: Spectrum,
}

impl Stft {
    /// Power spectra with a periodic Hann window, transforms as long as the window, and [frames](Framing::Window) that
    /// start with the stream.
    pub fn new(window: usize, hop: usize) -> Self {
        let (shape, framing, spectrum) = (Window::Hann, Framing::Window, Spectrum::Power);
        Self { window, hop, fft: window, shape, framing, spectrum }
    }

    /// Number of values per spectrum: `fft / 2 + 1`.
    pub fn bins(&self) -> usize {
        self.fft / 2 + 1
    }

    /// Number of frames in a stream of `samples` samples.
    ///
    /// # Errors
    /// Those of [`stream`](Self::stream).
    pub fn frames(&self, samples: usize) -> Result<usize> {
        self.check()?;
        Ok(self.framer().count(samples))
    }

    /// Starts a stream.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `1 <= window <= fft <= 65536`, `2 <= fft` and `fft / 1024 <= hop <= fft`, `hop` not 0.
    pub fn stream(&self) -> Result<StftStream> {
        Ok(StftStream { transform: Transform::new(self)?, framer: self.framer(), outputs: Vec::new() })
    }

    pub(super) fn check(&self) -> Result<()> {
        let parameter = |what, value: usize, expected| Err(Error::Parameter { what, value: value as f64, expected });
        if !(2..=MAX_FFT).contains(&self.fft) {
            return parameter("fft", self.fft, "2 to 65536");
        }
        if self.window == 0 || self.window > self.fft {
            return parameter("window", self.window, "1 to the length of the transform");
        }
        if self.hop == 0 || self.hop > self.fft {
            return parameter("hop", self.hop, "1 to the length of the transform");
        }
        if self.fft / self.hop > MAX_OVERLAP {
            return parameter("hop", self.hop, "at least 1/1024 of the length of the transform");
        }
        Ok(())
    }

    pub(super) fn framer(&self) -> Framer {
        let span = if self.framing == Framing::Window { self.window } else { self.fft };
        Framer::new(self.framing, span, self.hop, self.fft)
    }
}

/// A stream of spectra, made by [`Stft::stream`].
///
/// The spectra are bit-identical however the samples are split into calls.
#[derive(Clone, Debug)]
pub struct StftStream {
    transform: Transform,
    framer: Framer,
    outputs: Vec<f32>,
}

impl StftStream {
    /// Takes any number of samples and returns the spectra that are ready (`frames x bins`).
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a sample; nothing is changed then. [`Error::NotFinite`] for a bin, if samples are too
    /// large for `f32`, or [`Error::Allocation`]; the stream is reset then.
    pub fn push(&mut self, samples: &[f32]) -> Result<MatRef<'_, f32>> {
        check_samples(samples)?;
        self.run(samples, false)
    }

    /// Ends the stream: returns the remaining spectra and resets. An incomplete frame is dropped.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn finish(&mut self) -> Result<MatRef<'_, f32>> {
        self.run(&[], true)
    }

    /// Resets to the start of a stream.
    pub fn reset(&mut self) {
        self.framer.reset();
    }

    fn run(&mut self, samples: &[f32], last: bool) -> Result<MatRef<'_, f32>> {
        let Self { transform, framer, outputs } = self;
        outputs.clear();
        let bins = transform.bins();
        let done = reserve(outputs, framer.ready(samples.len(), last).saturating_mul(bins)).and_then(|()| {
            let mut frame = |samples: &[f32]| {
                let spectrum = transform.run(samples);
                check_results("bin", spectrum)?;
                outputs.extend_from_slice(spectrum);
                Ok(())
            };
            framer.push(samples, &mut frame)?;
            if last { framer.finish(&mut frame) } else { Ok(()) }
        });
        if let Err(error) = done {
            self.reset();
            return Err(error);
        }
        Ok(MatRef::from_checked(&self.outputs, self.outputs.len() / bins, bins))
    }
}

/// Fails unless all computed values are finite.
pub(super) fn check_results(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite { what, index, value: values[index] }),
    }
}

/// Windows and transforms one frame after another.
#[derive(Clone)]
pub(super) struct Transform {
    window: Vec<f32>,
    /// The offsets at which the window begins, in a frame and in the transform.
    offset: usize,
    spectrum: Spectrum,
    fft: Arc<dyn RealToComplex<f32>>,
    input: Vec<f32>,
    complex: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    values: Vec<f32>,
}

impl Transform {
    pub fn new(stft: &Stft) -> Result<Self> {
        stft.check()?;
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(stft.fft);
        let offset = if stft.framing == Framing::Window { 0 } else { (stft.fft - stft.window) / 2 };
        Ok(Self {
            window: stft.shape.values(stft.window),
            offset,
            spectrum: stft.spectrum,
            input: fft.make_input_vec(),
            complex: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            values: vec![0.0; stft.bins()],
            fft,
        })
    }

    pub fn bins(&self) -> usize {
        self.values.len()
    }

    /// Computes the spectrum of a frame.
    pub fn run(&mut self, frame: &[f32]) -> &[f32] {
        // The transform uses its input as scratch, so zeros must be written again.
        self.input.fill(0.0);
        let windowed = self.input[self.offset..].iter_mut().zip(&frame[self.offset..]).zip(&self.window);
        for ((value, sample), weight) in windowed {
            *value = sample * weight;
        }
        self.fft
            .process_with_scratch(&mut self.input, &mut self.complex, &mut self.scratch)
            .expect("the buffers were made by this plan");
        for (value, bin) in self.values.iter_mut().zip(&self.complex) {
            *value = match self.spectrum {
                Spectrum::Power => bin.norm_sqr(),
                Spectrum::Magnitude => bin.norm_sqr().sqrt(),
            };
        }
        &self.values
    }
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform").field("fft", &self.input.len()).finish_non_exhaustive()
    }
}
