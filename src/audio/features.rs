//! The description of how a model's features are computed from sound, stored in its file.

use super::{Stft, mel::MelBands};
use crate::error::{Error, Result};

/// The accepted sample rates, in Hz.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 100..=1_000_000;

/// The largest number of features per step.
const MAX_WIDTH: usize = 1 << 17;

/// The largest number of frames per step.
const MAX_STACK: usize = 64;

/// The longest tail, in samples and in frames.
const MAX_TAIL: usize = 1 << 20;
const MAX_TAIL_FRAMES: usize = 1 << 12;

/// The logarithm of an energy `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogBase {
    /// `ln x`.
    Natural,
    /// `log10 x`.
    Ten,
    /// `10 log10 x` of powers, `20 log10 x` of magnitudes.
    Decibels,
}

/// The floor that keeps the logarithm of silence finite.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Floor {
    /// `log(x + floor)`.
    Added(f32),
    /// `log(max(x, floor))`.
    AtLeast(f32),
}

impl Floor {
    pub(super) fn value(self) -> f32 {
        match self {
            Self::Added(value) | Self::AtLeast(value) => value,
        }
    }
}

/// Features on a logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Log {
    /// The base.
    pub base: LogBase,
    /// The floor that keeps it finite.
    pub floor: Floor,
}

/// `(x - mean) / std` for each feature of a frame, as fixed in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// One mean for each band or bin.
    pub mean: Vec<f32>,
    /// One standard deviation for each, all above 0.
    pub std: Vec<f32>,
}

/// The description of how a model's features are computed from sound: spectra, bands, logarithm, normalization, and the
/// number of frames joined into one step of the model, in this order. [`FrontEnd`](super::FrontEnd) computes them.
///
/// A model file has this in its metadata: [`of_model`](Self::of_model) reads it, [`attach`](Self::attach) writes it.
///
/// # In a model file
///
/// The metadata has these entries, with values as text. Entries without a default are required. Any other entry
/// `features.*` is refused, because it might change the features.
///
/// | entry | meaning | default |
/// |---|---|---|
/// | `features.kind` | `mel` or `spectrum` | `mel` |
/// | `features.sample_rate` | samples per second | |
/// | `features.window`, `.hop`, `.fft` | lengths in samples, as in [`Stft`] | |
/// | `features.window_shape` | `hann`, `hamming` or `blackman` with `, periodic` or `, symmetric`; `rectangular` | `hann, periodic` |
/// | `features.framing` | `window`, `transform`, `centered, zeros` or `centered, reflected`: [`Framing`](super::Framing) | `window` |
/// | `features.spectrum` | `power` or `magnitude` | `power` |
/// | `features.mels`, `.mel_low_hz`, `.mel_high_hz` | bands and their range, only for `mel` | |
/// | `features.mel_scale` | `htk` or `slaney` | `htk` |
/// | `features.mel_norm` | `height` or `area` | `height` |
/// | `features.log` | `natural`, `ten`, `decibels` or `none` | `natural` |
/// | `features.log_floor` | a number above 0, unless the logarithm is `none` | |
/// | `features.log_floor_kind` | `added` or `at least` | `added` |
/// | `features.stack` | frames per step | `1` |
/// | `features.tail` | samples of silence after the end | `0` |
///
/// The normalization is in the tensors `features.mean` and `features.std`, which are
/// [attachments](crate::model::Model::attachments) of the model. If both are absent, there is none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Features {
    /// Samples per second.
    pub rate: u32,
    /// The spectra.
    pub stft: Stft,
    /// Bands that replace the bins of the spectra.
    pub mel: Option<MelBands>,
    /// The logarithm.
    pub log: Option<Log>,
    /// The normalization.
    pub normalization: Option<Normalization>,
    /// Number of frames joined into one step, without overlap.
    pub stack: usize,
    /// Number of samples of silence appended to a recording. They give a causal model time to output what it heard
    /// last.
    pub tail: usize,
}

impl Features {
    /// The tensors of a model file that belong to its features.
    /// [`ImportOptions::keep`](crate::model::ImportOptions::keep) must name them.
    pub const TENSORS: [&str; 2] = ["features.mean", "features.std"];

    /// Plain spectra, one frame per step.
    pub fn spectra(rate: u32, stft: Stft) -> Self {
        Self { rate, stft, mel: None, log: None, normalization: None, stack: 1, tail: 0 }
    }

    /// The natural logarithm of bands, with 1e-6 added, one frame per step.
    pub fn log_mel(rate: u32, stft: Stft, mel: MelBands) -> Self {
        let log = Log { base: LogBase::Natural, floor: Floor::Added(1e-6) };
        Self { mel: Some(mel), log: Some(log), ..Self::spectra(rate, stft) }
    }

    /// Features per frame: bands or bins.
    pub fn frame_width(&self) -> usize {
        self.mel.as_ref().map_or(self.stft.bins(), |mel| mel.bands)
    }

    /// Features per step, the model's input: `stack` times those of a frame.
    pub fn width(&self) -> usize {
        self.frame_width().saturating_mul(self.stack)
    }

    /// Number of samples from one step to the next.
    pub fn samples_per_step(&self) -> usize {
        self.stft.hop.saturating_mul(self.stack)
    }

    /// Fails unless the description is valid.
    ///
    /// # Errors
    /// [`Error::Parameter`] or [`Error::Length`] for a setting out of range, [`Error::NotFinite`] for a value of the
    /// normalization. Settings that would need excessive memory or time are refused too.
    pub fn check(&self) -> Result<()> {
        let parameter = |what, value, expected| Err(Error::Parameter { what, value, expected });
        if !RATES.contains(&self.rate) {
            return parameter("sample_rate", f64::from(self.rate), "100 to 1000000");
        }
        self.stft.check()?;
        if let Some(mel) = &self.mel {
            mel.check(self.rate)?;
        }
        if let Some(floor) = self.log.map(|log| log.floor.value())
            && !(floor.is_normal() && floor > 0.0)
        {
            return parameter("log_floor", f64::from(floor), "a finite number above 1.2e-38");
        }
        if !(1..=MAX_STACK).contains(&self.stack) {
            return parameter("stack", self.stack as f64, "1 to 64");
        }
        if self.width() > MAX_WIDTH {
            return parameter("stack", self.stack as f64, "so small that a step has at most 131072 features");
        }
        if self.tail > MAX_TAIL || self.tail / self.stft.hop > MAX_TAIL_FRAMES {
            return parameter("tail", self.tail as f64, "at most 1048576 samples and at most 4096 frames");
        }
        match &self.normalization {
            Some(normalization) => normalization.check(self.frame_width()),
            None => Ok(()),
        }
    }
}

impl Normalization {
    fn check(&self, width: usize) -> Result<()> {
        for (what, values) in [("features.mean", &self.mean), ("features.std", &self.std)] {
            if values.len() != width {
                return Err(Error::Length { what, expected: width, found: values.len() });
            }
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite { what, index, value: values[index] });
            }
        }
        // Features are multiplied by the reciprocal, which must be finite.
        match self.std.iter().find(|std| **std < f32::MIN_POSITIVE) {
            None => Ok(()),
            Some(&std) => Err(Error::Parameter {
                what: "features.std",
                value: f64::from(std),
                expected: "a number above 1.2e-38",
            }),
        }
    }
}
