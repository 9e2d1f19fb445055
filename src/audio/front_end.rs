//! The front end: samples in, features out.

use super::features::{Features, Floor, Log, LogBase};
use super::frames::Framer;
use super::mel::Triangle;
use super::stft::{Spectrum, Transform, check_results};
use super::{Resampler, check_samples, reserve};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::matrix::{Mat, MatRef};

/// Silence, pushed in pieces of this size.
const SILENCE: [f32; 512] = [0.0; 512];

/// Turns samples into steps for a model, as its [`Features`] describe. Samples at another rate are
/// [resampled](Self::with_input_rate) first.
///
/// The features are bit-identical however the samples are split into calls. The Fourier transforms use the processor's
/// vector instructions, so the last bits may differ between machines.
///
/// # Example
/// ```
/// use skinny::audio::{Features, FrontEnd, MelBands, Stft};
///
/// // 25 ms windows every 10 ms, 40 bands, two frames per step.
/// let mut features = Features::log_mel(16_000, Stft::new(400, 160), MelBands::new(40, 60.0, 8000.0));
/// features.stft.fft = 512;
/// features.stack = 2;
/// let mut front_end = FrontEnd::new(features)?;
///
/// let second = vec![0.1; 16_000];
/// let mut steps = 0;
/// for piece in second.chunks(1000) {
///     let ready = front_end.push(piece)?;
///     assert_eq!(ready.cols(), 80);
///     steps += ready.rows();
/// }
/// steps += front_end.finish()?.rows();
/// assert_eq!(steps, 49); // of (16000 - 400) / 160 + 1 = 98 frames
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Debug)]
pub struct FrontEnd {
    resampler: Option<Resampler>,
    pipeline: Pipeline,
}

/// Everything after the resampler.
#[derive(Debug)]
struct Pipeline {
    features: Features,
    framer: Framer,
    transform: Transform,
    triangles: Vec<Triangle>,
    /// The mean and the reciprocal of the standard deviation for each feature of a frame, if there is a normalization.
    normalization: Vec<(f32, f32)>,
    /// The frames of an incomplete step.
    step: Vec<f32>,
    /// Complete steps.
    outputs: Vec<f32>,
}

impl FrontEnd {
    /// Starts a stream of samples at the features' own rate.
    ///
    /// # Errors
    /// Those of [`Features::check`].
    pub fn new(features: Features) -> Result<Self> {
        features.check()?;
        let triangles = features.mel.as_ref().map(|mel| mel.triangles(features.rate, features.stft.fft));
        let normalization = features.normalization.iter().flat_map(|n| n.mean.iter().zip(&n.std));
        let pipeline = Pipeline {
            framer: features.stft.framer(),
            transform: Transform::new(&features.stft)?,
            triangles: triangles.unwrap_or_default(),
            normalization: normalization.map(|(&mean, &std)| (mean, 1.0 / std)).collect(),
            step: Vec::with_capacity(features.width()),
            outputs: Vec::new(),
            features,
        };
        Ok(Self { resampler: None, pipeline })
    }

    /// Starts a stream of samples at `rate` Hz, which are [resampled](Resampler) if the features' rate is different.
    ///
    /// # Errors
    /// Those of [`Resampler::new`].
    pub fn with_input_rate(mut self, rate: u32) -> Result<Self> {
        let own = self.pipeline.features.rate;
        self.resampler = if rate == own { None } else { Some(Resampler::new(rate, own)?) };
        Ok(self)
    }

    /// The description of the features.
    pub fn features(&self) -> &Features {
        &self.pipeline.features
    }

    /// The rate of the input, in samples per second.
    pub fn input_rate(&self) -> u32 {
        self.resampler.as_ref().map_or(self.pipeline.features.rate, Resampler::input_rate)
    }

    /// Takes any number of samples and returns the steps that are ready (`steps x width`).
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a sample, or [`Error::Parameter`] for a sample beyond 1e28 that is to be resampled;
    /// nothing is changed then. [`Error::NotFinite`] for a feature, if samples are too large for `f32`, or
    /// [`Error::Allocation`]; the stream is reset then.
    pub fn push(&mut self, samples: &[f32]) -> Result<MatRef<'_, f32>> {
        match &self.resampler {
            None => check_samples(samples)?,
            Some(resampler) => resampler.check(samples)?,
        }
        self.pipeline.outputs.clear();
        let done = match &mut self.resampler {
            None => self.pipeline.push(samples),
            Some(resampler) => resampler.push(samples).and_then(|samples| self.pipeline.push(samples)),
        };
        self.ready(done)
    }

    /// Ends the stream: appends the tail of silence, returns the remaining steps and resets. An incomplete step or
    /// frame is dropped.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn finish(&mut self) -> Result<MatRef<'_, f32>> {
        self.pipeline.outputs.clear();
        let rest = match &mut self.resampler {
            None => Ok(&[][..]),
            Some(resampler) => resampler.finish(),
        };
        let done = rest.and_then(|rest| self.pipeline.push(rest)).and_then(|()| self.pipeline.finish());
        self.ready(done)
    }

    /// Computes the steps of a whole recording (`steps x width`). A stream in progress is dropped.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn whole(&mut self, samples: &[f32]) -> Result<Mat<f32>> {
        self.reset();
        let mut steps = self.push(samples)?.as_slice().to_vec();
        steps.extend_from_slice(self.finish()?.as_slice());
        let width = self.pipeline.features.width();
        let rows = steps.len() / width;
        Mat::from_vec(steps, rows, width)
    }

    /// Resets to the start of a stream.
    pub fn reset(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.pipeline.reset();
    }

    fn ready(&mut self, done: Result<()>) -> Result<MatRef<'_, f32>> {
        if let Err(error) = done {
            self.reset();
            return Err(error);
        }
        let width = self.pipeline.features.width();
        let outputs = &self.pipeline.outputs;
        Ok(MatRef::from_checked(outputs, outputs.len() / width, width))
    }
}

impl Pipeline {
    fn reset(&mut self) {
        self.framer.reset();
        self.step.clear();
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        self.reserve(samples.len(), false)?;
        self.frames(|framer, frame| framer.push(samples, frame))
    }

    fn finish(&mut self) -> Result<()> {
        let tail = self.features.tail;
        self.reserve(tail, true)?;
        self.frames(|framer, mut frame| {
            for start in (0..tail).step_by(SILENCE.len()) {
                framer.push(&SILENCE[..SILENCE.len().min(tail - start)], &mut frame)?;
            }
            framer.finish(frame)
        })?;
        self.step.clear();
        Ok(())
    }

    /// Makes room for the steps that this many more samples can complete.
    fn reserve(&mut self, samples: usize, last: bool) -> Result<()> {
        let steps = self.framer.ready(samples, last) / self.features.stack + 1;
        reserve(&mut self.outputs, steps.saturating_mul(self.features.width()))
    }

    /// Runs the framer, and computes the features of each frame.
    fn frames(
        &mut self,
        run: impl FnOnce(&mut Framer, &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let Self { features, framer, transform, triangles, normalization, step, outputs } = self;
        let width = features.width();
        run(framer, &mut |frame| {
            let start = step.len();
            let spectrum = transform.run(frame);
            match &features.mel {
                None => step.extend_from_slice(spectrum),
                Some(_) => step.extend(triangles.iter().map(|triangle| triangle.energy(spectrum))),
            }
            let values = &mut step[start..];
            if let Some(log) = features.log {
                // The floor would hide a NaN.
                check_results("feature", values)?;
                logarithms(log, features.stft.spectrum, values);
            }
            for (value, (mean, inverse)) in values.iter_mut().zip(&*normalization) {
                *value = (*value - mean) * inverse;
            }
            check_results("feature", values)?;
            if step.len() == width {
                outputs.append(step);
            }
            Ok(())
        })
    }
}

/// Replaces powers or magnitudes by their logarithms.
fn logarithms(Log { base, floor }: Log, spectrum: Spectrum, values: &mut [f32]) {
    for value in values {
        let raised = match floor {
            Floor::Added(floor) => *value + floor,
            Floor::AtLeast(floor) => value.max(floor),
        };
        *value = match (base, spectrum) {
            (LogBase::Natural, _) => raised.ln(),
            (LogBase::Ten, _) => raised.log10(),
            (LogBase::Decibels, Spectrum::Power) => 10.0 * raised.log10(),
            (LogBase::Decibels, Spectrum::Magnitude) => 20.0 * raised.log10(),
        };
    }
}
