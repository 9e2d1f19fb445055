//! The sound to transcribe.

use std::io::Read;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader};

use crate::Failure;
use crate::args::Args;
use crate::fsdd::{DigitString, Recording, WORDS, draw};

/// The recordings included with the example, all from the validation split.
pub const RECORDINGS: [(&str, &[u8]); 20] = {
    macro_rules! recordings {
        ($($name:literal)*) => { [$(($name, include_bytes!(concat!("recordings/", $name)))),*] };
    }
    recordings! {
        "0_jackson_45.wav" "1_jackson_45.wav" "2_jackson_45.wav" "3_jackson_45.wav" "4_jackson_45.wav"
        "5_jackson_45.wav" "6_jackson_45.wav" "7_jackson_45.wav" "8_jackson_45.wav" "9_jackson_45.wav"
        "0_theo_46.wav" "1_theo_46.wav" "2_theo_46.wav" "3_theo_46.wav" "4_theo_46.wav"
        "5_theo_46.wav" "6_theo_46.wav" "7_theo_46.wav" "8_theo_46.wav" "9_theo_46.wav"
    }
};

/// Something to transcribe.
pub struct Item {
    pub name: String,
    pub samples: Vec<f32>,
    /// Samples per second.
    pub rate: u32,
    /// What is said, if known.
    pub reference: Option<String>,
    /// Whether it was made from several recordings.
    pub is_string: bool,
}

/// Everything that the command line asks for: files, or single recordings and strings drawn from them.
pub fn items(args: &Args) -> Result<Vec<Item>, Failure> {
    if !args.files.is_empty() {
        return args.files.iter().map(|path| item(path, None)).collect();
    }
    let paths: Vec<PathBuf> = match &args.data {
        None => RECORDINGS.iter().map(|(name, _)| name.into()).collect(),
        Some(folder) => {
            let named = |cause| format!("{}: {cause}", folder.display());
            let entries = std::fs::read_dir(folder).map_err(named)?;
            entries.map(|entry| Ok(entry.map_err(named)?.path())).collect::<Result<_, Failure>>()?
        }
    };
    let mut recordings: Vec<_> = paths.iter().filter_map(|path| Recording::from_path(path)).collect();
    // Strings must not depend on the order in which a folder lists its files.
    recordings.sort();
    if let Some(folder) = &args.data {
        let (all, indices, folder) = (recordings.len(), &args.indices, folder.display());
        recordings.retain(|recording| indices.contains(&recording.index));
        let found = format!("{} of {all} recordings {{digit}}_{{speaker}}_{{index}}.wav", recordings.len());
        let listing = format!("{folder}: {found} have an index in {}..{}", indices.start(), indices.end());
        if recordings.is_empty() {
            return Err(listing.into());
        }
        println!("{listing}");
    }
    let count = args.strings.unwrap_or(if args.data.is_some() { 200 } else { 10 });
    let strings = draw(&recordings, args.string_length, count, args.seed);
    let singles = recordings.iter().map(|recording| item(&recording.path, Some(recording)));
    singles.chain(strings.iter().enumerate().map(|(i, parts)| string(i, parts))).collect()
}

fn item(path: &Path, recording: Option<&Recording>) -> Result<Item, Failure> {
    let (rate, samples) = read(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
    let name = match recording {
        Some(_) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => path.display().to_string(),
    };
    let reference = recording.map(|recording| WORDS[recording.digit].to_owned());
    Ok(Item { name, samples, rate, reference, is_string: false })
}

fn string(i: usize, parts: &DigitString<'_>) -> Result<Item, Failure> {
    let (first, _) = parts[0];
    let (name, rate) = (format!("string {i}, {}", first.speaker), item(&first.path, None)?.rate);
    let mut samples = Vec::new();
    for (recording, pause) in parts {
        let part = item(&recording.path, None)?;
        if part.rate != rate {
            return Err(format!("{}: {} Hz beside recordings of {rate} Hz", part.name, part.rate).into());
        }
        samples.extend(part.samples);
        samples.resize(samples.len() + pause, 0.0);
    }
    let words: Vec<_> = parts.iter().map(|(recording, _)| WORDS[recording.digit]).collect();
    Ok(Item { name, samples, rate, reference: Some(words.join(" ")), is_string: true })
}

/// The rate and the samples, in -1..1, of a recording, which is a file or is included with the example.
pub fn read(path: &Path) -> Result<(u32, Vec<f32>), Failure> {
    match RECORDINGS.iter().find(|(name, _)| Path::new(name) == path) {
        Some((_, bytes)) => decode(*bytes),
        None => decode(std::io::BufReader::new(std::fs::File::open(path)?)),
    }
}

pub fn decode(bytes: impl Read) -> Result<(u32, Vec<f32>), Failure> {
    let reader = WavReader::new(bytes).map_err(|cause| format!("not a WAV file: {cause}"))?;
    let spec = reader.spec();
    if (spec.channels, spec.bits_per_sample, spec.sample_format) != (1, 16, SampleFormat::Int) {
        let (channels, bits) = (spec.channels, spec.bits_per_sample);
        return Err(format!("expected 1 channel of 16-bit integers, found {channels} of {bits} bits").into());
    }
    let samples = reader.into_samples::<i16>().map(|sample| Ok(f32::from(sample?) / 32768.0));
    Ok((spec.sample_rate, samples.collect::<Result<_, hound::Error>>()?))
}
