//! How the features of a model are made of sound: the description that its file carries.

use super::{Stft, mel::MelBands};
use crate::error::{Error, Result};

/// The sample rates, in Hz.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 100..=1_000_000;

/// The most features of a step.
const MAX_WIDTH: usize = 1 << 17;

/// The most frames joined to one step.
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

/// What keeps the logarithm of silence finite.
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
    /// Of which base.
    pub base: LogBase,
    /// What keeps it finite.
    pub floor: Floor,
}

/// `(x - mean) / std` for each feature of a frame, as fixed in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// One for each band, or for each bin.
    pub mean: Vec<f32>,
    /// As many, all above 0.
    pub std: Vec<f32>,
}

/// How the features of a model are made of sound: spectra, bands, logarithm, normalization, and how many frames are joined
/// to a step of the model, in this order. [`FrontEnd`](super::FrontEnd) makes them.
///
/// A model file carries this in its metadata: [`of_model`](Self::of_model) reads it, [`attach`](Self::attach) writes it.
///
/// # In a model file
///
/// Entries of the metadata, with values as text; entries without a default must be there. An entry `features.*` that is
/// not among them is refused, as it would change what the features are.
///
/// | entry | meaning | default |
/// |---|---|---|
/// | `features.kind` | `mel` or `spectrum` | `mel` |
/// | `features.sample_rate` | samples per second | |
/// | `features.window`, `.hop`, `.fft` | lengths in samples, as in [`Stft`] | |
/// | `features.window_shape` | `hann`, `hamming` or `blackman` with `, periodic` or `, symmetric`; `rectangular` | `hann, periodic` |
/// | `features.framing` | `window`, `transform`, `centered, zeros` or `centered, reflected`: [`Framing`](super::Framing) | `window` |
/// | `features.spectrum` | `power` or `magnitude` | `power` |
/// | `features.mels`, `.mel_low_hz`, `.mel_high_hz` | bands and their range, for `mel` alone | |
/// | `features.mel_scale` | `htk` or `slaney` | `htk` |
/// | `features.mel_norm` | `height` or `area` | `height` |
/// | `features.log` | `natural`, `ten`, `decibels` or `none` | `natural` |
/// | `features.log_floor` | a number above 0, unless the logarithm is `none` | |
/// | `features.log_floor_kind` | `added` or `at least` | `added` |
/// | `features.stack` | frames of a step | `1` |
/// | `features.tail` | samples of silence behind the end | `0` |
///
/// The tensors `features.mean` and `features.std`, [attachments](crate::model::Model::attachments) of the model, are the
/// normalization; without both there is none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Features {
    /// Samples per second.
    pub rate: u32,
    /// The spectra.
    pub stft: Stft,
    /// Bands in place of the spectra's bins.
    pub mel: Option<MelBands>,
    /// The logarithm.
    pub log: Option<Log>,
    /// The normalization.
    pub normalization: Option<Normalization>,
    /// Frames that are joined to a step, each in one step only.
    pub stack: usize,
    /// Samples of silence that follow the end of a recording: time for a model that looks at the past only to say what it
    /// heard last.
    pub tail: usize,
}

impl Features {
    /// The tensors of a model file that belong to its features: what
    /// [`ImportOptions::keep`](crate::model::ImportOptions::keep) has to name.
    pub const TENSORS: [&str; 2] = ["features.mean", "features.std"];

    /// Spectra as they are, a frame a step.
    pub fn spectra(rate: u32, stft: Stft) -> Self {
        Self { rate, stft, mel: None, log: None, normalization: None, stack: 1, tail: 0 }
    }

    /// Bands of spectra, their natural logarithm above a floor of 1e-6 that is added, a frame a step.
    pub fn log_mel(rate: u32, stft: Stft, mel: MelBands) -> Self {
        let log = Log { base: LogBase::Natural, floor: Floor::Added(1e-6) };
        Self { mel: Some(mel), log: Some(log), ..Self::spectra(rate, stft) }
    }

    /// Features of a frame: bands or bins.
    pub fn frame_width(&self) -> usize {
        self.mel.as_ref().map_or(self.stft.bins(), |mel| mel.bands)
    }

    /// Features of a step, the model's input: those of a frame, `stack` times.
    pub fn width(&self) -> usize {
        self.frame_width().saturating_mul(self.stack)
    }

    /// Samples from one step to the next.
    pub fn samples_per_step(&self) -> usize {
        self.stft.hop.saturating_mul(self.stack)
    }

    /// Fails unless features can be made so.
    ///
    /// # Errors
    /// [`Error::Parameter`] and [`Error::Length`] that name the number, [`Error::NotFinite`] a value of the
    /// normalization. Numbers that ask for memory or time out of all proportion are refused too.
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
        // Features are multiplied with the reciprocal, which is to be finite.
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
