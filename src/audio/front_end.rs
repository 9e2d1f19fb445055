//! Samples in, features out.

use super::features::{Features, Floor, Log, LogBase};
use super::frames::Framer;
use super::mel::Triangle;
use super::stft::{Spectrum, Transform, check_results};
use super::{Resampler, check_samples, reserve};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::matrix::{Mat, MatRef};

/// Silence, as it is pushed.
const SILENCE: [f32; 512] = [0.0; 512];

/// Samples in, steps of a model out, as its [`Features`] say; at another sample rate than theirs
/// [after resampling](Self::with_input_rate).
///
/// However the samples are cut into calls, the features are the same bits. The Fourier transforms use the instructions that
/// a processor has, so features of other machines may differ in their last bits.
///
/// # Example
/// ```
/// use skinny::audio::{Features, FrontEnd, MelBands, Stft};
///
/// // 25 ms windows every 10 ms, 40 bands, two frames a step.
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

/// What follows the resampler.
#[derive(Debug)]
struct Pipeline {
    features: Features,
    framer: Framer,
    transform: Transform,
    triangles: Vec<Triangle>,
    /// Mean and reciprocal of the standard deviation of each feature of a frame, if they are normalized.
    normalization: Vec<(f32, f32)>,
    /// The frames of a step that is not complete.
    step: Vec<f32>,
    /// Steps that are.
    outputs: Vec<f32>,
}

impl FrontEnd {
    /// A stream of samples at the features' own rate that has not begun.
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

    /// The same for samples of `rate` Hz, which are [resampled](Resampler) where the features' rate is another.
    ///
    /// # Errors
    /// Those of [`Resampler::new`].
    pub fn with_input_rate(mut self, rate: u32) -> Result<Self> {
        let own = self.pipeline.features.rate;
        self.resampler = if rate == own { None } else { Some(Resampler::new(rate, own)?) };
        Ok(self)
    }

    /// How the features are made.
    pub fn features(&self) -> &Features {
        &self.pipeline.features
    }

    /// Samples per second that are pushed.
    pub fn input_rate(&self) -> u32 {
        self.resampler.as_ref().map_or(self.pipeline.features.rate, Resampler::input_rate)
    }

    /// Takes the next samples, any number of them, and returns the steps that are ready (`steps x width`).
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming a sample, and [`Error::Parameter`] of one beyond 1e28 that is to be resampled, when
    /// nothing has happened. [`Error::NotFinite`] naming a feature, of samples too large for `f32`, and
    /// [`Error::Allocation`], after which the stream is as new.
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

    /// Ends the stream, behind the tail of silence: returns the steps that were still to come, and starts anew. Frames that
    /// fill no step, and samples that fill no frame, are dropped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<MatRef<'_, f32>> {
        self.pipeline.outputs.clear();
        let rest = match &mut self.resampler {
            None => Ok(&[][..]),
            Some(resampler) => resampler.finish(),
        };
        let done = rest.and_then(|rest| self.pipeline.push(rest)).and_then(|()| self.pipeline.finish());
        self.ready(done)
    }

    /// The steps of a whole recording (`steps x width`). A stream that was under way is dropped.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn whole(&mut self, samples: &[f32]) -> Result<Mat<f32>> {
        self.reset();
        let mut steps = self.push(samples)?.as_slice().to_vec();
        steps.extend_from_slice(self.finish()?.as_slice());
        let width = self.pipeline.features.width();
        let rows = steps.len() / width;
        Mat::from_vec(steps, rows, width)
    }

    /// Back to the start of a stream.
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

    /// Makes room for the steps that so many more samples complete at most.
    fn reserve(&mut self, samples: usize, last: bool) -> Result<()> {
        let steps = self.framer.ready(samples, last) / self.features.stack + 1;
        reserve(&mut self.outputs, steps.saturating_mul(self.features.width()))
    }

    /// Runs the framer, and makes features of each frame that it cuts.
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
                // The floor would hide what is not a number.
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

/// Puts the logarithms of powers, or magnitudes, in their place.
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
