//! Reading a recording: one channel of 16-bit PCM at the rate the model was
//! trained on.
//!
//! Anything else is refused rather than converted: resampling or mixing changes
//! the features, and an error is easier to act on than poor transcripts.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use hound::{SampleFormat, WavReader};

/// Why a recording cannot be used. The message names the file, what is expected
/// and what was found.
#[derive(Debug)]
pub struct WavError {
    file: String,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Unreadable(io::Error),
    NotWav(hound::Error),
    Format { expected: String, found: String },
    Truncated { announced: u32, found: usize },
    Empty,
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match &self.problem {
            Problem::Unreadable(cause) => write!(f, "cannot read the file: {cause}"),
            Problem::NotWav(cause) => {
                write!(f, "expected a WAV file, found something else: {cause}")
            }
            Problem::Format { expected, found } => write!(f, "expected {expected}, found {found}"),
            Problem::Truncated { announced, found } => {
                write!(f, "truncated: expected the {announced} samples its header announces, found {found}")
            }
            Problem::Empty => write!(f, "expected a recording, found no samples"),
        }
    }
}

impl std::error::Error for WavError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Unreadable(cause) => Some(cause),
            Problem::NotWav(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Reads a mono 16-bit WAV file of `sample_rate` Hz into samples in -1..1.
///
/// # Errors
///
/// When the file cannot be opened, is no WAV file, has another rate, channel
/// count or sample format, ends before its header says, or holds no samples.
pub fn read(path: &Path, sample_rate: u32) -> Result<Vec<f32>, WavError> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => decode(BufReader::new(file), &name, sample_rate),
        Err(cause) => Err(WavError { file: name, problem: Problem::Unreadable(cause) }),
    }
}

/// Like [`read`], from any source of bytes; `name` stands for it in an error.
///
/// # Errors
///
/// As [`read`].
pub fn decode(bytes: impl Read, name: &str, sample_rate: u32) -> Result<Vec<f32>, WavError> {
    samples(bytes, sample_rate).map_err(|problem| WavError { file: name.to_owned(), problem })
}

fn samples(bytes: impl Read, sample_rate: u32) -> Result<Vec<f32>, Problem> {
    let reader = WavReader::new(bytes).map_err(Problem::NotWav)?;
    let spec = reader.spec();
    let found = (spec.sample_rate, spec.channels, spec.bits_per_sample, spec.sample_format);
    if found != (sample_rate, 1, 16, SampleFormat::Int) {
        return Err(Problem::Format {
            expected: format!("{sample_rate} Hz, 1 channel, 16-bit integer samples"),
            found: format!(
                "{} Hz, {} channel{}, {}-bit {} samples",
                spec.sample_rate,
                spec.channels,
                if spec.channels == 1 { "" } else { "s" },
                spec.bits_per_sample,
                match spec.sample_format {
                    SampleFormat::Int => "integer",
                    SampleFormat::Float => "float",
                }
            ),
        });
    }
    let announced = reader.len();
    // Not `with_capacity(announced)`: the header of a damaged file may announce
    // gigabytes.
    let mut samples = Vec::new();
    for sample in reader.into_samples::<i16>() {
        match sample {
            Ok(value) => samples.push(f32::from(value) / 32768.0),
            Err(_) => return Err(Problem::Truncated { announced, found: samples.len() }),
        }
    }
    if samples.is_empty() {
        return Err(Problem::Empty);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{WavSpec, WavWriter};
    use std::io::Cursor;

    fn spec(sample_rate: u32, channels: u16) -> WavSpec {
        WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int }
    }

    fn wav(spec: WavSpec, samples: &[i16]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    fn error(bytes: &[u8]) -> String {
        decode(bytes, "take.wav", 8000).unwrap_err().to_string()
    }

    #[test]
    fn samples_are_fractions_of_full_scale() {
        let bytes = wav(spec(8000, 1), &[0, 16384, -32768, 32767]);
        let samples = decode(&bytes[..], "take.wav", 8000).unwrap();
        assert_eq!(samples, [0.0, 0.5, -1.0, 32767.0 / 32768.0]);
    }

    #[test]
    fn another_rate_or_channel_count_is_named() {
        assert_eq!(
            error(&wav(spec(16000, 2), &[0, 0])),
            "take.wav: expected 8000 Hz, 1 channel, 16-bit integer samples, \
             found 16000 Hz, 2 channels, 16-bit integer samples"
        );
    }

    #[test]
    fn another_sample_format_is_named() {
        let float = WavSpec { bits_per_sample: 32, sample_format: SampleFormat::Float, ..spec(8000, 1) };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, float).unwrap();
        writer.write_sample(0.5f32).unwrap();
        writer.finalize().unwrap();
        let message = error(&bytes.into_inner());
        assert!(message.ends_with("found 8000 Hz, 1 channel, 32-bit float samples"));
    }

    #[test]
    fn a_truncated_file_tells_both_lengths() {
        let bytes = wav(spec(8000, 1), &[1; 100]);
        assert_eq!(
            error(&bytes[..bytes.len() - 21]),
            "take.wav: truncated: expected the 100 samples its header announces, found 89"
        );
    }

    #[test]
    fn no_prefix_of_a_file_is_accepted_or_panics() {
        let bytes = wav(spec(8000, 1), &[1; 10]);
        for length in 0..bytes.len() {
            assert!(error(&bytes[..length]).starts_with("take.wav: "));
        }
    }

    #[test]
    fn a_file_without_samples_is_an_error() {
        assert_eq!(error(&wav(spec(8000, 1), &[])), "take.wav: expected a recording, found no samples");
    }

    #[test]
    fn another_kind_of_file_is_an_error() {
        assert!(error(b"not audio, but text of some length").contains("expected a WAV file"));
        assert!(error(b"").contains("expected a WAV file"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = read(Path::new("no/such.wav"), 8000).unwrap_err().to_string();
        assert!(message.starts_with("no/such.wav: cannot read the file: "));
    }
}
