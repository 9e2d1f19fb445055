//! Recordings, and their features as a model's file describes them.

use std::io::Cursor;
use std::path::Path;

use hound::{SampleFormat, WavReader};
use skinny::Mat;
use skinny::audio::{Features, FrontEnd, GreedyDecoder, Labels};
use skinny::model::Model;

use super::read;
use crate::error::{About, Result};

/// Samples of one channel, and their number per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Values in -1..1.
    pub samples: Vec<f32>,
    pub rate: u32,
}

/// Samples that are pushed to the front end at once.
const PIECE: usize = 1 << 14;

/// Reads a WAV file of integers or floats, and mixes several channels to one.
pub fn recording(path: &Path) -> Result<Recording> {
    decode(&read(path)?).about(path)
}

fn decode(bytes: &[u8]) -> Result<Recording, String> {
    let reader =
        WavReader::new(Cursor::new(bytes)).map_err(|cause| format!("is not a WAV file that can be read: {cause}"))?;
    let spec = reader.spec();
    let (channels, rate) = (usize::from(spec.channels), spec.sample_rate);
    if channels == 0 || rate == 0 {
        return Err(format!("announces {channels} channels at {rate} Hz"));
    }
    let announced = reader.len();
    let samples = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, bits @ 1..=32) => {
            let scale = 1.0 / (1u64 << (bits - 1)) as f32;
            collect(reader.into_samples::<i32>().map(|sample| Ok(sample? as f32 * scale)), announced)?
        }
        (SampleFormat::Float, 32) => collect(reader.into_samples::<f32>(), announced)?,
        (_, bits) => return Err(format!("has samples of {bits} bits, which cannot be read")),
    };
    if let Some(index) = samples.iter().position(|sample| !sample.is_finite()) {
        return Err(format!("sample {index} is {}, all must be finite", samples[index]));
    }
    let mix = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
    let samples: Vec<f32> = samples.chunks_exact(channels).map(mix).collect();
    if samples.is_empty() { Err("holds no samples".into()) } else { Ok(Recording { samples, rate }) }
}

/// Collects all samples. The header of a damaged file may announce gigabytes, so no memory is reserved by it.
fn collect(samples: impl Iterator<Item = hound::Result<f32>>, announced: u32) -> Result<Vec<f32>, String> {
    let mut read = Vec::new();
    for sample in samples {
        match sample {
            Ok(sample) => read.push(sample),
            Err(_) => {
                return Err(format!("is truncated: its header announces {announced} samples, it has {}", read.len()));
            }
        }
    }
    Ok(read)
}

/// The features of a recording (`steps x features`), made as the model's file describes.
pub fn features(path: &Path, model: &Model) -> Result<Mat<f32>> {
    let features = Features::of_model(model).about(path)?;
    let unknown =
        "the model's file does not say how its features are made; give features (.npy, .npz, .safetensors, .csv)";
    let features = features.ok_or(unknown).about(path)?;
    let width = features.width();
    let Recording { samples, rate } = recording(path)?;
    let mut front_end = FrontEnd::new(features)?.with_input_rate(rate).about(path)?;
    let mut steps = Vec::new();
    for piece in samples.chunks(PIECE) {
        steps.extend_from_slice(front_end.push(piece).about(path)?.as_slice());
    }
    steps.extend_from_slice(front_end.finish().about(path)?.as_slice());
    let rows = steps.len() / width;
    Ok(Mat::from_vec(steps, rows, width)?)
}

/// Decodes a model's outputs to text.
pub fn transcript(outputs: &Mat<f32>, labels: Labels) -> Result<String> {
    let mut decoder = GreedyDecoder::new(labels);
    decoder.push(outputs.view())?;
    Ok(decoder.text().to_owned())
}

/// The labels of a model's classes. `path` is the model's file.
pub fn labels(model: &Model, path: &Path) -> Result<Labels> {
    let labels = Labels::of_model(model).about(path)?;
    labels.ok_or("the file does not say what the classes stand for (metadata `labels` or `alphabet`)").about(path)
}

/// Input frames per second of sound, if the model's file describes its features.
pub fn frame_rate(model: &Model) -> Option<f64> {
    let features = Features::of_model(model).ok()??;
    Some(f64::from(features.rate) / features.samples_per_step() as f64)
}

#[cfg(test)]
mod tests {
    use hound::{WavSpec, WavWriter};

    use super::*;

    fn wav<S: hound::Sample + Copy>(channels: u16, bits: u16, format: SampleFormat, samples: &[S]) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: 8000, bits_per_sample: bits, sample_format: format };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn samples_of_every_kind_are_fractions_of_full_scale() {
        let expected = Recording { samples: vec![0.0, 0.5, -1.0], rate: 8000 };
        for (bits, samples) in [
            (8u16, [0i32, 64, -128]),
            (16, [0, 1 << 14, -1 << 15]),
            (24, [0, 1 << 22, -1 << 23]),
            (32, [0, 1 << 30, i32::MIN]),
        ] {
            assert_eq!(decode(&wav(1, bits, SampleFormat::Int, &samples)).unwrap(), expected, "{bits}");
        }
        assert_eq!(decode(&wav(1, 32, SampleFormat::Float, &[0.0f32, 0.5, -1.0])).unwrap(), expected);
    }

    #[test]
    fn channels_are_mixed() {
        let stereo = wav(2, 16, SampleFormat::Int, &[1i16 << 14, 0, -1 << 15, -1 << 15]);
        assert_eq!(decode(&stereo).unwrap().samples, [0.25, -1.0]);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bytes = wav(1, 16, SampleFormat::Int, &[1i16; 10]);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(decode(&wav::<i16>(1, 16, SampleFormat::Int, &[])).unwrap_err(), "holds no samples");
        assert!(decode(&wav(1, 32, SampleFormat::Float, &[0.0, f32::NAN])).unwrap_err().contains("sample 1 is NaN"));
    }
}
