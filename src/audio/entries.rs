//! Reading and writing the description of features in a model file's metadata.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::features::{Features, Floor, Log, LogBase, Normalization};
use super::mel::{MelBands, MelNorm, MelScale};
use super::{Framing, Spectrum, Stft, Window};
use crate::error::{Error, FileError, Result, TensorProblem};
use crate::model::{Attachment, Model};

const PREFIX: &str = "features.";

/// The only value of `features.mel_shape`, an entry in files of older programs. The scale and the height now have their
/// own entries.
const MEL_SHAPE: &str = "HTK mel scale, triangles of height 1, linear in Hz, on power";

/// A choice that is written as a word in the metadata.
trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Mel,
    Spectrum,
}

/// The kind of a [`Floor`], without its value.
#[derive(Clone, Copy, PartialEq)]
enum FloorKind {
    Added,
    AtLeast,
}

impl Word for Kind {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Mel, "mel"), (Self::Spectrum, "spectrum")];
}

impl Word for Window {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Hann, "hann, periodic"),
        (Self::HannSymmetric, "hann, symmetric"),
        (Self::Hamming, "hamming, periodic"),
        (Self::HammingSymmetric, "hamming, symmetric"),
        (Self::Blackman, "blackman, periodic"),
        (Self::BlackmanSymmetric, "blackman, symmetric"),
        (Self::Rectangular, "rectangular"),
    ];
}

impl Word for Framing {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Window, "window"),
        (Self::Transform, "transform"),
        (Self::CenteredZeros, "centered, zeros"),
        (Self::CenteredReflected, "centered, reflected"),
    ];
}

impl Word for Spectrum {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Power, "power"), (Self::Magnitude, "magnitude")];
}

impl Word for MelScale {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Htk, "htk"), (Self::Slaney, "slaney")];
}

impl Word for MelNorm {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Height, "height"), (Self::Area, "area")];
}

/// `None` means no logarithm.
impl Word for Option<LogBase> {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Some(LogBase::Natural), "natural"),
        (Some(LogBase::Ten), "ten"),
        (Some(LogBase::Decibels), "decibels"),
        (None, "none"),
    ];
}

impl Word for FloorKind {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Added, "added"), (Self::AtLeast, "at least")];
}

/// The error that a metadata entry is malformed.
pub(super) fn entry_error(key: impl Into<String>, reason: impl Into<String>) -> Error {
    FileError::Header { key: key.into(), reason: reason.into() }.into()
}

/// An entry's text, quoted and shortened for a message.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// The entries `features.*` not read yet, by their names without the prefix.
struct Entries<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Entries<'a> {
    fn of(metadata: &'a BTreeMap<String, String>) -> Self {
        let entry = |(key, text): (&'a String, &'a String)| Some((key.strip_prefix(PREFIX)?, text.as_str()));
        Self(metadata.iter().filter_map(entry).collect())
    }

    fn number<T: FromStr>(&mut self, name: &str) -> Result<T> {
        self.number_or(name, None)
    }

    /// Reads a number, which is required if it has no default.
    fn number_or<T: FromStr>(&mut self, name: &str, default: Option<T>) -> Result<T> {
        let key = || format!("{PREFIX}{name}");
        match (self.0.remove(name), default) {
            (Some(text), _) => text
                .trim()
                .parse()
                .map_err(|_| entry_error(key(), format!("expected a number, found {}", quoted(text)))),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(entry_error(key(), "missing")),
        }
    }

    fn word<T: Word>(&mut self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.0.remove(name) else { return Ok(default) };
        let found = T::WORDS.iter().find(|(_, word)| *word == text);
        found.map(|(value, _)| *value).ok_or_else(|| {
            let words: Vec<_> = T::WORDS.iter().map(|(_, word)| format!("{word:?}")).collect();
            entry_error(format!("{PREFIX}{name}"), format!("expected {}, found {}", words.join(" or "), quoted(text)))
        })
    }

    /// Takes the redundant entry of older files and checks it.
    fn legacy_mel_shape(&mut self, stft: &Stft, mel: &MelBands) -> Result<()> {
        let Some(text) = self.0.remove("mel_shape") else { return Ok(()) };
        let said = (mel.scale, mel.norm, stft.spectrum) == (MelScale::Htk, MelNorm::Height, Spectrum::Power);
        if text == MEL_SHAPE && said {
            return Ok(());
        }
        let reason = format!("expected {MEL_SHAPE:?} with entries that say the same, found {}", quoted(text));
        Err(entry_error("features.mel_shape", reason))
    }

    fn expect_empty(&self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(entry_error(
                format!("{PREFIX}{name}"),
                "not supported with the other entries; ignoring it might change the features",
            )),
        }
    }
}

impl Features {
    /// Reads the description of a model's features; `None` if its file has none.
    ///
    /// # Errors
    /// [`Error::File`] with the name of the entry or tensor that is missing, malformed or out of range, or if the
    /// number of features is not the model's number of inputs. The file may be hostile.
    pub fn of_model(model: &Model) -> Result<Option<Self>> {
        let mut entries = Entries::of(model.metadata());
        if entries.0.is_empty() {
            return Ok(None);
        }
        let kind = entries.word("kind", Kind::Mel)?;
        let rate = entries.number("sample_rate")?;
        let stft = Stft {
            window: entries.number("window")?,
            hop: entries.number("hop")?,
            fft: entries.number("fft")?,
            shape: entries.word("window_shape", Window::Hann)?,
            framing: entries.word("framing", Framing::Window)?,
            spectrum: entries.word("spectrum", Spectrum::Power)?,
        };
        let mel = match kind {
            Kind::Spectrum => None,
            Kind::Mel => {
                let mel = MelBands {
                    bands: entries.number("mels")?,
                    low_hz: entries.number("mel_low_hz")?,
                    high_hz: entries.number("mel_high_hz")?,
                    scale: entries.word("mel_scale", MelScale::Htk)?,
                    norm: entries.word("mel_norm", MelNorm::Height)?,
                };
                entries.legacy_mel_shape(&stft, &mel)?;
                Some(mel)
            }
        };
        let log = match entries.word("log", Some(LogBase::Natural))? {
            None => None,
            Some(base) => {
                let floor = entries.number("log_floor")?;
                Some(match entries.word("log_floor_kind", FloorKind::Added)? {
                    FloorKind::Added => Log { base, floor: Floor::Added(floor) },
                    FloorKind::AtLeast => Log { base, floor: Floor::AtLeast(floor) },
                })
            }
        };
        let stack = entries.number_or("stack", Some(1))?;
        let tail = entries.number_or("tail", Some(0))?;
        entries.expect_empty()?;
        let features = Self { rate, stft, mel, log, normalization: normalization(model)?, stack, tail };
        features.check().map_err(in_file)?;
        if features.width() != model.input_size() {
            let reason =
                format!("they give {} features per step, but the model takes {}", features.width(), model.input_size());
            return Err(entry_error("features.*", reason));
        }
        Ok(Some(features))
    }

    /// The same model with this description in its metadata. Existing entries and tensors `features.*` are replaced.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); [`Error::Length`] if the number of features is not the model's number of
    /// inputs.
    pub fn attach(&self, model: Model) -> Result<Model> {
        self.check()?;
        let (expected, found) = (model.input_size(), self.width());
        if expected != found {
            return Err(Error::Length { what: "features", expected, found });
        }
        let (mut metadata, mut attachments) = (model.metadata().clone(), model.attachments().clone());
        metadata.retain(|key, _| !key.starts_with(PREFIX));
        for name in Self::TENSORS {
            attachments.remove(name);
        }
        metadata.extend(self.entries().into_iter().map(|(name, text)| (format!("{PREFIX}{name}"), text)));
        if let Some(Normalization { mean, std }) = &self.normalization {
            for (name, values) in Self::TENSORS.into_iter().zip([mean, std]) {
                attachments.insert(name.into(), Attachment::new(vec![values.len()], values.clone())?);
            }
        }
        Ok(model.with_attached(metadata, attachments))
    }

    fn entries(&self) -> Vec<(&'static str, String)> {
        let Self { stft, .. } = self;
        let mut entries = vec![
            ("kind", self.mel.as_ref().map_or(Kind::Spectrum, |_| Kind::Mel).word().into()),
            ("sample_rate", self.rate.to_string()),
            ("window", stft.window.to_string()),
            ("hop", stft.hop.to_string()),
            ("fft", stft.fft.to_string()),
            ("window_shape", stft.shape.word().into()),
            ("framing", stft.framing.word().into()),
            ("spectrum", stft.spectrum.word().into()),
            ("log", self.log.map(|log| log.base).word().into()),
            ("stack", self.stack.to_string()),
            ("tail", self.tail.to_string()),
        ];
        if let Some(mel) = &self.mel {
            entries.extend([
                ("mels", mel.bands.to_string()),
                ("mel_low_hz", mel.low_hz.to_string()),
                ("mel_high_hz", mel.high_hz.to_string()),
                ("mel_scale", mel.scale.word().into()),
                ("mel_norm", mel.norm.word().into()),
            ]);
        }
        if let Some(Log { floor, .. }) = self.log {
            let kind = if matches!(floor, Floor::Added(_)) { FloorKind::Added } else { FloorKind::AtLeast };
            entries.extend([("log_floor", floor.value().to_string()), ("log_floor_kind", kind.word().into())]);
        }
        entries
    }
}

/// The means and standard deviations stored with a model: both or neither.
fn normalization(model: &Model) -> Result<Option<Normalization>> {
    let values = |name: &str| model.attachments().get(name).map(|attachment| attachment.values().to_vec());
    let [mean, std] = Features::TENSORS.map(values);
    match (mean, std) {
        (Some(mean), Some(std)) => Ok(Some(Normalization { mean, std })),
        (None, None) => Ok(None),
        (mean, _) => {
            let missing = Features::TENSORS[usize::from(mean.is_some())];
            Err(FileError::tensor(missing, TensorProblem::Missing))
        }
    }
}

/// Turns an error in a description into an error of its file.
fn in_file(error: Error) -> Error {
    match error {
        Error::Parameter { what, .. } | Error::Length { what, .. } | Error::NotFinite { what, .. }
            if what.starts_with(PREFIX) =>
        {
            FileError::invalid(what, error)
        }
        Error::Parameter { what, value, expected } => {
            entry_error(format!("{PREFIX}{what}"), format!("{value}, must be {expected}"))
        }
        error => error,
    }
}
